package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.HolderKind.ACCESSIBLE;
import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.RacePoint;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * A put that names another kind than the reference was taken with is refused unless a holder has a
 * reference of that kind: for every pair of kinds and every protocol, with and without other
 * holders.
 */
class PutOfAnotherKindTest extends ProtocolFixture {

  /** The two counters, dropped in the order that makes an unsafe holder look safe. */
  private static final ConversionProtocol REF_FIRST =
      new Like(ConversionProtocol.bothCounters()) {
        @Override
        public List<Step> guestDrops() {
          return List.of(Step.REF, Step.SAFE);
        }
      };

  /** One reference, and the folio lock for as long as it is held. */
  private static final ConversionProtocol REF_AND_LOCK =
      new Like(ConversionProtocol.lockOnly()) {
        @Override
        public List<Step> guestTakes() {
          return List.of(Step.REF, Step.LOCK);
        }

        @Override
        public List<Step> guestDrops() {
          return List.of(Step.LOCK, Step.REF);
        }
      };

  static Stream<ConversionProtocol> protocols() {
    return Stream.concat(ConversionProtocol.all().stream(), Stream.of(REF_FIRST, REF_AND_LOCK));
  }

  static Stream<Arguments> pairs() {
    return protocols()
        .flatMap(
            protocol ->
                Stream.of(HolderKind.values())
                    .flatMap(
                        taken ->
                            EnumSet.complementOf(EnumSet.of(taken)).stream()
                                .map(put -> Arguments.of(protocol, taken, put))));
  }

  /** What is run at the race points that a thread passes, once each. */
  private @Nullable Runnable everywhere;

  private final Set<RacePoint> passed = EnumSet.noneOf(RacePoint.class);

  @Override
  protected void passes(RacePoint point, long index) {
    super.passes(point, index);
    Runnable run = everywhere;
    if (run != null) {
      everywhere = null; // it passes some itself
      passed.add(point);
      run.run();
      everywhere = run;
    }
  }

  private void refused(GuestMemfd memfd, int pfn, HolderKind kind) {
    long counts = frames().counts(pfn);
    boolean locked = frames().isLocked(pfn);
    IllegalStateException e = assertThrows(IllegalStateException.class, () -> memfd.put(pfn, kind));
    assertTrue(e.getMessage().contains("frame " + pfn + ":"), e.toString());
    assertEquals(counts, frames().counts(pfn), "counts of the frame");
    assertEquals(locked, frames().isLocked(pfn), "the folio lock");
  }

