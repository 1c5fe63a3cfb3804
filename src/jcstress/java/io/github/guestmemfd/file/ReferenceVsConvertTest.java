package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.memory.Counts;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressMeta;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: of a plain reference (GUP) and a conversion to inaccessible exactly one succeeds,
 * under every protocol that is sound. This one is for {@code atomic-pair}, the nested ones are for
 * the others.
 *
 * <p>The hole looked for: a reference that is taken during the conversion, and is not counted.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t ReferenceVsConvertTest}</pre>
 */
@JCStressTest
@JCStressMeta(ReferenceVsConvertTest.Outcomes.class)
@State
public class ReferenceVsConvertTest {
  private final FileOperations file;

  public ReferenceVsConvertTest() {
    this(ConversionProtocol.atomicPair());
  }

  private ReferenceVsConvertTest(ConversionProtocol protocol) {
    file = Files.ready(protocol);
  }

  @Actor
  public void reference(II_Result r) {
    r.r1 = file.lookup.get(0, Counts.REF) > 0 ? 1 : 0;
  }

  @Actor
  public void convert(II_Result r) {
    r.r2 = file.conversion.convert(0, 1, true, new Mismatch()) == Errno.OK ? 1 : 0;
  }

  @Arbiter
  public void free(II_Result r) {
    if (r.r1 == 1) {
      file.inode.frames.put(SlotWord.pfn(file.inode.cache.slot(0)), Counts.REF);
    }
    file.inode.close();
  }

  /** The outcomes of all that are sound. */
  @Outcome(
      id = {"1, 0", "0, 1"},
      expect = ACCEPTABLE,
      desc = "One of the two.")
  @Outcome(
      expect = FORBIDDEN,
      desc = "A plain reference on an inaccessible page, or none of the two.")
  static class Outcomes {}

  /** Under {@code both-counters}. */
  @JCStressTest
  @JCStressMeta(Outcomes.class)
  @State
  public static class BothCounters extends ReferenceVsConvertTest {
    public BothCounters() {
      super(ConversionProtocol.bothCounters());
    }

    @Actor
    @Override
    public void reference(II_Result r) {
      super.reference(r);
    }

    @Actor
    @Override
    public void convert(II_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free(II_Result r) {
      super.free(r);
    }
  }

  /** Under {@code safe-only}. */
  @JCStressTest
  @JCStressMeta(Outcomes.class)
  @State
  public static class SafeOnly extends ReferenceVsConvertTest {
    public SafeOnly() {
      super(ConversionProtocol.safeOnly());
    }

    @Actor
    @Override
    public void reference(II_Result r) {
      super.reference(r);
    }

    @Actor
    @Override
    public void convert(II_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free(II_Result r) {
      super.free(r);
    }
  }

  /** Under {@code lock-only}. */
  @JCStressTest
  @JCStressMeta(Outcomes.class)
  @State
  public static class LockOnly extends ReferenceVsConvertTest {
    public LockOnly() {
      super(ConversionProtocol.lockOnly());
    }

    @Actor
    @Override
    public void reference(II_Result r) {
      super.reference(r);
    }

    @Actor
    @Override
    public void convert(II_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free(II_Result r) {
      super.free(r);
    }
  }

  /** Under {@code timed-wait}. */
  @JCStressTest
  @JCStressMeta(Outcomes.class)
  @State
  public static class TimedWait extends ReferenceVsConvertTest {
    public TimedWait() {
      super(ConversionProtocol.timedWait());
    }

    @Actor
    @Override
    public void reference(II_Result r) {
      super.reference(r);
    }

    @Actor
    @Override
    public void convert(II_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free(II_Result r) {
      super.free(r);
    }
  }

  /** Under {@code last-put}. */
  @JCStressTest
  @JCStressMeta(Outcomes.class)
  @State
  public static class LastPut extends ReferenceVsConvertTest {
    public LastPut() {
      super(ConversionProtocol.lastPut());
    }

    @Actor
    @Override
    public void reference(II_Result r) {
      super.reference(r);
    }

    @Actor
    @Override
    public void convert(II_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free(II_Result r) {
      super.free(r);
    }
  }

  /** Under {@code invalidate-lock}. */
  @JCStressTest
  @JCStressMeta(Outcomes.class)
  @State
  public static class InvalidateLock extends ReferenceVsConvertTest {
    public InvalidateLock() {
      super(ConversionProtocol.invalidateLock());
    }

    @Actor
    @Override
    public void reference(II_Result r) {
      super.reference(r);
    }

    @Actor
    @Override
    public void convert(II_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free(II_Result r) {
      super.free(r);
    }
  }

  /** Broken: a protocol that looks for pins only, the first draft. */
  @JCStressTest
  @Outcome(
      id = {"1, 0", "0, 1"},
      expect = ACCEPTABLE,
      desc = "As the shipped ones.")
  @Outcome(
      id = "1, 1",
      expect = ACCEPTABLE_INTERESTING,
      desc = "A plain reference on an inaccessible page.")
  @State
  public static class Twin extends ReferenceVsConvertTest {
    public Twin() {
      super(ConversionProtocol.pinCheck());
    }

    @Actor
    @Override
    public void reference(II_Result r) {
      super.reference(r);
    }

    @Actor
    @Override
    public void convert(II_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free(II_Result r) {
      super.free(r);
    }
  }
}
