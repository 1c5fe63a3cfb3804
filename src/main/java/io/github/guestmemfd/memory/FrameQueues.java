package io.github.guestmemfd.memory;

/**
 * The wait queues of a host's frames: for a folio lock, or for counts to change. Frames share a few
 * queues, in which each frame has two keys.
 */
final class FrameQueues {
  private static final int QUEUES = 64;

  private final WaitQueue[] queues = new WaitQueue[QUEUES];

  FrameQueues() {
    for (int i = 0; i < queues.length; i++) {
      queues[i] = new WaitQueue();
    }
  }

  /** The queue of a frame. */
  WaitQueue of(int pfn) {
    return queues[pfn & (queues.length - 1)];
  }

  /** The key of the threads that wait for the folio lock of a frame. */
  static long lockKey(int pfn) {
    return (long) pfn << 1;
  }

  /** The key of the thread that waits for the counts of a frame. */
  static long countKey(int pfn) {
    return lockKey(pfn) | 1;
  }
}
