package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import io.github.guestmemfd.spi.RacePoint;
import java.time.Duration;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Mode;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.Signal;
import org.openjdk.jcstress.annotations.State;

/**
 * Hypothesis: under {@code timed-wait} a conversion comes back, though it keeps the folio locked
 * while it waits for a second vCPU that needs the lock to become safe.
 *
 * <p>The hole looked for: each waits for the other, for ever.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t TimedWaitTest}</pre>
 */
@JCStressTest(Mode.Termination)
@Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "Refused when its time was up.")
@Outcome(id = "STALE", expect = FORBIDDEN, desc = "The conversion and the vCPU wait.")
@State
public class TimedWaitTest {
  private final Meeting meeting = new Meeting(ConversionProtocol.timedWait().retryPolicy());

  @Actor
  public void convert() {
    meeting.convert();
  }

  @Signal
  public void grab() {
    meeting.grab();
  }

  /** Broken: a wait without a limit. */
  @JCStressTest(Mode.Termination)
  @Outcome(id = "TERMINATED", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(
      id = "STALE",
      expect = ACCEPTABLE_INTERESTING,
      desc = "The conversion and the vCPU wait.")
  @State
  public static class Twin {
    private final Meeting meeting =
        new Meeting(RetryPolicy.spinThenWait(0, Duration.ofNanos(Long.MAX_VALUE)));

    @Actor
    public void convert() {
      meeting.convert();
    }

    @Signal
    public void grab() {
      meeting.grab();
    }
  }

  /**
   * A vCPU that has its reference before the conversion begins, and asks for the lock when the
   * conversion has it.
   */
  private static final class Meeting {
    private final Host host = Files.host(1L << 20, this::at);
    private final FileOperations file;
    private volatile boolean looked;
    private volatile boolean refused;

    Meeting(RetryPolicy retry) {
      long flags = CreateFlag.bits(CreateFlag.MMAP, CreateFlag.INIT_SHARED);
      file =
          new FileOperations(host, Files.PAGE, flags, null, ConversionProtocol.timedWait(), retry);
      file.inode.frames.put(file.lookup.get(0, Counts.REF), Counts.REF);
    }

    private void at(RacePoint point, long index) {
      if (point == RacePoint.BEFORE_GUEST_LOCK) {
        looked = true;
        while (!refused) {
          Thread.onSpinWait();
        }
      } else if (point == RacePoint.ON_MISMATCH) {
        refused = true; // for now: it goes on to wait, with the folio locked
      }
    }

    void convert() {
      while (!looked) {
        Thread.onSpinWait();
      }
      file.conversion.convert(0, 1, true, null);
    }

    /** On a thread of its own, since the harness waits for this one. */
    void grab() {
      Runnable holder = () -> file.put(0, file.grab(0, HolderKind.SAFE), HolderKind.SAFE);
      if (Frames.isExplored()) {
        holder.run();
        return;
      }
      Thread vcpu = new Thread(holder);
      vcpu.setDaemon(true);
      vcpu.start();
    }
  }
}
