package io.github.guestmemfd.memory;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import java.util.concurrent.locks.LockSupport;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Mode;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.Signal;
import org.openjdk.jcstress.annotations.State;

/**
 * Hypothesis: a waiter that is interrupted while the folio lock is being handed to it gives it on;
 * the lock is free afterwards.
 *
 * <p>The hole looked for: the grant goes to a thread that has left, and the lock stays taken.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t LockInterruptTest}</pre>
 */
@JCStressTest(Mode.Termination)
@Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "The lock could be taken again.")
@Outcome(id = "STALE", expect = FORBIDDEN, desc = "The lock was lost with the one who left.")
@State
public class LockInterruptTest {
  private static int next; // states are made by one thread

  private final int delay = (next++ & 15) * 64;
  private final FrameTable frames = new FrameTable(64, Frames.PARK);
  private final int pfn;

  public LockInterruptTest() {
    frames.reserve(1);
    pfn = frames.allocate(frames.newOwner(p -> {}));
    frames.thaw(pfn, Counts.REF);
    frames.tryLock(pfn);
  }

  @Actor
  public void waiter() {
    try {
      frames.lock(pfn);
      frames.unlock(pfn);
    } catch (InterruptedException e) {
      // left
    }
    Thread.interrupted();
    while (!frames.tryLock(pfn)) {
      LockSupport.parkNanos(1_000);
    }
  }

  @Signal
  public void interruptAndUnlock(LockInterruptTest state, Thread waiter) {
    LockSupport.parkNanos(2_000_000); // until it has queued
    waiter.interrupt();
    for (int i = 0; i < delay && !Frames.isExplored(); i++) {
      Thread.onSpinWait();
    }
    frames.unlock(pfn);
  }

  /** Broken: who is interrupted leaves, granted or not. */
  @JCStressTest(Mode.Termination)
  @Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "STALE", expect = ACCEPTABLE_INTERESTING, desc = "The lock was lost.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(FrameState.LOCKED);
    private volatile Thread queued;
    private volatile boolean granted;

    @Actor
    public void waiter() {
      queued = Thread.currentThread();
      boolean interrupted = false;
      while (!granted && !interrupted) {
        LockSupport.park();
        interrupted = Thread.interrupted();
      }
      if (!interrupted) { // else it leaves, without a look whether the lock is its own by now
        word.set(0);
      }
      while (!word.cas(0, FrameState.LOCKED)) {
        LockSupport.parkNanos(100_000);
      }
    }

    @Signal
    public void interruptAndUnlock(Twin state, Thread waiter) {
      while (queued == null) {
        Thread.onSpinWait();
      }
      waiter.interrupt();
      granted = true; // handed over: stays locked
    }
  }
}
