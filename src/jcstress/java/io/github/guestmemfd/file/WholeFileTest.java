package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ILL_Result;

/**
 * Hypothesis: under {@code invalidate-lock} conversions of different pages of a file come one after
 * the other.
 *
 * <p>The hole looked for: both are between invalidateBegin and invalidateEnd at once.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t WholeFileTest}</pre>
 */
@JCStressTest
@Outcome(id = "2, OK, OK", expect = ACCEPTABLE, desc = "One after the other.")
@Outcome(expect = FORBIDDEN, desc = "Both at once, or refused.")
@State
public class WholeFileTest {
  private final Files.Exclusive ops;
  private final FileOperations file;

  public WholeFileTest() {
    this(new Files.Exclusive(), ConversionProtocol.invalidateLock());
  }

  private WholeFileTest(Files.Exclusive ops, ConversionProtocol protocol) {
    this.ops = ops;
    file = Files.ready(Files.METADATA, 2, ops, protocol);
  }

  @Actor
  public void first(ILL_Result r) {
    r.r2 = file.conversion.convert(0, 1, true, null);
  }

  @Actor
  public void second(ILL_Result r) {
    r.r3 = file.conversion.convert(1, 2, true, null);
  }

  @Arbiter
  public void count(ILL_Result r) {
    r.r1 = ops.count;
    file.inode.close();
  }

  /** Broken: a conversion locks its range, not the file. */
  @JCStressTest
  @Outcome(id = "2, OK, OK", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "1, OK, OK", expect = ACCEPTABLE_INTERESTING, desc = "Both at once.")
  @State
  public static class Twin extends WholeFileTest {
    public Twin() {
      super(
          new Files.Exclusive() {
            @Override
            public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
              Errno errno = super.invalidateBegin(offset, length, filter);
              Frames.gap();
              return errno;
            }
          },
          Files.ITS_RANGE_ONLY);
    }

    @Actor
    @Override
    public void first(ILL_Result r) {
      super.first(r);
    }

    @Actor
    @Override
    public void second(ILL_Result r) {
      super.second(r);
    }

    @Arbiter
    @Override
    public void count(ILL_Result r) {
      super.count(r);
    }
  }
}
