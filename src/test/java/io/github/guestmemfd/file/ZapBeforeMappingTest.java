package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static io.github.guestmemfd.abi.CreateFlag.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** NO_DIRECT_MAP as in version 12 of the series: out from the first use to the end of the folio. */
class ZapBeforeMappingTest extends RaceFixture {
  private static final Set<FileTrait> ZAPS = Set.of(FileTrait.ZAP_BEFORE_MAPPING);

  private GuestMemfd hidden(int pages, GuestMemfdOps ops, CreateFlag... more) {
    return file(pages, b -> b.flags(NO_DIRECT_MAP).flags(more).traits(ZAPS).ops(ops));
  }

  private GuestMemfd hidden(int pages) {
    return hidden(pages, GuestMemfdOps.NONE);
  }

  private static int pfn(GuestMemfd memfd, int page) {
    int pfn = memfd.tryGrab((long) page * PAGE, HolderKind.SAFE);
    memfd.put(pfn, HolderKind.SAFE);
    return pfn;
  }

  private boolean isIn(int pfn) {
    return host.directMap().contains(pfn);
  }

  // ---- when it leaves, and when it comes back ----

  @Test
  void anAllocatedFolioLeavesWhenTheHostMapsIt() {
    GuestMemfd memfd = hidden(2);
    HostMapping window = map(memfd);
    memfd.allocate(0, 2L * PAGE);
    assertTrue(isIn(1) && isIn(2), "allocated");
    window.putLong(0, SECRET);
    assertFalse(isIn(1), "shared, and mapped");
    refused(Errno.EFAULT, () -> readDirect(1));
    window.getLong(PAGE);
    assertFalse(isIn(2), "mapped to be read");
    assertEquals(SECRET, window.getLong(0));
    assertThat(host.violations()).isEmpty();
  }

  @Test
  void orWhenTheGuestDoes() {
    for (boolean inaccessible : new boolean[] {false, true}) {
      GuestMemfd memfd = hidden(1);
      if (inaccessible) {
        memfd.makeInaccessible(0, PAGE);
      }
      memfd.allocate(0, PAGE);
      assertFalse(isIn(pfn(memfd, 0)));
    }
  }

  @Test
  void aConversionLeavesItWhereItIs() {
    GuestMemfd memfd = hidden(2);
    HostMapping window = map(memfd);
    window.putLong(0, SECRET);
    int pfn = pfn(memfd, 0);
    memfd.allocate(PAGE, PAGE);
    for (int i = 0; i < 2; i++) {
      memfd.makeInaccessible(0, 2L * PAGE);
      assertFalse(isIn(pfn));
      assertTrue(isIn(2), "not used yet");
      memfd.makeAccessible(0, 2L * PAGE);
      assertFalse(isIn(pfn));
      assertThat(host.violations()).isEmpty();
    }
    assertEquals(SECRET, window.getLong(0));
  }

  @Test
  void dontNeedLeavesItOutAndItComesBackWhenItIsFreed() {
    GuestMemfd memfd = hidden(1);
    HostMapping window = map(memfd);
    window.putLong(0, SECRET);
    int pfn = pfn(memfd, 0);
    window.madvise(0, PAGE, Advice.DONTNEED);
    assertFalse(isIn(pfn));
    memfd.punchHole(0, PAGE);
    GuestMemfd plain = file(1);
    plain.allocate(0, PAGE);
    assertEquals(pfn, pfn(plain, 0), "the frame is used again");
    assertTrue(isIn(pfn));
    assertEquals(0, readDirect(pfn), "and nothing of what was there is seen");
  }

  /** Of an orphan the last holder decides. */
  @Test
  void anOrphanComesBackWithItsLastReference() {
    GuestMemfd memfd = hidden(1);
    try (Folio folio = memfd.grab(0, HolderKind.UNSAFE)) {
      memfd.punchHole(0, PAGE);
      assertFalse(isIn(folio.pfn()));
    }
    assertEquals(0, host.used());
  }

  // ---- the order of the steps ----

  /** Zap, then prepare; invalidate, then restore. */
  @Test
  void theClientIsCalledWhileItIsOut() {
    List<String> told = new ArrayList<>();
    GuestMemfdOps client =
        new GuestMemfdOps() {
          @Override
          public Errno prepareAccessible(Folio folio) {
            told.add("shared " + (isIn(folio.pfn()) ? "in" : "out"));
            return Errno.OK;
          }

          @Override
          public Errno prepareInaccessible(Folio folio) {
            told.add("private " + (isIn(folio.pfn()) ? "in" : "out"));
            return Errno.OK;
          }

          @Override
          public void freeFolio(Folio folio) {
            told.add("free " + (frames().isRemovedFromDirectMap(folio.pfn()) ? "out" : "in"));
          }
        };
    GuestMemfd memfd = hidden(1, client);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    memfd.makeInaccessible(0, PAGE);
    memfd.makeAccessible(0, PAGE);
    memfd.punchHole(0, PAGE);
    assertThat(told).containsExactly("shared out", "private out", "shared out", "free out");
  }

