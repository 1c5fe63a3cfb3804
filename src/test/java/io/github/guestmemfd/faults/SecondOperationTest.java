package io.github.guestmemfd.faults;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.Mapped;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Stream;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The part of the fault matrix that needs three threads. An access to a page is under way, a first
 * operation waits for it and is disturbed in its wait, and a second operation on the same page
 * begins before the access has ended.
 *
 * <p>Whichever the two are, and whichever way the access goes: the second one does not come to its
 * end before the access, the frame stays where it is, and in the end everything is as if the
 * operations had come one after the other.
 */
@Timeout(value = 600, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class SecondOperationTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long GPA = 0x10_0000;
  private static final long OLD = 0x01d;
  private static final long NEW = 0x2e3;
  private static final long SECRET = 0x5ec2e7_5ec2e7L;

  /** The way of the access, and so whose page it is. */
  enum Way {
    MAPPING,
    VCPU_SHARED,
    VCPU_SHARED_KEEPING_REFERENCES,
    VCPU_PRIVATE,
    VCPU_PRIVATE_KEEPING_REFERENCES;

    boolean isPrivate() {
      return this == VCPU_PRIVATE || this == VCPU_PRIVATE_KEEPING_REFERENCES;
    }

    boolean keepsReferences() {
      return this == VCPU_SHARED_KEEPING_REFERENCES || this == VCPU_PRIVATE_KEEPING_REFERENCES;
    }
  }

  enum Operation {
    /** To what the page is not. */
    CONVERT,
    PUNCH,
    DONT_NEED,
    MEMORY_FAILURE,
    MUNMAP_PART,
    MPROTECT,
    MREMAP,
    MUNMAP,
    UNBIND,
    /** Closes the last descriptor, and the mapping. */
    CLOSE;

    boolean isInterruptible() {
      return compareTo(MUNMAP) < 0;
    }

    /** Whether it changes what the mapping maps: with its lock, and not with the page busy. */
    boolean isOfMapping() {
      return compareTo(MUNMAP_PART) >= 0 && compareTo(MUNMAP) <= 0;
    }

    boolean unmaps() {
      return this == MUNMAP_PART || closesMapping();
    }

    boolean closesMapping() {
      return this == MUNMAP || this == CLOSE;
    }
  }

  /** What happens to the first operation in its wait. */
  enum Disturbance {
    /** It is interrupted, and then the second begins. */
    INTERRUPT,
    /** The second begins, and then it is interrupted. */
    LATE_INTERRUPT,
    /** The idle strategy throws a StackOverflowError, and then the second begins. */
    STACK_OVERFLOW,
    /** The idle strategy throws an OutOfMemoryError, and then the second begins. */
    OUT_OF_MEMORY
  }

  /** What came of an operation, and the interrupt status it left. */
  private record Outcome(Object result, boolean interrupted) {}

  private static final Set<Operation> SECONDS =
      EnumSet.complementOf(EnumSet.of(Operation.DONT_NEED));

  static Stream<Arguments> all() {
    List<Arguments> all = new ArrayList<>();
    for (Way way : Way.values()) {
      for (Operation first : Operation.values()) {
        if (way.isPrivate() && first.isOfMapping()) {
          continue; // a mapping has no entry of such a page, and waits for nothing
        }
        for (Operation second : SECONDS) {
          if (first.unmaps() && second.isOfMapping() && !second.unmaps()) {
            continue; // what is not mapped is neither protected nor moved
          }
          if (first.closesMapping() && second == Operation.MUNMAP_PART) {
            continue; // a mapping that is closed is used no more
          }
          for (Disturbance disturbance : Disturbance.values()) {
            all.add(Arguments.of(way, first, second, disturbance));
          }
        }
      }
    }
    return all.stream();
  }

  @AutoClose private final RacePoints races = new RacePoints();
  private final WaitProbe probe = new WaitProbe();

  @ParameterizedTest
  @MethodSource("all")
  void comesAfterTheAccess(Way way, Operation first, Operation second, Disturbance disturbance)
      throws Exception {
    new Run(way, first, second, disturbance).play();
  }

  private final class Run {
    private final Way way;
    private final Operation first;
    private final Operation second;
    private final Disturbance disturbance;

    /** A frame for the page, and one that a neighbour has. */
    private final HostMemory host =
        HostMemory.builder(2L * PAGE).raceHook(races).idleStrategy(probe).build();

    private final VirtualMachine vm;
    private final Vcpu vcpu;
    private final GuestMemfd neighbour = GuestMemfd.builder(host).size(2L * PAGE).build();
    private final GuestMemfd memfd;
    private final HostMapping window;
    private final List<HostMapping> moved = new CopyOnWriteArrayList<>();
    private final int pfn;

    Run(Way way, Operation first, Operation second, Disturbance disturbance) {
      this.way = way;
      this.first = first;
      this.second = second;
      this.disturbance = disturbance;
      VirtualMachine.Builder builder = VirtualMachine.builder().raceHook(races).idleStrategy(probe);
      vm = (way.keepsReferences() ? builder.keepReferences() : builder).build();
      vcpu = vm.createVcpu();
      memfd =
          vm.createGuestMemfd(
              GuestMemfd.builder(host)
                  .size(PAGE)
                  .flags(MMAP, INIT_SHARED)
                  // Long: for a reference that an unmapping beside it is about to drop.
                  .retryPolicy(RetryPolicy.spinThenWait(0, Duration.ofHours(1))));
      window = memfd.mmap(0, PAGE, READ, WRITE);
      vm.bind(0, GPA, PAGE, memfd, 0);
      if (way.isPrivate()) {
        memfd.makeInaccessible(0, PAGE);
      }
      assertTrue(vcpu.tryWrite(GPA, 8, OLD, way.isPrivate() ? PRIVATE : SHARED));
      if (isMapped()) {
        assertEquals(OLD, window.getLong(0));
      }
      pfn = SlotWord.pfn(Insides.slot(memfd, 0));
      try (Folio folio = neighbour.grab(0)) {
        folio.buffer().putLong(0, SECRET);
      }
    }

    /** Whether the mapping has an entry of the page. */
    private boolean isMapped() {
      return way == Way.MAPPING
          || (!way.isPrivate()
              && (first.isOfMapping() || first == Operation.DONT_NEED || second.isOfMapping()));
    }

    void play() throws Exception {
      RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
      Worker<Boolean> access = Worker.start(this::access);
      gate.awaitReached();
      Worker<Outcome> one = start(first);
      probe.awaitWaiting(one, 1);
      assertNothingIsFreed();
      if (disturbance != Disturbance.LATE_INTERRUPT) {
        disturb(one, firstStays());
      }
      Worker<Outcome> two = start(second);
      if (doesNotWait()) {
        two.result();
      } else {
        probe.awaitWaiting(two, 1);
      }
      if (disturbance == Disturbance.LATE_INTERRUPT) {
        disturb(one, isLeftToTheFirst());
        if (isLeftToTheFirst()) {
          probe.awaitWaiting(one, 2); // has given up, and waits again to end the file
        }
        if (first.isInterruptible()
            && second.isInterruptible()
            && first.isOfMapping() == second.isOfMapping()) {
          probe.awaitWaiting(two, 2); // no more for the first, but for the access
        }
      }
      assertNothingIsFreed();
      Worker<Outcome> three = two;
      if (second.isInterruptible() && !doesNotWait()) {
        two.interrupt();
        assertEquals(new Outcome(Errno.EINTR, true), two.result());
        three = start(second);
        probe.awaitWaiting(three, 1);
        assertNothingIsFreed();
      }
      assertEquals(doesNotWait(), three.isDone(), "the access is under way");
      assertFalse(access.isDone());
      gate.release();

      assertTrue(access.result());
      assertEquals(expectedOfFirst(), one.result(), "the first");
      assertEquals(new Outcome(expectedOfSecond(), false), three.result(), "the second");
      Worker.start(
              () -> {
                assertAllIsWell();
                return null;
              })
          .result();
    }

    private boolean access() {
      if (way == Way.MAPPING) {
        window.putLong(0, NEW);
        return true;
      }
      return vcpu.tryWrite(GPA, 8, NEW, way.isPrivate() ? PRIVATE : SHARED);
    }

    private Worker<Outcome> start(Operation operation) {
      return Worker.start(
          () -> {
            Object result = run(operation);
            return new Outcome(result, Thread.currentThread().isInterrupted());
          });
    }

    private Object run(Operation operation) {
      try {
        switch (operation) {
          case CONVERT -> {
            if (way.isPrivate()) {
              memfd.makeAccessible(0, PAGE);
            } else {
              memfd.makeInaccessible(0, PAGE);
            }
          }
          case PUNCH -> memfd.punchHole(0, PAGE);
          case DONT_NEED -> window.madvise(0, PAGE, Advice.DONTNEED);
          case MEMORY_FAILURE -> {
            return host.pfnWalker().memoryFailure(pfn);
          }
          case MUNMAP_PART -> window.munmap(0, PAGE);
          case MPROTECT -> window.mprotect(0, PAGE);
          case MREMAP -> moved.add(window.mremap(0, PAGE, 2L * PAGE));
          case MUNMAP -> window.close();
          case UNBIND -> vm.unbind(0);
          case CLOSE -> {
            memfd.close();
            window.close();
          }
          default -> throw new AssertionError(operation);
        }
        return Errno.OK;
      } catch (GuestMemfdException e) {
        return e.errno();
      } catch (StackOverflowError | OutOfMemoryError e) {
        return e.getMessage();
      }
    }

    // ---- the first ----

    /** Disturbs the first operation; if it cannot be given up, it stays in its wait. */
    private void disturb(Worker<Outcome> worker, boolean stays) throws Exception {
      switch (disturbance) {
        case INTERRUPT, LATE_INTERRUPT -> worker.interruptAndAwait();
        case STACK_OVERFLOW -> probe.fail(worker, new StackOverflowError("planned"));
        case OUT_OF_MEMORY -> probe.fail(worker, new OutOfMemoryError("planned"));
        default -> throw new AssertionError(disturbance);
      }
      if (!firstStays() && !stays) {
        assertEquals(expectedOfFirst(), worker.result(), "the first");
      } else {
        assertFalse(worker.isDone(), "the access is under way");
      }
    }

    private boolean isInterrupted() {
      return disturbance == Disturbance.INTERRUPT || disturbance == Disturbance.LATE_INTERRUPT;
    }

    /** Whether the first goes on to wait, since only an interrupt or nothing makes it give up. */
    private boolean firstStays() {
      return !first.isInterruptible() || isLogged();
    }

    /** A memory failure takes what a client throws, here from its wait, for nothing but a line. */
    private boolean isLogged() {
      return first == Operation.MEMORY_FAILURE && !isInterrupted();
    }

    private Outcome expectedOfFirst() {
      if (isInterrupted()) {
        return new Outcome(first.isInterruptible() ? Errno.EINTR : Errno.OK, true);
      }
      return new Outcome(isLogged() ? Errno.OK : "planned", false);
    }

    // ---- the second ----

    /** Whether the second has nothing to wait for: what it would wait for is the first's to end. */
    private boolean doesNotWait() {
      if (second.isOfMapping() && !isMapped()) {
        return true;
      }
      return switch (first) {
        case CLOSE -> second != Operation.MEMORY_FAILURE && second != Operation.UNBIND;
        case MUNMAP -> second == Operation.MUNMAP || second == Operation.CLOSE;
        case UNBIND -> second == Operation.UNBIND;
        default -> isLeftToTheFirst();
      };
    }

    /** Whether the second closes a file that the first keeps open: the first ends it then. */
    private boolean isLeftToTheFirst() {
      return second == Operation.CLOSE
          && !isMapped()
          && first.isInterruptible()
          && (disturbance == Disturbance.LATE_INTERRUPT || firstStays());
    }

    private Errno expectedOfSecond() {
      if (first == Operation.CLOSE && (second == Operation.CONVERT || second == Operation.PUNCH)) {
        return Errno.EBADF;
      }
      if (second == Operation.MEMORY_FAILURE
          && (isLogged() || (first == Operation.CLOSE && !isMapped()))) {
        return Errno.EHWPOISON; // the first has done it, or has left it nothing to do
      }
      return first == Operation.UNBIND && second == Operation.UNBIND ? Errno.EINVAL : Errno.OK;
    }

    // ---- what must hold ----

    private void assertNothingIsFreed() {
      assertEquals(2L * PAGE, host.used());
      assertEquals(-Errno.ENOMEM.code(), neighbour.tryGrab(PAGE, HolderKind.SAFE));
    }

    private boolean isPlayed(Operation operation) {
      return first == operation || second == operation;
    }

    private void assertAllIsWell() {
      assertNull(Insides.frames(host).accesses.underWay(), "an access is announced");
      assertEquals(0, Mapped.invalidations(vm), "invalidations under way");
      assertFalse(Insides.isInside(), "this thread is inside an operation");
      assertEquals(SECRET, content(neighbour, 0), "the neighbour's");
      boolean failed = isPlayed(Operation.MEMORY_FAILURE);
      if (!isPlayed(Operation.CLOSE)) {
        assertFalse(SlotWord.isBusy(Insides.slot(memfd, 0)));
        boolean gone = second == Operation.PUNCH;
        assertEquals(gone ? 0 : pfn, SlotWord.pfn(Insides.slot(memfd, 0)));
        assertEquals(way.isPrivate() == (second == Operation.CONVERT), memfd.isAccessible(0));
        if (!gone && (second == Operation.MEMORY_FAILURE || isLogged())) {
          assertEquals(-Errno.EHWPOISON.code(), memfd.tryGrab(0, HolderKind.SAFE));
        } else if (!gone) {
          assertEquals(NEW, content(memfd, 0), "what the access wrote");
          assertFalse(Insides.frames(host).isLocked(pfn));
          memfd.makeAccessible(0, PAGE);
          memfd.makeInaccessible(0, PAGE);
          memfd.makeAccessible(0, PAGE);
          assertEquals(NEW, content(memfd, 0));
          memfd.punchHole(0, PAGE);
        }
        if (!failed) {
          memfd.grab(0).close();
          memfd.punchHole(0, PAGE);
        }
      }
      moved.forEach(HostMapping::close);
      window.close();
      memfd.close();
      assertEquals(PAGE, host.used(), "memory of the file is in use after its end");
      if (!failed) {
        assertEquals(0, content(neighbour, PAGE), "the frame, zeroed");
      }
      neighbour.close();
      assertEquals(0, host.used());
      host.close();
    }

    private static long content(GuestMemfd of, long offset) {
      try (Folio folio = of.grab(offset)) {
        return folio.buffer().getLong(0);
      }
    }
  }
}
