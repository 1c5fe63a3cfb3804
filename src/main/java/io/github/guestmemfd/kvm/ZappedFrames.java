package io.github.guestmemfd.kvm;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.HolderKind;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** Frames that entries of a guest page table have led to. Not safe for use by several threads. */
final class ZappedFrames {
  private static final int[] NONE = {};

  private int[] pfns = NONE; // most often nothing is mapped
  private int count;

  void add(int pfn) {
    if (count == pfns.length) {
      pfns = Arrays.copyOf(pfns, Math.max(16, 2 * count));
    }
    pfns[count++] = pfn;
  }

  /** Gives back a reference on each of them: on all, whatever one of them throws. */
  void putAll(GuestMemfd memfd) {
    while (count > 0) {
      try {
        memfd.put(pfns[--count], HolderKind.SAFE);
      } catch (Throwable e) {
        putAll(memfd);
        throw e;
      }
    }
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
