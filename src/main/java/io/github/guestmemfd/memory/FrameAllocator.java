package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Exploration;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The allocator of a host's frames: which are free, promised, in use, or failed for good.
 *
 * <p><b>Guarantees.</b> A frame is on the free list only while frozen. No more frames are promised
 * than can be had: a promise is kept whatever fails meanwhile. Marking a frame as failed,
 * allocating and releasing it are each one atomic change of its state word, so they come one after
 * the other.
 *
 * <p><b>Progress.</b> Allocation and release are lock-free.
 */
public final class FrameAllocator {
  /** The outcome of {@link #poison}. */
  public enum Poisoning {
    /** The frame is poisoned by this call. */
    DONE,
    /** It was poisoned before. */
    ALREADY,
    /** It is free, and every free frame is promised. */
    PROMISED
  }

  private final FrameWords words;
  private final FreeList freeList;

  /** Frames that are neither in use nor promised. */
  private final AtomicLong available;

  /** Frames whose memory has failed, in use or not. */
  private final AtomicLong poisoned = new AtomicLong();

  /** Those of them that are no longer in use, and never will be again. */
  private final AtomicLong takenOut = new AtomicLong();

  /** The last frame number ever used; those above it have not been touched. */
  private final AtomicLong fresh = new AtomicLong();

  /**
   * Makes an allocator with all frames free.
   *
   * @param words of the frames
   */
  FrameAllocator(FrameWords words) {
    this.words = words;
    this.freeList = new FreeList(words);
    this.available = new AtomicLong(words.limit());
  }

  // ---- promises ----

  /** See {@link FrameTable#reserve}. */
  boolean reserve(long frames) {
    if (Exploration.shouldFail()) {
      return false;
    }
    for (; ; ) {
      long now = Announce.read(available).get();
      if (now < frames) {
        return false;
      }
      if (Announce.write(available).compareAndSet(now, now - frames)) {
        return true;
      }
    }
  }

  /** See {@link FrameTable#unreserve}. */
  void unreserve(long frames) {
    Announce.write(available).addAndGet(frames);
  }

  // ---- allocation ----

  /** Takes a promised frame and enters its owner's number. */
  int allocate(int owner) {
    int pfn;
    do {
      pfn = freeList.pop();
      while (pfn == 0) {
        long last = Announce.read(fresh).get();
        if (last >= words.limit()) {
          throw new IllegalStateException("allocated without a promise: limit=" + words.limit());
        }
        words.makeChunk((int) last + 1); // first, since it may find no memory
        if (Announce.write(fresh).compareAndSet(last, last + 1)) {
          pfn = (int) last + 1;
        }
      }
    } while (!claim(pfn, owner));
    return pfn;
  }

  /**
   * Gives a frame that was on the free list to a file. One whose memory has failed is not put back:
   * it is taken out here.
   */
  private boolean claim(int pfn, int owner) {
    for (; ; ) {
      long word = words.state(pfn);
      if (FrameState.isPoisoned(word)) {
        return false;
      }
      if (words.casState(pfn, word, FrameState.allocated(word, owner))) {
        return true;
      }
    }
  }

  /** Gives a frame back to the free list; one that has failed is taken out. */
  void release(int pfn) {
    long was = words.clearState(pfn, FrameState.CLEARED_BY_RELEASE);
    if (FrameState.isPoisoned(was)) {
      Announce.write(takenOut).incrementAndGet();
      return;
    }
    freeList.push(pfn);
    Announce.write(available).incrementAndGet();
  }

  // ---- memory failure ----

  /**
   * Marks a frame as failed. Before a free frame is marked, a frame is promised, and that promise
   * is never used: so a good frame is left for every other promise.
   */
  Poisoning poison(int pfn) {
    words.makeChunk(pfn);
    for (; ; ) {
      long word = words.state(pfn);
      if (FrameState.isPoisoned(word)) {
        return Poisoning.ALREADY;
      }
      boolean free = !FrameState.isAllocated(word);
      if (free && !reserve(1)) {
        return Poisoning.PROMISED;
      }
      if (words.casState(pfn, word, word | FrameState.POISONED)) {
        Announce.write(poisoned).incrementAndGet();
        if (free) {
          Announce.write(takenOut).incrementAndGet();
        }
        return Poisoning.DONE;
      }
      if (free) {
        unreserve(1);
      }
    }
  }

  // ---- numbers ----

  /** See {@link FrameTable#poisoned}. */
  long poisoned() {
    return Announce.read(poisoned).get();
  }

  /** See {@link FrameTable#used}. */
  long used() {
    return words.limit() - Announce.read(available).get() - Announce.read(takenOut).get();
  }

  /** See {@link FrameTable#highest}. */
  int highest() {
    return (int) Announce.read(fresh).get();
  }
}
