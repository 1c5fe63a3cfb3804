package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.NoScheduler;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.spi.Exploration;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** How long a conversion waits for one page and for the next, by a clock that waits alone move. */
class RefCheckStepsTest {
  private final Host host = new Host(4, new Host.Options());

  private FileOperations file(ConversionProtocol protocol, Duration wait) {
    return new FileOperations(
        host,
        Pages.bytes(2),
        CreateFlag.INIT_SHARED.bit(),
        null,
        protocol,
        RetryPolicy.spinThenWait(0, wait));
  }

  /** Each wait takes 60 ns at most, and ends with a step of another thread. */
  private static final class Clock extends NoScheduler {
    private final Deque<Runnable> steps = new ArrayDeque<>();
    private final List<Long> waits = new ArrayList<>();
    private long now = 1000;

    @Override
    public long nanoTime() {
      return now;
    }

    @Override
    public void park(long nanos) {
      poll(nanos);
    }

    @Override
    public void poll(long nanos) {
      waits.add(nanos);
      now += Math.min(nanos, 60);
      Runnable step = steps.poll();
      if (step != null) {
        Exploration.by(null, step);
      }
    }
  }

  @AfterEach
  void close() {
    host.close();
  }

  /** What the first page has taken of the time is not there for the second. */
  @Test
  void theTimeIsForAllPages() {
    FileOperations file = file(ConversionProtocol.bothCounters(), Duration.ofNanos(100));
    int first = file.grab(0, HolderKind.UNSAFE);
    int second = file.grab(1, HolderKind.UNSAFE);
    Clock clock = new Clock();
    clock.steps.add(() -> file.put(0, first, HolderKind.UNSAFE));
    Mismatch busy = new Mismatch();
    Exploration.during(
        () -> {
          Exploration.by(
              clock, () -> assertEquals(Errno.EAGAIN, file.conversion.convert(0, 2, true, busy)));
          return null;
        });
    assertEquals(List.of(100L, 40L), clock.waits);
    assertEquals(Pages.bytes(1), busy.offset());
    file.put(1, second, HolderKind.UNSAFE);
    file.inode.close();
  }

  /** The last look comes after the protocol has said that no wait is worth it. */
  @Test
  void aHolderThatLetsGoBeforeTheLastLook() {
    Runnable[] step = new Runnable[1];
    ConversionProtocol protocol =
        new ForwardingProtocol(ConversionProtocol.bothCounters()) {
          @Override
          public boolean isWorthWaiting(int refs, int safe, int accessible) {
            step[0].run();
            return false;
          }
        };
    FileOperations file = file(protocol, Duration.ofHours(1));
    int pfn = file.grab(0, HolderKind.UNSAFE);
    step[0] = () -> file.put(0, pfn, HolderKind.UNSAFE);
    assertEquals(Errno.OK, file.conversion.convert(0, 1, true, new Mismatch()));
    file.inode.close();
  }

  /** Counts that are frozen are the page cache's alone, whatever else a protocol would let pass. */
  @Test
  void aHolderThatCannotBeFrozen() {
    ConversionProtocol freezing =
        new ForwardingProtocol(ConversionProtocol.bothCounters()) {
          @Override
          public boolean freezes() {
            return true;
          }
        };
    FileOperations file = file(freezing, Duration.ofNanos(1));
    int pfn = file.grab(0, HolderKind.SAFE);
    Mismatch busy = new Mismatch();
    assertEquals(Errno.EAGAIN, file.conversion.convert(0, 1, true, busy));
    assertEquals(1, busy.safe());
    file.put(0, pfn, HolderKind.SAFE);
    assertEquals(Errno.OK, file.conversion.convert(0, 1, true, busy));
    file.inode.close();
  }

  /** What is inaccessible already is not asked about. */
  @Test
  void aHolderOfAPageThatStaysAsItIs() {
    FileOperations file = file(ConversionProtocol.lastPut(), Duration.ofNanos(1));
    assertEquals(Errno.OK, file.allocation.allocate(0, 1));
    assertEquals(Errno.OK, file.conversion.convert(1, 2, true, new Mismatch()));
    int pfn = file.grab(1, HolderKind.SAFE);
    file.inode.frames.tryGet(pfn, Counts.REF);
    assertEquals(Errno.OK, file.conversion.convert(0, 2, true, new Mismatch()));
    file.inode.frames.put(pfn, Counts.REF);
    file.put(1, pfn, HolderKind.SAFE);
    file.inode.close();
  }
}
