package io.github.guestmemfd.concurrent;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Errno;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdException;
import io.github.guestmemfd.HolderKind;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.List;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Range operations against each other and against faults elsewhere in the file: the invalidate
 * lock.
 */
class RangeRaceTest extends ProtocolFixture {

  /** What is done with a range. */
  enum Operation {
    CONVERT {
      @Override
      void run(GuestMemfd memfd, long offset, long length) {
        memfd.makeInaccessible(offset, length);
      }
    },
    PUNCH {
      @Override
      void run(GuestMemfd memfd, long offset, long length) {
        memfd.punchHole(offset, length);
      }
    };

    abstract void run(GuestMemfd memfd, long offset, long length);

    Worker<Void> start(GuestMemfd memfd, long offset, long length) {
      return Worker.start(
          () -> {
            run(memfd, offset, length);
            return null;
          });
    }
  }

  static Stream<Arguments> pairs() {
    return ConversionProtocol.all().stream()
        .flatMap(
            p ->
                Stream.of(
                    Arguments.of(p, Operation.CONVERT, true),
                    Arguments.of(p, Operation.CONVERT, false),
                    Arguments.of(p, Operation.PUNCH, true),
                    Arguments.of(p, Operation.PUNCH, false)));
  }

  @ParameterizedTest
  @MethodSource("pairs")
  void aConversionAndAPunchOfRangesThatMeetTakeTurns(
      ConversionProtocol protocol, Operation first, boolean lowerFirst) throws Exception {
    GuestMemfd memfd = file(3, protocol);
    for (int page = 0; page < 3; page++) {
      write(memfd, (long) page * PAGE, page + 1);
    }
    Operation second = first == Operation.CONVERT ? Operation.PUNCH : Operation.CONVERT;
    long firstAt = lowerFirst ? 0 : PAGE;
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Void> one = first.start(memfd, firstAt, 2 * PAGE);
    gate.awaitReached();
    Worker<Void> other = second.start(memfd, PAGE - firstAt, 2 * PAGE);
    probe.awaitWaiting(other);
    gate.release();
    one.result();
    other.result();
    assertEquals(1, memfd.cachedPages());
    boolean convertedLower = (first == Operation.CONVERT) == lowerFirst;
    assertEquals(!convertedLower, memfd.isAccessible(0));
    assertFalse(memfd.isAccessible(PAGE), "both are done");
    assertEquals(convertedLower, memfd.isAccessible(2 * PAGE));
    assertEquals(convertedLower ? 1 : 0, read(memfd, 0));
    assertEquals(0, read(memfd, PAGE));
    assertEquals(convertedLower ? 0 : 3, read(memfd, 2 * PAGE));
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @MethodSource(ALL)
  void conversionsPunchesAndVcpusOfRangesThatMeetLoseNothing(ConversionProtocol protocol)
      throws Exception {
    GuestMemfd memfd = file(5, protocol);
    write(memfd, 0, SECRET);
    CyclicBarrier still = new CyclicBarrier(2, () -> assertNothingIsLost(memfd));
    Worker<Void> lower = rounds(memfd, 0, still);
    Worker<Void> upper = rounds(memfd, 2 * PAGE, still);
    lower.result();
    upper.result();
    assertQuiet(memfd);
  }

  private static Worker<Void> rounds(GuestMemfd memfd, long from, CyclicBarrier still) {
    List<Errno> allowed = List.of(Errno.OK, Errno.EAGAIN, Errno.EBUSY);
    return Worker.start(
        () -> {
          for (int round = 0; round < 300; round++) {
            int pfn = memfd.tryGrab(2 * PAGE, HolderKind.SAFE);
            if (pfn > 0) {
              memfd.put(pfn, HolderKind.SAFE);
            }
            Errno converted = memfd.tryMakeInaccessible(from, 3 * PAGE);
            Errno punched = from == 0 ? Errno.OK : tryPunch(memfd, from, 3 * PAGE);
            assertTrue(allowed.contains(converted) && allowed.contains(punched));
            still.await(Worker.LIMIT_SECONDS, TimeUnit.SECONDS);
          }
          return null;
        });
  }

  private static Errno tryPunch(GuestMemfd memfd, long offset, long length) {
    try {
      memfd.punchHole(offset, length);
      return Errno.OK;
    } catch (GuestMemfdException e) {
      return e.errno();
    }
  }

  /** While both threads stand still: nobody but the page cache holds anything. */
  private void assertNothingIsLost(GuestMemfd memfd) {
    assertEquals(memfd.cachedPages() * PAGE, host.used());
    assertEquals(SECRET, read(memfd, 0));
    for (int page = 0; page < 5; page++) {
      int pfn = write(memfd, (long) page * PAGE, page == 0 ? SECRET : page);
      assertCounts(1, 0, pfn);
      assertFalse(frames().isLocked(pfn));
    }
    memfd.makeAccessible(0, memfd.size());
  }

  // ---- one lock for the file, or a bit for each page ----

  static Stream<Arguments> operations() {
    return ConversionProtocol.all().stream()
        .flatMap(p -> Stream.of(Operation.values()).map(o -> Arguments.of(p, o)));
  }

  /** With {@code invalidate-lock} they wait, and with no other protocol. */
  @ParameterizedTest
  @MethodSource("operations")
  void faultsElsewhereInTheFile(ConversionProtocol protocol, Operation operation) throws Exception {
    GuestMemfd memfd = file(3, protocol);
    HostMapping window = map(memfd);
    write(memfd, 0, 1);
    write(memfd, 2 * PAGE, SECRET);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Void> change = operation.start(memfd, 0, PAGE);
    gate.awaitReached();
    Worker<Long> hostFault = Worker.start(() -> window.getLong(2 * PAGE));
    Worker<Long> vcpu = Worker.start(() -> read(memfd, 2 * PAGE));
    Worker<Void> conversion = Operation.CONVERT.start(memfd, PAGE, PAGE);
    if (protocol.id().equals("invalidate-lock")) {
      probe.awaitWaiting(hostFault);
      probe.awaitWaiting(vcpu);
      probe.awaitWaiting(conversion);
      assertFalse(hostFault.isDone() || vcpu.isDone() || conversion.isDone());
      gate.release();
    }
    assertEquals(SECRET, hostFault.result());
    assertEquals(SECRET, vcpu.result());
    conversion.result();
    gate.release();
    change.result();
    assertQuiet(memfd);
  }
}