  @Test
  void aFolioThatTheClientRefusesAtFirstStaysIn() {
    Errno[] answer = {Errno.EIO};
    GuestMemfdOps client =
        new GuestMemfdOps() {
          @Override
          public Errno prepareAccessible(Folio folio) {
            return answer[0];
          }

          @Override
          public Errno prepareInaccessible(Folio folio) {
            return answer[0];
          }
        };
    GuestMemfd memfd = hidden(1, client);
    HostMapping window = map(memfd);
    refused(Errno.EIO, () -> window.putLong(0, 1));
    assertTrue(isIn(1));
    assertThat(host.violations()).isEmpty();
    answer[0] = Errno.OK;
    window.putLong(0, 1);
    answer[0] = Errno.EIO;
    assertEquals(Errno.EIO, memfd.tryMakeInaccessible(0, PAGE));
    assertFalse(isIn(1), "a refused conversion does not bring it back");
    assertThat(host.violations()).isEmpty();
    assertEquals(1, window.getLong(0));
  }

  // ---- GUP ----

  @Test
  void thereIsNoGup() {
    GuestMemfd memfd = hidden(2);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    for (long offset : new long[] {0, PAGE}) { // used, and not even there
      refused(Errno.EFAULT, () -> window.getUserPages(offset, 8));
      refused(Errno.EFAULT, () -> window.pin(offset, 8));
      refused(Errno.EFAULT, () -> window.pinFully(offset, 8));
    }
    assertEquals(1, memfd.cachedPages(), "nothing has been allocated");
    try (HostReference nothing = window.getUserPages(0, 0)) {
      assertEquals(0, nothing.length());
    }
    refused(Errno.EINVAL, () -> window.getUserPages(0, -1));
    memfd.makeInaccessible(0, 2L * PAGE);
  }

  /** As of a memfd_secret, whose check the series makes that of all files out of the map. */
  @Test
  void norCanAMappingBePopulated() {
    GuestMemfd memfd = hidden(2);
    HostMapping window = map(memfd);
    refused(Errno.EINVAL, () -> window.madvise(0, PAGE, Advice.POPULATE_READ));
    refused(Errno.EINVAL, () -> window.madvise(0, PAGE, Advice.POPULATE_WRITE));
    refused(Errno.ENOMEM, () -> window.madvise(2L * PAGE, PAGE, Advice.POPULATE_READ));
    window.madvise(0, PAGE, Advice.DONTNEED);
    byte[] copied = new byte[16];
    window.put(8, copied, 0, 16); // what copies through the mapping does work
    window.get(0, copied, 0, 16);
  }

  // ---- write and populate ----

  @Test
  void aPageCanBeWrittenOnce() {
    GuestMemfd memfd = hidden(4, GuestMemfdOps.NONE, WRITE);
    HostMapping window = map(memfd);
    window.putLong(2L * PAGE, 1);
    ByteBuffer content = ByteBuffer.allocate(4 * PAGE);
    content.putLong(0, Long.reverseBytes(SECRET));
    assertEquals(2 * PAGE, memfd.write(0, content), "up to the page that has left");
    assertFalse(isIn(pfn(memfd, 0)), "it leaves when it has been written");
    assertEquals(SECRET, window.getLong(0));
    refused(Errno.EEXIST, () -> memfd.write(0, content.clear()));
    refused(Errno.EEXIST, () -> memfd.write(2L * PAGE, content.clear().limit(PAGE)));
    memfd.punchHole(0, PAGE);
    assertEquals(PAGE, memfd.write(0, content.clear().limit(PAGE)), "a new folio");
    memfd.makeInaccessible(3L * PAGE, PAGE);
    refused(Errno.EFAULT, () -> memfd.write(3L * PAGE, content.clear().limit(PAGE)));
    pfn(memfd, 3);
    refused(Errno.EEXIST, () -> memfd.write(3L * PAGE, content.clear().limit(PAGE)));
    assertThat(host.violations()).isEmpty();
  }

  @Test
  void itIsNotPopulated() {
    GuestMemfd memfd = hidden(1);
    memfd.makeInaccessible(0, PAGE);
    refused(Errno.EINVAL, () -> memfd.populate(0, 2L * PAGE, null, folio -> Errno.OK));
    refused(Errno.EOPNOTSUPP, () -> memfd.populate(0, PAGE, null, folio -> Errno.OK));
    assertEquals(0, memfd.cachedPages());
  }

