package io.github.guestmemfd.memory;

import io.github.guestmemfd.fixtures.Linearizable;
import org.jetbrains.lincheck.datastructures.Operation;
import org.jetbrains.lincheck.datastructures.Param;
import org.jetbrains.lincheck.datastructures.ThreadIdGen;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * The folio lock without waiting is linearizable, also where the page cache leaves its reference to
 * the holder of the lock.
 */
@Tag("lincheck")
class FolioLocksLincheckTest {

  /** The lock of a frame that is in a page cache; a thread gives back what it has taken. */
  @Param(name = "thread", gen = ThreadIdGen.class)
  public static class OneLock {
    private final FrameTable frames = FrameFixture.table(64);
    private final int pfn = FrameFixture.live(frames, frames.newOwner(p -> {}), Counts.CACHE_REF);
    private final boolean[] held = new boolean[8];

    @Operation
    public boolean tryLock(@Param(name = "thread") int thread) {
      boolean locked = frames.tryLock(pfn);
      held[thread] |= locked;
      return locked;
    }

    @Operation
    public boolean unlock(@Param(name = "thread") int thread) {
      if (!held[thread]) {
        return false;
      }
      held[thread] = false;
      frames.unlock(pfn);
      return true;
    }

    /** The page cache drops the folio, which the holder of the lock frees. */
    @Operation(runOnce = true)
    public boolean leaveToLock() {
      return frames.leaveToLock(pfn);
    }

    @Operation
    public boolean isLocked() {
      return frames.isLocked(pfn);
    }

    @Operation
    public boolean isInUse() {
      return frames.isInUse(pfn);
    }
  }

  @Test
  void oneLockByOrders() {
    Linearizable.checkByOrders(OneLock.class);
  }

  @Test
  void oneLockByStress() {
    Linearizable.checkByStress(OneLock.class);
  }
}
