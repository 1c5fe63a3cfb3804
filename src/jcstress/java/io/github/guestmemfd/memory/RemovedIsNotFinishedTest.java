package io.github.guestmemfd.memory;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.spi.IdleStrategy;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.J_Result;

/**
 * Hypothesis: an operation that frees or converts a frame comes after the bytes of an access that
 * is under way, although another operation has removed the entry by which the access goes.
 *
 * <p>The hole looked for: it finds no entry, and so waits for nothing.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t RemovedIsNotFinishedTest}</pre>
 */
@JCStressTest
@Outcome(id = "1", expect = ACCEPTABLE, desc = "The bytes were moved before.")
@Outcome(id = "0", expect = FORBIDDEN, desc = "They are moved after it.")
@State
public class RemovedIsNotFinishedTest {
  private static final int PFN = 7;
  private static final IdleStrategy IDLE = IdleStrategy.spinThenPark();

  private final Accesses accesses = new Accesses();
  private final long access = accesses.begin(PFN, 1); // its entry is gone already
  private long bytes; // plain, as the bytes of a frame

  @Actor
  public void access() {
    bytes = 1;
    accesses.end(access);
  }

  @Actor
  public void punch(J_Result r) {
    Accesses.UnderWay underWay = accesses.underWay();
    if (underWay != null) {
      underWay.include(PFN);
      Frames.run(() -> underWay.await(IDLE));
    }
    r.r1 = bytes;
  }

  /** Broken: waits only for accesses by an entry that it has removed itself. */
  @JCStressTest
  @Outcome(id = "1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "0", expect = ACCEPTABLE_INTERESTING, desc = "They are moved after it.")
  @State
  public static class Twin {
    private final Accesses accesses = new Accesses();
    private final long access = accesses.begin(PFN, 1);
    private final Frames.Word entry = new Frames.Word(0);
    private long bytes;

    @Actor
    public void access() {
      bytes = 1;
      accesses.end(access);
    }

    @Actor
    public void punch(J_Result r) {
      if (entry.get() != 0) {
        Accesses.UnderWay underWay = accesses.underWay();
        if (underWay != null) {
          underWay.include(PFN);
          Frames.run(() -> underWay.await(IDLE));
        }
      }
      r.r1 = bytes;
    }
  }
}
