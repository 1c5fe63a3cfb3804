package io.github.guestmemfd.memory;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZZ_Result;

/**
 * Hypothesis: a put that comes while a thread begins to watch the counts is told to the watcher, or
 * seen by the look at the counts after that.
 *
 * <p>The hole looked for: neither, so that a pending conversion stays pending with no holder left.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t WatchVsPutTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"true, false", "false, true", "true, true"},
    expect = ACCEPTABLE,
    desc = "Seen, told, or both.")
@Outcome(expect = FORBIDDEN, desc = "Neither seen nor told.")
@State
public class WatchVsPutTest {
  private final int pfn = Frames.frame(Counts.CACHE_REF + Counts.REF);
  private volatile boolean told;

  @Actor
  public void watch(ZZ_Result r) {
    Frames.TABLE.watch(pfn, () -> told = true);
    r.r1 = Counts.refs(Frames.TABLE.counts(pfn)) == 1;
  }

  @Actor
  public void put() {
    Frames.TABLE.put(pfn, Counts.REF);
  }

  @Arbiter
  public void free(ZZ_Result r) {
    r.r2 = told;
    Frames.TABLE.unwatch(pfn);
    Frames.TABLE.put(pfn, Counts.CACHE_REF);
  }

  /** Broken: looks at the counts before it watches them. */
  @JCStressTest
  @Outcome(
      id = {"true, false", "false, true", "true, true"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "false, false", expect = ACCEPTABLE_INTERESTING, desc = "Neither seen nor told.")
  @State
  public static class Twin {
    private final int pfn = Frames.frame(Counts.CACHE_REF + Counts.REF);
    private volatile boolean told;

    @Actor
    public void watch(ZZ_Result r) {
      r.r1 = Counts.refs(Frames.TABLE.counts(pfn)) == 1;
      Frames.gap();
      Frames.TABLE.watch(pfn, () -> told = true);
    }

    @Actor
    public void put() {
      Frames.TABLE.put(pfn, Counts.REF);
    }

    @Arbiter
    public void free(ZZ_Result r) {
      r.r2 = told;
      Frames.TABLE.unwatch(pfn);
      Frames.TABLE.put(pfn, Counts.CACHE_REF);
    }
  }
}
