package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Wait;
import java.util.concurrent.atomic.AtomicBoolean;

/** A mapping of a part of a file: the kernel's {@code vm_area_struct}, with its page table. */
public final class Mapping {
  /** The file. */
  public final Inode inode;

  /** The page table, by pages of the mapping. */
  public final PageTable table;

  /** The page of the file that the mapping begins with. */
  public final long firstIndex;

  /** The length in pages. */
  public final long pages;

  /** Whether it was made for reading. */
  public final boolean read;

  /** Whether it was made for writing. */
  public final boolean write;

  private final AtomicBoolean closed = new AtomicBoolean();

  /**
   * Makes a mapping whose page table has no entries, and which no unmapping finds yet.
   *
   * @param inode the file
   * @param firstIndex the page of the file that it begins with
   * @param pages its length in pages
   * @param read whether it is for reading
   * @param write whether it is for writing
   */
  public Mapping(Inode inode, long firstIndex, long pages, boolean read, boolean write) {
    this.inode = inode;
    this.firstIndex = firstIndex;
    this.pages = pages;
    this.read = read;
    this.write = write;
    this.table = new PageTable(pages, inode.frames.accesses);
  }

  /**
   * The length.
   *
   * @return bytes
   */
  public long length() {
    return Pages.bytes(pages);
  }

  /**
   * Whether it has been closed.
   *
   * @return the answer
   */
  public boolean isClosed() {
    return Announce.read(closed).get();
  }

  /** Closes it; false if it was closed before. */
  boolean tryClose() {
    return Announce.write(closed).compareAndSet(false, true);
  }

  /**
   * Refuses what cannot be done when it is closed.
   *
   * @throws IllegalStateException if it is closed
   */
  public void requireMapped() {
    if (Announce.read(closed).get()) {
      throw new IllegalStateException(this + " is unmapped");
    }
  }

  /** The page of this mapping at an index of the file; 0 below the mapping, its length above it. */
  long page(long index) {
    return Math.min(Math.max(index - firstIndex, 0), pages);
  }

  /** Whether a page of the mapping lies past the end of the file. */
  boolean isPastEnd(long page) {
    return firstIndex + page >= inode.pages;
  }

  /**
   * Revokes the page table entries of a range whose pages are busy: no access by them begins any
   * more. An interrupt ends it early; the entries that it has reached stay revoked.
   */
  void revoke(long from, long to) throws InterruptedException {
    for (long page = table.next(from, to); page < to; page = table.next(page + 1, to)) {
      table.revoke(page);
      Wait.checkInterrupt(); // not Wait.check: a thread that must not wait may unmap
    }
  }

  /**
   * Removes the revoked entries of a range and drops their references: all of them, even if a drop
   * throws.
   */
  void remove(long from, long to) {
    Failures failures = null; // made when needed: most often nothing throws
    for (long page = table.next(from, to); page < to; page = table.next(page + 1, to)) {
      int pfn = table.remove(page);
      if (pfn != 0) {
        try {
          inode.frames.put(pfn, Counts.REF);
        } catch (RuntimeException | Error e) {
          failures = failures == null ? new Failures() : failures;
          failures.add(e);
        }
      }
    }
    if (failures != null) {
      failures.throwIfAny();
    }
  }

  /** The exception for a page of the mapping that a call of this thread has just failed to get. */
  GuestMemfdException noPage(Errno errno, long page, String call) {
    String what = noPage(call, page);
    return errno == Errno.EFAULT && isPastEnd(page)
        ? Refusals.exception(errno, what + ": it is past the end of the file")
        : inode.refused(errno, what);
  }

  static String noPage(String call, long page) {
    return call + ": the page at offset " + Hex.of(page << Pages.SHIFT) + " cannot be had";
  }

  @Override
  public String toString() {
    return "HostMapping[offset="
        + Hex.of(firstIndex << Pages.SHIFT)
        + ", length="
        + length()
        + ", "
        + (read ? "r" : "-")
        + (write ? "w" : "-")
        + "] of "
        + inode;
  }
}
