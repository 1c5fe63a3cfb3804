package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
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

  /** Whatever the two come to do in which order; on a host of their own, whose steps come apart. */
  @ParameterizedTest
  @MethodSource(ALL)
  void conversionsPunchesAndVcpusOfRangesThatMeetLoseNothing(ConversionProtocol protocol)
      throws Exception {
    HostMemory shaken = HostMemory.builder(64L * PAGE).raceHook(Duel.SHAKE).build();
    GuestMemfd memfd =
        GuestMemfd.builder(shaken)
            .size(5L * PAGE)
            .flags(MMAP, INIT_SHARED)
            .protocol(protocol)
            .retryPolicy(RetryPolicy.failAtOnce())
            .build();
    write(memfd, 0, SECRET);
    CyclicBarrier still = new CyclicBarrier(2, () -> assertNothingIsLost(memfd, shaken));
    Worker<Void> vcpu = Worker.start(() -> vcpuThatConverts(memfd, still));
    Worker<Void> vmm = Worker.start(() -> vmmThatPunches(memfd, still));
    vcpu.result();
    vmm.result();
    memfd.close();
    assertEquals(0, shaken.used());
    shaken.close();
  }

  private static final int ROUNDS = 300;

  /** Uses and converts the lower pages, the last of which the other thread wants too. */
  private static Void vcpuThatConverts(GuestMemfd memfd, CyclicBarrier still) throws Exception {
    for (int round = 0; round < ROUNDS; round++) {
      for (int i = 0; i < 4; i++) {
        memfd.put(memfd.tryGrab(2 * PAGE, HolderKind.SAFE), HolderKind.SAFE);
      }
      Errno errno = memfd.tryMakeInaccessible(0, 3 * PAGE);
      assertTrue(errno == Errno.OK || errno == Errno.EAGAIN, errno::toString);
      still.await(Worker.LIMIT_SECONDS, TimeUnit.SECONDS);
    }
    return null;
  }

  /** Converts and punches the upper pages. */
  private static Void vmmThatPunches(GuestMemfd memfd, CyclicBarrier still) throws Exception {
    for (int round = 0; round < ROUNDS; round++) {
      Errno errno = memfd.tryMakeInaccessible(2 * PAGE, 3 * PAGE);
      assertTrue(errno == Errno.OK || errno == Errno.EAGAIN, errno::toString);
      try {
        memfd.punchHole(2 * PAGE, 3 * PAGE);
      } catch (GuestMemfdException e) {
        assertEquals(Errno.EBUSY, e.errno());
      }
      still.await(Worker.LIMIT_SECONDS, TimeUnit.SECONDS);
    }
    return null;
  }

  /** While both threads stand still. */
  private static void assertNothingIsLost(GuestMemfd memfd, HostMemory host) {
    assertEquals(memfd.cachedPages() * PAGE, host.used());
    assertEquals(SECRET, read(memfd, 0));
    for (int page = 0; page < 5; page++) {
      write(memfd, (long) page * PAGE, SECRET + page);
    }
    memfd.makeAccessible(0, memfd.size());
    memfd.makeInaccessible(0, memfd.size()); // only the page cache holds anything
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
