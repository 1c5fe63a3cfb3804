package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.fixtures.VmFixture;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** What a monitor does by guest address, and how memslots translate. */
class ByGuestAddressTest extends VmFixture {
  private final Vcpu vcpu = vm.createVcpu();

  /** Two memslots that lie one after the other in guest and file, and one of another file. */
  private GuestMemfd threeSlots() {
    GuestMemfd memfd = file(4);
    vm.bind(0, GPA, 2L * PAGE, memfd, 0);
    vm.bind(1, GPA + 2L * PAGE, 2L * PAGE, memfd, 2L * PAGE);
    vm.bind(2, GPA + 4L * PAGE, 2L * PAGE, file(2), 0);
    return memfd;
  }

  private static GuestMemfdException refused(Errno errno, String why, Executable body) {
    GuestMemfdException e = assertThrows(GuestMemfdException.class, body);
    assertEquals(errno, e.errno(), e.toString());
    assertTrue(e.getMessage().contains(why), e.getMessage());
    return e;
  }

  @Test
  void aMemslotTranslatesBothWays() {
    GuestMemfd memfd = file(4);
    vm.bind(3, GPA, 2L * PAGE, memfd, PAGE);
    Memslot slot = vm.memslotAt(GPA).orElseThrow();
    for (long in = 0; in < slot.size(); in += 1000) {
      assertEquals(PAGE + in, slot.offsetOf(GPA + in));
      assertEquals(GPA + in, slot.gpaOf(PAGE + in));
      assertTrue(slot.contains(GPA + in));
    }
    assertFalse(slot.contains(GPA - 1));
    assertFalse(slot.contains(GPA + 2L * PAGE));
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> slot.offsetOf(GPA + 2L * PAGE));
    assertEquals(
        "memslot 3: expected guest address 0x100000 to 0x101fff, actual 0x102000", e.getMessage());
    e = assertThrows(IllegalArgumentException.class, () -> slot.gpaOf(0xfff));
    assertEquals("memslot 3: expected offset 0x1000 to 0x2fff, actual 0xfff", e.getMessage());
    assertThrows(IllegalArgumentException.class, () -> slot.gpaOf(3L * PAGE));
    assertThrows(IllegalArgumentException.class, () -> slot.offsetOf(-1));
  }

  @Test
  void aMappingByGuestAddressSeesWhatTheGuestWrites() {
    threeSlots();
    write(vcpu, GPA + PAGE, 42, SHARED);
    try (HostMapping window = vm.mmap(GPA + PAGE, 2L * PAGE, READ, WRITE)) { // over two memslots
      assertEquals(42, window.getLong(0));
      window.putLong(PAGE, 43);
      assertEquals(43, read(vcpu, GPA + 2L * PAGE, SHARED));
      vm.setMemoryAttributes(GPA + PAGE, PAGE, PRIVATE);
      assertThrows(SigBusException.class, () -> window.getLong(0));
      vm.unbind(1);
      assertEquals(43, window.getLong(PAGE), "a mapping is of the file, not of the memslot");
    }
  }

  @Test
  void aRangeToMapIsOnePieceOfOneFile() {
    threeSlots();
    refused(
        Errno.EINVAL,
        "mmap gpa 0x103000 size 8192: expected one piece of one file, which ends at 0x104000",
        () -> vm.mmap(GPA + 3L * PAGE, 2L * PAGE, READ));
    refused(Errno.ENOENT, "no memslot at 0x106000", () -> vm.mmap(GPA, 7L * PAGE, READ));
    refused(Errno.EINVAL, "multiples of 4096", () -> vm.mmap(GPA + 1, PAGE, READ));
    refused(Errno.EINVAL, "a size above 0", () -> vm.pin(GPA, 0));
    refused(Errno.EINVAL, "expected gpa 0x0 to", () -> vm.punchHole(-PAGE, PAGE));
  }

  @Test
  void aPinByGuestAddressIsAllOrNothing() {
    threeSlots();
    write(vcpu, GPA, 42, SHARED);
    try (HostReference pin = vm.pin(GPA, 4L * PAGE)) {
      assertTrue(pin.isPinned());
      assertEquals(4L * PAGE, pin.length());
      assertEquals(42, pin.buffer(0).getLong(0));
      assertEquals(
          Errno.EAGAIN, vm.trySetMemoryAttributes(GPA + PAGE, PAGE, PRIVATE, new BusyGuestPage()));
    }
    vm.setMemoryAttributes(GPA + 2L * PAGE, PAGE, PRIVATE);
    refused(Errno.EFAULT, "the page at offset 0x2000 cannot be had", () -> vm.pin(GPA, 4L * PAGE));
    vm.setMemoryAttributes(GPA, 4L * PAGE, PRIVATE); // nothing is held
    refused(Errno.EINVAL, "pin gpa 0x100000 size 20480: ", () -> vm.pin(GPA, 5L * PAGE));
  }

  @Test
  void aPunchGoesOverMemslotsAndFilesOrDoesNothing() {
    GuestMemfd memfd = threeSlots();
    for (long at = GPA; at < GPA + 6L * PAGE; at += PAGE) {
      write(vcpu, at, 42, SHARED);
    }
    refused(Errno.ENOENT, "no memslot at 0x106000", () -> vm.punchHole(GPA, 7L * PAGE));
    assertEquals(4, memfd.cachedPages());
    vm.punchHole(GPA + PAGE, 4L * PAGE);
    assertEquals(1, memfd.cachedPages());
    assertEquals(42, read(vcpu, GPA, SHARED));
    for (long at = GPA + PAGE; at < GPA + 5L * PAGE; at += PAGE) {
      assertEquals(0, read(vcpu, at, SHARED), "punched at " + at);
    }
    assertEquals(42, read(vcpu, GPA + 5L * PAGE, SHARED));
  }

  @Test
  void aFileThatIsGoneIsEbadf() {
    GuestMemfd memfd = vm.createGuestMemfd(describe(1));
    vm.bind(0, GPA, PAGE, memfd, 0);
    memfd.close();
    refused(Errno.EBADF, "is gone", () -> vm.mmap(GPA, PAGE, READ));
    refused(Errno.EBADF, "is gone", () -> vm.pin(GPA, PAGE));
    refused(Errno.EBADF, "is gone", () -> vm.punchHole(GPA, PAGE));
    assertEquals(List.of(), vm.memoryAttributes(GPA, PAGE));
  }

  @Test
  void attributesAreRangesOverMemslotsAndFiles() {
    threeSlots();
    vm.setMemoryAttributes(GPA + PAGE, 4L * PAGE, PRIVATE);
    assertEquals(
        List.of(
            new MemoryAttributeRange(GPA, PAGE, SHARED),
            new MemoryAttributeRange(GPA + PAGE, 4L * PAGE, PRIVATE),
            new MemoryAttributeRange(GPA + 5L * PAGE, PAGE, SHARED)),
        vm.memoryAttributes(0, 1L << 52));
    assertEquals(
        List.of(new MemoryAttributeRange(GPA + 2L * PAGE, PAGE, PRIVATE)),
        vm.memoryAttributes(GPA + 2L * PAGE, PAGE));
    vm.unbind(1);
    assertEquals(
        List.of(
            new MemoryAttributeRange(GPA, PAGE, SHARED),
            new MemoryAttributeRange(GPA + PAGE, PAGE, PRIVATE),
            new MemoryAttributeRange(GPA + 4L * PAGE, PAGE, PRIVATE),
            new MemoryAttributeRange(GPA + 5L * PAGE, PAGE, SHARED)),
        vm.memoryAttributes(GPA, 6L * PAGE),
        "with a gap");
    refused(Errno.EINVAL, "multiples of 4096", () -> vm.memoryAttributes(GPA, 1));
  }
}
