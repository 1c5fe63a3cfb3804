package io.github.guestmemfd;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.HolderKind;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.III_Result;

/**
 * Hypothesis: a grab against the last close gets a folio or EBADF, and in the end every folio that
 * was used has been freed, once.
 *
 * <p>The hole looked for: a folio that enters the file after it has ended.
 *
 * <p>Its twins are those of the parts: FillVsBusyTest, LookupVsRangeTest.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t CloseVsGrabTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0, 0, 0", "0, 0, 1", "0, 1, 1", "1, 1, 1"},
    expect = ACCEPTABLE,
    desc = "Too late, or in time; nothing is left.")
@Outcome(expect = FORBIDDEN, desc = "A folio is left, or was freed twice.")
@State
public class CloseVsGrabTest {
  private final Memfds.Lives lives = new Memfds.Lives();
  private final GuestMemfd memfd = Memfds.memfd(Memfds.METADATA, 1, lives);

  @Actor
  public void grab(III_Result r) {
    int pfn = memfd.tryGrab(0, HolderKind.SAFE);
    if (pfn > 0) {
      r.r1 = lives.freed.get() == 0 ? 1 : 2;
      memfd.put(pfn, HolderKind.SAFE);
    }
  }

  @Actor
  public void close() {
    memfd.close();
  }

  @Arbiter
  public void count(III_Result r) {
    r.r2 = lives.prepared.get();
    r.r3 = lives.freed.get();
  }
}
