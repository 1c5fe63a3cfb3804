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
 * Hypothesis: a holder that says that its reference is a safe one wakes the conversion that waits
 * for the counts, at whatever moment of the waiting it does. Each state lets it come at another.
 *
 * <p>The hole looked for: the counts fit, and the conversion sleeps until its time is up.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t MarkSafeTest}</pre>
 */
@JCStressTest(Mode.Termination)
@Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "Woken, or never asleep.")
@Outcome(id = "STALE", expect = FORBIDDEN, desc = "The conversion was not woken.")
@State
public class MarkSafeTest {
  private static int next; // states are made by one thread

  private final FrameTable frames = new FrameTable(64, Frames.PARK);
  private final int pfn;

  // The last look before the conversion queues, or one of those before.
  private final WaitQueueTest.Gap gap =
      new WaitQueueTest.Gap(Wait.BRIEF_ROUNDS + 1 - 8 * (next++ & 3));

  public MarkSafeTest() {
    frames.reserve(1);
    pfn = frames.allocate(frames.newOwner(p -> {}));
    frames.thaw(pfn, Counts.CACHE_REF + Counts.REF);
  }

  private static boolean mayTurnInaccessible(long counts) {
    return Counts.refs(counts) == Counts.safe(counts) + 1;
  }

  @Actor
  public void converter() throws InterruptedException {
    frames.awaitCounts(pfn, counts -> gap.look(mayTurnInaccessible(counts)), Long.MAX_VALUE);
  }

  @Signal
  public void holder() {
    gap.awaitLook();
    frames.markSafe(pfn);
    gap.over = true;
  }

  /** Broken: only who lets go wakes. */
  @JCStressTest(Mode.Termination)
  @Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "STALE", expect = ACCEPTABLE_INTERESTING, desc = "The conversion was not woken.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(Counts.CACHE_REF + Counts.REF);
    private volatile Thread waiting;

    @Actor
    public void converter() {
      waiting = Thread.currentThread(); // the mark
      while (!mayTurnInaccessible(word.get())) {
        LockSupport.park();
      }
    }

    private boolean isAsleep() {
      boolean explored = Frames.isExplored();
      return waiting != null && (explored || waiting.getState() == Thread.State.WAITING);
    }

    @Signal
    public void holder() {
      while (!isAsleep()) {
        Thread.onSpinWait();
      }
      word.add(Counts.SAFE);
    }
  }
}
