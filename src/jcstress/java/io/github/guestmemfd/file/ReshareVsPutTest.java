package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.memory.Counts;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.LZZ_Result;

/**
 * Hypothesis: a page that is made accessible while a conversion of it is pending, and the last
 * holder lets go, is accessible afterwards, and the conversion is over: undone, or done and taken
 * back.
 *
 * <p>The hole looked for: the conversion completes after the page was said to be accessible.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t ReshareVsPutTest}</pre>
 */
@JCStressTest
@Outcome(id = "OK, true, true", expect = ACCEPTABLE, desc = "Accessible, nothing pending.")
@Outcome(expect = FORBIDDEN, desc = "Inaccessible, or pending still.")
@State
public class ReshareVsPutTest {
  final FileOperations file = Files.later(null);
  final PendingConversion later = file.pendingDriver.toInaccessible(0, 1);
  final int held = file.lookup.get(0, Counts.REF);

  public ReshareVsPutTest() {
    file.pendingDriver.begin(later, new Mismatch());
  }

  @Actor
  public void reshare(LZZ_Result r) {
    r.r1 = file.conversion.convert(0, 1, false, null);
  }

  @Actor
  public void put() {
    file.inode.frames.put(held, Counts.REF);
  }

  @Arbiter
  public void compare(LZZ_Result r) {
    r.r2 = file.inode.isAccessible(0);
    r.r3 = later.isDone();
    file.inode.close();
  }

  /** Broken: asks for the attribute, which is accessible still while the conversion is pending. */
  @JCStressTest
  @Outcome(id = "OK, true, true", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(
      id = "OK, false, true",
      expect = ACCEPTABLE_INTERESTING,
      desc = "Inaccessible, though it was said to be accessible.")
  @State
  public static class Twin extends ReshareVsPutTest {
    @Actor
    @Override
    public void reshare(LZZ_Result r) {
      boolean inaccessible = Files.isInaccessible(file, 0);
      r.r1 = inaccessible ? file.conversion.convert(0, 1, false, null) : Errno.OK;
    }

    @Actor
    @Override
    public void put() {
      super.put();
    }

    @Arbiter
    @Override
    public void compare(LZZ_Result r) {
      super.compare(r);
    }
  }
}
