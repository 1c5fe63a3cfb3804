package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.InCallback;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.PlaysOtherThreads;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Faults and invalidations, as the guest page table shows them. */
class MmuTest extends VmFixture {

  private void keepReferences(boolean keeps) {
    if (keeps) {
      vm = VirtualMachine.builder().keepReferences().raceHook(races).idleStrategy(probe).build();
    }
  }

  private BoundSlot slot() {
    return vm.regions.memslots().all().get(0);
  }

  private long entry(long page) {
    return slot().table.get(page);
  }

  /** The entry of the invalidation stays, and the next fault uses it. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aPageWhoseInvalidationWasGivenUpIsMappedAgain(boolean keeps) throws Exception {
    keepReferences(keeps);
    GuestMemfd memfd = bound(1);
    memfd.makeInaccessible(0, PAGE); // so that the host has it mapped nowhere
    Vcpu one = vm.createVcpu();
    write(one, GPA, 42, PRIVATE);
    int pfn = TdpEntry.pfn(entry(0));
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Boolean> access = Worker.start(() -> one.tryRead(GPA, 8, PRIVATE));
    gate.awaitReached();
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeAccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    assertEquals(1, Mapped.invalidations(vm));
    conversion.interrupt();
    assertEquals(Errno.EINTR, conversion.result());
    assertEquals(0, Mapped.invalidations(vm));
    assertTrue(TdpEntry.isZapped(entry(0)));
    assertEquals(42, read(vm.createVcpu(), GPA, PRIVATE));
    assertTrue(TdpEntry.maps(entry(0), PRIVATE, false));
    assertEquals(pfn, TdpEntry.pfn(entry(0)));
    assertEquals(keeps, TdpEntry.keepsReference(entry(0)), "one reference, as before");
    gate.release();
    assertTrue(access.result());
    assertEquals(keeps ? 1 : 0, Counts.safe(Insides.frames(host).counts(pfn)));
  }

  @Test
  void theSlowerOfTwoFaultsLeavesTheEntryAlone() throws Exception {
    bound(1);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK);
    Vcpu slow = vm.createVcpu();
    Worker<Boolean> fault = Worker.start(() -> slow.tryRead(GPA, 8, SHARED));
    gate.awaitReached();
    read(vm.createVcpu(), GPA, SHARED);
    long entry = entry(0);
    gate.release();
    assertTrue(fault.result());
    assertEquals(entry, entry(0));
  }

  /** The page is converted while the fault gets it. */
  @Test
  void aFaultLooksAtTheAttributeOnceItHasThePage() {
    GuestMemfd memfd = bound(1);
    memfd.allocate(0, PAGE);
    races.at(RacePoint.AFTER_SLOT_LOAD, () -> memfd.makeInaccessible(0, PAGE));
    assertEquals(
        Mmu.MISMATCH, vm.mmu.fault(slot(), 0, SHARED, false, new Counters<>(VmMeter.class)));
    assertEquals(0, TdpEntry.pfn(entry(0)));
  }

  /** An access that has read the entry before must notice. */
  @Test
  void anEntryThatComesBackIsAnother() {
    GuestMemfd memfd = bound(1);
    Vcpu vcpu = vm.createVcpu();
    read(vcpu, GPA, SHARED);
    long before = entry(0);
    memfd.makeInaccessible(0, PAGE);
    assertEquals(0, TdpEntry.pfn(entry(0)));
    memfd.makeAccessible(0, PAGE);
    read(vcpu, GPA, SHARED);
    assertEquals(TdpEntry.pfn(before), TdpEntry.pfn(entry(0)), "the same frame");
    assertNotEquals(before, entry(0));
  }

  /** An access that finds its entry changed once it is announced is not under way any more. */
  @Test
  void anAccessThatComesTooLateEndsAtOnce() {
    GuestMemfd memfd = bound(1);
    Vcpu vcpu = vm.createVcpu();
    write(vcpu, GPA, 42, SHARED);
    BoundSlot slot = slot();
    Meanwhile.beforeAccess(
        long[].class, // the leaf of the guest page table, twice the slot of the access, the leaf
        4,
        () -> slot.table.put(0, TdpEntry.zapped(slot.table.get(0))),
        () -> assertEquals(0, walk(slot)));
    PlaysOtherThreads.playing(
        () -> {
          Thread.currentThread().interrupt(); // a wait would notice
          assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
          assertTrue(Thread.interrupted());
        });
  }

  private PageWalk walk() {
    Counters<VmMeter> counters = new Counters<>(VmMeter.class);
    return new PageWalk(vm.regions, vm.mmu, new KvmRun("walk", counters), counters);
  }

  private long walk(BoundSlot slot) {
    return walk().begin(slot, GPA, SHARED, false);
  }

  private int fault(long page, MemoryAttribute attribute) {
    return vm.mmu.fault(slot(), page, attribute, false, new Counters<>(VmMeter.class));
  }

  private int fault(long page) {
    return fault(page, SHARED);
  }

