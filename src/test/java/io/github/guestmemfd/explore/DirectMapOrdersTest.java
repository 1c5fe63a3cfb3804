package io.github.guestmemfd.explore;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.testing.Interleavings;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Set;
import org.junit.jupiter.api.Test;

/**
 * The kernel's own access to a page against the first use of it, in every order of steps: what is
 * written to a page that has left the direct map is not read there.
 */
class DirectMapOrdersTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int BOUND = Integer.getInteger("explore.preemptions", 2);
  private static final long SECRET = 0x5ec2e7;

  /** A page that is allocated, and not used yet. */
  private static final class World {
    final HostMemory host = HostMemory.ofBytes(4L * PAGE);
    final GuestMemfd memfd =
        GuestMemfd.builder(host)
            .size(PAGE)
            .flags(MMAP, INIT_SHARED, NO_DIRECT_MAP)
            .traits(Set.of(FileTrait.ZAP_BEFORE_MAPPING))
            .retryPolicy(RetryPolicy.failAtOnce())
            .build();
    final HostMapping window = memfd.mmap(0, PAGE, Protection.READ, Protection.WRITE);
    final int pfn = 1;

    World() {
      memfd.allocate(0, PAGE);
    }

    /** A read through the direct map. */
    void spy() {
      ByteBuffer read = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
      try {
        host.directMap().read(pfn, 0, read);
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isEqualTo(Errno.EFAULT);
        return;
      }
      if (read.getLong(0) == SECRET) {
        throw new AssertionError("the secret was read through the direct map");
      }
    }

    /** A write through the direct map, to an unused page. */
    void scribble() {
      try {
        host.directMap()
            .write(pfn, 0, ByteBuffer.allocate(Long.BYTES).putLong(0, 0x1111_1111_1111_1111L));
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isEqualTo(Errno.EFAULT);
      }
    }

    void store() {
      window.putLong(0, SECRET);
    }

    void read() {
      if (window.getLong(0) != 0) {
        throw new AssertionError("a page that is not zero at first");
      }
    }

    void guest() {
      try (Folio folio = memfd.grab(0)) {
        folio.buffer().putLong(0, SECRET);
      }
    }

    void punch() {
      memfd.punchHole(0, PAGE);
    }

    /** A reference is refused, whatever the page is. */
    void gup() {
      try (HostReference got = window.getUserPages(0, 8)) {
        throw new AssertionError("expected EFAULT, actual " + got);
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isEqualTo(Errno.EFAULT);
      }
    }

    /** No holder can keep the page from it. */
    void convert() {
      assertThat(memfd.tryMakeInaccessible(0, PAGE)).isEqualTo(Errno.OK);
    }

    void end() {
      window.close();
      assertThat(host.violations()).isEmpty();
      memfd.close();
      assertThat(host.used()).isZero();
      host.close();
    }
  }

  private static void explore(Interleavings<World> world) {
    assertThat(world.atEnd(World::end).maxPreemptions(BOUND).explore().complete()).isTrue();
  }

  private static Interleavings<World> spied() {
    return Interleavings.of(World::new).thread("spy", World::spy);
  }

  @Test
  void aReadAgainstAFaultOfTheHost() {
    explore(spied().thread("host", World::store));
  }

  @Test
  void aReadAgainstTheGuest() {
    explore(spied().thread("guest", World::guest));
  }

  @Test
  void aReadAgainstAUseAndThePunch() {
    explore(
        spied()
            .thread(
                "host",
                w -> {
                  w.store();
                  w.punch();
                }));
  }

  @Test
  void aWriteAgainstAFaultOfTheHost() {
    explore(
        Interleavings.of(World::new).thread("kernel", World::scribble).thread("host", World::read));
  }

  @Test
  void gupAgainstAFaultAndAConversion() {
    explore(
        Interleavings.of(World::new)
            .thread("gup", World::gup)
            .thread(
                "host",
                w -> {
                  w.store();
                  w.convert();
                }));
  }
}
