package io.github.guestmemfd.explore;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.AddressSpace;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.testing.Interleavings;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** A fork against each change, in every order of steps with at most two pre-emptions. */
class ForkOrdersTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  /** A file of a page, mapped twice. */
  private static final class World {
    final HostMemory host = HostMemory.builder(8L * PAGE).poisonViews().build();
    final GuestMemfd memfd =
        GuestMemfd.builder(host)
            .size(PAGE)
            .flags(MMAP, INIT_SHARED)
            .retryPolicy(RetryPolicy.failAtOnce())
            .build();
    final HostMapping one = memfd.mmap(0, PAGE, READ, WRITE);
    final HostMapping two = memfd.mmap(0, PAGE, READ, WRITE);
    @Nullable HostMapping moved;
    @Nullable AddressSpace child;

    World() {
      one.putLong(0, 1);
    }

    void fork() {
      child = host.addressSpace().fork();
    }

    /** The child forks and touches: 1 as it was, 0 after a punch, or a signal. */
    void forkAndTouch() {
      fork();
      assertThat(touch(heir(one))).isIn(0L, 1L, -1L);
    }

    static long touch(HostMapping mapping) {
      return mapping.tryGetLong(0, -1);
    }

    HostMapping heir(HostMapping of) {
      return child().inherited(of);
    }

    AddressSpace child() {
      AddressSpace forked = child;
      if (forked == null) {
        throw new AssertionError("not forked");
      }
      return forked;
    }

    boolean isInherited(HostMapping of) {
      HostMapping heir = child().inherited().get(of);
      return heir != null && !heir.toString().contains("unmapped");
    }

    void moveOne() {
      moved = one.mremap(0, PAGE, PAGE);
    }

    void close() {
      child().close();
      one.close();
      two.close();
      if (moved != null) {
        moved.close();
      }
      memfd.close();
      assertThat(host.violations()).isEmpty();
      assertThat(host.used()).isZero();
      host.close();
    }
  }

  private static Interleavings<World> world() {
    return world(w -> {});
  }

  private static Interleavings<World> world(Consumer<World> check) {
    return Interleavings.of(World::new)
        .maxPreemptions(2)
        .atEnd(
            w -> {
              check.accept(w);
              w.close();
            });
  }

  /** What was unmapped first is not there alone: a moment is inherited, not one mapping by one. */
  @Test
  void munmapsOfTwoMappings() {
    world(
            w ->
                assertThat(w.isInherited(w.one) && !w.isInherited(w.two))
                    .as("the first without the second")
                    .isFalse())
        .thread("fork", World::fork)
        .thread(
            "munmap",
            w -> {
              w.one.close();
              w.two.munmap(0, PAGE);
            })
        .explore();
  }

  /** It is inherited where it was or where it is, and not twice, or not at all. */
  @Test
  void mremap() {
    world(w -> assertThat(w.isInherited(w.one)).isNotEqualTo(w.isInherited(w.moved)))
        .thread("fork", World::fork)
        .thread("mremap", World::moveOne)
        .explore();
  }

  @Test
  void adviceNotToInherit() {
    world()
        .thread("fork", World::fork)
        .thread("advice", w -> w.one.madvise(0, PAGE, Advice.DONTFORK))
        .explore();
  }

  @Test
  void mmapAndFaultOfTheParent() {
    world()
        .thread("fork", World::forkAndTouch)
        .thread("fault", w -> w.two.putLong(0, 1))
        .thread("mmap", w -> w.memfd.mmap(0, PAGE, READ).close())
        .explore();
  }

  @Test
  void punchAndFaultOfTheChild() {
    world(w -> assertThat(World.touch(w.heir(w.one))).isZero())
        .thread("fork", World::forkAndTouch)
        .thread("punch", w -> w.memfd.punchHole(0, PAGE))
        .explore();
  }

  @Test
  void conversionAndFaultOfTheChild() {
    world(
            w -> {
              boolean accessible = w.memfd.isAccessible(0);
              assertThat(World.touch(w.heir(w.one))).isEqualTo(accessible ? 1 : -1);
              assertThat(World.touch(w.one)).isEqualTo(accessible ? 1 : -1);
            })
        .thread("fork", World::forkAndTouch)
        .thread("convert", w -> w.memfd.tryMakeInaccessible(0, PAGE))
        .explore();
  }

  /** The file ends with whichever lets go last, once. */
  @Test
  void endOfEverythingElse() {
    world()
        .thread("fork", World::fork)
        .thread(
            "close",
            w -> {
              w.memfd.close();
              w.one.close();
              w.two.close();
            })
        .explore();
  }

  @Test
  void exitOfTheParent() {
    world()
        .thread(
            "fork",
            w -> {
              w.fork();
              w.child().close();
            })
        .thread("close", w -> w.two.close())
        .explore();
  }

  @Test
  void interruptedMunmap() {
    world()
        .thread("fork", World::fork)
        .thread(
            "munmap",
            w -> {
              try {
                w.one.munmap(0, PAGE);
              } catch (GuestMemfdException e) {
                assertThat(e.errno()).isEqualTo(Errno.EINTR);
              }
            })
        .interrupt("munmap")
        .explore();
  }
}
