package io.github.guestmemfd;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;

/** What a thread allocates on the Java heap. */
final class Allocation {
  private Allocation() {}

  /**
   * The bytes that one run allocates, rounded down; the first runs, which warm up, do not count.
   */
  static long perRun(Runnable body, int runs) {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    for (int i = 0; i < runs; i++) {
      body.run();
    }
    long before = threads.getCurrentThreadAllocatedBytes();
    for (int i = 0; i < runs; i++) {
      body.run();
    }
    return (threads.getCurrentThreadAllocatedBytes() - before) / runs;
  }
}
