package io.github.guestmemfd.concurrent;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Mistakes with the folio lock are reported, and the file stays usable. */
class FolioLockMisuseTest extends HostFixture {

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
   */
  @Test
  void aFolioClosedWhileAnotherThreadUnlocksIsPut() throws Exception {
    GuestMemfd memfd = file(1);
    AtomicReference<Folio> folio = new AtomicReference<>();
    Duel.rounds(
        () -> {
          folio.set(memfd.grab(0, HolderKind.UNSAFE));
          folio.get().lock();
        },
        round -> isDone(folio.get()::close),
        round -> isDone(folio.get()::unlock),
        () -> {
          assertEquals(0, memfd.holders(0).unsafe());
          assertFalse(frames().isLocked(folio.get().pfn()));
        });
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
