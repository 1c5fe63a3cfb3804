package io.github.guestmemfd.memory;

import io.github.guestmemfd.fixtures.Linearizable;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.jetbrains.lincheck.datastructures.IntGen;
import org.jetbrains.lincheck.datastructures.Operation;
import org.jetbrains.lincheck.datastructures.Param;
import org.jetbrains.lincheck.datastructures.ThreadIdGen;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Allocation, release and memory failure of frames are linearizable, within limits. */
@Tag("lincheck")
class FrameAllocatorLincheckTest {

  /**
   * A host of three frames; each thread gives back the one that it took last. Which frame is taken
   * is not compared: a release makes its frame free in one step and counts it in the next, so that
   * a thread with a promise may take the frame before a promise can be made for it.
   */
  @Param(name = "thread", gen = ThreadIdGen.class)
  public static class ThreeFrames {
    private final FrameAllocator allocator = new FrameAllocator(FrameFixture.table(3));
    private final AtomicIntegerArray takers = new AtomicIntegerArray(4);
    private final List<Deque<Integer>> taken = new ArrayList<>();

    public ThreeFrames() {
      for (int i = 0; i < 8; i++) {
        taken.add(new ArrayDeque<>());
      }
    }

    @Operation
    public boolean allocate(@Param(name = "thread") int thread) {
      if (!allocator.reserve(1)) {
        return false;
      }
      int pfn = allocator.allocate(1);
      taken.get(thread).push(pfn);
      if (takers.incrementAndGet(pfn) != 1) {
        throw new IllegalStateException("a frame in two hands");
      }
      return true;
    }

    @Operation
    public boolean release(@Param(name = "thread") int thread) {
      if (taken.get(thread).isEmpty()) {
        return false;
      }
      int pfn = taken.get(thread).pop();
      takers.decrementAndGet(pfn);
      allocator.release(pfn);
      return true;
    }
  }

  /**
   * Frames that fail while promised ones are taken. No promise is made meanwhile: a failure takes
   * one on trial, so that a promise, or another failure of the same frame, can be refused in vain.
   */
  @Param(name = "thread", gen = ThreadIdGen.class)
  @Param(name = "pfn", gen = IntGen.class, conf = "1:3")
  public static class Failing {
    private final FrameAllocator allocator = new FrameAllocator(FrameFixture.table(3));
    private final int[] promised = new int[8];

    @Operation(nonParallelGroup = "promises")
    public boolean reserve(@Param(name = "thread") int thread) {
      boolean done = allocator.reserve(1);
      promised[thread] += done ? 1 : 0;
      return done;
    }

    @Operation
    public int allocate(@Param(name = "thread") int thread) {
      if (promised[thread] == 0) {
        return 0;
      }
      promised[thread]--;
      return allocator.allocate(1);
    }

    @Operation(nonParallelGroup = "promises")
    public FrameAllocator.Poisoning poison(@Param(name = "pfn") int pfn) {
      return allocator.poison(pfn);
    }

    @Operation
    public long poisoned() {
      return allocator.poisoned();
    }
  }

  @Test
  void threeFramesByOrders() {
    Linearizable.checkByOrders(ThreeFrames.class);
  }

  @Test
  void threeFramesByStress() {
    Linearizable.checkByStress(ThreeFrames.class);
  }

  @Test
  void failingFramesByOrders() {
    Linearizable.checkByOrders(Failing.class);
  }

  @Test
  void failingFramesByStress() {
    Linearizable.checkByStress(Failing.class);
  }
}
