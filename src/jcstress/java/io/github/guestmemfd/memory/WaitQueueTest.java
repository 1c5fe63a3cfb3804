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
 * Hypothesis: no wake-up is lost, even when it comes right after the waiter's last look before it
 * queues. The condition dawdles there, so that the whole wake falls into that gap every time.
 *
 * <p>The hole looked for: the waiter parks, and the waker does not know that it waits.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t WaitQueueTest}</pre>
 */
@JCStressTest(Mode.Termination)
@Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "Woken, or never asleep.")
@Outcome(id = "STALE", expect = FORBIDDEN, desc = "A wake-up was lost.")
@State
public class WaitQueueTest {
  private final WaitQueue queue = new WaitQueue();
  private final Gap gap = new Gap(Wait.BRIEF_ROUNDS + 1);

  @Actor
  public void waiter() throws InterruptedException {
    queue.await(7, gap::look, Frames.PARK, Long.MAX_VALUE);
  }

  @Signal
  public void waker() {
    gap.awaitLook();
    gap.set = true;
    queue.wake(7, 8);
    gap.over = true;
  }

  /** Broken: looks at the condition, queues, and sleeps. */
  @JCStressTest(Mode.Termination)
  @Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "STALE", expect = ACCEPTABLE_INTERESTING, desc = "A wake-up was lost.")
  @State
  public static class Twin {
    private final Gap gap = new Gap(1);
    private volatile Thread queued;

    @Actor
    public void waiter() {
      while (!gap.look()) {
        queued = Thread.currentThread();
        LockSupport.park();
      }
    }

    @Signal
    public void waker() {
      gap.awaitLook();
      gap.set = true;
      LockSupport.unpark(queued);
      gap.over = true;
    }
  }

  /** A condition that, at one of its looks, answers only when the waker is through. */
  static final class Gap {
    private final int dawdleAt;
    private int looks; // the waiter's
    private volatile boolean looked;
    volatile boolean set;
    volatile boolean over;

    Gap(int dawdleAt) {
      this.dawdleAt = dawdleAt;
    }

    boolean look() {
      return look(set);
    }

    boolean look(boolean answer) {
      if (!answer && ++looks == dawdleAt && !Frames.isExplored()) {
        looked = true;
        while (!over) {
          Thread.onSpinWait();
        }
      }
      return answer;
    }

    void awaitLook() {
      while (!looked && !Frames.isExplored()) {
        Thread.onSpinWait();
      }
    }
  }
}
