package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.conversion.ConversionProtocol;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: conversions of ranges that meet in a page come one after the other: the callbacks of
 * one are over before those of the other begin, and both take full effect.
 *
 * <p>The hole looked for: both are between invalidateBegin and invalidateEnd at once.
 *
 * <p>Its twin is that of RangeLockTest.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t ConvertVsConvertTest}</pre>
 */
@JCStressTest
@Outcome(id = "2, 3", expect = ACCEPTABLE, desc = "One after the other, all pages converted.")
@Outcome(expect = FORBIDDEN, desc = "At once, or in part.")
@State
public class ConvertVsConvertTest {
  private final Files.Exclusive ops = new Files.Exclusive();
  private final FileOperations file =
      Files.file(Files.METADATA, 3, ops, ConversionProtocol.atomicPair());

  @Actor
  public void low() {
    file.conversion.convert(0, 2, true, new Mismatch());
  }

  @Actor
  public void high() {
    file.conversion.convert(1, 3, true, new Mismatch());
  }

  @Arbiter
  public void count(II_Result r) {
    r.r1 = ops.count;
    for (int i = 0; i < 3; i++) {
      r.r2 += Files.isInaccessible(file, i) ? 1 : 0;
    }
    file.inode.close();
  }
}
