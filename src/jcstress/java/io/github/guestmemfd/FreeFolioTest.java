package io.github.guestmemfd;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.HolderKind;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: {@code freeFolio} is called once, by the last to let go: the holder or the punch.
 *
 * <p>The hole looked for: both or neither call it, or it is called while the folio is held.
 *
 * <p>Its twins are those of the parts: PutsFreeOnceTest, LateGetTest.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FreeFolioTest}</pre>
 */
@JCStressTest
@Outcome(id = "0, 1", expect = ACCEPTABLE, desc = "Once, at the end.")
@Outcome(expect = FORBIDDEN, desc = "Twice, never, or too early.")
@State
public class FreeFolioTest {
  private final Memfds.Lives lives = new Memfds.Lives();
  private final GuestMemfd memfd = Memfds.memfd(Memfds.METADATA, 1, lives);
  private final int pfn = memfd.tryGrab(0, HolderKind.SAFE);

  @Actor
  public void holder(II_Result r) {
    r.r1 = lives.freed.get();
    memfd.put(pfn, HolderKind.SAFE);
  }

  @Actor
  public void punch() {
    memfd.punchHole(0, Memfds.PAGE);
  }

  @Arbiter
  public void count(II_Result r) {
    r.r2 = lives.freed.get();
    memfd.close();
  }
}
