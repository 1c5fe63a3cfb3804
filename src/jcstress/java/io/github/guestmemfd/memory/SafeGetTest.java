package io.github.guestmemfd.memory;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: a safe holder without a reference, which comes while the folio leaves its page cache,
 * either keeps the frame or is refused; the frame is freed once, and never while it is held.
 *
 * <p>The hole looked for: the page cache drops its reference as the last one.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t SafeGetTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0, 1", "1, 1"},
    expect = ACCEPTABLE,
    desc = "Too late, or held in time.")
@Outcome(expect = FORBIDDEN, desc = "Freed twice, never, or while held (2).")
@State
public class SafeGetTest {
  private final Frames.Counted frame = new Frames.Counted(Counts.LENT_CACHE_REF);

  @Actor
  public void holder(II_Result r) {
    if (Frames.TABLE.tryGet(frame.pfn, Counts.SAFE)) {
      r.r1 = frame.freed.get() == 0 ? 1 : 2;
      Frames.TABLE.put(frame.pfn, Counts.SAFE);
    }
  }

  @Actor
  public void truncate() {
    Frames.TABLE.put(frame.pfn, Counts.LENT_CACHE_REF);
  }

  @Arbiter
  public void freed(II_Result r) {
    r.r2 = frame.freed.get();
    frame.owner.close();
  }

  /** Broken: the page cache asks for references, of which the holder has none. */
  @JCStressTest
  @Outcome(
      id = {"0, 1", "1, 1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "2, 1", expect = ACCEPTABLE_INTERESTING, desc = "Freed while held.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(Counts.CACHE_REF);

    @Actor
    public void holder(II_Result r) {
      for (long old = word.get(); Counts.isCached(old); old = word.get()) {
        if (word.cas(old, old + Counts.SAFE)) {
          Frames.gap();
          r.r1 = word.freed.get() == 0 ? 1 : 2;
          word.add(-Counts.SAFE);
          return;
        }
      }
    }

    @Actor
    public void truncate() {
      if (Counts.refs(word.add(-Counts.CACHE_REF)) == 1) {
        word.freed.incrementAndGet();
      }
    }

    @Arbiter
    public void freed(II_Result r) {
      r.r2 = word.freed.get();
    }
  }
}
