package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class MmapLockTest {
  private final WaitProbe probe = new WaitProbe();
  private final MmapLock lock = new MmapLock(probe);

  private Worker<Boolean> take(boolean interruptible) {
    return Worker.start(
        () -> {
          if (interruptible) {
            lock.lock();
          } else {
            lock.lockUninterruptibly();
          }
          lock.unlock();
          return Thread.currentThread().isInterrupted();
        });
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void oneThreadHasIt(boolean interruptible) throws Exception {
    lock.lock();
    Worker<Boolean> other = take(interruptible);
    probe.awaitWaiting(other);
    lock.unlock();
    assertFalse(other.result());
    assertFalse(take(interruptible).result());
  }

  @Test
  void anInterruptEndsTheWait() throws Exception {
    lock.lock();
    Worker<Boolean> other = take(true);
    probe.awaitWaiting(other);
    other.interrupt();
    assertThrows(InterruptedException.class, other::result);
    lock.unlock();
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, lock::lock, "not even a free one");
    assertFalse(take(true).result(), "it is free");
  }

  @Test
  void anInterruptIsKeptForLater() throws Exception {
    lock.lockUninterruptibly();
    Worker<Boolean> other = take(false);
    probe.awaitWaiting(other);
    other.interrupt();
    lock.unlock();
    assertTrue(other.result());
  }

  @AfterEach
  void isNotInterrupted() { // though a test has failed
    Thread.interrupted();
  }
}
