package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.abi.MemoryAttributes2.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.fixtures.VmFixture;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** KVM_SET_MEMORY_ATTRIBUTES2 on a file: what is checked, in which order, and what is written. */
class SetMemoryAttributes2Test extends VmFixture {
  private static final int PAGES = 4;
  private static final long BYTES = (long) PAGES * PAGE;

  /** Not an offset: what stands in error_offset before a call. */
  private static final long UNTOUCHED = 0x5a5a;

  private GuestMemfd memfd;
  private HostMapping window;
  private final List<String> told = new ArrayList<>();

  private final GuestMemfdOps client =
      new GuestMemfdOps() {
        @Override
        public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
          told.add("begin " + offset / PAGE + "+" + length / PAGE + " " + filter);
          return Errno.OK;
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          told.add("end " + offset / PAGE + "+" + length / PAGE);
        }

        @Override
        public void makeShared(Folio folio) {
          told.add("makeShared " + folio.offset() / PAGE);
        }
      };

  @BeforeEach
  void aFile() {
    vm = of(KernelProfile.IN_PLACE, null);
    memfd =
        closing(
            vm.createGuestMemfd(
                describe(PAGES).protocol(ConversionProtocol.invalidateLock()), client));
    window = closing(memfd.mmap(0, BYTES, Protection.READ, Protection.WRITE));
  }

  private VirtualMachine of(KernelProfile profile, VmType type) {
    VirtualMachine.Builder builder =
        VirtualMachine.builder().kernelProfile(profile).raceHook(races).idleStrategy(probe);
    return (type == null ? builder : builder.type(type)).build();
  }

  private static MemoryAttributes2 argument(long offset, long size, long attributes) {
    return new MemoryAttributes2(offset, size, attributes).errorOffset(UNTOUCHED);
  }

  /** A call that is refused before anything is converted. */
  private void refusedEarly(Errno errno, String why, MemoryAttributes2 argument) {
    String before = argument.toString();
    assertEquals(errno, vm.trySetMemoryAttributes2(memfd, argument));
    GuestMemfdException e =
        assertThrows(GuestMemfdException.class, () -> vm.setMemoryAttributes2(memfd, argument));
    assertEquals(errno, e.errno());
    assertTrue(e.getMessage().contains(why), e::getMessage);
    assertEquals(before, argument.toString(), "error_offset is untouched");
    assertEquals(List.of(), told);
  }

  // ---- the structure ----

  @Test
  void theBytesAreThoseOfTheKernel() {
    ByteBuffer bytes = ByteBuffer.allocate(200).order(ByteOrder.LITTLE_ENDIAN).position(8);
    MemoryAttributes2 argument = MemoryAttributes2.of(bytes);
    argument.offset(1).size(2).attributes(3).flags(4).errorOffset(5);
    for (int i = 0; i < MemoryAttributes2.RESERVED; i++) {
      argument.reserved(i, 6 + i);
      assertEquals(6 + i, argument.reserved(i));
    }
    for (int i = 0; i < 16; i++) {
      assertEquals(i + 1, bytes.getLong(8 + 8 * i));
    }
    assertEquals(0, bytes.getLong(8 + MemoryAttributes2.SIZE));
    assertEquals(128, MemoryAttributes2.SIZE);
    assertEquals(8, bytes.position());
    assertThrows(
        IllegalArgumentException.class, () -> MemoryAttributes2.of(ByteBuffer.allocate(127)));
    assertThrows(IndexOutOfBoundsException.class, () -> argument.reserved(11));
  }

  // ---- the order of checks ----

  /** Each rule is broken in turn, with all that come after it: the first one is named. */
  @Test
  void theFirstRuleThatIsBrokenIsNamed() {
    MemoryAttributes2 all = argument(BYTES + 1, 0, ~0L).flags(1).reserved(10, 1);
    refusedEarly(Errno.EINVAL, "expected flags 0, actual 0x1", all);
    refusedEarly(Errno.EINVAL, "expected reserved[10] 0, actual 0x1", all.flags(0));
    refusedEarly(Errno.EINVAL, "expected attributes 0x8 or 0x0", all.reserved(10, 0));
    refusedEarly(Errno.EINVAL, "expected a size above 0", all.attributes(PRIVATE));
    refusedEarly(Errno.EINVAL, "expected an end below 2^64", all.size(-1));
    refusedEarly(Errno.EINVAL, "expected multiples of 4096", all.size(1));
    refusedEarly(Errno.EINVAL, "expected an end up to 0x4000", all.offset(BYTES).size(PAGE));
    refusedEarly(Errno.EINVAL, "expected an end up to 0x4000", all.offset(0).size(BYTES + PAGE));
    assertEquals(Errno.OK, vm.trySetMemoryAttributes2(memfd, all.size(BYTES)));
    assertEquals(UNTOUCHED, all.errorOffset());
  }

  @Test
  void eachReservedNumberCounts() {
    for (int i = 0; i < MemoryAttributes2.RESERVED; i++) {
      refusedEarly(Errno.EINVAL, "reserved[" + i + "]", argument(0, PAGE, 0).reserved(i, 1L << 63));
    }
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 4, 16, 9, 1L << 63})
  void otherAttributes(long attributes) {
    refusedEarly(Errno.EINVAL, "expected attributes", argument(0, PAGE, attributes));
  }

  /** Numbers are unsigned. */
  @ParameterizedTest
  @CsvSource({
    "-4096, 4096, below 2^64 or up to",
    "-8192, 4096, up to",
    "0, -4096, up to",
    "4096, -4096, below 2^64 or up to",
    "8192, -4096, below 2^64",
    "1, 4096, multiples",
    "0, 4097, multiples",
    "-9223372036854775808, 4096, up to",
  })
  void ranges(long offset, long size, String why) {
    String[] either = why.split(" or ", -1);
    MemoryAttributes2 argument = argument(offset, size, PRIVATE);
    assertEquals(Errno.EINVAL, vm.trySetMemoryAttributes2(memfd, argument));
    assertEquals(UNTOUCHED, argument.errorOffset());
    GuestMemfdException e =
        assertThrows(GuestMemfdException.class, () -> vm.setMemoryAttributes2(memfd, argument));
    assertTrue(
        e.getMessage().contains(either[0]) || e.getMessage().contains(either[either.length - 1]),
        e::getMessage);
  }

  /** ENOTTY comes before the argument is looked at, EFAULT before what is in it. */
  @ParameterizedTest
  @EnumSource(KernelProfile.class)
  void notAllKernelsHaveIt(KernelProfile profile) {
    VirtualMachine other = of(profile, null);
    boolean has = profile == KernelProfile.IN_PLACE;
    try (GuestMemfd file = other.createGuestMemfd(describe(1))) {
      MemoryAttributes2 argument = argument(0, PAGE, PRIVATE);
      assertEquals(has ? Errno.EFAULT : Errno.ENOTTY, other.trySetMemoryAttributes2(file, null));
      assertEquals(has ? Errno.OK : Errno.ENOTTY, other.trySetMemoryAttributes2(file, argument));
      assertEquals(
          has ? Errno.EINVAL : Errno.ENOTTY,
          other.trySetMemoryAttributes2(file, argument(0, 0, 1).flags(1)));
      assertEquals(!has, file.isAccessible(0));
      assertEquals(UNTOUCHED, argument.errorOffset());
      assertEquals(has ? PRIVATE : 0, other.supportedFileAttributes());
      assertEquals(has ? 0 : PRIVATE, other.supportedMemoryAttributes());
    }
  }

  @Test
  void aClosedDescriptor() {
    memfd.close();
    assertEquals(Errno.EBADF, vm.trySetMemoryAttributes2(memfd, null));
    GuestMemfdException e =
        assertThrows(GuestMemfdException.class, () -> vm.setMemoryAttributes2(memfd, null));
    assertEquals(Errno.EBADF, e.errno());
  }

  /** It is closed during the call, before the conversion: no conversion has failed. */
  @Test
  void aDescriptorThatIsClosedMeanwhile() {
    GuestMemfd dup = memfd.dup();
    MemoryAttributes2 argument = argument(0, BYTES, PRIVATE);
    Meanwhile.beforeAccess(
        dup.getClass(),
        2,
        dup::close,
        () -> assertEquals(Errno.EBADF, vm.trySetMemoryAttributes2(dup, argument)));
    assertEquals(UNTOUCHED, argument.errorOffset());
    assertTrue(memfd.isAccessible(0));
  }

  /** The argument is copied in, and when the conversion fails all of it is copied back. */
  @Test
  void theArgumentIsReadOnce() {
    MemoryAttributes2 argument = argument(PAGE, 2L * PAGE, PRIVATE);
    GuestMemfdOps changes =
        new GuestMemfdOps() {
          @Override
          public Errno invalidateBegin(long offset, long length) {
            argument.offset(0).size(BYTES).attributes(0).flags(7).reserved(10, 7);
            return Errno.EIO;
          }
        };
    GuestMemfd other = closing(vm.createGuestMemfd(describe(PAGES), changes));
    assertEquals(Errno.EIO, vm.trySetMemoryAttributes2(other, argument));
    MemoryAttributes2 expected = argument(PAGE, 2L * PAGE, PRIVATE).errorOffset(PAGE);
    assertEquals(expected.toString(), argument.toString());
    assertEquals(0, argument.reserved(10));
  }

  @Test
  void aFileOfAnotherMachine() {
    VirtualMachine other = of(KernelProfile.IN_PLACE, null);
    assertThrows(
        IllegalArgumentException.class,
        () -> other.trySetMemoryAttributes2(memfd, argument(0, PAGE, PRIVATE)));
    assertTrue(memfd.isAccessible(0));
  }

  // ---- types ----

  /** Types without private memory are refused after the reserved numbers, before the attributes. */
  @ParameterizedTest
  @EnumSource(VmType.class)
  void typesAndTheirPrivateMemory(VmType type) {
    VirtualMachine typed = of(KernelProfile.IN_PLACE, type);
    long supported = type.hasPrivateMemory() ? PRIVATE : 0;
    assertEquals(supported, typed.supportedFileAttributes());
    assertEquals(0, typed.supportedMemoryAttributes());
    try (GuestMemfd file = typed.createGuestMemfd(describe(1))) {
      MemoryAttributes2 toPrivate = argument(0, PAGE, PRIVATE);
      MemoryAttributes2 toShared = argument(0, PAGE, 0);
      Errno expected = supported == 0 ? Errno.EINVAL : Errno.OK;
      assertEquals(expected, typed.trySetMemoryAttributes2(file, toPrivate));
      assertEquals(supported == 0, file.isAccessible(0));
      assertEquals(expected, typed.trySetMemoryAttributes2(file, toShared));
      if (supported == 0) {
        GuestMemfdException e =
            assertThrows(
                GuestMemfdException.class,
                () -> typed.setMemoryAttributes2(file, toPrivate.attributes(~0L)));
        assertTrue(e.getMessage().contains("has no private memory"), e::getMessage);
      }
    }
  }

  /** One kernel has attributes of machines or of files, never both. */
  @Test
  void theAttributesOfAMachineAreThoseOfItsFiles() {
    VirtualMachine typed = of(KernelProfile.IN_PLACE, VmType.SW_PROTECTED);
    Vcpu vcpu = typed.createVcpu();
    try (GuestMemfd file = typed.createGuestMemfd(describe(2))) {
      typed.bind(0, GPA, 2L * PAGE, file, 0);
      BusyGuestPage busy = new BusyGuestPage();
      assertEquals(
          Errno.EINVAL, typed.trySetMemoryAttributes(GPA, PAGE, MemoryAttribute.PRIVATE, busy));
      assertEquals(Errno.OK, typed.trySetMemoryAttributes(GPA, PAGE, SHARED, busy));
      assertEquals(Errno.EINVAL, typed.trySetMemoryAttributes(GPA, 0, SHARED, busy));
      MemoryAttributesException e =
          assertThrows(
              MemoryAttributesException.class,
              () -> typed.setMemoryAttributes(GPA, PAGE, MemoryAttribute.PRIVATE));
      assertTrue(e.getMessage().contains("KVM_SET_MEMORY_ATTRIBUTES2"), e::getMessage);
      assertTrue(
          typed
              .setMemoryAttributesLater(GPA, PAGE, MemoryAttribute.PRIVATE)
              .isCompletedExceptionally());
      write(vcpu, GPA, 42, SHARED);
      typed.setMemoryAttributes2(file, argument(0, PAGE, PRIVATE));
      assertEquals(MemoryAttribute.PRIVATE, typed.memoryAttribute(GPA).orElseThrow());
      assertEquals(2, typed.memoryAttributes(GPA, 2L * PAGE).size());
      assertMemoryFault(vcpu.tryRead(GPA, 8, SHARED), vcpu, GPA, SHARED, Access.READ, Errno.EFAULT);
      assertEquals(42, read(vcpu, GPA, MemoryAttribute.PRIVATE), "in place: the same memory");
    }
  }

  // ---- the conversion ----

  /** What is as wanted already is not touched, whatever holds it. */
  @Test
  void alreadyInThatState() {
    window.putLong(0, 42);
    try (HostReference reference = window.getUserPages(0, 1)) {
      long faults = memfd.metrics().faults();
      assertEquals(1, reference.pages());
      assertEquals(Errno.OK, vm.trySetMemoryAttributes2(memfd, argument(0, BYTES, 0)));
      assertEquals(1, memfd.holders(0).mapped(), "it is still mapped");
      assertEquals(42, window.getLong(0));
      assertEquals(faults, memfd.metrics().faults());
    }
    assertEquals(List.of(), told);
    vm.setMemoryAttributes2(memfd, argument(0, BYTES, PRIVATE));
    told.clear();
    vm.setMemoryAttributes2(memfd, argument(0, BYTES, PRIVATE));
    assertEquals(List.of(), told);
  }

  /** Filters say what pages turn from; makeShared is for folios that are there, of the range. */
  @Test
  void whatClientsAreTold() {
    window.putLong(PAGE, 1);
    window.putLong(3L * PAGE, 3);
    vm.setMemoryAttributes2(memfd, argument(0, BYTES, PRIVATE));
    assertEquals(List.of("begin 0+4 SHARED", "end 0+4"), told);
    told.clear();
    vm.setMemoryAttributes2(memfd, argument(0, 3L * PAGE, 0));
    assertEquals(List.of("begin 0+3 PRIVATE", "makeShared 1", "end 0+3"), told);
    told.clear();
    vm.setMemoryAttributes2(memfd, argument(0, BYTES, 0));
    assertEquals(List.of("begin 3+1 PRIVATE", "makeShared 3", "end 3+1"), told);
    told.clear();
    memfd.punchHole(PAGE, 2L * PAGE);
    assertEquals(List.of("begin 1+2 BOTH", "end 1+2"), told);
    told.clear();
    int pfn = memfd.tryGetPfn(0);
    assertEquals(Errno.OK, host.pfnWalker().memoryFailure(pfn));
    assertEquals(List.of("begin 0+1 BOTH", "end 0+1"), told);
  }

  /** The offset is that of the folio, and not below the start; attributes stay, mappings do not. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aHolderIsInTheWay(boolean pinned) {
    for (int i = 0; i < PAGES; i++) {
      window.putLong((long) i * PAGE, i);
    }
    try (HostReference reference =
        pinned ? window.pin(2L * PAGE, 1) : window.getUserPages(2L * PAGE, 1)) {
      for (int from = 0; from <= 2; from++) {
        MemoryAttributes2 argument =
            argument((long) from * PAGE, BYTES - (long) from * PAGE, PRIVATE);
        assertEquals(Errno.EAGAIN, vm.trySetMemoryAttributes2(memfd, argument));
        assertEquals(2L * PAGE, argument.errorOffset());
        for (int i = from; i < PAGES; i++) {
          long at = (long) i * PAGE;
          assertTrue(memfd.isAccessible(at));
          assertEquals(0, memfd.holders(at).mapped(), "unmapped, and stays so");
          assertEquals(i, window.getLong(at), "it comes back by a fault");
        }
      }
      assertEquals(1, reference.pages());
      GuestMemfdException e =
          assertThrows(
              GuestMemfdException.class,
              () -> vm.setMemoryAttributes2(memfd, argument(0, BYTES, PRIVATE)));
      assertEquals(Errno.EAGAIN, e.errno());
      assertTrue(e.getMessage().contains(pinned ? "1 pinned" : "1 unsafe"), e::getMessage);
      vm.setMemoryAttributes2(memfd, argument(0, 2L * PAGE, PRIVATE));
    }
    assertEquals(List.of("begin 0+2 SHARED", "end 0+2"), told);
    vm.setMemoryAttributes2(memfd, argument(0, BYTES, PRIVATE));
  }

  /** Private to shared looks at no count. */
  @Test
  void aHolderIsNotInTheWayOfShared() {
    vm.setMemoryAttributes2(memfd, argument(0, PAGE, PRIVATE));
    try (Folio folio = memfd.grab(0)) {
      assertTrue(folio.pfn() > 0);
      vm.setMemoryAttributes2(memfd, argument(0, PAGE, 0));
      assertTrue(memfd.isAccessible(0));
    }
  }

  @Test
  void anArgumentThatCannotBeWritten() {
    window.putLong(PAGE, 1);
    ByteBuffer bytes = ByteBuffer.allocate(MemoryAttributes2.SIZE);
    MemoryAttributes2.of(bytes).offset(0).size(BYTES).attributes(PRIVATE).errorOffset(UNTOUCHED);
    MemoryAttributes2 readOnly = MemoryAttributes2.of(bytes.asReadOnlyBuffer());
    assertFalse(readOnly.isWritable());
    try (HostReference reference = window.getUserPages(PAGE, 1)) {
      assertEquals(1, reference.pages());
      assertEquals(Errno.EFAULT, vm.trySetMemoryAttributes2(memfd, readOnly));
    }
    assertEquals(UNTOUCHED, readOnly.errorOffset());
    assertTrue(memfd.isAccessible(0));
    assertEquals(Errno.OK, vm.trySetMemoryAttributes2(memfd, readOnly), "nothing is written");
    assertEquals(Errno.EINVAL, vm.trySetMemoryAttributes2(closing(memfd.dup()), flagged(bytes)));
  }

  /** Refused without anything being written. */
  private static MemoryAttributes2 flagged(ByteBuffer bytes) {
    MemoryAttributes2.of(bytes).flags(1);
    return MemoryAttributes2.of(bytes.asReadOnlyBuffer());
  }

  /** What tracks the range is allocated first. */
  @Test
  void noMemoryForTheRange() {
    GuestMemfd fresh = closing(vm.createGuestMemfd(describe(PAGES), client));
    MemoryAttributes2 argument = argument(PAGE, 2L * PAGE, PRIVATE);
    Meanwhile.beforeWriteTo(
        Object[].class,
        1,
        () -> {
          throw new OutOfMemoryError("planned");
        },
        () -> assertEquals(Errno.ENOMEM, vm.trySetMemoryAttributes2(fresh, argument)));
    assertEquals(PAGE, argument.errorOffset(), "the start of the range");
    assertTrue(fresh.isAccessible(PAGE));
    assertEquals(List.of(), told);
    vm.setMemoryAttributes2(fresh, argument);
  }

  /** Inferred: a poisoned folio has its expected count, and is converted; no one gets it. */
  @Test
  void aPoisonedFolioIsConverted() {
    window.putLong(0, 1);
    int pfn = memfd.tryGetPfn(0);
    assertEquals(Errno.OK, host.pfnWalker().memoryFailure(pfn));
    vm.setMemoryAttributes2(memfd, argument(0, BYTES, PRIVATE));
    assertFalse(memfd.isAccessible(0));
    assertEquals(-Errno.EHWPOISON.code(), memfd.tryGetPfn(0));
    vm.setMemoryAttributes2(memfd, argument(0, BYTES, 0));
    assertEquals(-Errno.EHWPOISON.code(), memfd.tryGetPfn(0));
    assertEquals(1, memfd.cachedPages());
  }

  @Test
  void fromInsideACallback() {
    MemoryAttributes2 inside = argument(PAGE, PAGE, PRIVATE);
    Errno[] answer = new Errno[1];
    GuestMemfd[] other = new GuestMemfd[1];
    GuestMemfdOps asks =
        new GuestMemfdOps() {
          @Override
          public void makeShared(Folio folio) {
            answer[0] = vm.trySetMemoryAttributes2(other[0], inside);
          }
        };
    other[0] = closing(vm.createGuestMemfd(describe(2).flags(0), asks));
    vm.setMemoryAttributes2(other[0], argument(0, 2L * PAGE, PRIVATE));
    other[0].allocate(0, PAGE);
    vm.setMemoryAttributes2(other[0], argument(0, PAGE, 0));
    assertEquals(Errno.EDEADLK, answer[0]);
    assertEquals(PAGE, inside.errorOffset());
  }
}
