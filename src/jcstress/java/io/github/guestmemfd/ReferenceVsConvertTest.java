package io.github.guestmemfd;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.memory.Counts;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: of a plain reference (GUP) and a conversion to inaccessible exactly one succeeds.
 *
 * <p>The hole looked for: a reference that is taken during the conversion, and is not counted.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t ReferenceVsConvertTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"1, 0", "0, 1"},
    expect = ACCEPTABLE,
    desc = "One of the two.")
@Outcome(
    expect = FORBIDDEN,
    desc = "A plain reference on an inaccessible page, or none of the two.")
@State
public class ReferenceVsConvertTest {
  private final Inode inode =
      Files.inode(Files.METADATA, 1, GuestMemfdOps.NONE, ConversionProtocol.atomicPair());

  public ReferenceVsConvertTest() {
    inode.drop(inode.get(0, Counts.REF), Counts.REF); // there and ready
  }

  @Actor
  public void reference(II_Result r) {
    r.r1 = inode.get(0, Counts.REF) > 0 ? 1 : 0;
  }

  @Actor
  public void convert(II_Result r) {
    r.r2 = inode.convert(0, 1, true, new BusyFolio()) == Errno.OK ? 1 : 0;
  }

  @Arbiter
  public void free(II_Result r) {
    if (r.r1 == 1) {
      inode.drop(SlotWord.pfn(inode.cache.slot(0)), Counts.REF);
    }
    inode.close();
  }

  /** Broken: a protocol that looks for pins only, as an early draft does. */
  @JCStressTest
  @Outcome(
      id = {"1, 0", "0, 1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(
      id = "1, 1",
      expect = ACCEPTABLE_INTERESTING,
      desc = "A plain reference on an inaccessible page.")
  @State
  public static class Twin {
    /** Says yes to whatever is not pinned. */
    private static final ConversionProtocol PIN_CHECK =
        new ConversionProtocol() {
          @Override
          public String id() {
            return "pin-check";
          }

          @Override
          public boolean mayTurnInaccessible(int refs, int safe) {
            return refs < Counts.PIN_BIAS;
          }
        };

    private final Inode inode = Files.inode(Files.METADATA, 1, GuestMemfdOps.NONE, PIN_CHECK);

    public Twin() {
      inode.drop(inode.get(0, Counts.REF), Counts.REF); // there and ready
    }

    @Actor
    public void reference(II_Result r) {
      r.r1 = inode.get(0, Counts.REF) > 0 ? 1 : 0;
    }

    @Actor
    public void convert(II_Result r) {
      r.r2 = inode.convert(0, 1, true, new BusyFolio()) == Errno.OK ? 1 : 0;
    }

    @Arbiter
    public void free(II_Result r) {
      if (r.r1 == 1) {
        inode.drop(SlotWord.pfn(inode.cache.slot(0)), Counts.REF);
      }
      inode.close();
    }
  }
}
