package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.IIZ_Result;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: of two holders that let go at the same time, one completes the pending conversion,
 * once: its callbacks and what depends on it run once.
 *
 * <p>The hole looked for: both, or neither, find themselves to be the last.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t LastPutsTest}</pre>
 */
@JCStressTest
@Outcome(id = "1, 1, true", expect = ACCEPTABLE, desc = "Completed once.")
@Outcome(expect = FORBIDDEN, desc = "Completed twice or never.")
@State
public class LastPutsTest {
  private final Files.Exclusive ops = new Files.Exclusive();
  private final AtomicInteger done = new AtomicInteger();
  private final FileOperations file = Files.later(ops);
  private final PendingConversion later = file.pendingDriver.toInaccessible(0, 1);
  private final int held = file.lookup.get(0, Counts.REF);
  private final CompletableFuture<Void> stage = later.thenRun(done::incrementAndGet);

  public LastPutsTest() {
    file.lookup.get(0, Counts.REF);
    file.pendingDriver.begin(later, new Mismatch());
  }

  @Actor
  public void one() {
    file.inode.frames.put(held, Counts.REF);
  }

  @Actor
  public void two() {
    file.inode.frames.put(held, Counts.REF);
  }

  @Arbiter
  public void count(IIZ_Result r) {
    boolean isDone = Files.isDoneSoon(stage);
    r.r1 = ops.count;
    r.r2 = done.get();
    r.r3 = isDone && Files.isInaccessible(file, 0);
    file.inode.close();
  }

  /** Broken: sees that it is pending, and completes it, in two steps. */
  @JCStressTest
  @Outcome(id = "1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "Completed twice.")
  @State
  public static class Twin {
    private final int pfn = Frames.frame(Counts.CACHE_REF + 2 * Counts.REF);
    private final AtomicInteger seen = new AtomicInteger();
    private final AtomicInteger done = new AtomicInteger();
    private volatile boolean pending = true;

    public Twin() {
      Frames.TABLE.watch(pfn, this::tryComplete);
    }

    private boolean isFree() {
      return Counts.refs(Frames.TABLE.counts(pfn)) == 1;
    }

    private void tryComplete() {
      Frames.gapUntil(this::isFree);
      if (pending && isFree()) {
        seen.incrementAndGet();
        Frames.gapUntil(() -> seen.get() == 2);
        pending = false;
        done.incrementAndGet();
      }
    }

    @Actor
    public void one() {
      Frames.TABLE.put(pfn, Counts.REF);
    }

    @Actor
    public void two() {
      Frames.TABLE.put(pfn, Counts.REF);
    }

    @Arbiter
    public void count(I_Result r) {
      r.r1 = done.get();
      Frames.TABLE.unwatch(pfn);
      Frames.TABLE.put(pfn, Counts.CACHE_REF);
    }
  }
}
