package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.spi.Announce;
import java.util.concurrent.atomic.AtomicReference;

/**
 * The NUMA policies that a file keeps, by its pages, past its end too: the kernel's {@code struct
 * shared_policy}.
 */
final class SharedPolicy {
  /** The bits of {@link Areas#POLICY}, for each page that an offset can name. */
  private final AtomicReference<Areas> policies =
      new AtomicReference<>(Areas.of(Pages.index(Long.MAX_VALUE) + 1, 0));

  /** The policy of a page, as bits. */
  int at(long index) {
    return Announce.read(policies).get().at(index);
  }

  /** Sets the policy of a range. */
  void set(long from, long to, int policy) {
    for (; ; ) {
      Areas now = Announce.read(policies).get();
      if (Announce.write(policies).compareAndSet(now, now.with(from, to, old -> policy))) {
        return;
      }
    }
  }
}
