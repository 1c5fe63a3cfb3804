package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashSet;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Who shares a queue, and under which keys. */
class FrameQueuesTest {

  /** A frame has a key of its own for each thing that threads wait for. */
  @Test
  void keysAreAllDifferent() {
    Set<Long> keys = new HashSet<>();
    for (int pfn = 1; pfn <= 1000; pfn++) {
      assertTrue(keys.add(FrameQueues.lockKey(pfn)), "lock of frame " + pfn);
      assertTrue(keys.add(FrameQueues.countKey(pfn)), "counts of frame " + pfn);
    }
  }

  @Test
  void framesShareAFewQueues() {
    FrameQueues queues = new FrameQueues();
    Set<WaitQueue> used = new HashSet<>();
    for (int pfn = 1; pfn <= 64; pfn++) {
      assertTrue(used.add(queues.of(pfn)), "frame " + pfn);
      assertSame(queues.of(pfn), queues.of(pfn + 64));
    }
  }
}
