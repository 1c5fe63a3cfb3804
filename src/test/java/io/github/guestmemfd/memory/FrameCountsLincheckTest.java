package io.github.guestmemfd.memory;

import io.github.guestmemfd.fixtures.Linearizable;
import java.util.concurrent.atomic.AtomicInteger;
import org.jetbrains.lincheck.datastructures.Operation;
import org.jetbrains.lincheck.datastructures.Param;
import org.jetbrains.lincheck.datastructures.ThreadIdGen;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** The counts word of a frame: gets, puts, a freeze and the end of the frame are linearizable. */
@Tag("lincheck")
class FrameCountsLincheckTest {

  /** A frame that is in a page cache, and threads that drop what they hold and no more. */
  @Param(name = "thread", gen = ThreadIdGen.class)
  public static class OneFrame {
    private final FrameTable frames = FrameFixture.table(64);
    private final int pfn = FrameFixture.live(frames, frames.newOwner(p -> {}), Counts.CACHE_REF);

    /** By thread: references, and safe holders among them. */
    private final int[] plain = new int[8];

    private final int[] safe = new int[8];

    @Operation
    public boolean get(@Param(name = "thread") int thread) {
      boolean held = frames.tryGet(pfn, Counts.REF);
      plain[thread] += held ? 1 : 0;
      return held;
    }

    @Operation
    public boolean getSafe(@Param(name = "thread") int thread) {
      boolean held = frames.tryGet(pfn, Counts.SAFE_REF);
      safe[thread] += held ? 1 : 0;
      return held;
    }

    @Operation
    public boolean put(@Param(name = "thread") int thread) {
      if (plain[thread] == 0) {
        return false;
      }
      plain[thread]--;
      frames.put(pfn, Counts.REF);
      return true;
    }

    @Operation
    public boolean putSafe(@Param(name = "thread") int thread) {
      if (safe[thread] == 0) {
        return false;
      }
      safe[thread]--;
      frames.put(pfn, Counts.SAFE_REF);
      return true;
    }

    /** A plain reference of the thread becomes that of a safe holder. */
    @Operation
    public boolean markSafe(@Param(name = "thread") int thread) {
      if (plain[thread] == 0) {
        return false;
      }
      plain[thread]--;
      safe[thread]++;
      frames.markSafe(pfn);
      return true;
    }

    /**
     * Once: what a lookup adds to a frozen count for a moment can make a second one fail in vain.
     */
    @Operation(runOnce = true)
    public boolean freeze() {
      return frames.freeze(pfn, counts -> true);
    }

    @Operation
    public boolean isFrozen() {
      return frames.isFrozen(pfn);
    }
  }

  /** A frame that leaves its page cache, by whichever put is the last. */
  @Param(name = "thread", gen = ThreadIdGen.class)
  public static class LastPut {
    private final FrameTable frames = FrameFixture.table(64);
    private final AtomicInteger freed = new AtomicInteger();
    private final int pfn =
        FrameFixture.live(frames, frames.newOwner(p -> freeOnce()), Counts.CACHE_REF);

    private final int[] held = new int[8];

    @Operation
    public boolean get(@Param(name = "thread") int thread) {
      boolean got = frames.tryGet(pfn, Counts.REF);
      held[thread] += got ? 1 : 0;
      return got;
    }

    @Operation
    public boolean put(@Param(name = "thread") int thread) {
      if (held[thread] == 0) {
        return false;
      }
      held[thread]--;
      frames.put(pfn, Counts.REF);
      return true;
    }

    @Operation(runOnce = true)
    public void leaveCache() {
      frames.put(pfn, Counts.CACHE_REF);
    }

    @Operation
    public boolean isInUse() {
      return frames.isInUse(pfn);
    }

    /** No put answers this when they are made one at a time. */
    private void freeOnce() {
      if (freed.incrementAndGet() != 1) {
        throw new IllegalStateException("freed twice");
      }
    }
  }

  @Test
  void oneFrameByOrders() {
    Linearizable.checkByOrders(OneFrame.class);
  }

  @Test
  void oneFrameByStress() {
    Linearizable.checkByStress(OneFrame.class);
  }

  @Test
  void theLastPutByOrders() {
    Linearizable.checkByOrders(LastPut.class);
  }

  @Test
  void theLastPutByStress() {
    Linearizable.checkByStress(LastPut.class);
  }
}
