package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.Announce;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The free frames of a host: a Treiber stack in their state words.
 *
 * <pre>
 *  63                              30  29                    0
 * +----------------------------------+-----------------------+
 * |            tag (34)              |       pfn (30)        |   the head
 * +----------------------------------+-----------------------+
 * </pre>
 *
 * <ul>
 *   <li><b>pfn</b>: the first free frame, 0 for none. The owner field of its state word holds the
 *       next one, and so on.
 *   <li><b>tag</b>: raised by every change, against reuse (ABA): a pop that was delayed while its
 *       frame was taken and freed again fails.
 * </ul>
 */
final class FreeList {
  private final FrameWords words;
  private final AtomicLong head = new AtomicLong();

  /**
   * Makes an empty list.
   *
   * @param words of the frames
   */
  FreeList(FrameWords words) {
    this.words = words;
  }

  /** Takes a frame off the list; 0 if it is empty. */
  int pop() {
    for (; ; ) {
      long old = Announce.read(head).get();
      int pfn = pfn(old);
      if (pfn == 0) {
        return 0;
      }
      // If the frame has been taken meanwhile this is its owner, and the tag makes the CAS fail.
      int next = FrameState.next(words.state(pfn));
      if (Announce.write(head).compareAndSet(old, nextTag(old) | next)) {
        return pfn;
      }
    }
  }

  /** Puts a frame on the list. */
  void push(int pfn) {
    for (; ; ) {
      long old = Announce.read(head).get();
      int next = pfn(old);
      for (; ; ) {
        long word = words.state(pfn);
        if (words.casState(pfn, word, FrameState.withNext(word, next))) {
          break;
        }
      }
      if (Announce.write(head).compareAndSet(old, nextTag(old) | pfn)) {
        return;
      }
    }
  }

  private static int pfn(long head) {
    return (int) (head & FrameWords.PFN_MASK);
  }

  /** The head with the next tag, and no pfn. */
  private static long nextTag(long head) {
    return (head & ~FrameWords.PFN_MASK) + (1L << FrameWords.PFN_BITS);
  }
}
