package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.Wait;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The frames of a host: the facade of this package, by which the rest of the library uses frames.
 *
 * <p>It is the {@linkplain FrameCounts counts} of the frames, so that a lookup reaches their words
 * without a detour, and has the other parts: {@link FolioLocks}, {@link FrameAllocator}, {@link
 * FrameOwners}, {@link FrameDirectMap}, {@link Accesses}. Each states the argument for its own
 * correctness. What only sets or reads a flag of the state word is here.
 *
 * <p><b>Assumptions.</b> A caller names frames this table has handed out at least once.
 */
public final class FrameTable extends FrameCounts {

  /** Accesses to frames that are under way. */
  public final Accesses accesses = new Accesses();

  private final FolioLocks locks;
  private final FrameAllocator allocator;
  private final FrameOwners owners = new FrameOwners();
  private final FrameDirectMap directMap;

  /**
   * Makes a table of free frames. Metadata is allocated as frames come into use.
   *
   * @param limit how many frames there are, 1 to {@link #MAX_FRAMES}
   * @param idle how threads wait
   */
  public FrameTable(int limit, IdleStrategy idle) {
    super(limit, idle);
    this.locks = new FolioLocks(this, idle);
    this.allocator = new FrameAllocator(this);
    this.directMap = new FrameDirectMap(this, accesses, idle);
  }

  // ---- the folio lock ----

  /**
   * Takes the folio lock if it is free and no thread queues for it.
   *
   * @param pfn the frame
   * @return whether the caller now holds it
   */
  public boolean tryLock(int pfn) {
    return locks.tryLock(pfn);
  }

  /**
   * Takes the folio lock; waiting threads get it in order of arrival.
   *
   * <p>The lock needs no reference: its word outlives every use of the frame. So the caller, which
   * must not hold a reference while it waits, looks afterwards whether the frame still is what it
   * wanted.
   *
   * @param pfn the frame
   * @throws InterruptedException if the thread is interrupted while it waits; {@link Wait#deadlock}
   *     if it keeps this very lock
   */
  public void lock(int pfn) throws InterruptedException {
    locks.lock(pfn);
  }

  /**
   * Notes that the lock which this thread has just taken stays taken when the call of the library
   * is over. Until {@link #unlockKept}, by any thread, this thread keeps a lock that other threads
   * may wait for.
   *
   * @param pfn the frame, locked by this thread
   */
  public void keepLock(int pfn) {
    locks.keepLock(pfn);
  }

  /**
   * Gives a kept lock back.
   *
   * @param pfn the frame
   * @throws IllegalStateException if no thread keeps its lock
   */
  public void unlockKept(int pfn) {
    locks.unlockKept(pfn);
  }

  /**
   * Whether this thread keeps the lock of a folio of any host, and so must not wait for pages: the
   * thread that has made them busy may be waiting for that lock.
   *
   * @return the answer
   */
  public static boolean keepsLock() {
    return FolioLocks.keepsLock();
  }

  /**
   * Leaves the page cache's reference to the folio lock, if that is taken: the next unlock drops
   * it.
   *
   * @param pfn a frame that has left its page cache, with the reference of that
   * @return false if the lock is free, and the reference the caller's still
   */
  public boolean leaveToLock(int pfn) {
    return locks.leaveToLock(pfn);
  }

  /**
   * Whether the folio lock has the reference of the page cache that the frame has left.
   *
   * @param pfn the frame
   * @return the answer, read with volatile semantics
   */
  public boolean isLeftToLock(int pfn) {
    return locks.isLeftToLock(pfn);
  }

  /**
   * Gives the folio lock back, or hands it to the first thread that waits for it.
   *
   * @param pfn the frame
   * @throws IllegalStateException if it is not locked
   */
  public void unlock(int pfn) {
    locks.unlock(pfn);
  }

  /**
   * Whether the folio is locked.
   *
   * @param pfn the frame
   * @return the answer, read with volatile semantics
   */
  public boolean isLocked(int pfn) {
    return FrameState.isLocked(state(pfn));
  }

  /**
   * Waits until the thread that holds the folio lock now has let go of it.
   *
   * @param pfn the frame
   * @throws InterruptedException as {@link #lock}
   */
  public void awaitUnlocked(int pfn) throws InterruptedException {
    locks.awaitUnlocked(pfn);
  }

  // ---- flags ----