  /** A page of the other attribute is not allocated. */
  @Test
  void aHoleOfTheOtherAttributeStaysOne() {
    GuestMemfd memfd = bound(1);
    assertEquals(Mmu.MISMATCH, fault(0, PRIVATE));
    assertEquals(0, memfd.cachedPages());
  }

  @Test
  void aPageThatTheFileDoesNotHave() {
    bound(1);
    assertEquals(-Errno.EINVAL.code(), fault(1));
    assertEquals(-Errno.EINVAL.code(), fault(2));
  }

  /** A memslot without a file has shared pages, of the host's memory. */
  @ParameterizedTest
  @EnumSource(
      value = VmType.class,
      names = {"DEFAULT", "SW_PROTECTED"})
  void aPageOfTheHostsMemory(VmType type) {
    vm = VirtualMachine.builder().type(type).raceHook(races).idleStrategy(probe).build();
    boolean hasAttributes = type != VmType.DEFAULT;
    HostRam ram = closing(vm.mapHostRam(host, PAGE));
    vm.setUserMemoryRegion2(new Memslot(0, 0, GPA, PAGE, ram.userAddress(), null, 0));
    assertEquals(Mmu.MAPPED, fault(0));
    int pfn = TdpEntry.pfn(entry(0));
    if (hasAttributes) {
      vm.setMemoryAttributes(GPA, PAGE, PRIVATE);
    }
    assertEquals(hasAttributes ? -Errno.EFAULT.code() : Mmu.MISMATCH, fault(0, PRIVATE));
    if (hasAttributes) {
      vm.setMemoryAttributes(GPA, PAGE, SHARED);
    }
    assertEquals(Errno.OK, host.pfnWalker().memoryFailure(pfn));
    assertEquals(-Errno.EHWPOISON.code(), fault(0));
  }

  @Test
  void aCallbackDoesNotFault() {
    bound(1);
    assertEquals(Mmu.MAPPED, fault(0));
    InCallback ops = new InCallback(InCallback.Where.INVALIDATE_BEGIN);
    GuestMemfd other = file(1, ops);
    ops.once(() -> assertEquals(-Errno.EDEADLK.code(), fault(0)));
    other.makeInaccessible(0, PAGE);
    assertFalse(ops.isArmed());
  }

  /** Also without a reference: it is of the other attribute, and not only changed. */
  @Test
  void aPageThatIsConvertedWhileItsFrameIsGot() {
    vm =
        VirtualMachine.builder()
            .kernelProfile(KernelProfile.IN_PLACE)
            .raceHook(races)
            .idleStrategy(probe)
            .build();
    GuestMemfd memfd = bound(1);
    memfd.allocate(0, PAGE);
    races.at(RacePoint.AFTER_SLOT_LOAD, () -> memfd.makeInaccessible(0, PAGE));
    assertEquals(Mmu.MISMATCH, fault(0));
  }

  /** A read without an announced access looks at the entry again. */
  @Test
  void aPageThatIsZappedWhileItIsPeekedAt() {
    vm = VirtualMachine.builder().build(); // without a hook
    bound(1);
    write(vm.createVcpu(), GPA, 42, SHARED);
    BoundSlot slot = slot();
    PageWalk walk = walk();
    assertFalse(walk.tryPeek(GPA, 8, SHARED), "it has turned to no memslot yet");
    assertTrue(walk.turnsTo(GPA));
    assertTrue(walk.tryPeek(GPA, 8, SHARED));
    assertEquals(42, walk.value);
    Meanwhile.beforeAccess(
        long[].class,
        2,
        () -> slot.table.put(0, TdpEntry.zapped(slot.table.get(0))),
        () -> {
          walk.value = 1;
          assertFalse(walk.tryPeek(GPA, 8, SHARED));
          assertEquals(1, walk.value, "what was read is dropped");
        });
    assertFalse(walk.turnsTo(GPA), "it is the same");
  }

  // ---- invalidations ----

  /** A fault is retried in the range, from its first page to its last, and nowhere else. */
  @Test
  void aFaultIsRetriedWhereAnInvalidationIsUnderWay() {
    bound(5);
    Errno begun = vm.mmu.invalidateBegin(List.of(new SlotPages(slot(), 1, 3)));
    assertEquals(Errno.OK, begun);
    assertEquals(Mmu.MAPPED, fault(0));
    assertEquals(Mmu.RETRY, fault(1));
    assertEquals(Mmu.RETRY, fault(2));
    assertEquals(Mmu.MAPPED, fault(3));
    vm.mmu.invalidateEnd();
    assertEquals(Mmu.MAPPED, fault(1));
    vm.mmu.invalidateBegin(List.of(new SlotPages(slot(), 4, 5)));
    assertEquals(Mmu.MAPPED, fault(2), "the range of before is forgotten");
    assertEquals(Mmu.RETRY, fault(4));
    vm.mmu.invalidateBegin(List.of(new SlotPages(slot(), 0, 1)));
    assertEquals(Mmu.RETRY, fault(0));
    assertEquals(Mmu.RETRY, fault(4), "one range holds both");
    vm.mmu.invalidateEnd();
    vm.mmu.invalidateEnd();
    assertEquals(Mmu.MAPPED, fault(4));
  }

