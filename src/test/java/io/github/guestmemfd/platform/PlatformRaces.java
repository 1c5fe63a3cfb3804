package io.github.guestmemfd.platform;

import static io.github.guestmemfd.platform.PlatformWorld.PAGE;
import static io.github.guestmemfd.platform.PlatformWorld.PAGES;
import static io.github.guestmemfd.platform.PlatformWorld.SIZE;
import static io.github.guestmemfd.platform.PlatformWorld.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.MachineOps;
import io.github.guestmemfd.spi.InjectedFault;
import io.github.guestmemfd.testing.Interleavings;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;

/** Races of a guest with operations on its file: what every platform owes, whatever fails. */
abstract class PlatformRaces {
  private static final int ROUNDS = 400;

  /** A guest, on hardware of its own, that has not been launched. */
  abstract PlatformGuest guest();

  /** Lets the hardware of a guest fail now and then. */
  abstract void failNowAndThen(PlatformGuest guest);

  /** How many frames the hardware of a guest does not have for the host. */
  abstract long owned(PlatformGuest guest);

  /** Whether a page that turns accessible is the host's to the hardware. */
  boolean conversionGivesBack() {
    return true;
  }

  /** Gives back what the end of the file has left in use, if the platform keeps frames. */
  long giveBackKept(PlatformGuest guest) {
    return 0;
  }

  /** Whether the attributes are those of a machine with two memories. */
  boolean hasTwoMemories() {
    return false;
  }

  private PlatformWorld<PlatformGuest> world() {
    return newWorld(guest()).running();
  }

  private PlatformWorld<PlatformGuest> newWorld(PlatformGuest guest) {
    return newWorld(guest, guest);
  }

  private PlatformWorld<PlatformGuest> newWorld(PlatformGuest guest, GuestMemfdOps ops) {
    return hasTwoMemories()
        ? PlatformWorld.ofTwoMemories(guest, ops)
        : new PlatformWorld<>(guest, ops);
  }

  // ---- every order ----

  private static final class Small implements AutoCloseable {
    private static final long OTHERS = 99;

    final PlatformWorld<PlatformGuest> world;
    private final GuestMemfd other;
    private Folio reused;

    Small(PlatformWorld<PlatformGuest> world) {
      this.world = world;
      other = GuestMemfd.builder(world.host).size(PAGE).build();
      world.guest.finishLaunch();
      world.tryMakePrivate(0, PAGE);
      world.guest.use(world.memfd, 0);
    }

    void useAndWrite() {
      if (world.guest.use(world.memfd, 0) == Errno.OK) {
        world.guest.write(0, 7);
      }
    }

    /** Punches the page; another file then has the only frame that is free. */
    void punchAndReuse() {
      world.memfd.punchHole(0, PAGE);
      reused = other.grab(0);
      reused.buffer().putLong(0, OTHERS);
    }

    void assertReusedIsIntact() {
      Folio folio = Objects.requireNonNull(reused);
      assertEquals(OTHERS, folio.buffer().getLong(0), "the frame is another's");
      folio.close();
    }

    void tryConvert() {
      try {
        world.tryShare(0, PAGE);
      } catch (InjectedFault e) {
        // The callback has thrown. The end of an unmapping does that when it is too late to undo.
        boolean done = e.getMessage().startsWith("unmapEnd");
        assertEquals(done, world.isShared(0));
      }
    }

    @Override
    public void close() {
      other.close();
      world.closeAll();
    }
  }

  private Interleavings<Small> every() {
    return Interleavings.of(() -> new Small(newWorld(guest()))).maxPreemptions(2);
  }

  private void atEnd(Small w, boolean mayFail) {
    if (w.world.isShared(0)) {
      assertFalse(w.world.guest.isMapped(0));
      assertTrue(
          mayFail || !conversionGivesBack() || owned(w.world.guest) == 0, "the page is the host's");
    }
    assertEquals(List.of(), w.world.host.violations());
    w.close();
    assertTrue(mayFail || owned(w.world.guest) == 0, "nothing is left of the guest");
    assertEquals(w.world.host.used(), giveBackKept(w.world.guest) * PAGE);
    w.world.host.close();
  }

