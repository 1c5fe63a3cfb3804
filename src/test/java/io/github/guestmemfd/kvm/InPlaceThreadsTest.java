package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.abi.MemoryAttributes2.PRIVATE;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.AddressSpace;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Conversions in place, and up to three threads beside them: what waits, and what it is told. */
class InPlaceThreadsTest extends VmFixture {
  private static final int PAGES = 4;
  private static final long BYTES = PAGES * PAGE;
  private static final long UNTOUCHED = -1;
  private static final long SHARED = 0;

  /** What clients are told, by any thread. */
  private final List<String> told = Collections.synchronizedList(new ArrayList<>());

  private final AtomicReference<Errno> answer = new AtomicReference<>(Errno.OK);
  private final AtomicReference<Runnable> inMakePrivate = new AtomicReference<>(() -> {});
  private GuestMemfd memfd;
  private HostMapping window;

  private final GuestMemfdOps client =
      new GuestMemfdOps() {
        @Override
        public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
          told.add("begin " + offset / PAGE + "+" + length / PAGE + " " + filter);
          return answer.get();
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          told.add("end " + offset / PAGE + "+" + length / PAGE);
        }

        @Override
        public Errno makePrivate(Folio folio) {
          inMakePrivate.get().run();
          return Errno.OK;
        }
      };

  @BeforeEach
  void inPlace() {
    vm =
        VirtualMachine.builder()
            .kernelProfile(KernelProfile.IN_PLACE)
            .raceHook(races)
            .idleStrategy(probe)
            .build();
    memfd =
        closing(
            vm.createGuestMemfd(
                describe(PAGES).protocol(ConversionProtocol.invalidateLock()), client));
    vm.bind(0, GPA, BYTES, memfd, 0);
    window = closing(memfd.mmap(0, BYTES, READ, WRITE));
    for (int page = 0; page < PAGES; page++) {
      window.putLong((long) page * PAGE, page);
    }
  }

  /** A call, and where it has failed. */
  private record Answer(Errno errno, long errorOffset) {}

  private Answer convert(int from, int pages, long attributes) {
    MemoryAttributes2 argument =
        new MemoryAttributes2((long) from * PAGE, (long) pages * PAGE, attributes)
            .errorOffset(UNTOUCHED);
    Errno errno = vm.trySetMemoryAttributes2(memfd, argument);
    return new Answer(errno, argument.errorOffset());
  }

  private static final Answer OK = new Answer(Errno.OK, UNTOUCHED);

  private static Answer failed(Errno errno, int page) {
    return new Answer(errno, (long) page * PAGE);
  }

  private String attributes() {
    StringBuilder all = new StringBuilder();
    for (int page = 0; page < PAGES; page++) {
      all.append(memfd.isAccessible((long) page * PAGE) ? 's' : 'p');
    }
    return all.toString();
  }

  /** One conversion has the file; a fault and two conversions elsewhere wait, one in vain. */
  @Test
  void theWholeFileIsOneLock() throws Exception {
    HostMapping second = closing(memfd.mmap(0, BYTES, READ));
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_COMMIT);
    Worker<Answer> first = Worker.start(() -> convert(0, 1, PRIVATE));
    gate.awaitReached();
    Worker<Answer> impatient = Worker.start(() -> convert(2, 2, PRIVATE));
    Worker<Answer> patient = Worker.start(() -> convert(3, 1, PRIVATE));
    Worker<Long> fault = Worker.start(() -> second.getLong(PAGE));
    impatient.interruptAndAwait();
    assertThat(impatient.result()).isEqualTo(failed(Errno.EINTR, 2));
    assertThat(patient.isDone()).isFalse();
    assertThat(fault.isDone()).isFalse();
    assertThat(told).isEmpty();
    gate.release();
    assertThat(first.result()).isEqualTo(OK);
    assertThat(patient.result()).isEqualTo(OK);
    assertThat(fault.result()).isEqualTo(1);
    assertThat(attributes()).isEqualTo("pssp");
    assertThat(told).containsExactly("begin 0+1 SHARED", "end 0+1", "begin 3+1 SHARED", "end 3+1");
  }

  /** Folio by folio: a plain reference on an earlier page comes before a pin on a later one. */
  @Test
  void theFirstFolioIsNamedWhateverHoldsIt() throws Exception {
    HostReference plain = window.getUserPages(PAGE, 1);
    try (HostReference pin = window.pin(2L * PAGE, 1)) {
      assertThat(pin.pages()).isEqualTo(1);
      assertThat(convert(0, PAGES, PRIVATE)).isEqualTo(failed(Errno.EAGAIN, 1));
      assertThat(convert(2, 1, PRIVATE)).isEqualTo(failed(Errno.EAGAIN, 2));
      races.at(RacePoint.ON_MISMATCH, PAGE, plain::close); // too late for this request
      Answer late = convert(0, PAGES, PRIVATE);
      assertThat(late.errno()).isEqualTo(Errno.EAGAIN);
      assertThat(late.errorOffset()).isIn((long) PAGE, 2L * PAGE);
      assertThat(convert(0, PAGES, PRIVATE)).isEqualTo(failed(Errno.EAGAIN, 2));
    }
    assertThat(told).isEmpty();
    assertThat(attributes()).isEqualTo("ssss");
    assertThat(convert(0, PAGES, PRIVATE)).isEqualTo(OK);
  }

  /** Entries of every process go, of the whole range, and come back by faults. */
  @Test
  void afterARefusalEveryProcessFaultsAnew() throws Exception {
    AddressSpace child = closing(host.addressSpace().fork());
    HostMapping childs = child.inherited(window);
    assertThat(childs.getLong(0)).isZero();
    try (HostReference pin = childs.pin(3L * PAGE, 1)) {
      assertThat(pin.pages()).isEqualTo(1);
      long faults = memfd.metrics().faults();
      assertThat(convert(0, PAGES, PRIVATE)).isEqualTo(failed(Errno.EAGAIN, 3));
      for (int page = 0; page < PAGES; page++) {
        assertThat(memfd.holders((long) page * PAGE).mapped()).isZero();
      }
      Worker<Long> theirs = Worker.start(() -> childs.getLong(PAGE));
      assertThat(window.getLong(PAGE)).isEqualTo(1);
      assertThat(theirs.result()).isEqualTo(1);
      assertThat(memfd.metrics().faults()).isEqualTo(faults + 2);
    }
  }

  /** An access that was let in is waited for; an interrupt changes no attribute, and no later. */
  @Test
  void anInterruptWhileAnAccessIsUnderWay() throws Exception {
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Void> access =
        Worker.start(
            () -> {
              window.putLong(PAGE, 77);
              return null;
            });
    gate.awaitReached();
    Worker<Answer> converter = Worker.start(() -> convert(0, 2, PRIVATE));
    converter.interruptAndAwait();
    assertThat(converter.result()).isEqualTo(failed(Errno.EINTR, 0));
    assertThat(attributes()).isEqualTo("ssss");
    Worker<Answer> again = Worker.start(() -> convert(0, 2, PRIVATE));
    Worker<Answer> third = Worker.start(() -> convert(1, 1, PRIVATE));
    gate.release();
    access.result();
    assertThat(again.result()).isEqualTo(OK);
    assertThat(third.result()).isEqualTo(OK);
    assertThat(attributes()).isEqualTo("ppss");
    assertThat(told).hasSize(2 * 1 + (told.contains("begin 1+1 SHARED") ? 2 : 0));
    assertThat(convert(0, 2, SHARED)).isEqualTo(OK);
    assertThat(window.getLong(PAGE)).isEqualTo(77);
  }

  /** Three conversions of one range, both ways: as if one came after the other. */
  @Test
  void conversionsBothWaysComeOneAfterTheOther() throws Exception {
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_COMMIT);
    Worker<Answer> first = Worker.start(() -> convert(0, PAGES, PRIVATE));
    gate.awaitReached();
    Worker<Answer> back = Worker.start(() -> convert(0, 3, SHARED));
    Worker<Answer> anew = Worker.start(() -> convert(1, 2, PRIVATE));
    gate.release();
    assertThat(first.result()).isEqualTo(OK);
    assertThat(back.result()).isEqualTo(OK);
    assertThat(anew.result()).isEqualTo(OK);
    assertThat(attributes()).isIn("sssp", "sppp");
    for (int i = 0; i < told.size(); i += 2) {
      String begin = told.get(i);
      assertThat(begin).startsWith("begin ");
      assertThat(told.get(i + 1)).isEqualTo(begin.replaceFirst("begin (\\S+) .*", "end $1"));
    }
  }

  /** A conversion to shared waits for the fault that makes the page private, or is interrupted. */
  @Test
  void aFaultThatMakesPrivateIsWaitedFor() throws Exception {
    assertThat(convert(0, 2, PRIVATE)).isEqualTo(OK);
    RacePoints.Gate gate = races.gate();
    inMakePrivate.set(gate::pass);
    Worker<Integer> fault = Worker.start(() -> memfd.tryGetPfn(PAGE));
    gate.awaitReached();
    inMakePrivate.set(() -> {});
    Worker<Answer> impatient = Worker.start(() -> convert(0, 2, SHARED));
    impatient.interruptAndAwait();
    assertThat(impatient.result()).isEqualTo(failed(Errno.EINTR, 0));
    assertThat(attributes()).isEqualTo("ppss");
    Worker<Answer> patient = Worker.start(() -> convert(0, 2, SHARED));
    gate.release();
    assertThat(fault.result()).isPositive();
    assertThat(patient.result()).isEqualTo(OK);
    assertThat(attributes()).isEqualTo("ssss");
  }

  /** What a client answers is the call's; no folio is in the way, so the start is named. */
  @Test
  void aClientThatRefuses() {
    for (Errno errno : new Errno[] {Errno.EAGAIN, Errno.EBUSY, Errno.ENOMEM}) {
      answer.set(errno);
      told.clear();
      assertThat(convert(1, 2, PRIVATE)).isEqualTo(failed(errno, 1));
      assertThat(told).containsExactly("begin 1+2 SHARED");
      assertThat(attributes()).isEqualTo("ssss");
      assertThat(memfd.holders(PAGE).mapped()).as("unmapped all the same").isZero();
      assertThat(window.getLong(PAGE)).isEqualTo(1);
    }
    answer.set(Errno.OK);
    assertThat(convert(1, 2, PRIVATE)).isEqualTo(OK);
  }

  /** A punch that waits for a refused conversion goes on, and the holder keeps its page. */
  @Test
  void aPunchBehindARefusedConversion() throws Exception {
    HostReference plain = window.getUserPages(PAGE, 8);
    RacePoints.Gate gate = races.hold(RacePoint.ON_MISMATCH);
    Worker<Answer> converter = Worker.start(() -> convert(0, PAGES, PRIVATE));
    gate.awaitReached();
    Worker<Void> punch =
        Worker.start(
            () -> {
              memfd.punchHole(PAGE, 2L * PAGE);
              return null;
            });
    Worker<Long> fault = Worker.start(() -> window.getLong(3L * PAGE));
    gate.release();
    assertThat(converter.result()).isEqualTo(failed(Errno.EAGAIN, 1));
    punch.result();
    assertThat(fault.result()).isEqualTo(3);
    assertThat(plain.buffer().getLong(0)).isEqualTo(1);
    assertThat(window.getLong(PAGE)).isZero();
    plain.close();
    assertThat(told).containsExactly("begin 1+2 BOTH", "end 1+2");
    assertThat(convert(0, PAGES, PRIVATE)).isEqualTo(OK);
  }
}
