package io.github.guestmemfd.cache;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Frames;
import io.github.guestmemfd.memory.WaitQueue;
import io.github.guestmemfd.spi.IdleStrategy;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZZ_Result;

/**
 * Hypothesis: of a thread that has queued for a busy page, and the end of that business, at least
 * one sees the other: the waiter does not sleep, or the unlock finds it in the queue.
 *
 * <p>The hole looked for: the release of the page is a release store, which may become visible
 * after the look for waiters, unless a full fence stands between them. "Sleeps" is an idling once
 * the thread is in the queue; here it ends when the unlock is over.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t UnlockVsWaitTest}</pre>
 */
@JCStressTest
@Outcome(id = "true, true", expect = ACCEPTABLE, desc = "Asleep, and woken.")
@Outcome(id = "true, false", expect = ACCEPTABLE, desc = "Queued, and saw the page free.")
@Outcome(id = "false, false", expect = ACCEPTABLE, desc = "Saw the page free before it queued.")
@Outcome(expect = FORBIDDEN, desc = "Asleep, and the unlock has not looked for it.")
@State
public class UnlockVsWaitTest {
  private final Waiter waiter = new Waiter();
  private final PageCache cache = Pages.busy(waiter);

  @Actor
  public void unlock(ZZ_Result r) {
    Frames.gapUntil(waiter::isAboutToQueue);
    r.r1 = cache.unlock(0, 1);
    waiter.wokenIfSeen = true;
  }

  @Actor
  public void await(ZZ_Result r) {
    Frames.run(() -> cache.awaitNotBusy(0));
    r.r2 = waiter.slept;
  }

  /** Idles without parking, and says whether it would have parked. */
  private static final class Waiter implements IdleStrategy {
    private static final int LAST_ROUND = 31;

    boolean slept; // the waiter's
    volatile boolean wokenIfSeen; // the other actor's: it has looked for threads in the queue
    private volatile boolean aboutToQueue;

    @Override
    public void idle(int round, long maxNanos) {
      if (round == LAST_ROUND) {
        aboutToQueue = true;
      } else if (round > LAST_ROUND) {
        slept = true;
        while (!wokenIfSeen) { // a thread that is parked does not leave the queue by itself
          Thread.onSpinWait();
        }
      }
    }

    boolean isAboutToQueue() {
      return aboutToQueue;
    }
  }

  /** Broken: no fence after the release store. */
  @JCStressTest
  @Outcome(
      id = {"true, true", "true, false", "false, false"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "false, true", expect = ACCEPTABLE_INTERESTING, desc = "A lost wake-up.")
  @State
  public static class Twin {
    private static final VarHandle BUSY = MethodHandles.arrayElementVarHandle(long[].class);

    private final WaitQueue queue = new WaitQueue();
    private final Waiter waiter = new Waiter();
    private final long[] busy = {1};

    private boolean isFree() {
      return (long) BUSY.getVolatile(busy, 0) == 0;
    }

    @Actor
    public void unlock(ZZ_Result r) {
      Frames.gapUntil(waiter::isAboutToQueue);
      BUSY.setRelease(busy, 0, 0L);
      r.r1 = queue.wake(0, 1);
      waiter.wokenIfSeen = true;
    }

    @Actor
    public void await(ZZ_Result r) {
      Frames.run(() -> queue.await(0, this::isFree, waiter, Long.MAX_VALUE));
      r.r2 = waiter.slept;
    }
  }
}
