package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: of a close of a host and the creation of a file in it one comes first. The close
 * succeeds and the file is refused, or the file is there and the close is refused.
 *
 * <p>The hole looked for: both succeed; or both are refused, for a close that fails is seen by the
 * creation before it fails.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t HostCloseTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"1, 0", "0, 1"},
    expect = ACCEPTABLE,
    desc = "Closed, or created.")
@Outcome(expect = FORBIDDEN, desc = "Both, or neither.")
@State
public class HostCloseTest {
  private final Host host = Files.host(Files.PAGE, null);

  @Actor
  public void close(II_Result r) {
    try {
      host.close();
      r.r1 = 1;
    } catch (GuestMemfdException e) {
      r.r1 = 0;
    }
  }

  @Actor
  public void create(II_Result r) {
    try {
      host.openFile();
      r.r2 = 1;
    } catch (GuestMemfdException e) {
      r.r2 = 0;
    }
  }

  /** Broken: raises a flag, looks at the count, and lowers the flag again if a file is open. */
  @JCStressTest
  @Outcome(
      id = {"1, 0", "0, 1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "0, 0", expect = ACCEPTABLE_INTERESTING, desc = "Neither closed nor created.")
  @State
  public static class Twin {
    private final Frames.Word open = new Frames.Word(0);
    private volatile boolean closed;

    @Actor
    public void close(II_Result r) {
      closed = true;
      if (open.get() == 0) {
        r.r1 = 1;
      } else {
        Frames.gap();
        closed = false;
      }
    }

    @Actor
    public void create(II_Result r) {
      open.add(1);
      if (closed) {
        open.add(-1);
      } else {
        r.r2 = 1;
      }
    }
  }
}
