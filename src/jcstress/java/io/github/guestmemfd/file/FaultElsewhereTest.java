package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZZL_Result;

/**
 * Hypothesis: under {@code invalidate-lock} no lookup, of whatever page of the file, begins and
 * ends while a conversion is between its callbacks; both succeed, one after the other.
 *
 * <p>The hole looked for: the lookup of a page outside the range passes the conversion.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FaultElsewhereTest}</pre>
 */
@JCStressTest
@Outcome(id = "false, true, OK", expect = ACCEPTABLE, desc = "One after the other.")
@Outcome(expect = FORBIDDEN, desc = "Both at once, or one has failed.")
@State
public class FaultElsewhereTest {
  /** Says how far a conversion is. */
  private static class Progress extends Files.Client {
    volatile boolean begun;
    volatile boolean ended;
    volatile boolean faulted;

    @Override
    public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
      begun = true;
      return Errno.OK;
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      ended = true;
    }
  }

  final Progress progress;
  private final FileOperations file;

  public FaultElsewhereTest() {
    this(new Progress(), ConversionProtocol.invalidateLock());
  }

  private FaultElsewhereTest(Progress progress, ConversionProtocol protocol) {
    this.progress = progress;
    file = Files.ready(Files.METADATA, 2, progress, protocol);
  }

  @Actor
  public void fault(ZZL_Result r) {
    boolean begun = progress.begun;
    int pfn = file.lookup.get(1, Counts.REF);
    r.r1 = begun && !progress.ended;
    r.r2 = pfn > 0;
    file.inode.frames.put(pfn, Counts.REF);
  }

  @Actor
  public void convert(ZZL_Result r) {
    r.r3 = file.conversion.convert(0, 1, true, null);
  }

  @Arbiter
  public void free() {
    file.inode.close();
  }

  /** Broken: a conversion locks its range, not the file. */
  @JCStressTest
  @Outcome(id = "false, true, OK", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "true, true, OK", expect = ACCEPTABLE_INTERESTING, desc = "Both at once.")
  @State
  public static class Twin extends FaultElsewhereTest {
    public Twin() {
      super(
          new Progress() {
            @Override
            public void invalidateEnd(long offset, long length) {
              Frames.gapUntil(() -> faulted);
              super.invalidateEnd(offset, length);
            }
          },
          Files.ITS_RANGE_ONLY);
    }

    @Actor
    @Override
    public void fault(ZZL_Result r) {
      Frames.gapUntil(() -> progress.begun);
      super.fault(r);
      progress.faulted = true;
    }

    @Actor
    @Override
    public void convert(ZZL_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }
}
