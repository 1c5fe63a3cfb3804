package io.github.guestmemfd.kvm;

import io.github.guestmemfd.FrameAccess;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** Frames that entries of a guest page table have led to. Not safe for use by several threads. */
final class ZappedFrames {
  private int[] pfns = new int[16];
  private int count;

  void add(int pfn) {
    if (count == pfns.length) {
      pfns = Arrays.copyOf(pfns, 2 * count);
    }
    pfns[count++] = pfn;
  }

  /** Removes the last one; 0 if there is none. */
  int poll() {
    return count == 0 ? 0 : pfns[--count];
  }

  /** Waits for the accesses to them that are under way. */
  void await(@Nullable FrameAccess accesses) throws InterruptedException {
    if (accesses != null && count > 0) {
      accesses.await(pfns, count);
    }
  }

  /** As {@link #await}, for callers that cannot give up. */
  void awaitUninterruptibly(@Nullable FrameAccess accesses) {
    if (accesses != null && count > 0) {
      accesses.awaitUninterruptibly(pfns, count);
    }
  }
}