  /**
   * Whether the operations know what the folio is used for. It is up to date then.
   *
   * @param pfn the frame
   * @return the answer
   */
  public boolean isPrepared(int pfn) {
    return FrameState.isPrepared(state(pfn));
  }

  /**
   * Whether the frame's bytes are its content.
   *
   * @param pfn the frame
   * @return the answer
   */
  public boolean isUptodate(int pfn) {
    return FrameState.isUptodate(state(pfn));
  }

  /**
   * Notes that the frame's bytes, written before, are its content.
   *
   * @param pfn the frame, locked
   */
  public void setUptodate(int pfn) {
    setState(pfn, FrameState.UPTODATE | FrameState.MARKED);
  }

  /**
   * Whether the frame's bytes may be other than the zeroes that they were made with.
   *
   * @param pfn the frame
   * @return the answer, read with volatile semantics; true stays true
   */
  public boolean isMarked(int pfn) {
    return FrameState.isMarked(state(pfn));
  }

  /**
   * Notes that the frame's bytes are about to be written, while they are not its content yet.
   *
   * @param pfn the frame
   */
  public void mark(int pfn) {
    setState(pfn, FrameState.MARKED);
  }

  /**
   * Notes that the frame's bytes are about to be replaced: until {@link #setUptodate} they are not
   * its content.
   *
   * @param pfn the frame, locked
   */
  public void beginFill(int pfn) {
    mark(pfn);
    clearState(pfn, FrameState.UPTODATE);
  }

  /**
   * Notes that the operations know what the folio is used for.
   *
   * @param pfn the frame, locked
   */
  public void setPrepared(int pfn) {
    setState(pfn, FrameState.PREPARED);
  }

  /**
   * Whether a frame's memory has failed.
   *
   * @param pfn the frame
   * @return the answer; true stays true
   */
  public boolean isPoisoned(int pfn) {
    return FrameState.isPoisoned(state(pfn));
  }

  // ---- the direct map ----

  /**
   * Takes a frame out of the direct map and waits for accesses under way to end.
   *
   * @param pfn the frame
   * @throws InterruptedException if the thread is interrupted while it waits; the frame is then in
   *     the direct map still
   */
  public void removeFromDirectMap(int pfn) throws InterruptedException {
    directMap.removeFromDirectMap(pfn);
  }

  /**
   * Puts a frame back into the direct map.
   *
   * @param pfn the frame
   */
  public void restoreToDirectMap(int pfn) {
    directMap.restoreToDirectMap(pfn);
  }

  /**
   * Whether a frame can be reached through the direct map: it is in use, and has not been removed.
   *
   * @param pfn a number from 1 to the limit
   * @return the answer
   */
  public boolean isDirectMapped(int pfn) {
    return directMap.isDirectMapped(pfn);
  }

  /**
   * Whether a frame has been taken out of the direct map.
   *
   * @param pfn the frame
   * @return the answer
   */
  public boolean isRemovedFromDirectMap(int pfn) {
    return directMap.isRemovedFromDirectMap(pfn);
  }

  /**
   * Announces an access through the direct map; a removal waits until it {@linkplain Accesses#end
   * ends}.
   *
   * @param pfn a number from 1 to the limit
   * @return the access; 0, and nothing announced, if the frame is not in the direct map
   */
  public long beginDirectAccess(int pfn) {
    return directMap.beginDirectAccess(pfn);
  }

  // ---- allocation ----

  /**
   * Promises frames: after this succeeds, so many calls of {@link #allocate} will find one.
   *
   * @param frames how many
   * @return false, and nothing promised, if there are not that many
   */
  public boolean reserve(long frames) {
    return allocator.reserve(frames);
  }

  /**
   * Gives promised frames back unused.
   *
   * @param frames how many
   */
  public void unreserve(long frames) {
    allocator.unreserve(frames);
  }

  /**
   * Takes a promised frame: not up to date, unlocked, in the direct map, frozen. Its old bytes are
   * still there, so no holder may see it before it is zeroed. {@link #thaw} brings it to life.
   *
   * @param owner the file it is for
   * @return the frame
   */
  public int allocate(FrameOwners.Owner owner) {
    int pfn = allocator.allocate(owner.number);
    Announce.write(owner.frames).incrementAndGet();
    return pfn;
  }

