package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.VmFixture;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What one vCPU sees. */
class VcpuTest extends VmFixture {
  private final Vcpu vcpu = vm.createVcpu();

  // ---- bytes ----

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8})
  void numbersOfAnySizeAndPlace(int size) {
    GuestMemfd memfd = bound(2);
    long number = 0xf1e2_d3c4_b5a6_9788L;
    long mask = size == 8 ? -1 : (1L << (8 * size)) - 1;
    try (HostMapping window = memfd.mmap(0, memfd.size(), Protection.READ)) {
      for (long at : new long[] {0, 1, 8, PAGE - 8, PAGE - 3, PAGE - 1}) {
        assertTrue(vcpu.tryWrite(GPA + at, size, number, SHARED));
        assertTrue(vcpu.tryRead(GPA + at, size, SHARED));
        assertEquals(number & mask, vcpu.value());
        assertEquals(number & mask, vcpu.read(GPA + at, size, SHARED));
        assertEquals(number & mask, vcpu.fetch(GPA + at, size, SHARED));
        for (int i = 0; i < size; i++) {
          assertEquals((byte) (number >>> (8 * i)), window.getByte(at + i), "little-endian");
        }
        assertEquals(0, window.getByte(at == 0 ? PAGE : at - 1), "and nothing beside it");
        vcpu.write(GPA + at, size, 0, SHARED);
        assertEquals(0, vcpu.read(GPA + at, size, SHARED));
      }
    }
  }

  @Test
  void aNumberHas1To8Bytes() {
    bound(1);
    assertThrows(IllegalArgumentException.class, () -> vcpu.tryRead(GPA, 0, SHARED));
    assertThrows(IllegalArgumentException.class, () -> vcpu.tryWrite(GPA, 9, 0, SHARED));
  }

  /** Also where a page is mapped: null is no view that could be the page's. */
  @ParameterizedTest
  @EnumSource(MemoryAttribute.class)
  void aViewIsNeeded(MemoryAttribute attribute) {
    GuestMemfd memfd = bound(1);
    if (attribute == PRIVATE) {
      memfd.makeInaccessible(0, PAGE);
    }
    vcpu.write(GPA, 8, 42, attribute);
    assertThrows(NullPointerException.class, () -> vcpu.tryRead(GPA, 8, null));
    assertThrows(NullPointerException.class, () -> vcpu.tryFetch(GPA, 8, null));
    assertThrows(NullPointerException.class, () -> vcpu.tryWrite(GPA, 8, 43, null));
    assertThrows(NullPointerException.class, () -> vcpu.tryGetAndAdd(GPA, 8, 1, null));
    assertThrows(NullPointerException.class, () -> vcpu.tryTouch(GPA, Access.READ, null));
    assertEquals(42, vcpu.read(GPA, 8, attribute));
  }

  @Test
  void bulkGoesOnWhereItExited() {
    GuestMemfd memfd = bound(3);
    memfd.makeInaccessible(PAGE, PAGE);
    byte[] data = new byte[2 * PAGE];
    for (int i = 0; i < data.length; i++) {
      data[i] = (byte) (i * 31);
    }
    long gpa = GPA + PAGE / 2;
    ByteBuffer from = ByteBuffer.wrap(data);
    boolean done = vcpu.tryWrite(gpa, from, SHARED);
    assertMemoryFault(done, vcpu, GPA + PAGE, SHARED, Access.WRITE, Errno.EFAULT);
    assertEquals(PAGE / 2, from.position());

    from.rewind();
    ExitHandler convert =
        (v, exit) -> {
          vm.setMemoryAttributes(exit.gpa(), PAGE, SHARED);
          return true;
        };
    assertEquals(Optional.empty(), vcpu.run(v -> v.write(gpa, from, SHARED), convert));
    assertEquals(0, from.remaining());
    memfd.makeInaccessible(2L * PAGE, PAGE);
    ByteBuffer into = ByteBuffer.allocate(data.length);
    vcpu.run(v -> v.read(gpa, into, SHARED), convert);
    assertArrayEquals(data, into.array());
  }

  // ---- exits ----

  @ParameterizedTest
  @EnumSource(MemoryAttribute.class)
  void aPageOfTheOtherAttributeMakesItExit(MemoryAttribute attribute) {
    bound(2);
    vm.setMemoryAttributes(GPA, 2L * PAGE, attribute);
    write(vcpu, GPA + PAGE + 8, 42, attribute);
    MemoryAttribute view = other(attribute);

    assertMemoryFault(
        vcpu.tryWrite(GPA + PAGE + 8, 8, 1, view),
        vcpu,
        GPA + PAGE,
        view,
        Access.WRITE,
        Errno.EFAULT);
    assertMemoryFault(
        vcpu.tryRead(GPA + PAGE + 8, 8, view), vcpu, GPA + PAGE, view, Access.READ, Errno.EFAULT);
    assertMemoryFault(
        vcpu.tryFetch(GPA + PAGE + 8, 8, view), vcpu, GPA + PAGE, view, Access.EXEC, Errno.EFAULT);
    assertEquals(42, read(vcpu, GPA + PAGE + 8, attribute), "nothing was written");

    vm.setMemoryAttributes(GPA + PAGE, PAGE, view);
    assertEquals(42, read(vcpu, GPA + PAGE + 8, view), "content stays");
    assertFalse(vcpu.tryRead(GPA + PAGE + 8, 8, attribute));
    assertTrue(vcpu.tryRead(GPA, 8, attribute), "the other page stays");
    assertEquals(4, vm.metrics().memoryFaultExits());
    assertEquals(4, vm.metrics().exits());
  }

  @Test
  void whereThereIsNoMemslotItExitsWithMmio() {
    bound(1);
    assertFalse(vcpu.tryWrite(GPA + PAGE, 4, 7, SHARED));
    assertEquals(new VcpuExit.Mmio(GPA + PAGE, 4, Access.WRITE, 7), vcpu.exit());
    assertFalse(vcpu.tryRead(GPA - 1, 1, PRIVATE));
    assertEquals(new VcpuExit.Mmio(GPA - 1, 1, Access.READ, 0), vcpu.exit());
    assertFalse(vcpu.tryRead(-8, 8, PRIVATE));
    assertEquals(3, vm.metrics().mmioExits());

    // A number that is half memory and half a device.
    write(vcpu, GPA + PAGE - 8, 0x1122_3344_5566_7788L, SHARED);
    List<VcpuExit> exits = new ArrayList<>();
    List<Long> numbers = new ArrayList<>();
    vcpu.run(
        v -> {
          numbers.add(v.read(GPA + PAGE - 4, 8, SHARED));
          v.write(GPA + PAGE - 4, 8, 0xaabb_ccdd_eeff_0011L, SHARED);
        },
        (v, exit) -> {
          exits.add(exit);
          v.completeMmio(0x99);
          return true;
        });
    assertEquals(List.of(0x99_1122_3344L), numbers);
    assertEquals(
        List.of(
            new VcpuExit.Mmio(GPA + PAGE, 4, Access.READ, 0),
            new VcpuExit.Mmio(GPA + PAGE, 4, Access.WRITE, 0xaabb_ccddL)),
        exits);
    assertEquals(0xeeff_0011_5566_7788L, read(vcpu, GPA + PAGE - 8, SHARED));
  }

  @Test
  void mmioThatIsNotCompletedIsDoneAgain() {
    GuestMemfd memfd = file(1);
    vcpu.run(
        v -> v.write(GPA, 8, 5, SHARED),
        (v, exit) -> {
          assertInstanceOf(VcpuExit.Mmio.class, exit);
          vm.bind(3, GPA, PAGE, memfd, 0);
          return true;
        });
    assertEquals(5, read(vcpu, GPA, SHARED));
  }

  @Test
  void outsideARunAnExitIsAnException() {
    bound(1);
    VcpuExitException e = assertThrows(VcpuExitException.class, () -> vcpu.read(GPA, 8, PRIVATE));
    assertEquals(new VcpuExit.MemoryFault(GPA, PAGE, PRIVATE, Access.READ, Errno.EFAULT), e.exit());
  }

  @Test
  void aHandlerEndsTheRun() {
    bound(1);
    Optional<VcpuExit> last =
        vcpu.run(
            v -> {
              v.write(GPA, 8, 1, SHARED);
              v.write(GPA, 8, 2, PRIVATE);
              throw new AssertionError("goes on");
            },
            (v, exit) -> false);
    assertEquals(
        Optional.of(new VcpuExit.MemoryFault(GPA, PAGE, PRIVATE, Access.WRITE, Errno.EFAULT)),
        last);
    assertEquals(1, read(vcpu, GPA, SHARED));
    vcpu.run(
        v -> assertThrows(IllegalStateException.class, () -> v.run(w -> {}, (w, exit) -> true)),
        (v, exit) -> true);
  }

  // ---- hypercalls ----

  @Test
  void theGuestAsksForAConversionAndTheMonitorDecides() {
    GuestMemfd memfd = bound(4);
    write(vcpu, GPA + PAGE, 42, SHARED);
    List<Errno> answers = new ArrayList<>();
    vcpu.run(
        v -> {
          answers.add(v.mapGpaRange(GPA, 2, PRIVATE));
          answers.add(v.mapGpaRange(GPA + 2L * PAGE, 1, PRIVATE));
          assertEquals(42, v.read(GPA + PAGE, 8, PRIVATE));
        },
        (v, exit) -> {
          VcpuExit.Hypercall call = assertInstanceOf(VcpuExit.Hypercall.class, exit);
          if (call.gpa() == GPA) {
            vm.setMemoryAttributes(call.gpa(), call.pages() * PAGE, call.attribute());
          } else {
            v.completeHypercall(Errno.EPERM);
          }
          return true;
        });
    assertEquals(List.of(Errno.OK, Errno.EPERM), answers);
    assertFalse(memfd.isAccessible(PAGE));
    assertTrue(memfd.isAccessible(2L * PAGE));
    assertEquals(2, vm.metrics().hypercallExits());

    assertEquals(Errno.EINVAL, vcpu.mapGpaRange(GPA + 1, 1, PRIVATE));
    assertEquals(Errno.EINVAL, vcpu.mapGpaRange(GPA, 0, PRIVATE));
    assertEquals(2, vm.metrics().hypercallExits(), "refused without an exit");
    assertThrows(VcpuExitException.class, () -> vcpu.mapGpaRange(GPA, 1, SHARED));
    assertThrows(IllegalStateException.class, () -> vcpu.completeMmio(0));
  }

  @Test
  void theAnswerSaysHowFarTheMonitorGot() {
    bound(4);
    List<Long> upTo = new ArrayList<>();
    vcpu.run(
        v -> {
          assertEquals(Errno.OK, v.mapGpaRange(GPA, 4, PRIVATE));
          upTo.add(v.convertedUpTo());
          assertEquals(Errno.EAGAIN, v.mapGpaRange(GPA, 3, PRIVATE));
          upTo.add(v.convertedUpTo());
          assertEquals(Errno.OK, v.mapGpaRange(GPA, 2, PRIVATE));
          upTo.add(v.convertedUpTo());
          assertEquals(Errno.EAGAIN, v.mapGpaRange(GPA, 1, PRIVATE));
          upTo.add(v.convertedUpTo());
          assertEquals(Errno.EINVAL, v.mapGpaRange(GPA + 1, 1, PRIVATE));
          upTo.add(v.convertedUpTo());
        },
        (v, exit) -> {
          switch ((int) ((VcpuExit.Hypercall) exit).pages()) {
            case 4 -> {} // just goes on
            case 3 -> v.completeHypercall(Errno.EAGAIN, GPA + PAGE);
            case 2 -> v.completeHypercall(Errno.OK);
            default -> v.completeHypercall(Errno.EAGAIN);
          }
          return true;
        });
    assertEquals(List.of(GPA + 4L * PAGE, GPA + PAGE, GPA + 2L * PAGE, GPA, GPA + 1), upTo);

    assertFalse(vcpu.tryMapGpaRange(GPA, 2, SHARED));
    for (long wrong : new long[] {GPA - PAGE, GPA + 1, GPA + 3L * PAGE}) {
      assertThrows(
          IllegalArgumentException.class, () -> vcpu.completeHypercall(Errno.EAGAIN, wrong));
    }
    vcpu.completeHypercall(Errno.OK, GPA + 2L * PAGE);
    assertThrows(NullPointerException.class, () -> vcpu.completeHypercall(null));
    assertThrows(NullPointerException.class, () -> vcpu.completeHypercall(null, GPA));
    vcpu.tryRead(0, 8, SHARED);
    assertThrows(IllegalStateException.class, () -> vcpu.completeHypercall(Errno.OK));
    assertThrows(IllegalStateException.class, () -> vcpu.completeHypercall(Errno.OK, GPA));
  }

  @Test
  void anExitThatIsRequestedComesBeforeAHypercall() {
    bound(1);
    List<VcpuExit> exits = new ArrayList<>();
    vcpu.requestExit();
    vcpu.run(
        v -> assertEquals(Errno.EAGAIN, v.mapGpaRange(GPA, 1, PRIVATE)),
        (v, exit) -> {
          exits.add(exit);
          if (exit instanceof VcpuExit.Hypercall) {
            v.completeHypercall(Errno.EAGAIN);
          }
          return true;
        });
    assertEquals(
        List.of(new VcpuExit.Interrupted(), new VcpuExit.Hypercall(GPA, 1, PRIVATE)), exits);
  }

  @Test
  void whatAGuestIsTold() {
    for (Errno errno : Errno.values()) {
      Errno told =
          switch (errno) {
            case OK -> Errno.OK;
            case EAGAIN, EBUSY, EINTR -> Errno.EAGAIN;
            default -> Errno.EINVAL;
          };
      assertEquals(told, VcpuExit.Hypercall.answerTo(errno));
    }
  }

  @Test
  void theNextMemslotIsFound() {
    GuestMemfd memfd = file(4);
    assertEquals(Optional.empty(), vm.nextMemslot(0));
    vm.bind(7, GPA + 2L * PAGE, 2L * PAGE, memfd, 0);
    vm.bind(3, GPA + 8L * PAGE, PAGE, memfd, 2L * PAGE);
    for (long page = 0; page < 12; page++) {
      int expected = page < 4 ? 7 : page < 9 ? 3 : -1;
      int found = vm.nextMemslot(GPA + page * PAGE).map(Memslot::slot).orElse(-1);
      assertEquals(expected, found, "page " + page);
    }
  }

  @Test
  void anInterruptEndsPreFaulting() {
    bound(2);
    Thread.currentThread().interrupt();
    refused(GuestMemfdException.class, Errno.EINTR, () -> vm.preFault(GPA, 2L * PAGE));
    assertTrue(Thread.interrupted(), "the status stays");
    assertEquals(2L * PAGE, vm.preFault(GPA, 2L * PAGE));
  }

  // ---- attributes of a range ----

  /** What a conversion passes over the guest goes on using as it is mapped. */
  @Test
  void pagesThatAreAsWantedStayMapped() {
    bound(4);
    vm.setMemoryAttributes(GPA, PAGE, PRIVATE);
    vm.setMemoryAttributes(GPA + 2L * PAGE, PAGE, PRIVATE);
    write(vcpu, GPA, 42, PRIVATE);
    write(vcpu, GPA + 2L * PAGE, 43, PRIVATE);
    write(vcpu, GPA + 3L * PAGE, 44, SHARED);
    long faults = vm.metrics().faults();
    long zaps = vm.metrics().zaps();
    vm.setMemoryAttributes(GPA, 4L * PAGE, PRIVATE);
    assertEquals(42, read(vcpu, GPA, PRIVATE));
    assertEquals(43, read(vcpu, GPA + 2L * PAGE, PRIVATE));
    assertEquals(zaps + 1, vm.metrics().zaps(), "of the page that was shared");
    assertEquals(faults, vm.metrics().faults());
    assertEquals(44, read(vcpu, GPA + 3L * PAGE, PRIVATE));

    vm.setMemoryAttributes(GPA + PAGE, PAGE, SHARED);
    write(vcpu, GPA + PAGE, 45, SHARED);
    faults = vm.metrics().faults();
    zaps = vm.metrics().zaps();
    long invalidations = vm.metrics().invalidations();
    vm.setMemoryAttributes(GPA + PAGE, 2L * PAGE, SHARED);
    assertEquals(45, read(vcpu, GPA + PAGE, SHARED));
    assertEquals(zaps + 1, vm.metrics().zaps());
    assertEquals(faults, vm.metrics().faults());
    assertEquals(invalidations + 1, vm.metrics().invalidations());
    vm.setMemoryAttributes(GPA + PAGE, 2L * PAGE, SHARED);
    assertEquals(invalidations + 1, vm.metrics().invalidations(), "all of it is as wanted");
  }

  @Test
  void aRangeOverSeveralMemslotsAndFiles() {
    GuestMemfd a = file(4);
    GuestMemfd b = file(4);
    vm.bind(0, GPA, 2L * PAGE, a, 2L * PAGE);
    vm.bind(1, GPA + 2L * PAGE, 4L * PAGE, b, 0);
    vm.bind(2, GPA + 6L * PAGE, 2L * PAGE, a, 0);
    for (int i = 0; i < 8; i++) {
      write(vcpu, GPA + (long) i * PAGE, i, SHARED);
    }
    vm.setMemoryAttributes(GPA + PAGE, 6L * PAGE, PRIVATE);
    for (int i = 0; i < 8; i++) {
      assertEquals(
          Optional.of(i == 0 || i == 7 ? SHARED : PRIVATE),
          vm.memoryAttribute(GPA + (long) i * PAGE));
      assertEquals(i, read(vcpu, GPA + (long) i * PAGE, i == 0 || i == 7 ? SHARED : PRIVATE));
    }
    assertTrue(a.isAccessible(2L * PAGE));
    assertFalse(a.isAccessible(3L * PAGE));
    assertEquals(Optional.empty(), vm.memoryAttribute(GPA - 1));
  }

  @Test
  void neighboursThatAreNotThatInTheirFileAreConvertedOneByOne() {
    GuestMemfd memfd = file(2);
    vm.bind(0, GPA, PAGE, memfd, PAGE);
    vm.bind(1, GPA + PAGE, PAGE, memfd, 0);
    vm.setMemoryAttributes(GPA, 2L * PAGE, PRIVATE);
    assertFalse(memfd.isAccessible(0));
    assertFalse(memfd.isAccessible(PAGE));
  }

  @Test
  void aBusyPageIsNamedByItsGuestAddress() {
    GuestMemfd a = file(2);
    GuestMemfd b = file(4);
    vm.bind(0, GPA, 2L * PAGE, a, 0);
    vm.bind(1, GPA + 2L * PAGE, 2L * PAGE, b, 0);
    vm.bind(2, GPA + 4L * PAGE, 2L * PAGE, b, 2L * PAGE);
    BusyGuestPage busy = new BusyGuestPage();
    try (HostMapping window = b.mmap(0, b.size(), Protection.READ);
        HostReference pin = window.pin(3L * PAGE, PAGE)) {
      assertEquals(1, pin.pages());
      MemoryAttributesException e =
          refused(
              MemoryAttributesException.class,
              Errno.EAGAIN,
              () -> vm.setMemoryAttributes(GPA, 6L * PAGE, PRIVATE));
      assertEquals(GPA + 5L * PAGE, e.gpa());
      assertEquals(GPA + 2L * PAGE, e.convertedUpTo());
      assertFalse(a.isAccessible(PAGE), "the first file is done");
      assertTrue(b.isAccessible(0), "the second is not, though its first memslot could be");

      assertEquals(
          Errno.EAGAIN, vm.trySetMemoryAttributes(GPA + 3L * PAGE, 3L * PAGE, PRIVATE, busy));
      assertEquals(GPA + 5L * PAGE, busy.gpa());
      assertEquals(GPA + 3L * PAGE, busy.convertedUpTo());
      assertEquals(1, busy.folio().pinnedHolders());
    }
    assertEquals(Errno.OK, vm.trySetMemoryAttributes(GPA, 6L * PAGE, PRIVATE, busy));
    assertEquals(-1, busy.folio().offset());
    assertEquals(GPA + 6L * PAGE, busy.convertedUpTo());
  }

  @Test
  void whatIsNoRangeIsRefused() {
    GuestMemfd memfd = bound(2);
    for (long[] range :
        new long[][] {
          {GPA + 1, PAGE}, {GPA, 1}, {GPA, 0}, {GPA, -PAGE}, {-PAGE, PAGE}, {GPA, 1L << 52}
        }) {
      refused(
          MemoryAttributesException.class,
          Errno.EINVAL,
          () -> vm.setMemoryAttributes(range[0], range[1], PRIVATE));
    }
    MemoryAttributesException e =
        refused(
            MemoryAttributesException.class,
            Errno.ENOENT,
            () -> vm.setMemoryAttributes(GPA, 3L * PAGE, PRIVATE));
    assertEquals(GPA + 2L * PAGE, e.gpa());
    assertTrue(memfd.isAccessible(0), "nothing is converted");
    memfd.close();
    refused(
        MemoryAttributesException.class,
        Errno.EBADF,
        () -> vm.setMemoryAttributes(GPA, PAGE, PRIVATE));
    assertEquals(Optional.empty(), vm.memoryAttribute(GPA));
  }

  // ---- faults ----

  @Test
  void whatIsMappedDoesNotFaultAgain() {
    GuestMemfd memfd = bound(2);
    assertEquals(0, vm.metrics().faults());
    write(vcpu, GPA, 1, SHARED);
    write(vcpu, GPA, 2, SHARED);
    assertEquals(2, read(vm.createVcpu(), GPA, SHARED));
    assertEquals(1, vm.metrics().faults());
    memfd.punchHole(0, PAGE);
    assertEquals(0, read(vcpu, GPA, SHARED));
    assertEquals(2, vm.metrics().faults());
    assertEquals(1, vm.metrics().zaps());
    assertEquals(1, vm.metrics().invalidations());
    assertEquals(0, vm.metrics().retries());
  }

  @Test
  void preFaultMapsEachPageAsWhatItIs() {
    GuestMemfd memfd = bound(3);
    memfd.makeInaccessible(PAGE, PAGE);
    assertEquals(2L * PAGE, vm.preFault(GPA, 2L * PAGE));
    assertEquals(2, memfd.cachedPages());
    read(vcpu, GPA, SHARED);
    read(vcpu, GPA + PAGE, PRIVATE);
    assertEquals(0, vm.metrics().faults());
    assertEquals(2L * PAGE, vm.preFault(GPA + PAGE, 3L * PAGE), "up to the end of the memslot");
    refused(GuestMemfdException.class, Errno.ENOENT, () -> vm.preFault(GPA + 3L * PAGE, PAGE));
  }

  /** The mapping holds no reference, and the guest is told all the same. */
  @Test
  void aPageWhoseMemoryFailedIsNotMappedAgain() {
    GuestMemfd memfd = bound(2);
    write(vcpu, GPA, 42, SHARED);
    int pfn;
    try (Folio folio = memfd.grab(0)) {
      pfn = folio.pfn();
    }
    assertEquals(Errno.OK, host.pfnWalker().memoryFailure(pfn));
    assertMemoryFault(
        vcpu.tryRead(GPA, 8, SHARED), vcpu, GPA, SHARED, Access.READ, Errno.EHWPOISON);
    read(vcpu, GPA + PAGE, SHARED);
    refused(GuestMemfdException.class, Errno.EHWPOISON, () -> vm.preFault(GPA, PAGE));
    memfd.punchHole(0, PAGE);
    assertEquals(0, read(vcpu, GPA, SHARED), "a new, healthy frame");
  }

  @Test
  void noMemoryIsAnExit() {
    GuestMemfd big = bound(65);
    assertEquals(64L * PAGE, vm.preFault(GPA, 65L * PAGE));
    assertMemoryFault(
        vcpu.tryRead(GPA + 64L * PAGE, 8, SHARED),
        vcpu,
        GPA + 64L * PAGE,
        SHARED,
        Access.READ,
        Errno.ENOMEM);
    big.punchHole(0, PAGE);
    read(vcpu, GPA + 64L * PAGE, SHARED);
  }

  @Test
  void aPendingConversionIsAnExitUntilItIsOver() {
    GuestMemfd memfd =
        closing(
            vm.createGuestMemfd(
                describe(1)
                    .protocol(ConversionProtocol.lastPut())
                    .retryPolicy(RetryPolicy.completeLater())));
    vm.bind(0, GPA, PAGE, memfd, 0);
    try (HostMapping window = memfd.mmap(0, PAGE, Protection.READ, Protection.WRITE)) {
      window.putLong(0, 42);
      HostReference user = window.getUserPages(0, PAGE);
      var later = memfd.makeInaccessibleLater(0, PAGE);
      assertFalse(later.isDone());
      assertMemoryFault(
          vcpu.tryRead(GPA, 8, PRIVATE), vcpu, GPA, PRIVATE, Access.READ, Errno.EAGAIN);
      assertMemoryFault(vcpu.tryRead(GPA, 8, SHARED), vcpu, GPA, SHARED, Access.READ, Errno.EFAULT);
      Optional<VcpuExit> end =
          vcpu.run(
              v -> assertEquals(42, v.read(GPA, 8, PRIVATE)),
              (v, exit) -> {
                user.close();
                return true;
              });
      assertEquals(Optional.empty(), end);
      assertTrue(later.isDone());
    }
  }

  // ---- files ----

  @Test
  void aMemslotHoldsItsFileWeakly() {
    GuestMemfd memfd = bound(2);
    write(vcpu, GPA, 42, SHARED);
    try (HostMapping window = memfd.mmap(0, PAGE, Protection.READ)) {
      memfd.close();
      write(vcpu, GPA + PAGE, 1, SHARED);
      assertEquals(42, window.getLong(0), "the mapping keeps the file");
    }
    assertEquals(0, host.used(), "the guest's mappings do not");
    assertMemoryFault(vcpu.tryRead(GPA, 8, SHARED), vcpu, GPA, SHARED, Access.READ, Errno.EFAULT);
    assertEquals(2, vm.metrics().zaps());
  }

  @Test
  void unboundMemoryIsBoundElsewhereWithItsContent() {
    GuestMemfd memfd = bound(2);
    write(vcpu, GPA + PAGE, 42, SHARED);
    vm.unbind(0);
    assertFalse(vcpu.tryRead(GPA + PAGE, 8, SHARED));
    assertInstanceOf(VcpuExit.Mmio.class, vcpu.exit());
    vm.bind(5, 0, PAGE, memfd, PAGE);
    assertEquals(42, read(vcpu, 0, SHARED));
    memfd.punchHole(PAGE, PAGE);
    assertEquals(0, read(vcpu, 0, SHARED), "the new memslot is told");
  }

  @Test
  void aFileOfSomebodyElseCannotBeUsed() {
    GuestMemfd foreign = closing(describe(1).build());
    vm.bind(0, GPA, PAGE, foreign, 0);
    assertMemoryFault(
        vcpu.tryRead(GPA, 8, SHARED), vcpu, GPA, SHARED, Access.READ, Errno.EOPNOTSUPP);
    GuestMemfd theirs = closing(new VirtualMachine().createGuestMemfd(describe(1)));
    refused(GuestMemfdException.class, Errno.EINVAL, () -> vm.bind(1, 0, PAGE, theirs, 0));
    GuestMemfdOps ops = vm.ops(GuestMemfdOps.NONE);
    GuestMemfd adopted = closing(describe(1).ops(ops).build());
    assertThrows(IllegalArgumentException.class, () -> new VirtualMachine().adopt(adopted, ops));
    refused(GuestMemfdException.class, Errno.EINVAL, () -> vm.adopt(theirs, ops));
    vm.adopt(adopted, ops);
    vm.bind(7, 8L * GPA, PAGE, adopted, 0);
    read(vcpu, 8L * GPA, SHARED);
    adopted.makeInaccessible(0, PAGE);
    assertFalse(vcpu.tryRead(8L * GPA, 8, SHARED));
    GuestMemfd dup = closing(file(1).dup());
    vm.bind(1, 0, PAGE, dup, 0);
    read(vcpu, 0, SHARED);
  }

  // ---- the second client ----

  @Test
  void theSecondClientMayRefuseAndNothingHasChanged() {
    List<String> calls = new ArrayList<>();
    Errno[] answer = {Errno.EBUSY};
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                calls.add("begin");
                return answer[0];
              }

              @Override
              public void invalidateEnd(long offset, long length) {
                calls.add("end");
              }

              @Override
              public Errno prepareInaccessible(Folio folio) {
                calls.add("private");
                assertTrue(vcpu.tryRead(GPA, 8, SHARED), "what is mapped");
                assertMemoryFault(
                    vcpu.tryRead(GPA + 8L * PAGE, 8, SHARED),
                    vcpu,
                    GPA + 8L * PAGE,
                    SHARED,
                    Access.READ,
                    Errno.EDEADLK);
                return Errno.OK;
              }

              @Override
              public Errno prepareAccessible(Folio folio) {
                calls.add("shared");
                return Errno.OK;
              }

              @Override
              public void freeFolio(Folio folio) {
                calls.add("free");
              }

              @Override
              public void release() {
                calls.add("release");
              }
            });
    GuestMemfd another = file(2);
    vm.bind(1, GPA, PAGE, another, 0);
    vm.bind(2, GPA + 8L * PAGE, PAGE, another, PAGE);
    vm.bind(0, 0, PAGE, memfd, 0);
    write(vcpu, 0, 42, SHARED);
    write(vcpu, GPA, 1, SHARED);
    assertEquals(Errno.EBUSY, memfd.tryMakeInaccessible(0, PAGE));
    assertEquals(42, read(vcpu, 0, SHARED));
    assertEquals(List.of("shared", "begin"), calls);
    answer[0] = Errno.OK;
    vm.setMemoryAttributes(0, PAGE, PRIVATE);
    memfd.close();
    assertEquals(List.of("shared", "begin", "begin", "private", "end", "release", "free"), calls);
  }

  // ---- stopping ----

  @Test
  void aRequestedExitComesAtTheNextAccess() {
    bound(1);
    write(vcpu, GPA, 1, SHARED);
    vcpu.requestExit();
    assertFalse(vcpu.tryRead(GPA, 8, SHARED));
    assertEquals(new VcpuExit.Interrupted(), vcpu.exit());
    assertEquals(1, read(vcpu, GPA, SHARED), "once");
    assertEquals(1, vm.metrics().interruptExits());
  }

  // ---- odds and ends ----

  @Test
  void aHostWithoutBytesHasGuestsThatTouch() {
    try (HostMemory terabyte = HostMemory.metadataOnly(1L << 20);
        GuestMemfd memfd =
            vm.createGuestMemfd(
                GuestMemfd.builder(terabyte).size(1L << 43).flags(CreateFlag.INIT_SHARED))) {
      vm.bind(0, 0, (1L << 43) - PAGE, memfd, 0);
      long last = (1L << 43) - 2L * PAGE;
      assertTrue(vcpu.tryTouch(last, Access.WRITE, SHARED));
      vm.setMemoryAttributes(last, PAGE, PRIVATE);
      assertFalse(vcpu.tryTouch(last, Access.WRITE, SHARED));
      vcpu.touch(last, Access.EXEC, PRIVATE);
      assertThrows(UnsupportedOperationException.class, () -> vcpu.read(last, 8, PRIVATE));
    }
  }
}