  /** Bystanders are a page table entry, a plain reference, a pin, and none. */
  @ParameterizedTest
  @MethodSource("pairs")
  void takesNothing(ConversionProtocol protocol, HolderKind taken, HolderKind put)
      throws Exception {
    GuestMemfd memfd = file(1, protocol);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    HostReference plain = window.getUserPages(0, PAGE);
    HostReference pin = window.pin(0, PAGE);
    int pfn = memfd.tryGrab(0, taken);
    refused(memfd, pfn, put);
    plain.close();
    refused(memfd, pfn, put);
    pin.close();
    refused(memfd, pfn, put);
    window.close();
    refused(memfd, pfn, put);

    BusyFolio busy = new BusyFolio();
    if (taken != SAFE && protocol.isSound()) {
      assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE, busy));
      assertEquals(taken == UNSAFE ? 1 : 0, busy.unsafeHolders());
      assertEquals(taken == ACCESSIBLE ? 1 : 0, busy.accessibleUsers());
      assertEquals(0, busy.safeHolders());
      assertEquals(0, busy.pinnedHolders());
      refused(memfd, pfn, put);
    }
    memfd.put(pfn, taken);
    for (HolderKind kind : HolderKind.values()) {
      refused(memfd, pfn, kind);
    }
    assertCounts(1, 0, pfn);
    assertQuiet(memfd);
  }

  /** The holder is the last, of an orphan. */
  @ParameterizedTest
  @MethodSource("pairs")
  void takesNothingFromTheLastHolder(
      ConversionProtocol protocol, HolderKind taken, HolderKind put) {
    if (protocol.guestDrops().contains(Step.LOCK) || protocol.id().equals("safe-only")) {
      return; // a punch waits for the lock, or is refused
    }
    GuestMemfd memfd = file(1, new PunchesAnyway(protocol));
    int pfn = write(memfd, 0, SECRET);
    assertEquals(pfn, memfd.tryGrab(0, taken));
    memfd.punchHole(0, PAGE);
    refused(memfd, pfn, put);
    assertEquals(PAGE, host.used());
    memfd.put(pfn, taken);
    assertEquals(0, host.used());
    refused(memfd, pfn, put);
    refused(memfd, pfn, taken);
  }

  private static final class PunchesAnyway extends Like {
    PunchesAnyway(ConversionProtocol original) {
      super(original);
    }

    @Override
    public boolean mayPunch(int refs, int safe) {
      return true;
    }
  }

  /** Holders of all other kinds, several of each: none of them pays. */
  @ParameterizedTest
  @MethodSource("protocols")
  void takesNothingFromHoldersOfAllOtherKinds(ConversionProtocol protocol) throws Exception {
    GuestMemfd memfd = file(1, protocol);
    int pfn = write(memfd, 0, SECRET);
    for (HolderKind put : HolderKind.values()) {
      Set<HolderKind> others = EnumSet.complementOf(EnumSet.of(put));
      for (HolderKind other : others) {
        assertEquals(pfn, memfd.tryGrab(0, other));
      }
      for (int i = 0; i < 3; i++) { // a second mistake finds what the first one found
        refused(memfd, pfn, put);
      }
      for (HolderKind other : others) {
        memfd.put(pfn, other);
        refused(memfd, pfn, other);
      }
    }
    assertCounts(1, 0, pfn);
    assertQuiet(memfd);
  }

  // ---- in the middle of what others do ----

  /**
   * A guest-side holder stands at each point of its coming and going. It is counted as safe, or has
   * a reference that cannot be put by a kind; and it is in no other holder's way.
   */
  @ParameterizedTest
  @MethodSource("protocols")
  void inTheMiddleOfAGuestsGrabAndPut(ConversionProtocol protocol) throws Exception {
    GuestMemfd memfd = file(1, protocol);
    int pfn = write(memfd, 0, SECRET);
    everywhere =
        () -> {
          refused(memfd, pfn, UNSAFE);
          refused(memfd, pfn, ACCESSIBLE);
          if (Counts.safe(frames().counts(pfn)) == 0) {
            refused(memfd, pfn, SAFE);
          }
          for (HolderKind kind : List.of(UNSAFE, ACCESSIBLE)) {
            assertEquals(pfn, memfd.tryGrab(0, kind));
            memfd.put(pfn, kind);
          }
        };
    for (int i = 0; i < 2; i++) {
      assertEquals(pfn, memfd.tryGrab(0, SAFE));
      memfd.put(pfn, SAFE);
    }
    Folio folio = memfd.grab(0);
    folio.close();
    everywhere = null;
    boolean locks = protocol.guestTakes().contains(Step.LOCK);
    boolean twoSteps = protocol.guestDrops().size() > 1;
    assertEquals(
        protocol.guestTakes().get(0) != Step.LOCK, passed.contains(RacePoint.AFTER_LOOKUP));
    assertEquals(locks, passed.contains(RacePoint.BEFORE_GUEST_LOCK));
    assertEquals(twoSteps, passed.contains(RacePoint.BETWEEN_DROPS));
    assertCounts(1, 0, pfn);
    assertQuiet(memfd);
  }

  /** A user on the host's side stands at each point of its grab. */
  @ParameterizedTest
  @MethodSource("pairs")
  void inTheMiddleOfAnyGrab(ConversionProtocol protocol, HolderKind taken, HolderKind put)
      throws Exception {
    GuestMemfd memfd = file(1, protocol);
    int pfn = write(memfd, 0, SECRET);
    everywhere = () -> refused(memfd, pfn, put);
    assertEquals(pfn, memfd.tryGrab(0, taken));
    memfd.put(pfn, taken);
    everywhere = null;
    assertTrue(!passed.isEmpty());
    assertCounts(1, 0, pfn);
    assertQuiet(memfd);
  }

  /** A fault, GUP and a walker of frame numbers have references of their own. */
  @Test
  void inTheMiddleOfAccessesAndScans() throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, SECRET);
    HostMapping window = map(memfd);
    everywhere =
        () -> {
          for (HolderKind kind : HolderKind.values()) {
            refused(memfd, pfn, kind);
          }
        };
    assertEquals(SECRET, window.getLong(0));
    window.getUserPages(0, PAGE).close();
    window.pin(0, PAGE).close();
    assertTrue(host.pfnWalker().scan(pfn));
    everywhere = null;
    assertTrue(
        passed.containsAll(
            List.of(
                RacePoint.AFTER_LOOKUP,
                RacePoint.BEFORE_PTE_INSTALL,
                RacePoint.BEFORE_PTE_RELOAD,
                RacePoint.WALKER_HOLDS_REFERENCE)),
        passed::toString);
    window.close();
    assertCounts(1, 0, pfn);
    assertQuiet(memfd);
  }

  /**
   * The lookup that finds out that it came too late has its reference back, even if another thread
   * put it.
   */
  @ParameterizedTest
  @MethodSource("protocols")
  void aLookupThatLosesItsReferenceToAMistakeDoesNotNotice(ConversionProtocol protocol)
      throws Exception {
    GuestMemfd memfd = file(1, protocol);
    int pfn = write(memfd, 0, SECRET);
    for (HolderKind kind : HolderKind.values()) {
      if (kind == SAFE && protocol.guestTakes().get(0) == Step.LOCK) {
        continue; // there is no lookup
      }
      races.at(
          RacePoint.BEFORE_SLOT_RELOAD,
          () -> {
            if (kind != SAFE || Counts.safe(frames().counts(pfn)) != 0) {
              memfd.put(pfn, kind); // no thread could tell
            }
            memfd.tryMakeInaccessible(0, PAGE);
            memfd.makeAccessible(0, PAGE); // the slot has changed: the lookup starts over
          });
      assertEquals(pfn, memfd.tryGrab(0, kind), kind::name);
      memfd.put(pfn, kind);
      races.check();
      assertCounts(1, 0, pfn);
    }
    assertQuiet(memfd);
  }

  // ---- what is not a reference ----

  /** The folio lock is in the hands of another, who is no guest-side holder. */
  @Test
  void aSafePutDoesNotGiveBackAFolioLockThatIsAnothers() throws Exception {
    for (ConversionProtocol protocol : List.of(ConversionProtocol.lockOnly(), REF_AND_LOCK)) {
      GuestMemfd memfd = file(1, protocol);
      int pfn = write(memfd, 0, SECRET);
      try (Folio folio = memfd.grab(0, UNSAFE)) {
        folio.lock();
        refused(memfd, pfn, SAFE);
        assertTrue(frames().isLocked(pfn));
        folio.unlock();
        refused(memfd, pfn, SAFE);
      }
      assertCounts(1, 0, pfn);
      assertQuiet(memfd);
    }
  }

  /** An LRU batch has a reference of its own too. */
  @ParameterizedTest
  @MethodSource("protocols")
  void anLruBatchKeepsItsReference(ConversionProtocol protocol) {
    try (HostMemory own = HostMemory.builder(PAGE).lruBatches(1, 31).build();
        GuestMemfd memfd =
            GuestMemfd.builder(own)
                .size(PAGE)
                .flags(MMAP, INIT_SHARED)
                .protocol(protocol)
                .build()) {
      int pfn = write(memfd, 0, SECRET);
      FrameTable frames = Insides.frames(own);
      long counts = frames.counts(pfn);
      assertEquals(2, Counts.refs(counts));
      for (HolderKind kind : HolderKind.values()) {
        assertThrows(IllegalStateException.class, () -> memfd.put(pfn, kind));
        assertEquals(counts, frames.counts(pfn));
      }
      assertEquals(1, own.drainLru());
    }
  }
}
