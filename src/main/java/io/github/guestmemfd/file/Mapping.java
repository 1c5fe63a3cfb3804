package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.observe.Holder;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Wait;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.IntUnaryOperator;
import org.jspecify.annotations.Nullable;

/** A mapping of a part of a file: the kernel's {@code vm_area_struct}, with its page table. */
public final class Mapping {
  /** The size of the address space of a process on x86-64. */
  public static final long TASK_SIZE = (1L << 47) - Pages.SIZE;

  /** The file. */
  public final Inode inode;

  /** The file as it has been opened, which it holds. */
  public final OpenFile opened;

  /** The page table, by pages of the mapping. */
  public final PageTable table;

  /** The page of the file that the mapping begins with. */
  public final long firstIndex;

  /** The length in pages. */
  public final long pages;

  /** The process that has it. */
  final Mm<?> mm;

  /** Makes {@link Remap} exclusive. */
  final MmapLock lock;

  private @Nullable Holder holder;

  private final AtomicBoolean closed = new AtomicBoolean();

  /** Changed by {@link #change} alone, under the lock of the process. */
  private volatile Areas areas;

  /** Whether it has left the file's mappings, because nothing of it is mapped. */
  private final AtomicBoolean left = new AtomicBoolean();

  /** Whether it has given up the file. */
  private final AtomicBoolean released = new AtomicBoolean();

  /**
   * Makes a mapping whose page table has no entries, and which no unmapping finds yet.
   *
   * @param opened the file; if anything is mapped, opened by the caller
   */
  Mapping(Mm<?> mm, OpenFile opened, long firstIndex, Areas areas) {
    this.mm = mm;
    this.opened = opened;
    this.inode = opened.inode;
    this.firstIndex = firstIndex;
    this.pages = areas.pages();
    this.areas = areas;
    this.table = new PageTable(pages, inode.frames.accesses);
    this.lock = new MmapLock(inode.host.idle);
  }

  /** Enters it into the register of holders: the last step of making it. */
  void track() {
    holder = inode.track(TrackedHolder.Kind.MAPPING, Pages.bytes(firstIndex), length());
  }

  /** Removes it from the register of holders. */
  void untrack() {
    inode.host.untrack(holder);
  }

  /**
   * What is mapped, and how it may be used.
   *
   * @return the areas, as they are now
   */
  public Areas areas() {
    return Announce.read(this).areas;
  }

  /**
   * Changes the bits of a range, at once. Who makes pages unmapped or changes their protection
   * holds the lock.
   *
   * @param bits the new bits of those that an area has
   * @return the areas afterwards
   */
  Areas change(long from, long to, IntUnaryOperator bits) {
    Areas[] changed = new Areas[1];
    mm.atOnce(
        () -> {
          changed[0] = areas().with(from, to, bits);
          become(changed[0]);
        });
    return changed[0];
  }

  /** Replaces the areas, as a part of a step. */
  void become(Areas changed) {
    Announce.write(this).areas = changed;
  }

  /** Whether a page of the mapping is mapped. */
  boolean isMapped(long page) {
    return areas().isMapped(page);
  }

  /** Says, once, that nothing of it is mapped any more. */
  boolean tryLeave() {
    return Announce.write(left).compareAndSet(false, true);
  }

  /** Says, once, after {@link #tryLeave}, that it gives up the file. */
  boolean tryRelease() {
    return Announce.read(left).get() && Announce.write(released).compareAndSet(false, true);
  }

  /** Says of one in which nothing is mapped that it is in no file's mappings and holds no file. */
  void holdNothing() {
    tryLeave();
    tryRelease();
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
      throw new IllegalStateException(this + " is closed");
    }
  }

  /** The page of this mapping at an index of the file; 0 below the mapping, its length above it. */
  long page(long index) {
    return clip(index - firstIndex);
  }

  /** The page of the mapping that is nearest to a number; its length is one too. */
  long clip(long page) {
    return Math.min(Math.max(page, 0), pages);
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
        + areas()
        + "] of "
        + inode;
  }
}
