package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.JL_Result;

/**
 * Hypothesis: under {@code pin-check}, which is unsound, a pinned holder at least reads nothing
 * that the guest has written after a conversion: of a pin and a conversion exactly one succeeds.
 *
 * <p>The hole looked for: the secret. The twin, which differs from the shipped one in nothing but
 * the kind of reference, shows the leak for which the protocol was given up.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t PinCheckTest}</pre>
 */
@JCStressTest
@Outcome(id = "1, EAGAIN", expect = ACCEPTABLE, desc = "Pinned: shared bytes.")
@Outcome(id = "-1, OK", expect = ACCEPTABLE, desc = "Converted: no pin.")
@Outcome(expect = FORBIDDEN, desc = "Both, or the secret.")
@State
public class PinCheckTest {
  private final FileOperations file =
      Files.ready(Files.BYTES, 1, null, ConversionProtocol.pinCheck());
  private final long unit;
  private int pfn;

  public PinCheckTest() {
    this(Counts.PIN);
  }

  private PinCheckTest(long unit) {
    this.unit = unit;
    Files.guestWrites(file, 1);
  }

  /** What the twin does between the taking of the reference and the reading. */
  void dawdle() {}

  @Actor
  public void host(JL_Result r) {
    pfn = file.lookup.get(0, unit);
    dawdle();
    r.r1 = pfn > 0 ? Files.guestReads(file) : -1;
  }

  @Actor
  public void convertAndWrite(JL_Result r) {
    Errno errno = file.conversion.convert(0, 1, true, null);
    if (errno == Errno.OK) {
      Files.guestWrites(file, 42);
    }
    r.r2 = errno;
  }

  @Arbiter
  public void free() {
    if (pfn > 0) {
      file.inode.frames.put(pfn, unit);
    }
    file.inode.close();
  }

  /** The leak: a plain reference, which the protocol does not see. */
  @JCStressTest
  @Outcome(
      id = {"-1, OK", "1, OK"},
      expect = ACCEPTABLE,
      desc = "Converted, and not read, or read before.")
  @Outcome(id = "42, OK", expect = ACCEPTABLE_INTERESTING, desc = "The secret was read.")
  @State
  public static class Twin extends PinCheckTest {
    public Twin() {
      super(Counts.REF);
    }

    @Override
    void dawdle() {
      Frames.gap();
    }

    @Actor
    @Override
    public void host(JL_Result r) {
      super.host(r);
    }

    @Actor
    @Override
    public void convertAndWrite(JL_Result r) {
      super.convertAndWrite(r);
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }
}
