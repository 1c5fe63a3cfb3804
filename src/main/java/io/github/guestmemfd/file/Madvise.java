package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.PageTable;
import java.util.Objects;

/** {@code madvise} of a mapping. */
public final class Madvise {
  private final Mapping mapping;
  private final Inode inode;
  private final FileOperations file;

  /**
   * Advises about a mapping.
   *
   * @param mapping the mapping
   * @param file its file
   */
  public Madvise(Mapping mapping, FileOperations file) {
    this.mapping = mapping;
    this.inode = mapping.inode;
    this.file = file;
  }

  /**
   * Takes advice.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param advice what to do
   */
  public void madvise(long offset, long length, Advice advice) {
    mapping.requireMapped();
    Objects.requireNonNull(advice, "advice");
    if ((offset & Pages.OFFSET_MASK) != 0) {
      String why = "expected a multiple of 4096 as offset, actual " + Hex.of(offset);
      throw notAdvised(Errno.EINVAL, offset, length, advice, why);
    }
    if (length < 0) {
      String why = "expected a length of 0 or more, actual " + length;
      throw notAdvised(Errno.EINVAL, offset, length, advice, why);
    }
    if (length > 0) {
      advise(offset, length, advice);
    }
  }

  private GuestMemfdException notAdvised(
      Errno errno, long offset, long length, Advice advice, String why) {
    return Refusals.exception(errno, describe(offset, length, advice) + ": " + why);
  }

  private String describe(long offset, long length, Advice advice) {
    return "madvise " + advice + Hex.range(offset, length) + " of " + mapping;
  }

  /** Advises about each area of a range; the first refusal ends it. */
  private void advise(long offset, long length, Advice advice) {
    long end = Pages.index(offset) + ((length - 1) >> Pages.SHIFT) + 1;
    long to = Math.min(end, mapping.pages);
    long unmapped = Pages.index(offset) < 0 ? Pages.index(offset) : end; // the first such page
    boolean populates = advice == Advice.POPULATE_READ || advice == Advice.POPULATE_WRITE;
    long from = Math.max(Pages.index(offset), 0);
    Areas areas = mark(from, to, advice);
    for (long page = from, next; page < to; page = next) {
      next = Math.min(areas.end(page), to);
      if (!areas.isMapped(page)) {
        unmapped = Math.min(unmapped, page);
      } else if (!populates) {
        adviseArea(offset, length, advice, page, next);
      } else if (unmapped == end) { // it goes no farther than what is mapped
        populate(offset, length, advice, page, next);
      }
    }
    if (to < end) {
      unmapped = Math.min(unmapped, Math.max(to, Pages.index(offset)));
    }
    if (unmapped < end) {
      mapping.requireMapped(); // or it has been closed since
      String why = "nothing is mapped at offset " + Hex.of(Pages.bytes(unmapped));
      throw notAdvised(Errno.ENOMEM, offset, length, advice, why);
    }
  }

  /**
   * Notes what areas are to remember, in all that are mapped at once: no area refuses that.
   *
   * @return the areas at that moment
   */
  private Areas mark(long from, long to, Advice advice) {
    int set = advice == Advice.HUGEPAGE ? Areas.HUGEPAGE : 0;
    set |= advice == Advice.DONTFORK ? Areas.DONTFORK : 0;
    int clear = advice == Advice.DOFORK ? Areas.DONTFORK : 0;
    if ((set | clear) == 0) {
      return mapping.areas();
    }
    int bits = set;
    return mapping.change(from, to, b -> b == Areas.UNMAPPED ? b : (b | bits) & ~clear);
  }

  private void adviseArea(long offset, long length, Advice advice, long from, long to) {
    switch (advice) {
      case DONTNEED -> {
        Errno errno = dontNeed(from, to);
        if (errno != Errno.OK) {
          throw inode.refused(errno, describe(offset, length, advice));
        }
      }
      case REMOVE -> {
        Mismatch busy = new Mismatch();
        Errno errno =
            file.truncation.punch(mapping.firstIndex + from, mapping.firstIndex + to, busy);
        if (errno != Errno.OK) {
          throw !busy.isAny()
              ? inode.refused(errno, describe(offset, length, advice))
              : notAdvised(errno, offset, length, advice, "busy folio at " + busy);
        }
      }
      case HUGEPAGE, DONTFORK, DOFORK, COLD, PAGEOUT, KEEPONFORK -> {}
      default -> {
        String why = "a guest_memfd does not take this advice";
        throw notAdvised(Errno.EINVAL, offset, length, advice, why);
      }
    }
  }

  /** Drops the page table entries of one mapping, keeping the folios. */
  private Errno dontNeed(long fromPage, long toPage) {
    long from = mapping.firstIndex + fromPage;
    long to = Math.min(mapping.firstIndex + toPage, inode.pages);
    if (from >= to) {
      return Errno.OK;
    }
    Errno errno = file.rangeLock.lock(from, to);
    if (errno != Errno.OK) {
      return errno;
    }
    try {
      mapping.revoke(fromPage, to - mapping.firstIndex);
      file.reverseMap.awaitAccesses(from, to);
      mapping.remove(fromPage, to - mapping.firstIndex);
      return Errno.OK;
    } catch (InterruptedException e) {
      return Refusals.ended(e);
    } finally {
      file.rangeLock.unlock(from, to);
    }
  }

  private void populate(long offset, long length, Advice advice, long from, long to) {
    boolean forWrite = advice == Advice.POPULATE_WRITE;
    Areas areas = mapping.areas();
    if (inode.isOutOfDirectMap(false)) { // as there is no GUP of it
      throw notAdvised(Errno.EINVAL, offset, length, advice, Inode.NOT_IN_DIRECT_MAP);
    }
    if (forWrite ? !areas.allows(from, true) : !areas.isMadeForReading(from)) {
      String why = "expected a mapping for " + (forWrite ? "WRITE" : "READ");
      throw notAdvised(Errno.EINVAL, offset, length, advice, why);
    }
    for (long page = from; page < to; page++) {
      while (PageTable.pfn(mapping.table.entry(page)) == 0) {
        int result = file.hostFault.fault(mapping, page, forWrite);
        if (result == HostFault.UNMAPPED) {
          mapping.requireMapped();
          throw notAdvised(Errno.ENOMEM, offset, length, advice, "it has been unmapped");
        }
        if (result != 0) {
          Errno errno = result == Lookup.SIGBUS ? Errno.EFAULT : Errno.ofResult(result);
          throw mapping.noPage(errno, page, describe(offset, length, advice));
        }
      }
    }
  }
}
