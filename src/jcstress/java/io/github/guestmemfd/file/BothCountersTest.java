package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import java.util.List;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.L_Result;

/**
 * Hypothesis: under {@code both-counters} a conversion never succeeds while a plain reference is
 * held, whatever moment of a guest-side holder's coming and going it compares the counts at.
 *
 * <p>The hole looked for: the holder's two steps make the plain reference look like a safe one.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t BothCountersTest}</pre>
 */
@JCStressTest
@Outcome(id = "EAGAIN", expect = ACCEPTABLE, desc = "Refused.")
@Outcome(expect = FORBIDDEN, desc = "Converted under a plain reference.")
@State
public class BothCountersTest {
  private final FileOperations file = Files.ready(ConversionProtocol.bothCounters());
  private final int plain = file.lookup.get(0, Counts.REF);

  @Actor
  public void holder() {
    file.put(0, file.grab(0, HolderKind.SAFE), HolderKind.SAFE);
  }

  @Actor
  public void convert(L_Result r) {
    r.r1 = file.conversion.convert(0, 1, true, null);
  }

  @Arbiter
  public void free() {
    file.inode.frames.put(plain, Counts.REF);
    file.inode.close();
  }

  /** Broken: a holder drops its reference before it says that it no longer is a safe one. */
  @JCStressTest
  @Outcome(id = "EAGAIN", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "OK", expect = ACCEPTABLE_INTERESTING, desc = "Converted under a plain reference.")
  @State
  public static class Twin {
    private static final ConversionProtocol DROPS_REF_FIRST =
        new ForwardingProtocol(ConversionProtocol.bothCounters()) {
          @Override
          public List<Step> guestDrops() {
            return List.of(Step.REF, Step.SAFE);
          }
        };

    private final FileOperations file = Files.ready(Files.GAPS, 1, null, DROPS_REF_FIRST);
    private final int plain = file.lookup.get(0, Counts.REF);

    @Actor
    public void holder() {
      file.put(0, file.grab(0, HolderKind.SAFE), HolderKind.SAFE);
    }

    @Actor
    public void convert(L_Result r) {
      Frames.gapUntil(() -> Counts.safe(file.inode.frames.counts(plain)) != 0);
      r.r1 = file.conversion.convert(0, 1, true, null);
    }

    @Arbiter
    public void free() {
      file.inode.frames.put(plain, Counts.REF);
      file.inode.close();
    }
  }
}
