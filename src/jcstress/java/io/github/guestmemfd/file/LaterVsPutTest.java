package io.github.guestmemfd.file;

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
 * are through: nothing stays pending with no holder of the folio.
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
  private final FileOperations file = Files.later(null);
  private final PendingConversion later = file.pendingDriver.toInaccessible(0, 1);
  private final int held = file.lookup.get(0, Counts.REF);

  @Actor
  public void convert() {
    file.pendingDriver.begin(later, new Mismatch());
  }

  @Actor
  public void put() {
    file.inode.frames.put(held, Counts.REF);
  }

  @Arbiter
  public void compare(ZZ_Result r) {
    r.r1 = Files.isDoneSoon(later);
    r.r2 = Files.isInaccessible(file, 0);
    file.inode.close();
  }

  /** Broken: looks whether the folio is free before it waits for that, and not after. */
  @JCStressTest
  @Outcome(id = "true, true", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "false, false", expect = ACCEPTABLE_INTERESTING, desc = "Pending for ever.")
  @State
  public static class Twin {
    private final FileOperations file = Files.later(null);
    private final int held = file.lookup.get(0, Counts.REF);
    private volatile boolean done;
    private volatile boolean refused;

    private void tryComplete() {
      if (file.conversion.convert(0, 1, true, null) == Errno.OK) {
        done = true;
      }
    }

    @Actor
    public void convert() {
      tryComplete();
      if (!done) {
        boolean free = Files.isFree(file, held);
        refused = true;
        Frames.gap();
        file.inode.frames.watch(held, this::tryComplete);
        if (free) {
          tryComplete();
        }
      }
    }

    @Actor
    public void put() {
      Frames.gapUntil(() -> refused);
      file.inode.frames.put(held, Counts.REF);
    }

    @Arbiter
    public void compare(ZZ_Result r) {
      r.r1 = done;
      r.r2 = Files.isInaccessible(file, 0);
      file.inode.frames.unwatch(held);
      file.inode.close();
    }
  }
}
