package io.github.guestmemfd.explore;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.HostRam;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.testing.Interleavings;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** A handover against what else the two machines do, in every order of steps. */
class HandoverOrdersTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int BOUND = Integer.getInteger("explore.preemptions", 1);
  private static final long GPA = 0x10_0000;

  /** A page that both machines have bound, and both have mapped. */
  private static final class World {
    final HostMemory host = HostMemory.builder(4L * PAGE).build();
    final VirtualMachine source = new VirtualMachine();
    final VirtualMachine target = new VirtualMachine();
    final GuestMemfd memfd =
        source.createGuestMemfd(
            GuestMemfd.builder(host).size(PAGE).flags(3).retryPolicy(RetryPolicy.failAtOnce()));
    final GuestMemfd linked = target.linkGuestMemfd(memfd, 0);
    final Vcpu old = source.createVcpu();
    final Vcpu next = target.createVcpu();
    private boolean moved;
    private boolean unbound;

    World() {
      source.bind(0, GPA, PAGE, memfd, 0);
      target.bind(0, GPA, PAGE, linked, 0);
      old.tryWrite(GPA, 8, 1, SHARED);
      next.tryRead(GPA, 8, SHARED);
    }

    /** When the move is over the source writes nothing more. */
    void moveAndLook() {
      target.moveContextFrom(source);
      if (!next.tryRead(GPA, 8, SHARED)) {
        throw new AssertionError("the target has no memory: " + next.exit());
      }
      long seen = next.value();
      if (next.tryRead(GPA, 8, SHARED) && next.value() != seen) {
        throw new AssertionError("the dead machine has written: " + seen + ", " + next.value());
      }
    }

    void write() {
      old.tryWrite(GPA, 8, 2, SHARED);
      old.tryWrite(GPA, 8, 3, SHARED);
    }

    void convert() {
      assertThat(memfd.tryMakeInaccessible(0, PAGE)).isEqualTo(Errno.OK);
    }

    /** After its conversion neither machine has the page mapped as shared. */
    void convertAndLook() {
      convert();
      if (next.tryRead(GPA, 8, SHARED)) {
        throw new AssertionError("read as shared, and it is private");
      }
    }

    void unbind() {
      try {
        source.unbind(0);
        unbound = true;
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isEqualTo(Errno.EIO);
      }
    }

    void moveUnlessTheyDiffer() {
      try {
        target.moveContextFrom(source);
        moved = true;
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isEqualTo(Errno.EINVAL);
        assertThat(source.isDead()).isFalse();
      }
    }

    /** Nothing of a page is left mapped as what it is not; everything comes home. */
    void end() {
      if (moved && unbound) {
        throw new AssertionError("memslots did not match, or were changed of a dead machine");
      }
      boolean shared = linked.isOpen() && linked.isAccessible(0);
      assertThat(next.tryRead(GPA, 8, shared ? PRIVATE : SHARED)).isFalse();
      assertThat(old.tryRead(GPA, 8, shared ? PRIVATE : SHARED)).isFalse();
      memfd.close();
      linked.close();
      assertThat(next.tryRead(GPA, 8, SHARED) || next.tryRead(GPA, 8, PRIVATE)).isFalse();
      assertThat(host.violations()).isEmpty();
      assertThat(host.used()).isZero();
      host.close();
    }
  }

  private static void explore(Interleavings<World> world) {
    assertThat(world.atEnd(World::end).maxPreemptions(BOUND).explore().complete()).isTrue();
  }

  private static Interleavings<World> two() {
    return Interleavings.of(World::new);
  }

  @Test
  void aMoveAgainstTheSourcesGuest() {
    explore(two().thread("vmm", World::moveAndLook).thread("old", World::write));
  }

  @Test
  void aMoveAgainstAConversion() {
    explore(two().thread("vmm", World::moveUnlessTheyDiffer).thread("converts", World::convert));
  }

  @Test
  void aConversionReachesBothMachines() {
    explore(two().thread("converts", World::convertAndLook).thread("old", World::write));
  }

  /** Two machines with attributes of their own, which need no memslot. */
  private static final class Typed {
    final HostMemory host = HostMemory.builder(4L * PAGE).build();
    final VirtualMachine source = VirtualMachine.builder().type(VmType.SW_PROTECTED).build();
    final VirtualMachine target = VirtualMachine.builder().type(VmType.SW_PROTECTED).build();
    final HostRam ram = target.mapHostRam(host, PAGE);
    final Vcpu next = target.createVcpu();

    Typed() {
      source.setMemoryAttributes(GPA, PAGE, PRIVATE);
    }

    void move() {
      try {
        target.moveContextFrom(source);
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isEqualTo(Errno.EINVAL); // the target has a memslot already
      }
    }

    void bindAndRead() {
      target.setUserMemoryRegion2(new Memslot(0, 0, GPA, PAGE, ram.userAddress(), null, 0));
      next.tryRead(GPA, 8, SHARED);
    }

    void end() {
      boolean isPrivate = target.memoryAttribute(GPA).equals(Optional.of(PRIVATE));
      assertThat(isPrivate).isEqualTo(source.isDead());
      assertThat(next.tryRead(GPA, 8, SHARED)).isEqualTo(!isPrivate);
      ram.close();
      host.close();
    }
  }

  /** What is mapped by the attributes that the target had is not mapped any more. */
  @Test
  void aMoveAgainstAMemslotThatIsMade() {
    Interleavings.Report report =
        Interleavings.of(Typed::new)
            .thread("moves", Typed::move)
            .thread("binds", Typed::bindAndRead)
            .atEnd(Typed::end)
            .maxPreemptions(2)
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /** What is private in both machines is so at every moment. */
  @Test
  void aMoveAgainstAReader() {
    Interleavings.Report report =
        Interleavings.of(
                () -> {
                  Typed made = new Typed();
                  made.target.setMemoryAttributes(GPA - PAGE, 2 * PAGE, PRIVATE);
                  return made;
                })
            .thread("moves", Typed::move)
            .thread("reads", w -> assertThat(w.target.memoryAttribute(GPA)).contains(PRIVATE))
            .atEnd(
                w -> {
                  assertThat(w.target.memoryAttribute(GPA - PAGE)).contains(SHARED);
                  assertThat(w.target.memoryAttribute(GPA)).contains(PRIVATE);
                  w.ram.close();
                  w.host.close();
                })
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /** A change that has succeeded has gone over: also one that had nothing to change. */
  @Test
  void aMoveAgainstAChangeOfAttributes() {
    for (MemoryAttribute attribute : MemoryAttribute.values()) {
      Errno[] answer = new Errno[1];
      Interleavings.Report report =
          Interleavings.of(Typed::new)
              .thread(
                  "sets",
                  w ->
                      answer[0] =
                          w.source.trySetMemoryAttributes(
                              GPA, PAGE, attribute, new BusyGuestPage()))
              .thread("moves", Typed::move)
              .atEnd(
                  w -> {
                    assertThat(answer[0]).isIn(Errno.OK, Errno.EIO);
                    assertThat(w.target.memoryAttribute(GPA))
                        .contains(answer[0] == Errno.OK ? attribute : PRIVATE);
                    w.ram.close();
                    w.host.close();
                  })
              .maxPreemptions(2)
              .explore();
      assertThat(report.complete()).isTrue();
    }
  }

  @Test
  void aMoveAgainstAMemslotThatIsDeleted() {
    explore(two().thread("vmm", World::moveUnlessTheyDiffer).thread("unbinds", World::unbind));
  }

  @Test
  void aConversionAgainstTheSourcesClose() {
    explore(
        two()
            .thread(
                "converts",
                w -> {
                  if (w.linked.tryMakeInaccessible(0, PAGE) != Errno.OK) {
                    throw new AssertionError("not converted");
                  }
                })
            .thread("closes", w -> w.memfd.close()));
  }

  @Test
  void theTargetsGuestAgainstAConversionByTheSource() {
    explore(
        two()
            .thread("next", w -> w.next.tryRead(GPA, 8, SHARED))
            .thread("converts", w -> w.memfd.tryMakeInaccessible(0, PAGE)));
  }

  @Test
  void theTargetsGuestAgainstThePunchByTheSource() {
    explore(
        two()
            .thread("next", w -> w.next.tryWrite(GPA, 8, 5, SHARED))
            .thread("punches", w -> w.memfd.punchHole(0, PAGE)));
  }
}
