package io.github.guestmemfd.memory;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.spi.Wait;
import java.util.concurrent.locks.LockSupport;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Mode;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.Signal;
import org.openjdk.jcstress.annotations.State;

/**
 * Hypothesis: a thread that waits for the folio lock gets it, whether the unlocking comes before,
 * while or after it queues. Each state lets it come at another round of the waiting.
 *
 * <p>The hole looked for: the unlocking does not see the waiter, who sleeps on a free lock.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t HandOverTest}</pre>
 */
@JCStressTest(Mode.Termination)
@Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "The waiter got the lock.")
@Outcome(id = "STALE", expect = FORBIDDEN, desc = "The waiter was forgotten.")
@State
public class HandOverTest {
  private static int next; // states are made by one thread

  /** The idling at which the lock is given back: around that before which the waiter queues. */
  private final int at = Wait.BRIEF_ROUNDS - 2 + (next++ & 3);

  /** How often the waiter has come to idle: its own count, since rounds start anew in the queue. */
  private volatile int idlings;

  private final FrameTable frames =
      new FrameTable(
          64,
          (round, maxNanos) -> {
            idlings = idlings + 1; // the waiter's alone
            LockSupport.parkNanos(maxNanos);
          });
  private final int pfn;

  public HandOverTest() {
    frames.reserve(1);
    pfn = frames.allocate(frames.newOwner(p -> {}));
    frames.thaw(pfn, Counts.REF);
    frames.tryLock(pfn);
  }

  @Actor
  public void waiter() throws InterruptedException {
    frames.lock(pfn);
    frames.unlock(pfn);
  }

  @Signal
  public void unlock() {
    while (idlings <= Math.min(at, Wait.BRIEF_ROUNDS) && !Frames.isExplored()) {
      Thread.onSpinWait();
    }
    frames.unlock(pfn);
  }

  /** Broken: unlocks by a store, though a waiter has queued since it looked. */
  @JCStressTest(Mode.Termination)
  @Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "STALE", expect = ACCEPTABLE_INTERESTING, desc = "The waiter was forgotten.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(FrameState.LOCKED);
    private volatile boolean looked;
    private volatile Thread queued;

    @Actor
    public void waiter() {
      while (!looked) {
        Thread.onSpinWait();
      }
      if (!word.cas(0, FrameState.LOCKED)) {
        word.cas(FrameState.LOCKED, FrameState.LOCKED | FrameState.WAITERS);
        queued = Thread.currentThread();
        while (!word.cas(0, FrameState.LOCKED) || queued != null) {
          LockSupport.park();
        }
      }
    }

    @Signal
    public void unlock() {
      boolean waiters = (word.get() & FrameState.WAITERS) != 0;
      looked = true;
      while (queued == null) {
        Thread.onSpinWait();
      }
      word.set(0);
      if (waiters) {
        Thread thread = queued;
        queued = null;
        LockSupport.unpark(thread);
      }
    }
  }
}
