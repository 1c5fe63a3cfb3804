package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.HostFixture;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * A put without a get is a mistake of the caller. It is reported, and no other holder is affected:
 * the page cache keeps its reference, the folio its place, and its content stays its file's.
 */
class PutWithoutGetTest extends HostFixture {

  private static void putWithoutGet(GuestMemfd memfd, int pfn, HolderKind kind) {
    IllegalStateException e = assertThrows(IllegalStateException.class, () -> memfd.put(pfn, kind));
    assertTrue(e.getMessage().contains("frame " + pfn + ":"), e.toString());
  }

  @ParameterizedTest
  @EnumSource
  void cannotTakeThePageCachesReference(HolderKind kind) throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, SECRET);
    long counts = frames().counts(pfn);
    for (int i = 0; i < 3; i++) { // a second mistake finds what the first one found
      putWithoutGet(memfd, pfn, kind);
      assertEquals(counts, frames().counts(pfn), "counts of the frame");
      assertEquals(PAGE, host.used());
      assertEquals(1, memfd.cachedPages());
    }

    GuestMemfd other = file(1);
    assertTrue(write(other, 0, 1) != pfn, "the frame went to another file");
    other.close();
    run(
        () -> {
          for (HolderKind each : HolderKind.values()) {
            try (Folio folio = memfd.grab(0, each)) {
              assertEquals(pfn, folio.pfn());
              assertEquals(SECRET, folio.buffer().getLong(0));
            }
          }
        });
    assertQuiet(memfd);
    assertEquals(SECRET, read(memfd, 0));
    run(() -> memfd.punchHole(0, PAGE));
    assertEquals(0, host.used());
  }

  /** An unsafe holder is not a safe one: the mistake must not touch what the holder has. */
  @Test
  void cannotTakeAnotherKindOfReference() throws Exception {
    GuestMemfd memfd = file(1);
    try (Folio folio = memfd.grab(0, UNSAFE)) {
      long counts = frames().counts(folio.pfn());
      putWithoutGet(memfd, folio.pfn(), SAFE);
      assertEquals(counts, frames().counts(folio.pfn()));
      run(() -> memfd.punchHole(0, PAGE)); // now it is the last reference
      counts = frames().counts(folio.pfn());
      putWithoutGet(memfd, folio.pfn(), SAFE);
      assertEquals(counts, frames().counts(folio.pfn()));
      assertEquals(PAGE, host.used());
    }
    assertEquals(0, host.used());
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @EnumSource
  void isSeenOnAFreeFrame(HolderKind kind) throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, SECRET);
    memfd.punchHole(0, PAGE);
    putWithoutGet(memfd, pfn, kind);
    assertEquals(0, host.used());
    assertEquals(pfn, write(memfd, 0, 1), "the frame can be used");
    assertQuiet(memfd);
  }

  /** Every frame of the host is free, and can be had. */
  private void assertNoFrameIsLost() {
    assertEquals(0, host.used(), "memory in use after the last put");
    GuestMemfd all = file(64);
    all.allocate(0, all.size());
    all.close();
  }

  /**
   * While the mistake is made the page cache puts its reference, the last one. Each must come to
   * what it would come to alone.
   */
  @ParameterizedTest
  @Tag("duel")
  @EnumSource
  void doesNotDisturbAPunch(HolderKind kind) throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, 1);
    memfd.punchHole(0, PAGE);
    Duel.race(
        round -> {
          memfd.allocate(0, PAGE); // the frame freed last is the first to be used again
          memfd.punchHole(0, PAGE);
          return true;
        },
        round -> {
          putWithoutGet(memfd, pfn, kind);
          return true;
        });
    assertNoFrameIsLost();
    assertQuiet(memfd);
  }

  /** The same, when the last reference is that of an unsafe holder, on an orphan. */
  @Test
  @Tag("duel")
  void doesNotDisturbTheLastHolder() throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, 1);
    memfd.punchHole(0, PAGE);
    Duel.race(
        round -> {
          int held = memfd.tryGrab(0, UNSAFE);
          assertTrue(held > 0, () -> "grab answered " + held);
          memfd.punchHole(0, PAGE);
          memfd.put(held, UNSAFE);
          return true;
        },
        round -> {
          putWithoutGet(memfd, pfn, SAFE);
          return true;
        });
    assertNoFrameIsLost();
    assertQuiet(memfd);
  }

  /** The same, when the holder's reference is not the last. */
  @Test
  @Tag("duel")
  void doesNotDisturbAnyHolder() throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, 1);
    long counts = frames().counts(pfn);
    Duel.race(
        round -> {
          assertEquals(pfn, memfd.tryGrab(0, UNSAFE));
          memfd.put(pfn, UNSAFE);
          return true;
        },
        round -> {
          putWithoutGet(memfd, pfn, SAFE);
          return true;
        });
    assertEquals(counts, frames().counts(pfn));
    assertQuiet(memfd);
  }
}
