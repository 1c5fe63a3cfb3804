package io.github.guestmemfd.explore;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.HostRam;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.MemoryAttributeRange;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.testing.Interleavings;
import java.util.List;
import org.junit.jupiter.api.Test;

/**
 * A vCPU of a machine with two memories, against each change of them, in every order of steps with
 * at most two pre-emptions.
 */
class TwoMemoriesOrdersTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long GPA = 0x10_0000;

  /** A page, shared at first and with a number of its own in each memory. */
  private static final class World {
    final HostMemory host = HostMemory.builder(8L * PAGE).poisonViews().build();
    final VirtualMachine vm = VirtualMachine.builder().type(VmType.SW_PROTECTED).build();
    final HostRam ram = vm.mapHostRam(host, PAGE);
    final GuestMemfd memfd = vm.createGuestMemfd(GuestMemfd.builder(host).size(PAGE));
    final Vcpu vcpu = vm.createVcpu();
    private final boolean hasFile;
    private long copied;

    World(boolean hasFile, boolean mapped) {
      this.hasFile = hasFile;
      bind(false, GPA);
      if (hasFile) {
        convert(PRIVATE);
        vcpu.tryWrite(GPA, 8, 2, PRIVATE);
        convert(SHARED);
      }
      ram.mapping().putLong(0, 1);
      if (mapped) {
        vcpu.tryRead(GPA, 8, SHARED);
      }
    }

    void bind(boolean log, long gpa) {
      int flags = hasFile ? 4 : log ? 1 : 0;
      vm.setUserMemoryRegion2(
          new Memslot(0, flags, gpa, PAGE, ram.userAddress(), hasFile ? memfd : null, 0));
    }

    Errno convert(MemoryAttribute attribute) {
      return vm.trySetMemoryAttributes(GPA, PAGE, attribute, new BusyGuestPage());
    }

    /** What a read finds: of this memory, or nothing. */
    void read(MemoryAttribute attribute) {
      if (vcpu.tryRead(GPA, 8, attribute)) {
        long own = attribute == SHARED ? 1 : 2;
        assertThat(vcpu.value()).isIn(0L, own);
      }
    }

    /** As a migration does: what is in the log is copied, and is in it no more. */
    void copyWhatIsLogged() {
      if (!vm.getDirtyLog(0).isEmpty()) {
        copied = ram.mapping().getLong(0);
      }
    }

    /** The write of 7 has come into the copy, or is in the log still. */
    void closeWithCopiedOrLogged() {
      boolean inLog = !vm.getDirtyLog(0).isEmpty();
      if (copied != 7 && !inLog) {
        throw new AssertionError("the write is neither copied nor logged");
      }
      close();
    }

    void close() {
      MemoryAttribute now = vm.memoryAttribute(GPA).orElseThrow();
      if (vcpu.tryRead(GPA, 8, now == SHARED ? PRIVATE : SHARED)) {
        throw new AssertionError("still mapped as what it is no more");
      }
      memfd.close();
      ram.close();
      assertThat(host.violations()).isEmpty();
      assertThat(host.used()).isZero();
      host.close();
    }
  }

  private static Interleavings<World> world(boolean hasFile, boolean mapped) {
    return Interleavings.of(() -> new World(hasFile, mapped)).maxPreemptions(2).atEnd(World::close);
  }

  /** A page without a file, in a memslot with a log. */
  private static World logged() {
    World made = new World(false, false);
    made.bind(true, GPA);
    return made;
  }

  @Test
  void anAccessAgainstAConversion() {
    for (boolean mapped : new boolean[] {false, true}) {
      for (MemoryAttribute attribute : MemoryAttribute.values()) {
        Interleavings.Report report =
            world(true, mapped)
                .thread("guest", w -> w.read(attribute))
                .thread("vmm", w -> w.convert(PRIVATE))
                .explore();
        assertThat(report.complete()).isTrue();
      }
    }
  }

  @Test
  void anAccessAgainstADiscard() {
    for (boolean mapped : new boolean[] {false, true}) {
      Interleavings.Report report =
          world(false, mapped)
              .thread("guest", w -> w.read(SHARED))
              .thread("vmm", w -> w.ram.discard(0, PAGE))
              .explore();
      assertThat(report.complete()).isTrue();
    }
  }

  @Test
  void anAccessAgainstAnUnmap() {
    Interleavings.Report report =
        world(false, true)
            .thread("guest", w -> w.read(SHARED))
            .thread("vmm", w -> w.ram.close())
            .explore();
    assertThat(report.complete()).isTrue();
  }

  @Test
  void anAccessAgainstAMove() {
    Interleavings.Report report =
        world(false, true)
            .thread("guest", w -> w.read(SHARED))
            .thread("vmm", w -> w.bind(false, 2 * GPA))
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /** A memslot that is made or moved meanwhile is one whose pages change too. */
  @Test
  void anAccessByANewMemslotAgainstAConversion() {
    Interleavings.Report report =
        Interleavings.of(
                () -> {
                  World made = new World(true, false);
                  made.vm.unbind(0);
                  return made;
                })
            .maxPreemptions(2)
            .atEnd(World::close)
            .thread(
                "hotplug",
                w -> {
                  w.bind(false, GPA);
                  w.read(SHARED);
                })
            .thread("vmm", w -> w.convert(PRIVATE))
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /**
   * What is in the log that is taken is copied: of a write after that, the page is logged again.
   */
  @Test
  void aWriteAgainstTheLog() {
    Interleavings.Report report =
        Interleavings.of(
                () -> {
                  World w = logged();
                  w.vcpu.tryWrite(GPA, 8, 1, SHARED);
                  w.vm.getDirtyLog(0);
                  return w;
                })
            .maxPreemptions(2)
            .thread("guest", w -> w.vcpu.tryWrite(GPA, 8, 7, SHARED))
            .thread("vmm", World::copyWhatIsLogged)
            .atEnd(World::closeWithCopiedOrLogged)
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /** The log is turned on: a write that comes after is in it. */
  @Test
  void aWriteAgainstTheStartOfTheLog() {
    Interleavings.Report report =
        world(false, true)
            .thread("guest", w -> w.vcpu.tryWrite(GPA, 8, 7, SHARED))
            .thread(
                "vmm",
                w -> {
                  w.bind(true, GPA);
                  w.copied = w.ram.mapping().getLong(0); // all of it is copied at the start
                })
            .atEnd(World::closeWithCopiedOrLogged)
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /**
   * A memslot that is being replaced is still told: what it leads to is not freed under an access.
   */
  @Test
  void anAccessAgainstAMoveAndADiscard() {
    Interleavings.Report report =
        world(false, true)
            .thread("guest", w -> w.read(SHARED))
            .thread("move", w -> w.bind(false, 2 * GPA))
            .thread("discard", w -> w.ram.discard(0, PAGE))
            .explore();
    assertThat(report.counterexample()).isEmpty();
  }

  /** A vCPU that still uses the memslot as it was writes nothing that the log does not know. */
  @Test
  void aWriteAgainstAMoveAndTheLog() {
    Interleavings.Report report =
        Interleavings.of(TwoMemoriesOrdersTest::logged)
            .maxPreemptions(2)
            .thread("guest", w -> w.vcpu.tryWrite(GPA, 8, 7, SHARED))
            .thread("move", w -> w.bind(true, 2 * GPA))
            .thread("log", World::copyWhatIsLogged)
            .atEnd(
                w -> {
                  boolean written = w.ram.mapping().getLong(0) == 7;
                  if (written && w.copied != 7 && w.vm.getDirtyLog(0).isEmpty()) {
                    throw new AssertionError("the write is neither copied nor logged");
                  }
                  w.close();
                })
            .explore();
    assertThat(report.counterexample()).isEmpty();
  }

  /** The log is that of the memslot as it is now, not as it was when the call began. */
  @Test
  void writesAfterAMoveAgainstTheLog() {
    Interleavings.Report report =
        Interleavings.of(TwoMemoriesOrdersTest::logged)
            .maxPreemptions(2)
            .thread(
                "move",
                w -> {
                  w.bind(true, 2 * GPA);
                  w.vcpu.tryWrite(2 * GPA, 8, 6, SHARED);
                  w.vcpu.tryWrite(2 * GPA, 8, 7, SHARED);
                })
            .thread("log", World::copyWhatIsLogged)
            .atEnd(World::closeWithCopiedOrLogged)
            .explore();
    assertThat(report.counterexample()).isEmpty();
  }

  /**
   * Two conversions and a fault: there is one order of the conversions, and no entry of the other.
   */
  @Test
  void aFaultAgainstTwoConversions() {
    Interleavings.Report report =
        world(true, false)
            .thread("guest", w -> w.read(SHARED))
            .thread("one", w -> w.convert(PRIVATE))
            .thread("two", w -> w.convert(SHARED))
            .explore();
    assertThat(report.counterexample()).isEmpty();
  }

  /** Parts that are alike are one, also if they have become so while they were looked at. */
  @Test
  void attributesThatAreReadAgainstAConversion() {
    Interleavings.Report report =
        world(false, false)
            .thread(
                "reads",
                w -> {
                  List<MemoryAttributeRange> parts = w.vm.memoryAttributes(GPA, 3L * PAGE);
                  for (int i = 1; i < parts.size(); i++) {
                    assertThat(parts.get(i).attribute()).isNotEqualTo(parts.get(i - 1).attribute());
                  }
                })
            .thread(
                "vmm",
                w -> {
                  w.convert(PRIVATE);
                  w.vm.setMemoryAttributes(GPA + PAGE, PAGE, PRIVATE);
                })
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /** Where the maker does not say where, memory is made wherever there is room. */
  @Test
  void freeAddressesOfTwoThreads() {
    Interleavings.Report report =
        world(false, false)
            .thread("one", w -> w.vm.mapHostRam(w.host, PAGE).close())
            .thread("two", w -> w.vm.mapHostRam(w.host, PAGE).close())
            .explore();
    assertThat(report.complete()).isTrue();
  }

  @Test
  void aChangeOfTheMemslotAgainstAnother() {
    Interleavings.Report report =
        world(false, true)
            .thread("one", w -> w.bind(false, 2 * GPA))
            .thread(
                "two",
                w -> {
                  try {
                    w.vm.unbind(0);
                  } catch (GuestMemfdException e) {
                    throw new AssertionError(e); // it is there, moved or not
                  }
                })
            .explore();
    assertThat(report.complete()).isTrue();
  }
}