  /** The guest faults its page in again and writes to it while the host takes it. */
  @Test
  void aFaultAndAConversionInEveryOrder() {
    Interleavings.Report report =
        every()
            .thread("guest", Small::useAndWrite)
            .thread("monitor", w -> w.world.tryShare(0, PAGE))
            .atEnd(w -> atEnd(w, false))
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /** The same while the hardware, or the callback around it, fails once in the conversion. */
  @Test
  void aFaultAndAConversionOnFailingHardwareInEveryOrder() {
    every()
        .thread("guest", Small::useAndWrite)
        .thread("monitor", Small::tryConvert)
        .failure("monitor")
        .atEnd(w -> atEnd(w, true))
        .maxOrders(4_000)
        .explore();
  }

  /** A vCPU uses a page for the first time while another reads it: it meets all of it or none. */
  @Test
  void aFirstUseAndAnAccessInEveryOrder() {
    Interleavings.Report report =
        Interleavings.of(
                () -> {
                  Small small = new Small(newWorld(guest()));
                  small.world.memfd.punchHole(0, PAGE);
                  return small;
                })
            .thread("one", Small::useAndWrite)
            .thread("other", w -> w.world.guest.read(0))
            .atEnd(
                w -> {
                  assertThat(w.world.guest.death()).isEmpty();
                  assertEquals(7, w.world.guest.read(0).orElseThrow());
                  atEnd(w, false);
                })
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /** A conversion is interrupted at any of its waits, and made again. */
  @Test
  void anAccessAndAnInterruptedConversionInEveryOrder() {
    every()
        .thread("guest", w -> w.world.guest.compareAndExchange(0, 0, 7))
        .thread(
            "monitor",
            w -> {
              if (w.world.tryShare(0, PAGE) == Errno.EINTR) {
                Thread.interrupted();
                assertEquals(Errno.OK, w.world.tryShare(0, PAGE));
              }
            })
        .interrupt("monitor")
        .atEnd(w -> atEnd(w, false))
        .maxOrders(4_000)
        .explore();
  }

  /** A page is punched, and its frame is another file's at once, while the guest writes to it. */
  @Test
  void anAccessAndAPunchInEveryOrder() {
    every()
        .thread("guest", w -> w.world.guest.write(0, 7))
        .thread("monitor", Small::punchAndReuse)
        .atEnd(
            w -> {
              w.assertReusedIsIntact();
              atEnd(w, false);
            })
        .maxOrders(6_000)
        .explore();
  }

  // ---- three threads ----

  /** Two vCPUs and a monitor that converts and punches, on hardware that fails now and then. */
  @Test
  void threeThreadsOnFailingHardware() throws Exception {
    try (PlatformWorld<PlatformGuest> w = world()) {
      failNowAndThen(w.guest);
      AtomicBoolean over = new AtomicBoolean();
      List<Worker<Void>> vcpus = new ArrayList<>();
      for (int i = 0; i < 2; i++) {
        SplittableRandom random = new SplittableRandom(i);
        vcpus.add(Worker.start(() -> vcpu(w, random, over)));
      }
      SplittableRandom random = new SplittableRandom(7);
      for (int i = 0; i < ROUNDS; i++) {
        int from = random.nextInt(PAGES);
        long length = at(1 + random.nextInt(PAGES - from));
        switch (random.nextInt(3)) {
          case 0 -> w.tryMakePrivate(at(from), length);
          case 1 -> w.tryShare(at(from), length);
          default -> w.memfd.punchHole(at(from), length);
        }
      }
      over.set(true);
      for (Worker<Void> vcpu : vcpus) {
        vcpu.result();
      }
      assertEquals(List.of(), w.host.violations());
      w.closeAll();
      assertEquals(w.host.used(), giveBackKept(w.guest) * PAGE);
      assertEquals(0, w.host.used());
    }
  }

  private static Void vcpu(
      PlatformWorld<PlatformGuest> w, SplittableRandom random, AtomicBoolean over) {
    while (!over.get()) {
      long page = at(random.nextInt(PAGES));
      if (w.guest.use(w.memfd, page) == Errno.OK) {
        OptionalLong number = w.guest.read(page);
        if (number.isPresent()) {
          w.guest.compareAndExchange(page, number.getAsLong(), number.getAsLong() + 1);
        }
      }
    }
    return null;
  }

  // ---- an interrupt, and a second operation ----

  /** The second operation waits for the access that the interrupted one has left under way. */
  @Test
  void anInterruptedInvalidationLeavesItsWaitToTheNext() throws Exception {
    try (PlatformWorld<PlatformGuest> w = world()) {
      w.put(0, 42);
      FrameAccess frames = w.memfd.frameAccess();
      long access = frames.begin(w.pfn(0));
      assertEquals(Errno.EINTR, interruptedConversion(w));
      assertTrue(w.guest.read(0).isEmpty(), "blocked");

      Worker<Errno> next = Worker.start(() -> w.tryShare(0, PAGE));
      Thread.sleep(20);
      assertFalse(w.isShared(0));
      assertFalse(next.isDone());
      frames.end(access);
      assertEquals(Errno.OK, next.result());
      assertTrue(w.isShared(0));
      assertFalse(w.guest.isMapped(0));
      assertTrue(!conversionGivesBack() || owned(w.guest) == 0);
    }
  }

  /** What an interrupted invalidation has blocked the guest can use again, and nothing is lost. */
  @Test
  void aFaultMapsAgainWhatAnInterruptedInvalidationHasBlocked() throws Exception {
    try (PlatformWorld<PlatformGuest> w = world()) {
      w.put(0, 42);
      FrameAccess frames = w.memfd.frameAccess();
      long access = frames.begin(w.pfn(0));
      assertEquals(Errno.EINTR, interruptedConversion(w));
      frames.end(access);
      assertEquals(42, w.get(0));
    }
  }

  /** A conversion that is interrupted when it has blocked page 0, to which there is an access. */
  private static Errno interruptedConversion(PlatformWorld<PlatformGuest> w) throws Exception {
    Worker<Errno> conversion = Worker.start(() -> w.tryShare(0, PAGE));
    while (w.guest.isMapped(0)) {
      Thread.onSpinWait();
    }
    conversion.interrupt();
    return conversion.result();
  }

  // ---- callbacks that throw ----

  /** Passes everything on to a guest, and then throws once; before that where it would begin. */
  private static final class Throws implements MachineOps {
    private final PlatformGuest next;
    String at = "";

    Throws(PlatformGuest next) {
      this.next = next;
    }

    private void pass(String callback) {
      if (callback.equals(at)) {
        at = "";
        throw new IllegalStateException(callback);
      }
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      return next.invalidateBegin(offset, length);
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      next.invalidateEnd(offset, length);
      pass("invalidateEnd");
    }

    @Override
    public Errno unmapBegin(long offset, long length) {
      pass("unmapBegin");
      return next.unmapBegin(offset, length);
    }

    @Override
    public void unmapEnd(long offset, long length) {
      next.unmapEnd(offset, length);
      pass("unmapEnd");
    }

    @Override
    public Errno prepareAccessible(Folio folio) {
      Errno errno = next.prepareAccessible(folio);
      pass("prepareAccessible");
      return errno;
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      Errno errno = next.prepareInaccessible(folio);
      pass("prepareInaccessible");
      return errno;
    }

    @Override
    public void freeFolio(Folio folio) {
      next.freeFolio(folio);
      pass("freeFolio");
    }

    @Override
    public void release() {
      next.release();
    }
  }

  /** A callback around the guest's throws: what was begun is undone, and the guest goes on. */
  @Test
  void aCallbackThatThrowsLosesNothing() {
    List<String> callbacks =
        hasTwoMemories()
            ? List.of("unmapBegin", "unmapEnd", "freeFolio")
            : List.of("invalidateEnd", "prepareAccessible", "freeFolio");
    for (String callback : callbacks) {
      PlatformGuest guest = guest();
      Throws ops = new Throws(guest);
      try (PlatformWorld<PlatformGuest> w = newWorld(guest, ops).running()) {
        for (int i = 0; i < PAGES; i++) {
          w.put(i, 100 + i);
        }
        ops.at = callback;
        boolean punch = callback.equals("freeFolio");
        assertThatThrownBy(
                () -> {
                  if (punch) {
                    w.memfd.punchHole(at(1), PAGE);
                  } else {
                    w.share(at(1), 2 * PAGE);
                  }
                })
            .isInstanceOf(IllegalStateException.class);
        assertThat(ops.at).as(callback).isEmpty();
        boolean done = callback.equals("unmapEnd"); // it comes when the attributes have changed
        assertEquals(done, w.isShared(at(1)));
        assertEquals(Errno.OK, w.tryMakePrivate(at(1), 2 * PAGE));
        for (int i = 0; i < PAGES; i++) {
          boolean touched = i == 1 || (i == 2 && !punch);
          long found = w.get(i);
          if (!touched) {
            assertEquals(100 + i, found, callback);
          } else if (!punch) {
            assertThat(found).isIn(100L + i, 0L); // what unmapping makes of it
          }
          w.put(i, 200 + i);
          assertEquals(200 + i, w.get(i));
        }
        assertEquals(Errno.OK, w.tryShare(0, SIZE));
        assertTrue(!conversionGivesBack() || owned(guest) == 0);
      }
    }
  }

  // ---- misuse ----

  @Test
  void aFileOfAnotherGuestIsRefused() {
    try (PlatformWorld<PlatformGuest> w = world();
        GuestMemfd other = w.describe().flags(0).build()) {
      assertEquals(Errno.EFAULT, w.guest.map(other, 0), "shared, and not the guest's from then on");
      w.put(0, 1);
      other.makeInaccessible(0, PAGE);
      assertEquals(Errno.EINVAL, w.guest.map(other, 0));
      assertTrue(other.holders(0).isHole());
      assertEquals(1, w.get(0));
    }
  }

  @Test
  void whatIsNotThereIsRefused() {
    try (PlatformWorld<PlatformGuest> w = world()) {
      assertEquals(Errno.EINVAL, w.guest.map(w.memfd, -1));
      assertEquals(Errno.EINVAL, w.guest.map(w.memfd, SIZE));
      assertEquals(Errno.ENOENT, w.guest.accept(0));
      assertThat(w.guest.read(0)).isEmpty();
      assertFalse(w.guest.write(0, 1));
      assertThatThrownBy(() -> w.guest.read(4)).isInstanceOf(IllegalArgumentException.class);
      GuestMemfd closed = w.memfd.dup();
      closed.close();
      assertEquals(Errno.EBADF, w.guest.map(closed, 0));
      assertEquals(Errno.EINVAL, w.guest.finishLaunch());
    }
  }

  @Test
  void aFaultBeforeTheLaunchIsRefused() {
    try (PlatformWorld<PlatformGuest> w = newWorld(guest())) {
      assertEquals(Errno.OK, w.tryMakePrivate(0, SIZE));
      assertEquals(Errno.EOPNOTSUPP, w.guest.map(w.memfd, 0));
      assertEquals(Errno.OK, w.guest.finishLaunch());
      assertEquals(Errno.OK, w.guest.map(w.memfd, 0));
    }
  }

  @Test
  void aFullHostRefusesAFault() {
    try (PlatformWorld<PlatformGuest> w = world();
        GuestMemfd other = GuestMemfd.builder(w.host).size(16 * PAGE).build()) {
      other.allocate(0, 16 * PAGE);
      assertEquals(Errno.ENOMEM, w.guest.use(w.memfd, 0));
      assertThat(w.guest.isMapped(0)).isFalse();
      other.punchHole(0, PAGE);
      assertEquals(Errno.OK, w.guest.use(w.memfd, 0));
    }
  }
}
