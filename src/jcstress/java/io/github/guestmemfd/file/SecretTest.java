package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressMeta;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.J_Result;

/**
 * Hypothesis: under a protocol with safe counts a guest that holds a folio converts it to
 * inaccessible and writes a secret, and a host reference never reads that. This one is for {@code
 * atomic-pair}, the nested ones are for the others.
 *
 * <p>The hole looked for: the guest's own safe reference hides that of the host.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t SecretTest}</pre>
 */
@JCStressTest
@JCStressMeta(SecretTest.Outcomes.class)
@State
public class SecretTest {
  private final FileOperations file;

  public SecretTest() {
    this(ConversionProtocol.atomicPair());
  }

  private SecretTest(ConversionProtocol protocol) {
    file = Files.ready(Files.BYTES, 1, null, protocol);
    Files.guestWrites(file, 1);
  }

  /** What a twin does between the taking of the reference and the reading. */
  void dawdle() {}

  @Actor
  public void guest() {
    int pfn = file.grab(0, HolderKind.SAFE);
    if (file.conversion.convert(0, 1, true, null) == Errno.OK) {
      Files.guestWrites(file, 42);
    }
    file.put(0, pfn, HolderKind.SAFE);
  }

  @Actor
  public void host(J_Result r) {
    int pfn = file.lookup.get(0, Counts.REF);
    dawdle();
    r.r1 = pfn > 0 ? Files.guestReads(file) : -1;
    if (pfn > 0) {
      file.inode.frames.put(pfn, Counts.REF);
    }
  }

  @Arbiter
  public void free() {
    file.inode.close();
  }

  /** The outcomes of all that are sound. */
  @Outcome(
      id = {"1", "-1"},
      expect = ACCEPTABLE,
      desc = "The shared bytes, or no reference.")
  @Outcome(expect = FORBIDDEN, desc = "The secret.")
  static class Outcomes {}

  /** Under {@code both-counters}. */
  @JCStressTest
  @JCStressMeta(Outcomes.class)
  @State
  public static class BothCounters extends SecretTest {
    public BothCounters() {
      super(ConversionProtocol.bothCounters());
    }

    @Actor
    @Override
    public void guest() {
      super.guest();
    }

    @Actor
    @Override
    public void host(J_Result r) {
      super.host(r);
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }

  /** Under {@code safe-only}. */
  @JCStressTest
  @JCStressMeta(Outcomes.class)
  @State
  public static class SafeOnly extends SecretTest {
    public SafeOnly() {
      super(ConversionProtocol.safeOnly());
    }

    @Actor
    @Override
    public void guest() {
      super.guest();
    }

    @Actor
    @Override
    public void host(J_Result r) {
      super.host(r);
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }

  /** Under {@code timed-wait}. */
  @JCStressTest
  @JCStressMeta(Outcomes.class)
  @State
  public static class TimedWait extends SecretTest {
    public TimedWait() {
      super(ConversionProtocol.timedWait());
    }

    @Actor
    @Override
    public void guest() {
      super.guest();
    }

    @Actor
    @Override
    public void host(J_Result r) {
      super.host(r);
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }

  /** Broken: lets one reference pass, since it could be a speculative one. */
  @JCStressTest
  @Outcome(
      id = {"1", "-1"},
      expect = ACCEPTABLE,
      desc = "As the shipped ones.")
  @Outcome(id = "42", expect = ACCEPTABLE_INTERESTING, desc = "The secret.")
  @State
  public static class Twin extends SecretTest {
    public Twin() {
      super(
          new ConversionProtocol() {
            @Override
            public String id() {
              return "lets-one-pass";
            }

            @Override
            public boolean mayTurnInaccessible(int refs, int safe) {
              return refs <= safe + 2;
            }
          });
    }

    @Override
    void dawdle() {
      Frames.gap();
    }

    @Actor
    @Override
    public void guest() {
      super.guest();
    }

    @Actor
    @Override
    public void host(J_Result r) {
      super.host(r);
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }
}
