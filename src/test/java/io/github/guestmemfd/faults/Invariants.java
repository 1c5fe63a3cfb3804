package io.github.guestmemfd.faults;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.Metrics;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.gunyah.MemoryParcels;
import io.github.guestmemfd.kvm.Mapped;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * What holds of a host whenever no call is under way, whatever has failed before. Every count of
 * every frame must be explained by what is open.
 */
final class Invariants {

  /** The counts that a frame should have. */
  private static final class Expected {
    boolean cached;
    int refs;
    int safe;
    int accessible;
    boolean locked;
  }

  private final Bench bench;
  private final FrameTable frames;
  private final Map<Integer, Expected> expected = new HashMap<>();

  private Invariants(Bench bench) {
    this.bench = bench;
    this.frames = Insides.frames(bench.host);
  }

  /**
   * Checks all of them.
   *
   * @param told whether the clients have been told what is: not so after callbacks that were called
   *     to undo something have failed
   */
  static void check(Bench bench, boolean told) {
    bench.host.drainLru();
    new Invariants(bench).check(told);
  }

  private void check(boolean told) {
    assertFalse(Insides.isInside(), "this thread is inside an operation");
    assertEquals(List.of(), bench.host.violations(), bench.host::dump);
    int pending = 0;
    for (Bench.File file : bench.files) {
      assertEquals(List.of(), file.client().violations, "callbacks");
      assertTrue(file.client().isIdle(), "an invalidation has begun and not ended");
      GuestMemfd memfd = file.first().reopen().orElse(null);
      if (memfd == null) {
        continue;
      }
      try (memfd) {
        assertEquals(0, file.client().releases, "released while open");
        pending += pending(memfd);
        for (long at = 0; at < memfd.size(); at += Bench.PAGE) {
          page(file, memfd, at, told);
        }
      }
    }
    assertEquals(
        pending,
        bench.later.stream().filter(f -> !f.isDone()).count(),
        "pending conversions that have an owner");
    assertEquals(pending, Insides.watched(bench.host), "frames that are watched");
    bench.mappings.forEach(this::mapping);
    bench.vms.forEach(this::vm);
    bench.lenders.forEach(this::lender);
    bench.held.forEach(this::held);
    bench.locked.forEach(folio -> of(folio.pfn()).locked = true);
    frames();
  }

  private static int pending(GuestMemfd memfd) {
    Metrics m = memfd.metrics();
    int pending = Insides.pending(memfd);
    assertEquals(
        pending, m.pendingBegun() - m.pendingCompleted() - m.pendingUndone(), "counted as pending");
    return pending;
  }

  private Expected of(int pfn) {
    return expected.computeIfAbsent(pfn, n -> new Expected());
  }

  private void page(Bench.File file, GuestMemfd memfd, long at, boolean told) {
    String what = "page at " + at + " of " + memfd;
    long slot = Insides.slot(memfd, at);
    int pfn = SlotWord.pfn(slot);
    assertFalse(SlotWord.isBusy(slot), () -> what + " is busy");
    if (SlotWord.isNeither(slot)) {
      assertTrue(Insides.pending(memfd) > 0, () -> what + " belongs to no conversion");
    }
    assertEquals(pfn, memfd.holders(at).pfn(), what);
    if (pfn == 0) {
      return;
    }
    Expected e = of(pfn);
    assertFalse(e.cached, () -> what + ": its frame is in two places");
    e.cached = true;
    e.refs++;
    boolean prepared = frames.isPrepared(pfn);
    if (SlotWord.isReady(slot)) {
      assertTrue(prepared && frames.isUptodate(pfn), () -> what + " is ready for nothing");
    }
    boolean inaccessible = SlotWord.isInaccessible(slot);
    assertEquals(
        file.leavesDirectMap() && prepared && inaccessible,
        frames.isRemovedFromDirectMap(pfn),
        () -> what + " is out of the direct map");
    Boolean last = file.client().inaccessible.get(pfn);
    if (told && prepared && last != null) {
      assertEquals(inaccessible, last, () -> what + ": what the client was told last");
    }
  }

