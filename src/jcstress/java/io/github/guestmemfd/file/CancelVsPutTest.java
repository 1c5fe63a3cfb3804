package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import java.util.concurrent.CompletableFuture;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZZZ_Result;

/**
 * Hypothesis: a pending conversion that is cancelled while the last holder lets go is either
 * cancelled, and its page accessible, or done, and its page inaccessible.
 *
 * <p>The hole looked for: cancelled, and converted all the same.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t CancelVsPutTest}</pre>
 */
@JCStressTest
@Outcome(id = "true, true, true", expect = ACCEPTABLE, desc = "Cancelled in time, accessible.")
@Outcome(id = "false, false, false", expect = ACCEPTABLE, desc = "Too late, inaccessible.")
@Outcome(expect = FORBIDDEN, desc = "The answer, the future and the page differ.")
@State
public class CancelVsPutTest {
  private final FileOperations file = Files.later(null);
  private final PendingConversion later = file.pendingDriver.toInaccessible(0, 1);
  private final int held = file.lookup.get(0, Counts.REF);

  public CancelVsPutTest() {
    file.pendingDriver.begin(later, new Mismatch());
  }

  @Actor
  public void cancel(ZZZ_Result r) {
    r.r1 = later.cancel(false);
  }

  @Actor
  public void put() {
    file.inode.frames.put(held, Counts.REF);
  }

  @Arbiter
  public void compare(ZZZ_Result r) {
    r.r2 = later.isCancelled();
    r.r3 = file.inode.isAccessible(0);
    file.inode.close();
  }

  /** Broken: the page is converted first, and then the future completed if it still can be. */
  @JCStressTest
  @Outcome(
      id = {"true, true, true", "false, false, false"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(
      id = "true, true, false",
      expect = ACCEPTABLE_INTERESTING,
      desc = "Cancelled, and inaccessible.")
  @State
  public static class Twin {
    private final FileOperations file = Files.ready(ConversionProtocol.lastPut());
    private final CompletableFuture<Void> later = new CompletableFuture<>();
    private final int held = file.lookup.get(0, Counts.REF);

    @Actor
    public void cancel(ZZZ_Result r) {
      r.r1 = later.cancel(false);
    }

    @Actor
    public void put() {
      file.inode.frames.put(held, Counts.REF);
      if (!later.isDone()) {
        Frames.gap();
        file.conversion.convert(0, 1, true, null);
        later.complete(null);
      }
    }

    @Arbiter
    public void compare(ZZZ_Result r) {
      r.r2 = later.isCancelled();
      r.r3 = file.inode.isAccessible(0);
      file.inode.close();
    }
  }
}
