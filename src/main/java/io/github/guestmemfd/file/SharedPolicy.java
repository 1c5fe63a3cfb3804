package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.spi.Announce;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/**
 * The NUMA policies that a file keeps, by its pages, past its end too: the kernel's {@code struct
 * shared_policy}.
 */
final class SharedPolicy {
  private static final VarHandle POLICIES;

  static {
    try {
      POLICIES = MethodHandles.lookup().findVarHandle(SharedPolicy.class, "policies", Areas.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  /** The bits of {@link Areas#POLICY}, for each page that an offset can name. */
  private volatile Areas policies = Areas.of(Pages.index(Long.MAX_VALUE) + 1, 0);

  /** The policy of a page, as bits. */
  int at(long index) {
    return Announce.read(this).policies.at(index);
  }

  /** Sets the policy of a range. */
  void set(long from, long to, int policy) {
    for (; ; ) {
      Areas now = Announce.read(this).policies;
      if (POLICIES.compareAndSet(Announce.write(this), now, now.with(from, to, old -> policy))) {
        return;
      }
    }
  }
}