  private void mapping(HostMapping mapping) {
    if (mapping.isClosed()) {
      return;
    }
    for (long page = 0; page < mapping.length() / Bench.PAGE; page++) {
      long entry = Insides.entry(mapping, page);
      String what = "page " + page + " of " + mapping;
      int pfn = PageTable.held(entry); // one that was revoked, by an operation given up, has it too
      if (pfn == 0) {
        continue;
      }
      of(pfn).refs++;
      long offset = (Insides.firstIndex(mapping) + page) * Bench.PAGE;
      for (Bench.File file : bench.files) {
        if (Insides.isOf(mapping, file.first())) {
          long slot = Insides.slot(file.first(), offset);
          assertEquals(pfn, SlotWord.pfn(slot), () -> what + " maps a frame that is not there");
          assertFalse(
              SlotWord.isInaccessible(slot) || SlotWord.isNeither(slot),
              () -> what + " is mapped and not accessible");
        }
      }
    }
  }

  private void vm(Bench.Vm vm) {
    assertEquals(0, Mapped.invalidations(vm.vm()), "invalidations under way");
    for (Mapped.Page page : Mapped.pages(vm.vm())) {
      long slot = Insides.slot(page.memfd(), page.offset());
      assertTrue(SlotWord.isReady(slot), () -> "mapped and not ready: " + page);
      assertEquals(
          SlotWord.isInaccessible(slot),
          page.attribute() == MemoryAttribute.PRIVATE,
          () -> "mapped as what it is not: " + page);
      if (vm.keepsReferences()) {
        guest(SlotWord.pfn(slot));
      }
    }
  }

  private void lender(MemoryParcels parcels) {
    GuestMemfd memfd = parcels.memfd();
    for (long at = 0; at < memfd.size(); at += Bench.PAGE) {
      if (parcels.isLent(at, Bench.PAGE)) {
        int pfn = SlotWord.pfn(Insides.slot(memfd, at));
        assertTrue(pfn != 0 && !memfd.isAccessible(at), "lent, and not the guest's");
        guest(pfn);
      }
    }
  }

  private void held(Bench.Held held) {
    if (held.guest()) {
      guest(held.pfn());
    } else {
      Expected e = of(held.pfn());
      e.refs += held.refs();
      e.accessible += held.accessible();
    }
  }

  /** One more guest-side holder. */
  private void guest(int pfn) {
    Expected e = of(pfn);
    e.refs += bench.guestRefs();
    e.safe += bench.guestSafe();
    e.locked |= bench.guestLocks();
  }

  private void frames() {
    Set<Integer> inUse = new HashSet<>();
    for (int pfn = 1; pfn <= Bench.FRAMES; pfn++) {
      Expected e = expected.get(pfn);
      if (e == null) {
        continue;
      }
      long counts = frames.counts(pfn);
      assertEquals(
          "refs " + e.refs + " safe " + e.safe + " accessible " + e.accessible,
          "refs "
              + Counts.refs(counts)
              + " safe "
              + Counts.safe(counts)
              + " accessible "
              + Counts.accessible(counts),
          "counts of frame " + pfn);
      assertEquals(e.locked, frames.isLocked(pfn), "frame " + pfn + " is locked");
      inUse.add(pfn);
    }
    assertEquals((long) inUse.size() * Bench.PAGE, bench.host.used(), "host.used()");
    assertNull(frames.accesses.underWay(), "an access is announced and was not ended");
    for (Bench.File file : bench.files) {
      assertTrue(
          inUse.containsAll(file.client().inaccessible.keySet()),
          "the client was told of a folio, and not of its end");
    }
  }

  /** What holds when everything has been closed, but for the host. */
  static void checkEnd(Bench bench) {
    check(bench, true);
    assertEquals(0, bench.host.used(), "memory in use after everything was closed");
    assertTrue(
        !bench.tracked
            || bench.host.holders().stream()
                .allMatch(h -> h.kind() == TrackedHolder.Kind.DESCRIPTOR),
        bench.host::dump); // of the file that takes the memory a step is not to have
    for (Bench.File file : bench.files) {
      if (file.told()) {
        assertEquals(1, file.client().releases, "releases of " + file.first());
      }
      assertTrue(file.first().reopen().isEmpty(), () -> file.first() + " exists still");
    }
    assertEquals((long) Bench.FRAMES * HostMemory.PAGE_SIZE, bench.host.size());
  }
}
