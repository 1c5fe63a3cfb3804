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
 * Hypothesis: a {@code tryGet} that meets the last put either keeps the frame alive or fails; the
 * frame is freed once, and never while it is held.
 *
 * <p>The hole looked for: between the put that reaches 0 and the freezing a lookup takes one.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t LateGetTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0, 1", "1, 1"},
    expect = ACCEPTABLE,
    desc = "Too late, or held in time.")
@Outcome(expect = FORBIDDEN, desc = "Freed twice, never, or while held (2).")
@State
public class LateGetTest {
  private final Frames.Counted frame = new Frames.Counted(Counts.REF);

  @Actor
  public void put() {
    Frames.TABLE.put(frame.pfn, Counts.REF);
  }

  @Actor
  public void get(II_Result r) {
    if (Frames.TABLE.tryGet(frame.pfn, Counts.REF)) {
      r.r1 = frame.freed.get() == 0 ? 1 : 2;
      Frames.TABLE.put(frame.pfn, Counts.REF);
    }
  }

  @Arbiter
  public void freed(II_Result r) {
    r.r2 = frame.freed.get();
    frame.owner.close();
  }

  /** Broken: the put that reaches 0 frees, without swapping the 0 by compare-and-set. */
  @JCStressTest
  @Outcome(
      id = {"0, 1", "1, 1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(expect = ACCEPTABLE_INTERESTING, desc = "Freed twice or while held.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(1);

    private void drop() {
      if (word.add(-1) == 1) {
        word.freed.incrementAndGet();
        word.set(Frames.Word.FROZEN);
      }
    }

    @Actor
    public void put() {
      drop();
    }

    @Actor
    public void get(II_Result r) {
      if (word.tryGet()) {
        r.r1 = word.freed.get() == 0 ? 1 : 2;
        drop();
      }
    }

    @Arbiter
    public void freed(II_Result r) {
      r.r2 = word.freed.get();
    }
  }
}
