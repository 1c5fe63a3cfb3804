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
 * Hypothesis: a put that brings the counts down wakes who waits for them, at whatever moment of the
 * waiting it comes. Each state lets it come at another.
 *
 * <p>The hole looked for: the put does not see the mark that a thread waits, and the waiter does
 * not see the put.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t AwaitCountsTest}</pre>
 */
@JCStressTest(Mode.Termination)
@Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "Woken, or never asleep.")
@Outcome(id = "STALE", expect = FORBIDDEN, desc = "A wake-up was lost.")
@State
public class AwaitCountsTest {
  private static int next; // states are made by one thread

  private final FrameTable frames = new FrameTable(64, Frames.PARK);
  private final int pfn;

  // The last look before the waiter queues, or one of those before.
  private final WaitQueueTest.Gap gap =
      new WaitQueueTest.Gap(Wait.BRIEF_ROUNDS + 1 - 8 * (next++ & 3));

  public AwaitCountsTest() {
    frames.reserve(1);
    pfn = frames.allocate(frames.newOwner(p -> {}));
    frames.thaw(pfn, 2 * Counts.REF);
  }

  @Actor
  public void converter() throws InterruptedException {
    frames.awaitCounts(pfn, counts -> gap.look(Counts.refs(counts) == 1), Long.MAX_VALUE);
  }

  @Signal
  public void put() {
    gap.awaitLook();
    frames.put(pfn, Counts.REF);
    gap.over = true;
  }

  /** Broken: looks at the counts first and then marks that it waits. */
  @JCStressTest(Mode.Termination)
  @Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "STALE", expect = ACCEPTABLE_INTERESTING, desc = "A wake-up was lost.")
  @State
  public static class Twin {
    private final WaitQueueTest.Gap gap = new WaitQueueTest.Gap(1);
    private final Frames.Word word = new Frames.Word(2);
    private volatile Thread waiting;

    @Actor
    public void converter() {
      while (!gap.look(word.get() == 1)) {
        waiting = Thread.currentThread(); // the mark
        LockSupport.park();
      }
    }

    @Signal
    public void put() {
      gap.awaitLook();
      word.add(-1);
      if (waiting != null) {
        LockSupport.unpark(waiting);
      }
      gap.over = true;
    }
  }
}
