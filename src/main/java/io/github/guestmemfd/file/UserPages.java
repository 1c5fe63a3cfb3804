package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.RangeRule;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.RacePoint;
import java.util.Arrays;

/** References of the host to the pages of a mapping, by their addresses: the kernel's GUP. */
public final class UserPages {
  /**
   * What has been taken.
   *
   * @param pfns the frames, in the order of their pages
   * @param length how much of what was asked for they are, in bytes
   * @param end why there are no more; OK if they are all
   */
  @SuppressWarnings("ArrayRecordComponent") // handed over, and not compared
  public record Taken(int[] pfns, long length, Errno end) {}

  private final Mapping mapping;
  private final Inode inode;
  private final HostFault hostFault;
  private final FrameTable frames;

  /**
   * References to a mapping.
   *
   * @param mapping the mapping
   * @param hostFault maps its pages
   */
  public UserPages(Mapping mapping, HostFault hostFault) {
    this.mapping = mapping;
    this.inode = mapping.inode;
    this.hostFault = hostFault;
    this.frames = inode.frames;
  }

  /**
   * Takes references on the pages of a range, up to the first that cannot be had.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param unit the reference
   * @return what has been taken, one page at least if the length is not 0
   */
  public Taken reference(long offset, long length, long unit) {
    mapping.requireMapped();
    if (length < 0) {
      String why = "expected a length of 0 or more, actual " + length;
      throw noReference(Errno.EINVAL, offset, length, why);
    }
    if (length == 0) {
      return new Taken(new int[0], 0, Errno.OK);
    }
    if (inode.isOutOfDirectMap(false)) {
      throw noReference(Errno.EFAULT, offset, length, Inode.NOT_IN_DIRECT_MAP);
    }
    if (offset < 0 || offset >= mapping.length()) {
      String why =
          "expected offset 0x0 to " + Hex.of(mapping.length() - 1) + ", actual " + Hex.of(offset);
      throw noReference(Errno.EFAULT, offset, length, why);
    }
    long first = offset >> Pages.SHIFT;
    int in = (int) offset & Pages.OFFSET_MASK;
    long wanted = Math.min(length, mapping.length() - offset);
    int[] pfns = new int[(int) Math.min(16, ((in + wanted - 1) >> Pages.SHIFT) + 1)];
    int n = 0;
    long got = 0;
    Errno end = wanted < length ? Errno.EFAULT : Errno.OK;
    try {
      while (got < wanted) {
        int pfn = get(first + n, unit);
        if (pfn < 0) {
          end = Errno.ofResult(pfn);
          if (n == 0) {
            throw noPage(end, first, offset, length);
          }
          break;
        }
        if (n == pfns.length) {
          pfns = Arrays.copyOf(pfns, 2 * n);
        }
        pfns[n++] = pfn;
        got = Math.min(wanted, ((long) n << Pages.SHIFT) - in);
      }
      Taken taken = new Taken(Arrays.copyOf(pfns, n), got, end);
      n = 0;
      return taken;
    } finally {
      while (n > 0) { // something was thrown
        frames.put(pfns[--n], unit);
      }
    }
  }

  /**
   * Takes a reference on a page. An entry that can be used at all gives one: a page table knows
   * nothing of reading and writing, but by the hardware's bits, of which there is none for writing
   * alone. Where there is none the mapping must be for reading, and the page is mapped first.
   */
  private int get(long page, long unit) {
    for (; ; ) {
      Areas areas = mapping.areas();
      int pfn = areas.allows(page, false) ? getFast(page, unit) : 0;
      if (pfn != 0) {
        return pfn;
      }
      if (!areas.isMadeForReading(page)) {
        mapping.requireMapped(); // or it has been closed since
        return -Errno.EFAULT.code();
      }
      int result = hostFault.fault(mapping, page, false);
      if (result != 0 && result != HostFault.UNMAPPED) { // that the areas say too
        return result == Lookup.SIGBUS ? -Errno.EFAULT.code() : result;
      }
    }
  }

  /**
   * Takes a reference by way of the page table alone, without the page cache: the kernel's GUP-fast
   * ({@code gup_fast_pte_range}). The caller has looked at the protection, which is the same for
   * all entries.
   *
   * <p><b>Why it is sound.</b> The entry may be removed at any moment and its frame reused, so the
   * reference is speculative until the entry has been read again. A conversion removes the entry
   * and then reads the counts; this raises the count and then reads the entry; all four are
   * volatile, or read-modify-writes, which order as volatile both ways. So (store buffering) at
   * least one sees the other: either the entry has changed, and the reference is put, or the
   * conversion finds it in the counts. If the entry has not changed, it held its own reference on
   * the frame all the while, so that the frame was not frozen, freed or reused in between. The
   * version is part of what is compared, so that an entry which was removed and entered again
   * counts as another. A pending entry is none.
   *
   * <p><b>Progress.</b> Wait-free: no second attempt.
   *
   * @return the frame, or 0 if the page must be mapped first
   */
  int getFast(long page, long unit) {
    long entry = mapping.table.entry(page);
    int pfn = PageTable.pfn(entry);
    if (pfn == 0 || !frames.tryGet(pfn, unit)) {
      return 0;
    }
    boolean done = false;
    try {
      inode.at(RacePoint.BEFORE_PTE_RELOAD, mapping.firstIndex + page);
      done = mapping.table.entry(page) == entry;
    } finally {
      if (!done) {
        frames.put(pfn, unit);
      }
    }
    return done ? pfn : 0;
  }

  /**
   * Why not all pages of a range could be had, for a reference that has just been taken.
   *
   * @param taken what has been taken
   * @param offset the start of the range in bytes
   * @param length the length of the range in bytes
   * @return the exception
   */
  public GuestMemfdException notAll(Taken taken, long offset, long length) {
    long next = offset + taken.length();
    return next < mapping.length()
        ? noPage(taken.end(), Pages.index(next), offset, length)
        : noReference(
            taken.end(),
            offset,
            length,
            RangeRule.END.text("offset", "length", offset, length, mapping.length()));
  }

  private GuestMemfdException noPage(Errno errno, long page, long offset, long length) {
    String call = "reference" + Hex.range(offset, length) + " of " + mapping;
    if (errno == Errno.EHWPOISON) {
      return Refusals.exception(
          Errno.EFAULT, Mapping.noPage(call, page) + ": " + Refusals.why(errno, inode.host));
    }
    if (errno == Errno.EFAULT && !mapping.areas().isMadeForReading(page)) {
      String why = "expected a mapping for READ, or one that has mapped the page";
      return noReference(errno, offset, length, why);
    }
    return mapping.noPage(errno, page, call);
  }

  private GuestMemfdException noReference(Errno errno, long offset, long length, String why) {
    String call = "reference" + Hex.range(offset, length) + " of " + mapping;
    return Refusals.exception(errno, call + ": " + why);
  }

  /**
   * Gives back what has been taken.
   *
   * @param taken what has been taken
   * @param unit the reference
   */
  public void giveBack(Taken taken, long unit) {
    for (int pfn : taken.pfns()) {
      frames.put(pfn, unit);
    }
  }
}
