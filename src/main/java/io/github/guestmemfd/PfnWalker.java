package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.file.CallbackContext;
import io.github.guestmemfd.file.FileOperations;
import io.github.guestmemfd.file.Host;
import io.github.guestmemfd.file.MemoryFailure;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameAllocator;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;

/**
 * What the host kernel's memory management does when it starts from a page frame number and not
 * from a file: compaction, page-idle tracking, migration, memory failure.
 *
 * <p>Scanners and migration find out what is in a frame by taking a reference first ({@code
 * folio_try_get}) and looking afterwards. Such a reference is <i>speculative</i>: it never touches
 * the content and goes at once, but for as long as it lasts a conversion of that folio meets a
 * holder it did not expect, looks again, and succeeds when it is gone. If a folio is punched
 * meanwhile, dropping the reference is what frees it, on this thread.
 *
 * <p>Safe for use by any number of threads. A number outside the host's memory is an {@link
 * IndexOutOfBoundsException}; the numbers are those from 1 to {@link HostMemory#size} / 4096.
 */
public final class PfnWalker {
  private final Host host;
  private final FrameTable frames;

  PfnWalker(Host host) {
    this.host = host;
    this.frames = host.frames;
  }

  /**
   * What a scan of a range met.
   *
   * @param scanned frames looked at
   * @param folios those among them that held a folio. None could be isolated: folios of a
   *     guest_memfd are unmovable
   */
  public record Scan(long scanned, long folios) {}

  /**
   * Looks at a frame as compaction or page-idle tracking does: takes a reference, looks whether
   * this is a folio that it could isolate, which those of a guest_memfd never are, and drops the
   * reference.
   *
   * @param pfn the frame
   * @return whether there was a folio to look at
   */
  public boolean scan(int pfn) {
    if (!tryGet(host.checked(pfn))) {
      return false;
    }
    try {
      holding(pfn);
      return true;
    } finally {
      frames.put(pfn, Counts.REF);
    }
  }

  /**
   * Looks at the frames of a range, one after the other.
   *
   * @param from the first frame
   * @param to the frame after the last; at most one more than the last of the host
   * @return what it met
   */
  public Scan scan(int from, int to) {
    long folios = 0;
    for (int pfn = from; pfn < to; pfn++) {
      if (scan(pfn)) {
        folios++;
      }
    }
    return new Scan(Math.max(0L, (long) to - from), folios);
  }

  /**
   * Tries to move what is in a frame to another: {@code migrate_pages}.
   *
   * @param pfn the frame
   * @return {@link Errno#EINVAL} for a folio: a guest_memfd refuses ({@code
   *     kvm_gmem_migrate_folio}); {@link Errno#ENOENT} if there is none, as {@code move_pages(2)}
   *     says of a page that is not present
   */
  public Errno migrate(int pfn) {
    if (!tryGet(host.checked(pfn))) {
      return Errno.ENOENT;
    }
    try {
      holding(pfn);
      return Errno.EINVAL;
    } finally {
      frames.put(pfn, Counts.REF);
    }
  }

  /**
   * The memory of a frame has failed: {@code memory_failure}, and for a folio {@code
   * kvm_gmem_error_folio}.
   *
   * <p>The frame is marked as poisoned for good. If it is free, it is taken out of the free list.
   * If it holds a folio, the page is unmapped from every host mapping, between {@link
   * GuestMemfdOps#invalidateBegin} and {@code invalidateEnd}; what these refuse or throw is logged,
   * for there is nothing to fall back to. Nothing is truncated: the folio stays where it is, and
   * from then on a grab answers {@link Errno#EHWPOISON}, an access through a mapping is a {@link
   * SigBusException}, and a reference through a mapping EFAULT; the attribute can still be
   * converted. Holders of the folio keep it. A hole punched there makes room for a new, healthy
   * frame. The failed one is taken out when its last reference goes.
   *
   * <p>A call that is interrupted leaves the frame marked, but its page in use as before. A
   * repetition finishes the job, and is the only call to answer OK for it; so EHWPOISON says that
   * there is nothing left to do.
   *
   * <p>Finding the page takes a walk over its file: this is rare.
   *
   * @param pfn the frame
   * @return {@link Errno#OK}; {@link Errno#EHWPOISON} if that has been done before; {@link
   *     Errno#EBUSY} if the frame is free and all free frames are promised to allocations under
   *     way: nothing is done; {@link Errno#EINTR} if the thread is interrupted while it waits for
   *     the page or for accesses under way; {@link Errno#EDEADLK} from inside a callback: nothing
   *     is done
   */
  public Errno memoryFailure(int pfn) {
    host.checked(pfn);
    if (CallbackContext.isInside()) {
      return Errno.EDEADLK;
    }
    FrameAllocator.Poisoning poisoning = frames.poison(pfn);
    if (poisoning == FrameAllocator.Poisoning.PROMISED) {
      return Errno.EBUSY;
    }
    boolean again = poisoning == FrameAllocator.Poisoning.ALREADY;
    if (frames.listener(pfn) instanceof FileOperations file) {
      return file.memoryFailure.memoryFailure(pfn, again);
    }
    return MemoryFailure.nothingLeft(frames, pfn, again);
  }

  private boolean tryGet(int pfn) {
    return frames.tryGetByNumber(pfn, Counts.REF);
  }

  private void holding(int pfn) {
    RaceHook hook = host.hook;
    if (hook == null) {
      return;
    }
    // A reference keeps the frame with that file.
    if (frames.listener(pfn) instanceof FileOperations file) {
      file.inode.at(RacePoint.WALKER_HOLDS_REFERENCE, pfn);
    } else {
      hook.at(RacePoint.WALKER_HOLDS_REFERENCE, pfn);
    }
  }
}