  /**
   * Gives back a frame that its file has not come to use: the file is not told.
   *
   * @param pfn the frame
   * @param owner the file it was allocated for
   * @param unit the references it was thawed with; 0 if it is still frozen
   */
  public void discard(int pfn, FrameOwners.Owner owner, long unit) {
    setOwner(pfn, 0);
    owner.drop();
    if (unit == 0) {
      allocator.release(pfn);
    } else {
      put(pfn, unit);
    }
  }

  private void setOwner(int pfn, int owner) {
    for (; ; ) {
      long word = state(pfn);
      if (casState(pfn, word, FrameState.withOwner(word, owner))) {
        return;
      }
    }
  }

  @Override
  void free(int pfn) {
    FrameOwners.Owner owner = owners.get(FrameState.owner(state(pfn)));
    try {
      if (owner != null) {
        owner.listener.freeing(pfn);
      }
    } finally {
      allocator.release(pfn);
      if (owner != null) {
        owner.drop();
        owner.listener.afterFree();
      }
    }
  }

  /**
   * Frames in use or promised.
   *
   * @return how many
   */
  public long used() {
    return allocator.used();
  }

  /**
   * The highest frame number that was ever in use.
   *
   * @return the number; 0 if there was none
   */
  public int highest() {
    return allocator.highest();
  }

  // ---- memory failure ----

  /**
   * Marks a frame as failed, for good. A frame in use is taken out when its last reference goes; a
   * free one is taken out now, that is, skipped by the allocation that meets it in the free list.
   *
   * @param pfn a number from 1 to the limit
   * @return the outcome
   */
  public FrameAllocator.Poisoning poison(int pfn) {
    return allocator.poison(pfn);
  }

  /**
   * Notes that the page of a poisoned frame has been taken from all its users. Only under the busy
   * bit of the page.
   *
   * @param pfn a poisoned frame
   */
  public void setIsolated(int pfn) {
    setState(pfn, FrameState.ISOLATED);
  }

  /**
   * Whether the page of a poisoned frame has been taken from all its users.
   *
   * @param pfn a poisoned frame
   * @return the answer, which stays true
   */
  public boolean isIsolated(int pfn) {
    return FrameState.isIsolated(state(pfn));
  }

  /**
   * Frames whose memory has failed, in use or not.
   *
   * @return how many
   */
  public long poisoned() {
    return allocator.poisoned();
  }

  // ---- files ----

  /**
   * Registers a file that will own frames.
   *
   * @param listener told of each of its frames whose last reference is gone
   * @return the owner
   */
  public FrameOwners.Owner newOwner(FrameOwners.Listener listener) {
    return owners.newOwner(listener);
  }

  /**
   * The file that a poisoned frame belongs to. No reference is needed: such a frame may leave its
   * file, which then does not find it any more, but never comes to another.
   *
   * @param pfn a poisoned frame
   * @return what {@link #newOwner} was given; null if the frame is free, or no file owns it
   */
  public FrameOwners.@Nullable Listener listener(int pfn) {
    long word = state(pfn);
    FrameOwners.Owner owner =
        FrameState.isAllocated(word) ? owners.get(FrameState.owner(word)) : null;
    return owner == null ? null : owner.listener;
  }

  /**
   * The files that are open or have frames.
   *
   * @return what {@link #newOwner} was given, as it was at one moment
   */
  public List<FrameOwners.Listener> listeners() {
    return owners.listeners();
  }

  // ---- the audit ----

  /**
   * What is wrong with a frame to which nothing is being done.
   *
   * @param pfn a number from 1 to {@link #highest}
   * @return what is wrong; null if nothing is
   */
  public @Nullable String anomaly(int pfn) {
    long counts = counts(pfn);
    long state = state(pfn);
    boolean inUse = Counts.isInUse(counts);
    if (!inUse && (counts & ~Counts.FROZEN) != 0) {
      return "is free, and held: " + Counts.toString(counts);
    }
    if (inUse && counts < 0) {
      return "is frozen";
    }
    if (inUse != FrameState.isAllocated(state)) {
      return inUse ? "is in use, and not allocated" : "is free, and allocated";
    }
    if (FrameState.isLocked(state) && !locks.isKept(pfn)) {
      return "is locked, and no thread has the lock";
    }
    if (FrameState.hasWaiters(state)) {
      return "has a thread queued for its lock";
    }
    if ((counts & Counts.WAITED) != 0 && !isWatched(pfn)) {
      return "is marked as waited for, and no thread waits";
    }
    return null;
  }
}
