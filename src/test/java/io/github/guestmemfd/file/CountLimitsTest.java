package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.ACCESSIBLE;
import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** At the largest count of a kind one more is refused, and holders of every kind let go as ever. */
class CountLimitsTest extends ProtocolFixture {

  private static int fill(GuestMemfd memfd, HolderKind kind, int max) {
    int pfn = 0;
    for (int i = 0; i < max; i++) {
      pfn = memfd.tryGrab(0, kind);
    }
    IllegalStateException e =
        assertThrows(IllegalStateException.class, () -> memfd.tryGrab(0, kind));
    assertTrue(e.getMessage().contains("too many references"), e::getMessage);
    return pfn;
  }

  private static int max(HolderKind kind) {
    return kind == SAFE ? 32_767 : 2_047;
  }

  /** What a refused grab adds for a moment does not affect other holders. */
  @ParameterizedTest
  @Tag("duel")
  @EnumSource
  void refusedGrabsDisturbNoHolder(HolderKind full) throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    int pfn = fill(memfd, full, max(full));
    Duel.race(
        round -> {
          window.getUserPages(0, PAGE).close();
          window.pin(0, PAGE).close();
          for (HolderKind kind : HolderKind.values()) {
            if (kind != full) {
              assertEquals(pfn, memfd.tryGrab(0, kind));
              memfd.put(pfn, kind);
            }
          }
          return true;
        },
        round -> {
          assertThrows(IllegalStateException.class, () -> memfd.tryGrab(0, full));
          return true;
        });
    for (int i = 0; i < max(full); i++) {
      memfd.put(pfn, full);
    }
    assertThrows(IllegalStateException.class, () -> memfd.put(pfn, full));
    window.madvise(0, PAGE, Advice.DONTNEED); // the entry by which the folio was found
    assertCounts(1, 0, pfn);
    assertQuiet(memfd);
  }

  /** The number of guest-side holders is the same for every protocol, but for those that wait. */
  @ParameterizedTest
  @MethodSource(ALL)
  void guestSideHoldersOfEveryProtocol(ConversionProtocol protocol) throws Exception {
    if (protocol.id().equals("lock-only")) {
      return; // one at a time
    }
    GuestMemfd memfd = file(1, protocol);
    int pfn = fill(memfd, SAFE, max(SAFE));
    for (HolderKind kind : List.of(UNSAFE, ACCESSIBLE)) {
      assertEquals(pfn, memfd.tryGrab(0, kind));
      memfd.put(pfn, kind);
    }
    for (int i = 0; i < max(SAFE); i++) {
      memfd.put(pfn, SAFE);
    }
    assertCounts(1, 0, pfn);
    assertQuiet(memfd);
  }

  @Test
  void pinsAreRefusedWholeAndLeaveRoomForOthers() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    List<HostReference> pins = new ArrayList<>();
    IllegalStateException e =
        assertThrows(
            IllegalStateException.class,
            () -> {
              for (; ; ) {
                pins.add(window.pin(0, PAGE));
              }
            });
    assertTrue(e.getMessage().contains("too many references"), e::getMessage);
    assertEquals(927, pins.size()); // beside the entry of the page table
    for (int i = 0; i < 3; i++) {
      assertThrows(IllegalStateException.class, () -> window.pin(0, PAGE));
    }
    window.getUserPages(0, PAGE).close();
    for (HolderKind kind : HolderKind.values()) {
      memfd.put(memfd.tryGrab(0, kind), kind);
    }
    for (HostReference pin : pins) {
      pin.close();
    }
    assertQuiet(memfd);
  }
}
