package io.github.guestmemfd;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZZ_Result;

/**
 * Hypothesis: a conversion that is to complete later, against the last put, is complete when both
 * are through: nothing stays pending with nobody holding the folio.
 *
 * <p>The hole looked for: the put comes between the refusal and the waiting for it.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t LaterVsPutTest}</pre>
 */
@JCStressTest
@Outcome(id = "true, true", expect = ACCEPTABLE, desc = "Done, and inaccessible.")
@Outcome(expect = FORBIDDEN, desc = "Pending for ever, or done without effect.")
@State
public class LaterVsPutTest {
  private final Inode inode = Files.later(GuestMemfdOps.NONE);
  private final LaterConversion later = new LaterConversion(inode, 0, 1);
  private final int held = inode.get(0, Counts.REF);

  @Actor
  public void convert() {
    later.begin(new BusyFolio());
  }

  @Actor
  public void put() {
    inode.drop(held, Counts.REF);
  }

  @Arbiter
  public void compare(ZZ_Result r) {
    r.r1 = Files.isDoneSoon(later);
    r.r2 = Files.isInaccessible(inode, 0);
    inode.close();
  }

  /** Broken: looks whether the folio is free before it waits for that, and not after. */
  @JCStressTest
  @Outcome(id = "true, true", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "false, false", expect = ACCEPTABLE_INTERESTING, desc = "Pending for ever.")
  @State
  public static class Twin {
    private final Inode inode = Files.later(GuestMemfdOps.NONE);
    private final int held = inode.get(0, Counts.REF);
    private volatile boolean done;
    private volatile boolean refused;

    private void tryComplete() {
      if (inode.convert(0, 1, true, null) == Errno.OK) {
        done = true;
      }
    }

    @Actor
    public void convert() {
      tryComplete();
      if (!done) {
        boolean free = Files.isFree(inode, held);
        refused = true;
        Frames.gap();
        inode.host.frames.watch(held, this::tryComplete);
        if (free) {
          tryComplete();
        }
      }
    }

    @Actor
    public void put() {
      Frames.gapUntil(() -> refused);
      inode.drop(held, Counts.REF);
    }

    @Arbiter
    public void compare(ZZ_Result r) {
      r.r1 = done;
      r.r2 = Files.isInaccessible(inode, 0);
      inode.host.frames.unwatch(held);
      inode.close();
    }
  }
}
