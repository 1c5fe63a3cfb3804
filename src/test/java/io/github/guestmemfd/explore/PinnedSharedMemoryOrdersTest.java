package io.github.guestmemfd.explore;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.HostRam;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.policy.GpaRange;
import io.github.guestmemfd.policy.PinnedSharedMemory;
import io.github.guestmemfd.testing.Interleavings;
import org.junit.jupiter.api.Test;

/** A device that pins shared memory, told of pages by two threads, in every order of steps. */
class PinnedSharedMemoryOrdersTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long GPA = 0x10_0000;

  private static final class World {
    final HostMemory host = HostMemory.builder(4L * PAGE).build();
    final VirtualMachine vm = VirtualMachine.builder().type(VmType.SW_PROTECTED).build();
    final HostRam ram = vm.mapHostRam(host, 4L * PAGE);
    final PinnedSharedMemory device;

    /** A device that may pin so many pages. */
    World(int pages) {
      vm.setUserMemoryRegion2(new Memslot(0, 0, GPA, 4 * PAGE, ram.userAddress(), null, 0));
      device = new PinnedSharedMemory(vm, (long) pages * PAGE);
    }

    Errno pin(int page) {
      return device.populated(at(page));
    }

    void unpin(int page) {
      device.discarded(at(page));
    }

    private static GpaRange at(int page) {
      return new GpaRange(GPA + (long) page * PAGE, PAGE);
    }

    void end() {
      device.close();
      assertEquals(0, device.pinned());
      ram.close();
      assertEquals(0, host.used());
      assertThat(host.violations()).isEmpty();
      host.close();
    }
  }

  private static void explore(
      int pages, Interleavings.Act<World> one, Interleavings.Act<World> two) {
    Interleavings.Report report =
        Interleavings.of(
                () -> {
                  World world = new World(pages);
                  world.pin(0);
                  return world;
                })
            .thread("one", one)
            .thread("two", two)
            .atEnd(World::end)
            .maxPreemptions(2)
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /** A page is pinned once, and so it is unpinned when it is discarded. */
  @Test
  void twoThreadsPinAPage() {
    explore(4, w -> w.pin(1), w -> w.pin(1));
  }

  /** A pin that is refused is not in the way of another, not even for a moment. */
  @Test
  void whatIsRefusedTakesNothingFromTheLimit() {
    explore(
        1,
        w -> w.pin(1),
        w -> {
          assertTrue(w.device.pinned() <= PAGE);
          w.unpin(0);
          if (w.pin(2) != Errno.OK) {
            assertEquals(PAGE, w.device.pinned(), "the other was faster");
          }
        });
  }

  /** A device that is taken away has nothing pinned, whatever it was just being told. */
  @Test
  void theDeviceIsTakenAwayMeanwhile() {
    Interleavings.Report report =
        Interleavings.of(() -> new World(4))
            .thread("pins", w -> assertEquals(Errno.OK, w.pin(0)))
            .thread("closes", w -> w.device.close())
            .atEnd(
                w -> {
                  assertEquals(0, w.device.pinned());
                  w.end();
                })
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /** What has no memslot is no memory, and no reason to refuse. */
  @Test
  void aMemslotIsDeletedMeanwhile() {
    explore(4, w -> assertEquals(Errno.OK, w.pin(1)), w -> w.vm.unbind(0));
  }
}