  @ParameterizedTest
  @EnumSource
  void aMachineThatPopulatesHasNoSuchFile(VmType type) {
    for (KernelProfile profile :
        new KernelProfile[] {KernelProfile.LINUX_7_2, KernelProfile.NO_DIRECT_MAP_V12}) {
      VirtualMachine vm = VirtualMachine.builder().kernelProfile(profile).type(type).build();
      boolean isRefused =
          profile == KernelProfile.NO_DIRECT_MAP_V12 && (type == VmType.SNP || type == VmType.TDX);
      GuestMemfd.Builder file = GuestMemfd.builder(host).size(PAGE).flags(NO_DIRECT_MAP);
      if (isRefused) {
        GuestMemfdException e =
            assertThrows(GuestMemfdException.class, () -> vm.createGuestMemfd(file));
        assertEquals(Errno.EINVAL, e.errno());
        assertThat(e).hasMessageContaining("since its pages are populated");
      } else {
        vm.createGuestMemfd(file).close();
      }
    }
  }

  /** The machine decides: the same flag is another thing on another kernel. */
  @Test
  void theProfileDecides() {
    for (KernelProfile profile : KernelProfile.values()) {
      VirtualMachine vm = VirtualMachine.builder().kernelProfile(profile).build();
      try (GuestMemfd memfd =
              vm.createGuestMemfd(
                  GuestMemfd.builder(host).size(PAGE).flags(3).flags(NO_DIRECT_MAP));
          GuestMemfd plain = vm.createGuestMemfd(GuestMemfd.builder(host).size(PAGE).flags(3))) {
        assertEquals(
            profile != KernelProfile.NO_DIRECT_MAP_V12,
            isIn(pfn(memfd, 0)),
            () -> "shared, on " + profile);
        assertTrue(isIn(pfn(plain, 0)), "without the flag it says nothing");
        memfd.makeInaccessible(0, PAGE);
        assertFalse(isIn(pfn(memfd, 0)));
      }
    }
  }

  // ---- races ----

  /** A fault waits for a read through the direct map that is under way. */
  @Test
  void anAccessThatHasBegunIsWaitedFor() throws Exception {
    GuestMemfd memfd = hidden(1);
    HostMapping window = map(memfd);
    memfd.allocate(0, PAGE);
    long access = frames().beginDirectAccess(1);
    Worker<Void> store =
        Worker.start(
            () -> {
              window.putLong(0, SECRET);
              return null;
            });
    probe.awaitWaiting(store);
    refused(Errno.EFAULT, () -> readDirect(1)); // no other begins
    frames().accesses.end(access);
    store.result();
    assertFalse(isIn(1));
  }

  @Test
  void aFaultThatIsInterruptedMeanwhileLeavesItIn() throws Exception {
    GuestMemfd memfd = hidden(1);
    HostMapping window = map(memfd);
    memfd.allocate(0, PAGE);
    long access = frames().beginDirectAccess(1);
    Worker<Errno> store =
        Worker.start(() -> refused(Errno.EINTR, () -> window.putLong(0, SECRET)).errno());
    probe.awaitWaiting(store);
    store.interrupt();
    assertEquals(Errno.EINTR, store.result());
    frames().accesses.end(access);
    assertTrue(isIn(1));
    assertThat(host.violations()).isEmpty();
    window.putLong(0, 1);
  }

  /**
   * A fault that has the page is not seen by GUP, and GUP does not hold it against a conversion.
   */
  @Test
  void gupWhileThePageIsBeingMapped() throws Exception {
    for (RacePoint point :
        new RacePoint[] {RacePoint.BEFORE_PTE_INSTALL, RacePoint.AFTER_PTE_INSTALL}) {
      GuestMemfd memfd = hidden(1);
      HostMapping window = map(memfd);
      RacePoints.Gate gate = races.hold(point);
      Worker<Void> store =
          Worker.start(
              () -> {
                window.putLong(0, 1);
                return null;
              });
      gate.awaitReached();
      refused(Errno.EFAULT, () -> window.getUserPages(0, 8));
      gate.release();
      store.result();
      refused(Errno.EFAULT, () -> window.getUserPages(0, 8));
      memfd.makeInaccessible(0, PAGE);
    }
  }

  @Test
  void pagesWithPoisonedViewsDoNotMove() {
    try (HostMemory poisons = HostMemory.builder(8L * PAGE).poisonViews().build();
        GuestMemfd memfd =
            GuestMemfd.builder(poisons)
                .size(PAGE)
                .flags(3)
                .flags(NO_DIRECT_MAP)
                .traits(ZAPS)
                .build()) {
      int pfn = pfn(memfd, 0);
      memfd.makeInaccessible(0, PAGE);
      assertEquals(pfn, pfn(memfd, 0));
      assertThat(poisons.violations()).isEmpty();
    }
  }
}
