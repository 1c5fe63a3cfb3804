package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.PlaysOtherThreads;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/** The lives of a frame. */
@Timeout(300)
class FrameTableTest extends FrameFixture {

  /** Whatever a life did to a frame, the next one starts afresh. */
  @Test
  void aNewLifeKnowsNothingOfTheOldOne() throws Exception {
    FrameTable frames = table(1);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, Counts.REF);
    frames.setUptodate(pfn);
    assertTrue(frames.isUptodate(pfn));
    assertFalse(frames.isPrepared(pfn));
    frames.setPrepared(pfn);
    assertTrue(frames.isPrepared(pfn));
    frames.removeFromDirectMap(pfn);
    assertFalse(frames.isDirectMapped(pfn));
    assertEquals(0, frames.beginDirectAccess(pfn));
    frames.put(pfn, Counts.REF);
    FrameOwners.Owner next = owner(frames);
    assertEquals(pfn, live(frames, next, Counts.REF));
    assertFalse(frames.isUptodate(pfn));
    assertFalse(frames.isPrepared(pfn));
    assertTrue(frames.isDirectMapped(pfn));
    frames.put(pfn, Counts.REF);
  }

  @Test
  void flagsAreSetForTheirFrameAlone() {
    FrameTable frames = table(2);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, Counts.REF);
    assertEquals(1, frames.highest());
    int other = live(frames, owner, Counts.REF);
    assertEquals(2, frames.highest());
    assertFalse(frames.isPoisoned(pfn));
    assertFalse(frames.isIsolated(pfn));
    frames.setIsolated(pfn);
    assertTrue(frames.isIsolated(pfn));
    assertEquals(FrameAllocator.Poisoning.DONE, frames.poison(pfn));
    assertTrue(frames.isPoisoned(pfn));
    assertFalse(frames.isPoisoned(other));
    assertFalse(frames.isIsolated(other));
  }

  @Test
  void whatIsAboutToBeWrittenIsMarked() {
    FrameTable frames = table(2);
    FrameOwners.Owner owner = owner(frames);
    int one = live(frames, owner, Counts.REF);
    int other = live(frames, owner, Counts.REF);
    frames.mark(one);
    assertTrue(frames.isMarked(one));
    assertFalse(frames.isMarked(other));
    frames.beginFill(other);
    assertTrue(frames.isMarked(other));
  }

  @Test
  void theDirectMapIsLeftAndEnteredAgain() throws Exception {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.REF);
    assertFalse(frames.isMarked(pfn));
    long access = frames.beginDirectAccess(pfn);
    assertTrue(frames.isMarked(pfn), "it may write");
    assertNotEquals(0, access);
    frames.accesses.end(access);
    assertFalse(frames.isRemovedFromDirectMap(pfn));
    frames.removeFromDirectMap(pfn);
    assertTrue(frames.isRemovedFromDirectMap(pfn));
    frames.restoreToDirectMap(pfn);
    assertFalse(frames.isRemovedFromDirectMap(pfn));
  }

  /** No access is under way by the direct map when a removal has returned. */
  @Test
  @ExtendWith(PlaysOtherThreads.class)
  void aRemovalFromTheDirectMapWaitsForAccesses() throws Exception {
    WaitProbe probe = new WaitProbe();
    FrameTable frames = new FrameTable(2, probe);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, Counts.REF);
    int other = live(frames, owner, Counts.REF);
    long access = frames.beginDirectAccess(pfn);
    frames.removeFromDirectMap(other); // does not wait
    Callable<Void> remove =
        () -> {
          frames.removeFromDirectMap(pfn);
          return null;
        };
    Worker<Void> interrupted = Worker.start(remove);
    probe.awaitWaiting(interrupted);
    assertTrue(frames.isRemovedFromDirectMap(pfn));
    interrupted.interrupt();
    assertThrows(InterruptedException.class, interrupted::result);
    assertFalse(frames.isRemovedFromDirectMap(pfn), "it is as it was");
    Worker<Void> remover = Worker.start(remove);
    probe.awaitWaiting(remover);
    assertEquals(0, frames.beginDirectAccess(pfn));
    frames.accesses.end(access);
    remover.result();
    assertTrue(frames.isRemovedFromDirectMap(pfn));
  }

  /** The unlock gives back the page cache's reference on a frame that was left to the lock. */
  @Test
  void aFrameIsLeftToTheHolderOfItsLock() throws Exception {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.CACHE_REF);
    assertFalse(frames.leaveToLock(pfn));
    assertFalse(FrameTable.keepsLock());
    frames.lock(pfn);
    frames.keepLock(pfn);
    assertTrue(FrameTable.keepsLock());
    assertFalse(frames.isLeftToLock(pfn));
    assertTrue(frames.leaveToLock(pfn));
    assertTrue(frames.isLeftToLock(pfn));
    assertEquals(0, freed.get());
    frames.unlockKept(pfn);
    assertFalse(FrameTable.keepsLock());
    assertEquals(1, freed.get());
    assertEquals(0, frames.used());
  }

  /** A file that is closed lives on until its last frame is free, and hears of each. */
  @Test
  void aFileIsForgottenWithItsLastFrame() {
    FrameTable frames = table(2);
    AtomicInteger after = new AtomicInteger();
    FrameOwners.Owner owner =
        frames.newOwner(
            new FrameOwners.Listener() {
              @Override
              public void freeing(int pfn) {
                assertEquals(0, after.get());
              }

              @Override
              public void afterFree() {
                after.incrementAndGet();
              }
            });
    int pfn = live(frames, owner, Counts.REF);
    assertTrue(frames.reserve(1));
    int discarded = frames.allocate(owner);
    frames.discard(discarded, owner, 0);
    assertEquals(1, frames.used());
    owner.close();
    assertEquals(List.of(owner.listener), frames.listeners());
    frames.put(pfn, Counts.REF);
    assertEquals(1, after.get());
    assertEquals(List.of(), frames.listeners());
  }

  /** What an audit says of words that no sequence of calls leaves behind. */
  @Test
  void anomaliesAreNamed() throws Exception {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.CACHE_REF);
    assertNull(frames.anomaly(pfn));

    assertTrue(frames.freeze(pfn, counts -> true));
    assertEquals("is frozen", frames.anomaly(pfn));
    frames.unfreeze(pfn);

    frames.clearState(pfn, FrameState.ALLOCATED);
    assertEquals("is in use, and not allocated", frames.anomaly(pfn));
    frames.setState(pfn, FrameState.ALLOCATED);

    frames.setState(pfn, FrameState.WAITERS);
    assertEquals("has a thread queued for its lock", frames.anomaly(pfn));
    frames.clearState(pfn, FrameState.WAITERS);

    frames.lock(pfn);
    assertEquals("is locked, and no thread has the lock", frames.anomaly(pfn));
    frames.keepLock(pfn);
    assertNull(frames.anomaly(pfn));
    frames.unlockKept(pfn);

    frames.watch(pfn, () -> {});
    assertNull(frames.anomaly(pfn));
    frames.unwatch(pfn);
    SharedLongs.getAndBitwiseOr(frames.counters(pfn), FrameWords.position(pfn), Counts.WAITED);
    assertEquals("is marked as waited for, and no thread waits", frames.anomaly(pfn));
    SharedLongs.getAndBitwiseAnd(frames.counters(pfn), FrameWords.position(pfn), ~Counts.WAITED);

    frames.put(pfn, Counts.CACHE_REF);
    assertNull(frames.anomaly(pfn));
    frames.setState(pfn, FrameState.ALLOCATED);
    assertEquals("is free, and allocated", frames.anomaly(pfn));
    frames.clearState(pfn, FrameState.ALLOCATED);
    SharedLongs.getAndAdd(frames.counters(pfn), FrameWords.position(pfn), Counts.SAFE);
    assertTrue(frames.anomaly(pfn).startsWith("is free, and held: "));
  }
}
