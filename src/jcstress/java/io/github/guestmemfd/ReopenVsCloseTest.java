package io.github.guestmemfd;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Frames;
import java.util.concurrent.atomic.AtomicInteger;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: a file is reopened, or gone: it does not end while a new descriptor is open.
 *
 * <p>The hole looked for: the last close and the reopening both succeed.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t ReopenVsCloseTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0, 1", "1, 1"},
    expect = ACCEPTABLE,
    desc = "Gone, or open; it ended once.")
@Outcome(expect = FORBIDDEN, desc = "It ended while open (2), or not once.")
@State
public class ReopenVsCloseTest {
  private final Memfds.Lives lives = new Memfds.Lives();
  private final GuestMemfd memfd = Memfds.memfd(Memfds.METADATA, 1, lives);

  @Actor
  public void reopen(II_Result r) {
    memfd
        .reopen()
        .ifPresent(
            again -> {
              r.r1 = lives.released.get() == 0 ? 1 : 2;
              again.close();
            });
  }

  @Actor
  public void close() {
    memfd.close();
  }

  @Arbiter
  public void count(II_Result r) {
    r.r2 = lives.released.get();
  }

  /** Broken: sees that the file is open, and raises its count in a second step. */
  @JCStressTest
  @Outcome(
      id = {"0, 1", "1, 1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(expect = ACCEPTABLE_INTERESTING, desc = "It ended while open, or twice.")
  @State
  public static class Twin {
    private final Frames.Word opens = new Frames.Word(1);
    private final AtomicInteger released = new AtomicInteger();

    private void drop() {
      if (opens.add(-1) == 1) {
        released.incrementAndGet();
      }
    }

    @Actor
    public void reopen(II_Result r) {
      if (opens.get() != 0) {
        Frames.gap();
        opens.add(1);
        r.r1 = released.get() == 0 ? 1 : 2;
        drop();
      }
    }

    @Actor
    public void close() {
      drop();
    }

    @Arbiter
    public void count(II_Result r) {
      r.r2 = released.get();
    }
  }
}
