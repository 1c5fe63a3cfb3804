package io.github.guestmemfd;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.kvm.HostRam;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.Interleavings;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** What goes wrong beside a process, or in making one, leaves nothing behind. */
class AddressSpaceTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private static GuestMemfd file(HostMemory host) {
    return GuestMemfd.builder(host).size(PAGE).flags(MMAP, INIT_SHARED).build();
  }

  private static Throwable thrownBy(Runnable call) {
    try {
      call.run();
      return new AssertionError("nothing was thrown");
    } catch (Throwable e) {
      return e;
    }
  }

  @Test
  void aFileOfAnotherHostIsNotMapped() {
    try (HostMemory a = HostMemory.ofBytes(PAGE);
        HostMemory b = HostMemory.ofBytes(PAGE);
        GuestMemfd memfd = file(a)) {
      assertThatThrownBy(() -> b.addressSpace().mmap(memfd, 0, PAGE, MapType.SHARED, READ))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("expected a file of the same host");
      assertThat(b.addressSpace().mappings()).isEmpty();
    }
  }

  /** A mapping that cannot be added to its process is undone wherever the thread is. */
  @Test
  void aMappingForAProcessThatHasEndedIsUndoneInAWindow() {
    try (HostMemory host = HostMemory.ofBytes(PAGE);
        GuestMemfd memfd = file(host);
        HostMapping window = memfd.mmap(0, PAGE, READ, WRITE)) {
      AddressSpace child = host.addressSpace().fork();
      child.close();
      List<Throwable> thrown = new ArrayList<>();
      window.window(
          0,
          8,
          READ,
          (at, bytes) ->
              thrown.add(thrownBy(() -> child.mmap(memfd, 0, PAGE, MapType.SHARED, READ))));
      assertThat(thrown).singleElement().isInstanceOf(IllegalStateException.class);
    } // the host has no file left
  }

  @Test
  void aForkThatFailsIsUndoneInAWindow() {
    AtomicInteger inherited = new AtomicInteger();
    HostMemory.Builder builder =
        HostMemory.builder(PAGE)
            .raceHook(
                (point, index) -> {
                  if (point == RacePoint.BEFORE_INHERIT && inherited.incrementAndGet() == 2) {
                    throw new UnsupportedOperationException("injected");
                  }
                });
    try (HostMemory host = builder.build();
        GuestMemfd memfd = file(host);
        HostMapping window = memfd.mmap(0, PAGE, READ, WRITE);
        HostMapping second = memfd.mmap(0, PAGE, READ)) {
      List<Throwable> thrown = new ArrayList<>();
      window.window(0, 8, READ, (at, bytes) -> thrown.add(thrownBy(host.addressSpace()::fork)));
      assertThat(thrown).singleElement().isInstanceOf(UnsupportedOperationException.class);
      assertThat(second.isClosed()).isFalse();
    }
  }

  @Test
  void aListenerThatThrowsLeavesNoChild() {
    GuestMemfdListener listener =
        new GuestMemfdListener() {
          @Override
          public void fork(AddressSpace parent, AddressSpace child) {
            throw new UnsupportedOperationException("injected");
          }
        };
    try (HostMemory host = HostMemory.ofBytes(PAGE);
        GuestMemfd memfd =
            GuestMemfd.builder(host)
                .size(PAGE)
                .flags(MMAP, INIT_SHARED)
                .listener(listener)
                .build();
        HostMapping window = memfd.mmap(0, PAGE, READ)) {
      assertThatThrownBy(host.addressSpace()::fork)
          .isInstanceOf(UnsupportedOperationException.class);
      assertThat(window.isClosed()).isFalse();
    }
  }

  @Test
  void memoryOfTheHostIsNotInheritedWhateverItsViewIsAdvised() {
    try (HostMemory host = HostMemory.ofBytes(PAGE);
        HostRam ram = new VirtualMachine().mapHostRam(host, PAGE)) {
      ram.mapping().madvise(0, PAGE, Advice.DOFORK);
      ram.mapping().putLong(0, 5);
      try (AddressSpace child = host.addressSpace().fork()) {
        assertThat(child.inherited(ram.mapping()).tryGetLong(0, -1)).isEqualTo(-1);
      }
    }
  }

  // ---- orders ----

  private static final class World {
    final HostMemory host = HostMemory.ofBytes(PAGE);
    final GuestMemfd memfd;
    final HostMapping one;
    final AtomicInteger exits = new AtomicInteger();
    AddressSpace child = host.addressSpace();
    HostRam ram;
    HostMapping moved;
    Errno advised = Errno.OK;

    World() {
      GuestMemfdListener listener =
          new GuestMemfdListener() {
            @Override
            public void exit(AddressSpace process) {
              exits.incrementAndGet();
            }
          };
      memfd =
          GuestMemfd.builder(host).size(PAGE).flags(MMAP, INIT_SHARED).listener(listener).build();
      one = memfd.mmap(0, PAGE, READ, WRITE);
    }

    World withChild() {
      child = host.addressSpace().fork();
      return this;
    }

    void advise() {
      try {
        one.madvise(0, PAGE, Advice.DONTFORK);
      } catch (GuestMemfdException e) {
        advised = e.errno();
      }
    }

    void close() {
      host.addressSpace().mappings().forEach(HostMapping::close);
      memfd.close();
      host.close();
    }
  }

  /** Advice is taken by the mapping that is moved, before or after; it is not lost on the way. */
  @Test
  void adviceAgainstAMove() {
    Interleavings.of(World::new)
        .maxPreemptions(2)
        .thread("advises", World::advise)
        .thread("moves", w -> w.moved = w.one.mremap(0, PAGE, PAGE))
        .atEnd(
            w -> {
              boolean kept = w.moved.toString().contains("not inherited");
              w.close();
              assertThat(kept).isEqualTo(w.advised == Errno.OK);
            })
        .explore();
  }

  @Test
  void aForkAgainstNewMemoryOfTheHost() {
    Interleavings.of(World::new)
        .maxPreemptions(2)
        .thread("ram", w -> w.ram = new VirtualMachine().mapHostRam(w.host, PAGE))
        .thread("forks", w -> w.child = w.host.addressSpace().fork())
        .atEnd(
            w -> {
              HostMapping inherited = w.child.inherited().get(w.ram.mapping());
              boolean seen = inherited != null && inherited.tryGetLong(0, -1) != -1;
              w.child.close();
              w.ram.close();
              w.close();
              assertThat(seen).isFalse();
            })
        .explore();
  }

  /** What is closed is inherited whole, or not at all. */
  @Test
  void aForkAgainstAClose() {
    Interleavings.of(World::new)
        .maxPreemptions(2)
        .thread("closes", w -> w.one.close())
        .thread("forks", w -> w.child = w.host.addressSpace().fork())
        .atEnd(
            w -> {
              HostMapping inherited = w.child.inherited().get(w.one);
              boolean hole = inherited != null && inherited.tryGetLong(0, -1) != 0;
              w.child.close();
              w.close();
              assertThat(hole).isFalse();
            })
        .explore();
  }

  @Test
  void anExitIsToldOnce() {
    Interleavings.of(() -> new World().withChild())
        .maxPreemptions(2)
        .thread("a", w -> w.child.close())
        .thread("b", w -> w.child.close())
        .atEnd(
            w -> {
              w.close();
              assertThat(w.exits).hasValue(1);
            })
        .explore();
  }
}
