package io.github.guestmemfd;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.file.Mismatch;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: a walker of frame numbers that meets the end of a folio sees a living folio or none;
 * the folio is freed once, by the last to let go.
 *
 * <p>The hole looked for: the walker brings a frame back to life, which then ends a second time.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t WalkerVsFreeTest}</pre>
 */
@JCStressTest
@Outcome(id = "1", expect = ACCEPTABLE, desc = "Freed once.")
@Outcome(expect = FORBIDDEN, desc = "Freed twice or never.")
@State
public class WalkerVsFreeTest {
  private final Memfds.Lives lives = new Memfds.Lives();
  private final GuestMemfd memfd = Memfds.memfd(Memfds.METADATA, 1, lives);
  private final int pfn;

  public WalkerVsFreeTest() {
    pfn = memfd.file.lookup.get(0, Counts.REF);
    memfd.file.inode.host.frames.put(pfn, Counts.REF);
  }

  @Actor
  public void walk() {
    Memfds.METADATA.pfnWalker().scan(pfn);
  }

  @Actor
  public void punch() {
    memfd.file.truncation.punch(0, 1, new Mismatch());
  }

  @Arbiter
  public void after(I_Result r) {
    r.r1 = lives.freed.get();
    memfd.close();
  }

  /** Broken: the walker looks whether the frame is in use, and then takes its reference. */
  @JCStressTest
  @Outcome(id = "1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "Freed twice.")
  @State
  public static class Twin {
    private final Frames.Word counts = new Frames.Word(1);
    private final Memfds.Lives lives = new Memfds.Lives();

    private void put() {
      if (counts.add(-1) == 1) {
        lives.freed.incrementAndGet();
      }
    }

    @Actor
    public void walk() {
      if (counts.get() > 0) {
        Frames.gap();
        counts.add(1);
        put();
      }
    }

    @Actor
    public void punch() {
      put();
    }

    @Arbiter
    public void after(I_Result r) {
      r.r1 = lives.freed.get();
    }
  }
}
