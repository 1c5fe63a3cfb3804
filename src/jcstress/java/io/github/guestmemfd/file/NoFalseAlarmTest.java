package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressMeta;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.L_Result;

/**
 * Hypothesis: guest-side holders that come and go are at no moment in the way of a conversion, not
 * even of one that refuses at the first mismatch. This one is for {@code atomic-pair}, the nested
 * ones are for the other protocols that promise it.
 *
 * <p>The hole looked for: a moment in which a safe holder looks unsafe. The twin, a protocol that
 * is sound, is the mail thread's example of it.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t NoFalseAlarmTest}</pre>
 */
@JCStressTest
@JCStressMeta(NoFalseAlarmTest.Outcomes.class)
@State
public class NoFalseAlarmTest {
  final FileOperations file;

  public NoFalseAlarmTest() {
    this(Files.METADATA, ConversionProtocol.atomicPair());
  }

  private NoFalseAlarmTest(Host host, ConversionProtocol protocol) {
    file = Files.ready(host, 1, null, protocol);
  }

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
    file.inode.close();
  }

  /** The outcomes of all that promise it. */
  @Outcome(id = "OK", expect = ACCEPTABLE, desc = "Converted.")
  @Outcome(expect = FORBIDDEN, desc = "Refused for nothing.")
  static class Outcomes {}

  /** Under {@code safe-only}. */
  @JCStressTest
  @JCStressMeta(Outcomes.class)
  @State
  public static class SafeOnly extends NoFalseAlarmTest {
    public SafeOnly() {
      super(Files.METADATA, ConversionProtocol.safeOnly());
    }

    @Actor
    @Override
    public void holder() {
      super.holder();
    }

    @Actor
    @Override
    public void convert(L_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }

  /** Under {@code lock-only}. */
  @JCStressTest
  @JCStressMeta(Outcomes.class)
  @State
  public static class LockOnly extends NoFalseAlarmTest {
    public LockOnly() {
      super(Files.METADATA, ConversionProtocol.lockOnly());
    }

    @Actor
    @Override
    public void holder() {
      super.holder();
    }

    @Actor
    @Override
    public void convert(L_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }

  /** Broken: {@code both-counters}, which raises the counts one after the other. */
  @JCStressTest
  @Outcome(id = "OK", expect = ACCEPTABLE, desc = "As the shipped ones.")
  @Outcome(id = "EAGAIN", expect = ACCEPTABLE_INTERESTING, desc = "Refused for nothing.")
  @State
  public static class Twin extends NoFalseAlarmTest {
    public Twin() {
      super(Files.GAPS, ConversionProtocol.bothCounters());
    }

    @Actor
    @Override
    public void holder() {
      super.holder();
    }

    @Actor
    @Override
    public void convert(L_Result r) {
      int pfn = SlotWord.pfn(file.inode.cache.slot(0));
      Frames.gapUntil(() -> !Files.isFree(file, pfn));
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }
}
