package io.github.guestmemfd.file;

import io.github.guestmemfd.spi.Announce;
import java.util.concurrent.atomic.AtomicLong;

/** How often something is open. What has been closed by all is not opened again. */
final class OpenCount {
  private final AtomicLong opens = new AtomicLong(1);

  /** Opens it once more, unless it is gone; false if it is. */
  boolean tryOpen() {
    for (; ; ) {
      long n = Announce.read(opens).get();
      if (n == 0) {
        return false;
      }
      if (Announce.write(opens).compareAndSet(n, n + 1)) {
        return true;
      }
    }
  }

  /** Opens it once more. The caller knows that it is open. */
  void openAgain() {
    Announce.write(opens).incrementAndGet();
  }

  /** Closes it once; whether that was the last time. */
  boolean close() {
    return Announce.write(opens).decrementAndGet() == 0;
  }

  boolean isGone() {
    return Announce.read(opens).get() == 0;
  }
}
