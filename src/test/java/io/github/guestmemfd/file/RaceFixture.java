package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import java.time.Duration;
import java.util.concurrent.Callable;

/**
 * For races made to happen, one at a time: a thread is held between two steps while another acts.
 */
abstract class RaceFixture extends HostFixture {
  /** Waits as long as it takes, without looking again at first. */
  static final RetryPolicy PATIENT = RetryPolicy.spinThenWait(0, Duration.ofHours(1));

  static final RetryPolicy AT_ONCE = RetryPolicy.failAtOnce();

  GuestMemfd file(int pages, RetryPolicy policy) {
    return file(pages, b -> b.retryPolicy(policy));
  }

  static long guestSees(GuestMemfd memfd, long offset) {
    Folio folio = memfd.grab(offset);
    try {
      return folio.buffer().getLong((int) (offset % PAGE));
    } finally {
      folio.close();
    }
  }

  @Override
  protected void assertQuiet(GuestMemfd memfd) throws Exception {
    super.assertQuiet(memfd);
    assertEquals(memfd.cachedPages() * PAGE, host.used());
  }

  /** Runs a call in a thread; it must be refused with EINTR and leave the interrupt status set. */
  Worker<Boolean> interruptible(Callable<?> body) {
    return Worker.start(
        () -> {
          refused(Errno.EINTR, body::call);
          return Thread.currentThread().isInterrupted();
        });
  }

  void interruptWhileWaiting(Worker<Boolean> worker) throws Exception {
    probe.awaitWaiting(worker);
    assertFalse(worker.isDone());
    worker.interrupt();
    assertTrue(worker.result(), "the interrupt status is gone");
  }
}
