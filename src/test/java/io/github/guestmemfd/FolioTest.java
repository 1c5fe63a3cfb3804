package io.github.guestmemfd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A folio that is locked, unlocked and closed: mistakes are told, and do not cost the file. */
class FolioTest extends HostFixture {

  /** A closed folio could never be unlocked: closing unlocks it, and reports the mistake. */
  @ParameterizedTest
  @EnumSource
  void aFolioClosedWhileLockedIsUnlockedAndPut(HolderKind kind) throws Exception {
    GuestMemfd memfd = file(1);
    Folio folio = memfd.grab(0, kind);
    folio.lock();
    assertThrows(IllegalStateException.class, folio::close);
    assertFalse(frames().isLocked(folio.pfn()), "the lock is still held");
    assertThrows(IllegalStateException.class, folio::unlock);
    assertThrows(IllegalStateException.class, folio::close, "the reference is gone");
    run(
        () -> {
          try (Folio another = memfd.grab(0)) {
            another.lock();
            another.unlock();
          }
        });
    assertQuiet(memfd);
    run(memfd::close);
    assertEquals(0, host.used());
  }

  /** The first wait for the lock would be that of the last close. */
  @Test
  void aFileWhoseFolioWasClosedWhileLockedCanBeClosed() throws Exception {
    GuestMemfd memfd = file(1);
    Folio folio = memfd.grab(0);
    folio.lock();
    assertThrows(IllegalStateException.class, folio::close);
    run(memfd::close);
    assertEquals(0, host.used());
  }

  /** Also on an orphan, when the put that follows is the last. */
  @Test
  void anOrphanClosedWhileLockedIsFreedUnlocked() throws Exception {
    GuestMemfd memfd = file(1);
    Folio folio = memfd.grab(0);
    memfd.punchHole(0, PAGE);
    folio.lock();
    assertThrows(IllegalStateException.class, folio::close);
    assertEquals(0, host.used());
    assertFalse(frames().isLocked(folio.pfn()));
    run(() -> assertEquals(folio.pfn(), write(memfd, 0, 1), "the frame can be used"));
    assertQuiet(memfd);
  }

  /**
   * Any thread may unlock, also while the folio is being closed: the reference goes all the same.
   *
   * <p>No race point is between a look at the lock and its release, and none can be: the close does
   * both in one step. So this test meets the step itself. The threads start each other by a
   * volatile write, with no scheduler in between, and the close comes later by a little more each
   * time.
   */
  @Test
  void aFolioClosedWhileAnotherThreadUnlocksIsPut() throws Exception {
    GuestMemfd memfd = file(1);
    AtomicReference<Folio> locked = new AtomicReference<>();
    AtomicReference<Folio> unlocked = new AtomicReference<>();
    AtomicBoolean over = new AtomicBoolean();
    Worker<Integer> other =
        Worker.start(
            () -> {
              int first = 0;
              for (Folio last = null; !over.get(); ) {
                Folio folio = locked.get();
                if (folio == last) {
                  Thread.onSpinWait();
                } else {
                  first += isDone(folio::unlock) ? 1 : 0;
                  unlocked.set(folio);
                  last = folio;
                }
              }
              return first;
            });
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(2);
    int rounds = 0;
    try {
      for (; rounds < 1_000 || System.nanoTime() - end < 0; rounds++) {
        Folio folio = memfd.grab(0, HolderKind.UNSAFE);
        folio.lock();
        locked.set(folio);
        for (int late = rounds % 1_024; late > 0; late--) {
          over.get(); // about a nanosecond each
        }
        isDone(folio::close);
        while (unlocked.get() != folio) {
          assertFalse(other.isDone(), "the other thread has failed");
          Thread.onSpinWait();
        }
        assertEquals(0, memfd.holders(0).unsafe(), "references after round " + rounds);
        assertFalse(frames().isLocked(folio.pfn()));
      }
    } finally {
      over.set(true);
    }
    assertThat(other.result()).as("unlocked before the close").isBetween(1, rounds - 1);
    assertQuiet(memfd);
  }

  private static boolean isDone(Runnable step) {
    try {
      step.run();
      return true;
    } catch (IllegalStateException e) {
      return false; // the other one was faster
    }
  }

  @Test
  void onlyTheObjectThatLockedCanUnlock() throws Exception {
    GuestMemfd memfd = file(1);
    try (Folio one = memfd.grab(0);
        Folio other = memfd.grab(0)) {
      assertThrows(IllegalStateException.class, one::unlock, "it is not locked");
      one.lock();
      assertThrows(IllegalStateException.class, other::unlock, "another has locked it");
      assertTrue(frames().isLocked(one.pfn()));
      Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
      probe.awaitWaiting(conversion); // so the lock is worth something still
      assertFalse(conversion.isDone());
      one.unlock();
      assertEquals(Errno.OK, conversion.result());
      assertThrows(IllegalStateException.class, one::unlock, "it has been unlocked");
      assertFalse(frames().isLocked(one.pfn()));
    }
    assertQuiet(memfd);
  }
}
