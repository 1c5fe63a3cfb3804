package io.github.guestmemfd.platform;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static io.github.guestmemfd.platform.PlatformWorld.GPA;
import static io.github.guestmemfd.platform.PlatformWorld.PAGE;
import static io.github.guestmemfd.platform.PlatformWorld.SIZE;
import static io.github.guestmemfd.platform.PlatformWorld.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.MachineOps;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.MemslotFlag;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.policy.ConversionHandler;
import io.github.guestmemfd.policy.ConversionPolicy;
import io.github.guestmemfd.policy.PrivatePages;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A guest whose pages are private if its machine says so: SNP and TDX as released kernels are. */
@Timeout(value = 100, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class TwoMemoriesGuestTest {
  private final Rmp rmp = new Rmp();
  private final TdxModule module = new TdxModule();

  private PlatformWorld<SnpGuest> snp() {
    SnpGuest guest = new SnpGuest(rmp);
    return PlatformWorld.ofTwoMemories(guest, guest);
  }

  private PlatformWorld<TdxGuest> tdx(KernelProfile kernel) {
    TdxGuest guest = new TdxGuest(module, VirtualMachine.builder().kernelProfile(kernel).build());
    return PlatformWorld.ofTwoMemories(guest, guest);
  }

  private static Errno set(VirtualMachine vm, long offset, long length, MemoryAttribute attribute) {
    return vm.trySetMemoryAttributes(GPA + offset, length, attribute, new BusyGuestPage());
  }

  // ---- conversions ----

  /** All pages are shared at first, and the file has none of them. */
  @Test
  void aSharedPageIsNotTheGuests() {
    try (PlatformWorld<SnpGuest> w = snp()) {
      assertEquals(
          Errno.EINVAL,
          w.guest.launchUpdate(w.memfd, 0, PAGE, null, SnpGuest.LaunchPage.ZERO).cause());
      w.guest.finishLaunch();
      assertEquals(Errno.EFAULT, w.guest.use(w.memfd, 0));
      assertEquals(Optional.of(SHARED), w.vm.memoryAttribute(w.memfd, 0));
      w.tryMakePrivate(0, PAGE);
      assertEquals(Optional.of(PRIVATE), w.vm.memoryAttribute(w.memfd, 0));
      assertEquals(Errno.OK, w.guest.use(w.memfd, 0));
      assertEquals(Errno.EFAULT, w.guest.use(w.memfd, at(1)));
    }
  }

  /** Nothing is handed over: the page stays in the file, and assigned. */
  @Test
  void snpKeepsWhatTurnsShared() {
    try (PlatformWorld<SnpGuest> w = snp().running()) {
      w.put(0, 42);
      assertEquals(Errno.OK, w.tryShare(0, PAGE));
      assertFalse(w.guest.isMapped(0));
      assertThat(w.guest.read(0)).isEmpty();
      assertTrue(rmp.isAssigned(w.pfn(0)));
      w.window.putLong(0, 7);
      assertEquals(Errno.OK, w.tryMakePrivate(0, PAGE));
      assertEquals(42, w.get(0));
      assertEquals(7, w.window.getLong(0));
    }
    assertEquals(0, rmp.assigned());
  }

  /** Unmapping destroys the content, though the page stays in the file. */
  @Test
  void tdxRemovesWhatTurnsShared() {
    for (KernelProfile kernel : List.of(KernelProfile.LINUX_6_18, KernelProfile.LINUX_6_19)) {
      try (PlatformWorld<TdxGuest> w = tdx(kernel).running()) {
        w.put(0, 42);
        int references = kernel.tdxHoldsReferences() ? 1 : 0;
        assertEquals(references, w.memfd.holders(0).safe());
        assertEquals(Errno.OK, w.tryShare(0, PAGE));
        assertEquals(0, module.owned());
        assertEquals(0, w.memfd.holders(0).safe());
        assertEquals(PAGE, w.host.used());
        assertEquals(Errno.OK, w.tryMakePrivate(0, PAGE));
        assertEquals(0, w.get(0));
      }
    }
  }

  @Test
  void whatCannotBeRemovedKillsTheDomain() {
    try (PlatformWorld<TdxGuest> w = tdx(KernelProfile.LINUX_6_18).running()) {
      w.put(0, 42);
      module.faults().fail(TdxModule.Call.REMOVE);
      assertEquals(Errno.OK, w.tryShare(0, PAGE), "it cannot be refused");
      assertThat(w.guest.death()).isPresent();
      assertEquals(1, w.guest.leakedPages());
      w.end(1);
      w.guest.putLeakedPages();
    }
  }

  /** A range that turns private: what of it was private already is not unmapped. */
  @Test
  void privatePagesOfARangeThatTurnsPrivateStay() {
    try (PlatformWorld<TdxGuest> w = tdx(KernelProfile.LINUX_6_18).running()) {
      w.put(1, 42);
      assertEquals(Errno.OK, w.tryShare(0, PAGE));
      assertEquals(Errno.OK, w.tryMakePrivate(0, SIZE));
      assertEquals(42, w.guest.read(at(1)).orElseThrow());
      assertEquals(1, module.faults().calls(TdxModule.Call.AUG));
    }
  }

  /** Discards are the monitor's policy. */
  @Test
  void aMonitorThatDiscardsGivesTheFrameBack() {
    try (PlatformWorld<SnpGuest> w = snp().running()) {
      w.put(0, 42);
      ConversionHandler monitor =
          ConversionHandler.builder(w.vm, ConversionPolicy.onFault())
              .onShared(PrivatePages.DISCARD)
              .build();
      assertThat(w.vm.createVcpu().run(v -> v.write(GPA, 8, 1, SHARED), monitor)).isEmpty();
      assertEquals(0, rmp.assigned());
      assertTrue(w.memfd.holders(0).isHole());
    }
  }

  // ---- memslots ----

  /** Without a memslot an address has no page: what was mapped is taken away. */
  @Test
  void aDeletedMemslotIsUnmapped() {
    try (PlatformWorld<TdxGuest> w = tdx(KernelProfile.LINUX_6_18).running()) {
      w.put(0, 42);
      w.vm.unbind(0);
      assertThat(w.guest.read(0)).isEmpty();
      assertEquals(0, module.owned());
      assertEquals(Optional.empty(), w.vm.memoryAttribute(w.memfd, 0));
      assertEquals(Errno.EFAULT, w.guest.use(w.memfd, 0));
      w.bind();
      w.put(0, 43);
    }
  }

  /** The thread is interrupted, and cannot wait for the access: none begins by what is left. */
  @Test
  void anInterruptedDeletionLeavesNothingThatCanBeReached() throws Exception {
    try (PlatformWorld<SnpGuest> w = snp().running()) {
      w.put(0, 42);
      FrameAccess frames = w.memfd.frameAccess();
      long access = frames.begin(w.pfn(0));
      Worker<Void> deletion =
          Worker.start(
              () -> {
                Thread.currentThread().interrupt();
                w.vm.unbind(0);
                assertTrue(Thread.interrupted());
                return null;
              });
      deletion.result();
      assertThat(w.guest.read(0)).isEmpty();
      frames.end(access);
      assertEquals(Errno.EFAULT, w.guest.use(w.memfd, 0));
      w.bind();
      assertEquals(42, w.get(0));
    }
  }

  /** Tells what it is told, answers as it is asked to, and passes on to a guest. */
  private static final class Told implements MachineOps {
    final List<String> told = new ArrayList<>();
    final AtomicReference<Runnable> atBegin = new AtomicReference<>(() -> {});
    Errno answer = Errno.OK;
    GuestMemfdOps next = GuestMemfdOps.NONE;

    @Override
    public Errno unmapBegin(long offset, long length) {
      assertTrue(GuestMemfd.isInsideCallback());
      told.add("+" + offset / PAGE + "/" + length / PAGE);
      atBegin.getAndSet(() -> {}).run();
      return answer == Errno.OK && next instanceof MachineOps guest
          ? guest.unmapBegin(offset, length)
          : answer;
    }

    @Override
    public void unmapEnd(long offset, long length) {
      told.add("-" + offset / PAGE + "/" + length / PAGE);
      if (next instanceof MachineOps guest) {
        guest.unmapEnd(offset, length);
      }
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      return next.invalidateBegin(offset, length);
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      next.invalidateEnd(offset, length);
    }

    @Override
    public void release() {
      next.release();
    }
  }

  private static void bind(
      VirtualMachine vm, int slot, long page, int pages, GuestMemfd memfd, long offset) {
    int flags = MemslotFlag.bits(MemslotFlag.GUEST_MEMFD);
    long address = 0x7000_0000L + at((int) page);
    vm.setUserMemoryRegion2(
        new Memslot(slot, flags, GPA + at((int) page), pages * PAGE, address, memfd, offset));
  }

  /** A memslot made while attributes change: its page was mapped by the old one, and is told of. */
  @Test
  void aMemslotThatIsMadeMeanwhileIsUnmappedToo() throws Exception {
    PkvmGuest guest = new PkvmGuest(new PkvmHypervisor());
    Told client = new Told();
    client.next = guest;
    guest.finishLaunch();
    VirtualMachine vm = VirtualMachine.builder().type(VmType.SNP).build();
    try (HostMemory host = HostMemory.ofBytes(8 * PAGE);
        GuestMemfd memfd = vm.createGuestMemfd(GuestMemfd.builder(host).size(2 * PAGE), client)) {
      bind(vm, 0, 0, 1, memfd, 0);
      assertEquals(Errno.OK, set(vm, 0, 2 * PAGE, PRIVATE));
      client.atBegin.set(
          () -> {
            try {
              Worker<Errno> other =
                  Worker.start(
                      () -> {
                        bind(vm, 1, 1, 1, memfd, PAGE);
                        return guest.use(memfd, PAGE);
                      });
              assertEquals(Errno.OK, other.result());
            } catch (Exception e) {
              throw new AssertionError(e);
            }
          });
      assertEquals(Errno.OK, set(vm, 0, 2 * PAGE, SHARED));
      assertFalse(guest.isMapped(PAGE));
      assertThat(client.told).containsExactly("+0/1", "+1/1", "-0/1", "-1/1");
    }
  }

  // ---- clients ----

  /** One of two refuses, or throws: nothing has changed, and the other is told of the end. */
  @Test
  void aClientThatRefusesAnAttribute() {
    Told first = new Told();
    Told second = new Told();
    VirtualMachine vm = VirtualMachine.builder().type(VmType.TDX).build();
    try (HostMemory host = HostMemory.ofBytes(8 * PAGE);
        GuestMemfd a = vm.createGuestMemfd(GuestMemfd.builder(host).size(2 * PAGE), first);
        GuestMemfd b = vm.createGuestMemfd(GuestMemfd.builder(host).size(2 * PAGE), second)) {
      bind(vm, 0, 0, 2, a, 0);
      bind(vm, 1, 2, 2, b, 0);
      assertEquals(Errno.OK, set(vm, 0, 4 * PAGE, PRIVATE));
      assertThat(first.told).isEmpty();
      second.answer = Errno.EBUSY;
      assertEquals(Errno.EBUSY, set(vm, PAGE, 2 * PAGE, SHARED));
      assertEquals(Optional.of(PRIVATE), vm.memoryAttribute(GPA + PAGE));
      assertThat(first.told).containsExactly("+1/1", "-1/1");
      assertThat(second.told).containsExactly("+0/1");

      second.atBegin.set(
          () -> {
            throw new IllegalStateException("of the client");
          });
      assertThatThrownBy(() -> set(vm, PAGE, 2 * PAGE, SHARED)).hasMessage("of the client");
      assertEquals(Optional.of(PRIVATE), vm.memoryAttribute(GPA + 2 * PAGE));
      assertThat(first.told).containsExactly("+1/1", "-1/1", "+1/1", "-1/1");

      second.answer = null;
      assertThatThrownBy(() -> set(vm, PAGE, 2 * PAGE, SHARED))
          .isInstanceOf(NullPointerException.class)
          .hasMessageContaining("unmapBegin");
      second.answer = Errno.OK;
      second.atBegin.set(() -> assertEquals(Errno.EDEADLK, set(vm, 0, PAGE, SHARED)));
      assertEquals(Errno.OK, set(vm, PAGE, 2 * PAGE, SHARED), "and nothing is left marked");
      assertEquals(Errno.OK, set(vm, PAGE, 2 * PAGE, SHARED));
      assertThat(second.told).endsWith("+0/1", "-0/1").hasSize(5);
    }
  }

  /** What can no longer be refused: all are asked, whatever the first of them does. */
  @Test
  void theDeletionOfAMemslotAsksEachClient() {
    Told client = new Told();
    VirtualMachine vm = VirtualMachine.builder().type(VmType.TDX).build();
    try (HostMemory host = HostMemory.ofBytes(8 * PAGE);
        GuestMemfd memfd = vm.createGuestMemfd(GuestMemfd.builder(host).size(2 * PAGE), client)) {
      bind(vm, 0, 0, 2, memfd, 0);
      client.answer = Errno.EBUSY;
      vm.unbind(0);
      assertThat(client.told).containsExactly("+0/2");
      bind(vm, 0, 0, 2, memfd, 0);
      client.atBegin.set(
          () -> {
            throw new IllegalStateException("of the client");
          });
      assertThatThrownBy(() -> vm.unbind(0)).hasMessage("of the client");
      assertEquals(Optional.empty(), vm.memslotAt(GPA), "deleted all the same");
      client.answer = Errno.OK;
      bind(vm, 0, 0, 2, memfd, 0);
      vm.unbind(0);
      assertThat(client.told).endsWith("+0/2", "-0/2");
    }
  }

  /** What stands in front of the guest and hears of no attributes: it could not be told. */
  @Test
  void aGuestThatIsNotToldMapsNothing() {
    SnpGuest guest = new SnpGuest(rmp);
    GuestMemfdOps deaf = new GuestMemfdOps() {};
    try (PlatformWorld<SnpGuest> w = PlatformWorld.ofTwoMemories(guest, deaf).running()) {
      assertEquals(Optional.of(PRIVATE), w.vm.memoryAttribute(GPA));
      assertEquals(Optional.empty(), w.vm.memoryAttribute(w.memfd, 0));
      assertEquals(Errno.EFAULT, guest.use(w.memfd, 0));
    }
  }

  @Test
  void whatHasNoAttributeIsRefused() {
    try (PlatformWorld<SnpGuest> w = snp()) {
      assertThatThrownBy(() -> w.vm.memoryAttribute(w.memfd, SIZE))
          .isInstanceOf(GuestMemfdException.class);
      GuestMemfd closed = w.memfd.dup();
      closed.close();
      assertThatThrownBy(() -> w.vm.memoryAttribute(closed, 0))
          .isInstanceOf(GuestMemfdException.class);
    }
    VirtualMachine inPlace = new VirtualMachine();
    try (HostMemory host = HostMemory.ofBytes(8 * PAGE);
        GuestMemfd memfd = GuestMemfd.builder(host).size(PAGE).build()) {
      assertEquals(Optional.of(PRIVATE), inPlace.memoryAttribute(memfd, 0), "the file's");
    }
  }

  // ---- races ----

  /** A fault has looked at the attribute, and has the page: it comes too late. */
  @Test
  void aFaultThatRacedWithAConversionIsRetried() throws Exception {
    try (RacePoints races = new RacePoints()) {
      SnpGuest guest = new SnpGuest(rmp);
      try (PlatformWorld<SnpGuest> w = PlatformWorld.ofTwoMemories(guest, guest, races).running()) {
        Worker<Errno> fault;
        try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_SLOT_RELOAD)) {
          fault = Worker.start(() -> guest.use(w.memfd, 0));
          gate.awaitReached();
          assertEquals(Errno.OK, w.tryShare(0, PAGE));
        }
        assertEquals(Errno.EFAULT, fault.result());
        assertFalse(guest.isMapped(0));
      }
    }
  }

  /** The second change waits for the access that the interrupted one has left under way. */
  @Test
  void aChangeWaitsForAnAccess() throws Exception {
    try (PlatformWorld<SnpGuest> w = snp().running()) {
      w.put(0, 42);
      FrameAccess frames = w.memfd.frameAccess();
      long access = frames.begin(w.pfn(0));
      Worker<Errno> change = Worker.start(() -> w.tryShare(0, PAGE));
      while (w.guest.isMapped(0)) {
        Thread.onSpinWait();
      }
      change.interrupt();
      assertEquals(Errno.EINTR, change.result());
      assertFalse(w.isShared(0));
      frames.end(access);
      assertEquals(42, w.get(0));
    }
  }

  // ---- handover ----

  /** The guest of a platform goes with its file, and so do the attributes. */
  @Test
  void theGuestGoesOnInAMachineThatTakesOver() {
    try (PlatformWorld<SnpGuest> w = snp().running()) {
      w.put(0, 42);
      w.tryShare(at(1), PAGE);
      VirtualMachine next = VirtualMachine.builder().type(VmType.SW_PROTECTED).build();
      try (GuestMemfd linked = next.linkGuestMemfd(w.memfd, 0)) {
        Memslot slot = w.vm.memslotAt(GPA).orElseThrow();
        next.setUserMemoryRegion2(
            new Memslot(0, slot.flags(), GPA, SIZE, slot.userAddress(), linked, 0));
        set(next, at(1), PAGE, PRIVATE);
        assertEquals(Errno.OK, w.guest.use(linked, at(1)), "by this machine's attributes");
        next.moveContextFrom(w.vm);
        assertFalse(w.guest.isMapped(at(1)), "which it has no more");
        assertEquals(42, w.guest.read(0).orElseThrow());
        assertEquals(Errno.OK, w.guest.use(linked, at(2)));
        assertEquals(Errno.EFAULT, w.guest.use(linked, at(1)));
        assertEquals(Errno.EFAULT, w.guest.use(w.memfd, at(3)), "the source is dead");
        assertEquals(Errno.OK, set(next, 0, PAGE, SHARED));
        assertThat(w.guest.read(0)).isEmpty();
      }
    }
  }
}