  @Test
  void theGuestFramesOfPages() {
    bound(4);
    List<SlotPages> all = List.of(new SlotPages(slot(), 2, 3), new SlotPages(slot(), 0, 1));
    assertEquals(GPA / PAGE, SlotPages.firstGfn(all));
    assertEquals(GPA / PAGE + 3, SlotPages.endGfn(all));
    assertEquals(Long.MAX_VALUE, SlotPages.firstGfn(List.of()));
    assertEquals(0, SlotPages.endGfn(List.of()));
  }

  /** A reference has been dropped by mistake: the invalidation ends all the same. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void anInvalidationWhoseZapThrows(boolean changeThrows) {
    keepReferences(true);
    bound(1);
    assertEquals(Mmu.MAPPED, fault(0));
    Insides.frames(host).put(TdpEntry.pfn(entry(0)), Counts.SAFE_REF);
    List<SlotPages> pages = List.of(new SlotPages(slot(), 0, 1));
    AtomicBoolean changed = new AtomicBoolean();
    Runnable change =
        () -> {
          changed.set(true);
          if (changeThrows) {
            throw new IllegalStateException("planned");
          }
        };
    assertThrows(IllegalStateException.class, () -> vm.mmu.invalidate(pages, change));
    assertTrue(changed.get());
    assertEquals(0, Mapped.invalidations(vm));
  }

  /** What an invalidation that was given up has zapped is not counted again. */
  @Test
  void anEntryIsZappedOnce() {
    bound(1);
    assertEquals(Mmu.MAPPED, fault(0));
    slot().table.put(0, TdpEntry.zapped(entry(0)));
    long zaps = vm.metrics().zaps();
    vm.mmu.invalidate(List.of(new SlotPages(slot(), 0, 1)));
    assertEquals(zaps, vm.metrics().zaps());
    assertEquals(0, TdpEntry.pfn(entry(0)));
  }

  /** Where files have the attributes, one that there is no file for is not that of the page. */
  @Test
  void aPrivatePageWithoutAFile() {
    vm = VirtualMachine.builder().kernelProfile(KernelProfile.IN_PLACE).build();
    HostRam ram = closing(vm.mapHostRam(host, PAGE));
    vm.setUserMemoryRegion2(new Memslot(0, 0, GPA, PAGE, ram.userAddress(), null, 0));
    assertEquals(Mmu.MISMATCH, fault(0, PRIVATE));
    assertEquals(Mmu.MAPPED, fault(0));
  }

  /** Both ends of it come, whatever the change throws. */
  @Test
  void anInvalidationWhoseChangeThrows() {
    bound(1);
    assertEquals(Mmu.MAPPED, fault(0));
    RuntimeException planned = new IllegalArgumentException("planned");
    assertSame(
        planned,
        assertThrows(
            RuntimeException.class,
            () ->
                vm.mmu.invalidate(
                    List.of(new SlotPages(slot(), 0, 1)),
                    () -> {
                      throw planned;
                    })));
    assertEquals(0, Mapped.invalidations(vm));
    assertEquals(0, TdpEntry.pfn(entry(0)));
  }

  @Test
  void theClientHearsOfAnInvalidationWhenAccessesAreOver() throws Exception {
    AtomicBoolean heard = new AtomicBoolean();
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                heard.set(true);
                return Errno.OK;
              }
            });
    memfd.makeInaccessible(0, PAGE); // so that the host has it mapped nowhere
    heard.set(false);
    vm.bind(0, GPA, PAGE, memfd, 0);
    Vcpu vcpu = vm.createVcpu();
    write(vcpu, GPA, 1, PRIVATE);
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Boolean> access = Worker.start(() -> vcpu.tryRead(GPA, 8, PRIVATE));
    gate.awaitReached();
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeAccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    assertFalse(heard.get());
    gate.release();
    assertTrue(access.result());
    assertEquals(Errno.OK, conversion.result());
    assertTrue(heard.get());
  }

  @Test
  void theEndOfAFileIsOneInvalidation() {
    GuestMemfd memfd = bound(1);
    write(vm.createVcpu(), GPA, 1, SHARED);
    long before = vm.metrics().invalidations();
    memfd.close();
    assertEquals(0, Mapped.invalidations(vm));
    assertEquals(before + 1, vm.metrics().invalidations());
  }

  /** One reference has been dropped by mistake: the others are given back all the same. */
  @Test
  void everyReferenceIsGivenBackThoughAPutThrows() {
    keepReferences(true);
    GuestMemfd memfd = bound(3);
    Vcpu vcpu = vm.createVcpu();
    int[] pfns = new int[3];
    for (int page = 0; page < pfns.length; page++) {
      write(vcpu, GPA + (long) page * PAGE, 1, SHARED);
      pfns[page] = TdpEntry.pfn(entry(page));
    }
    var frames = Insides.frames(host);
    frames.put(pfns[1], Counts.SAFE_REF);
    assertThrows(IllegalStateException.class, () -> vm.unbind(0));
    for (int pfn : pfns) {
      assertEquals(0, Counts.safe(frames.counts(pfn)), "frame " + pfn);
    }
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, memfd.size()));
  }
}
