package io.github.guestmemfd;

import static io.github.guestmemfd.HostMemory.PAGE_SHIFT;
import static io.github.guestmemfd.HostMemory.PAGE_SIZE;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.RangeRule;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;

/**
 * A part of a guest_memfd mapped by the host: real bytes, a page at a time, for as long as each
 * page is accessible.
 *
 * <p>Offsets are in bytes from the start of the mapping; numbers are little-endian. An access to a
 * page that is not mapped faults: an accessible page is allocated and mapped, for any other the
 * access fails with {@link SigBusException}, as for a page whose memory has failed. The protection
 * of the mapping is looked at first ({@link SigSegvException}). As on x86-64, a mapping that may be
 * written may be read too.
 *
 * <p><b>Refusals.</b> An offset that is not in the mapping is an {@link IndexOutOfBoundsException};
 * one that an atomic access cannot have, an {@link IllegalArgumentException}; any use of a mapping
 * that is closed, an {@link IllegalStateException}; an access to bytes if the host is metadata
 * only, an {@link UnsupportedOperationException}. A fault that cannot be served for lack of memory,
 * or since the thread was interrupted, is a {@link GuestMemfdException} with ENOMEM or EINTR, as is
 * what a callback answers. Of a number that lies in two pages, the first may have been faulted in
 * when the second is refused; nothing has been written then.
 *
 * <p><b>Revocation.</b> An access to a page happens wholly before a conversion or punch of that
 * page takes effect, or it faults. Reads of a number are optimistic: they read the page table
 * entry, the bytes, and the entry again, and start over if the page was unmapped in between.
 * Everything else is announced for the frame, and a conversion waits until it is over; a copy
 * announces up to 64 pages at once.
 *
 * <p><b>Memory ordering.</b> Methods without a suffix are plain, at any offset. {@code Acquire},
 * {@code Release} and {@code Volatile} methods, and atomic updates, have the ordering of the {@link
 * VarHandle} methods of these names; their offset must be a multiple of the width. A number that
 * reaches over the end of a page is not read or written at once.
 */
public sealed class HostMapping implements AutoCloseable permits RecordedMapping {
  private static final int PAGE_MASK = PAGE_SIZE - 1;

  final PageTable table;
  final long firstIndex;
  final long pages;

  private final Inode inode;
  private final HostMemory host;
  private final boolean read;
  private final boolean write;
  private final Accesses accesses;
  private final @Nullable FrameContents contents;
  private final @Nullable RaceHook hook;
  private final AtomicBoolean closed = new AtomicBoolean();
  private final @Nullable TrackedHolder tracked;

  /** Takes over the caller's hold on the file. */
  HostMapping(Inode inode, long firstIndex, long pages, boolean read, boolean write) {
    this.inode = inode;
    this.host = inode.host;
    this.firstIndex = firstIndex;
    this.pages = pages;
    this.read = read;
    this.write = write;
    this.contents = host.contents;
    this.hook = inode.hook;
    this.accesses = host.frames.accesses;
    this.table = new PageTable(pages, accesses);
    this.tracked =
        host.track(
            inode, TrackedHolder.Kind.MAPPING, firstIndex << PAGE_SHIFT, pages << PAGE_SHIFT);
    inode.add(this);
  }

  /**
   * The length, a multiple of 4096.
   *
   * @return the length in bytes
   */
  public long length() {
    return pages << PAGE_SHIFT;
  }

  /**
   * Whether the mapping has been closed.
   *
   * @return true after {@link #close}
   */
  public boolean isClosed() {
    return closed.get();
  }

  /**
   * Unmaps: {@code munmap} of the whole mapping. A second call does nothing.
   *
   * @throws GuestMemfdException EDEADLK from inside a callback
   */
  @Override
  public void close() {
    Callbacks.forbid("munmap");
    if (!closed.compareAndSet(false, true)) {
      return;
    }
    table.close();
    for (long page = table.next(0, pages); page < pages; page = table.next(page + 1, pages)) {
      table.revoke(page);
    }
    Failures failures = new Failures();
    failures.attempt(this::awaitAccesses);
    failures.attempt(() -> remove(0, pages));
    inode.remove(this);
    host.untrack(tracked);
    failures.attempt(inode::close);
    failures.throwIfAny();
  }

  /** Waits for accesses under way to the frames of all entries: they only move bytes. */
  private void awaitAccesses() {
    Accesses.UnderWay underWay = accesses.underWay();
    if (underWay != null) {
      for (long page = table.next(0, pages); page < pages; page = table.next(page + 1, pages)) {
        underWay.concerns(PageTable.held(table.entry(page)));
      }
      underWay.awaitUninterruptibly(host.idle);
    }
  }

  // ---- unmapping ----

  /** The page of this mapping at an index of the file, or its first or its end. */
  long page(long index) {
    return Math.min(Math.max(index - firstIndex, 0), pages);
  }

  /** Revokes the entries of a range, whose pages are busy. */
  void revoke(long from, long to) throws InterruptedException {
    for (long page = table.next(from, to); page < to; page = table.next(page + 1, to)) {
      table.revoke(page);
      if (Thread.interrupted()) {
        throw new InterruptedException();
      }
    }
  }

  /** Removes the revoked entries of a range, and drops their references, whatever one throws. */
  void remove(long from, long to) {
    Failures failures = null; // made when needed: most often nothing throws
    for (long page = table.next(from, to); page < to; page = table.next(page + 1, to)) {
      int pfn = table.remove(page);
      if (pfn != 0) {
        try {
          inode.drop(pfn, Counts.REF);
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

  // ---- one number ----

  long load(long offset, int width, int mode) {
    long page = page(offset, width, false);
    int in = (int) offset & PAGE_MASK;
    if (mode != Bytes.PLAIN) {
      requireAligned(offset, width);
    } else if (in > PAGE_SIZE - width) {
      return loadAcross(offset, width);
    }
    for (; ; ) {
      long entry = table.entry(page);
      int pfn = PageTable.pfn(entry);
      if (pfn != 0) {
        FrameContents c = bytes();
        long value = Bytes.get(c.chunk(pfn), FrameContents.base(pfn) + in, width, mode);
        VarHandle.acquireFence(); // the bytes before the entry: see PageTable
        if (table.entry(page) == entry) {
          return value;
        }
      } else {
        faultIn(page, offset, false);
      }
    }
  }

  private long loadAcross(long offset, int width) {
    long value = 0;
    for (int i = 0; i < width; i++) { // upwards: a fault names the first byte that faults
      value |= (load(offset + i, 1, Bytes.PLAIN) & 0xff) << (8 * i);
    }
    return value;
  }

  void store(long offset, int width, int mode, long value) {
    long page = page(offset, width, true);
    int in = (int) offset & PAGE_MASK;
    if (mode != Bytes.PLAIN) {
      requireAligned(offset, width);
    } else if (in > PAGE_SIZE - width) {
      storeAcross(offset, width, value);
      return;
    }
    long access = begin(page, offset, true);
    int pfn = Accesses.pfn(access);
    try {
      FrameContents c = bytes();
      Bytes.put(c.chunk(pfn), FrameContents.base(pfn) + in, width, mode, value);
    } finally {
      accesses.end(access);
    }
  }

  /** Stores a number that reaches over the end of a page: in both pages, or in none. */
  private void storeAcross(long offset, int width, long value) {
    long page = offset >> PAGE_SHIFT;
    long second = (page + 1) << PAGE_SHIFT;
    for (; ; ) {
      long access = begin(page, offset, true);
      long next = 0;
      try {
        next = table.begin(page + 1, 1);
        if (next != 0) {
          for (int i = 0; i < width; i++) {
            long at = offset + i;
            int frame = Accesses.pfn(at < second ? access : next);
            int in = (int) at & PAGE_MASK;
            bytes().chunk(frame).put(FrameContents.base(frame) + in, (byte) (value >>> (8 * i)));
          }
          return;
        }
      } finally {
        accesses.end(access);
        if (next != 0) {
          accesses.end(next);
        }
      }
      faultIn(page + 1, second, true); // with nothing announced: a fault may have to wait
    }
  }

  /**
   * Reads a byte.
   *
   * @param offset where
   * @return the byte
   */
  public byte getByte(long offset) {
    return (byte) load(offset, 1, Bytes.PLAIN);
  }

  /**
   * Writes a byte.
   *
   * @param offset where
   * @param value the byte
   */
  public void putByte(long offset, byte value) {
    store(offset, 1, Bytes.PLAIN, value);
  }

  /**
   * Reads two bytes.
   *
   * @param offset where
   * @return the number
   */
  public short getShort(long offset) {
    return (short) load(offset, 2, Bytes.PLAIN);
  }

  /**
   * Reads two bytes with acquire semantics.
   *
   * @param offset where, a multiple of 2
   * @return the number
   */
  public short getShortAcquire(long offset) {
    return (short) load(offset, 2, Bytes.ORDERED);
  }

  /**
   * Reads two bytes with volatile semantics.
   *
   * @param offset where, a multiple of 2
   * @return the number
   */
  public short getShortVolatile(long offset) {
    return (short) load(offset, 2, Bytes.VOLATILE);
  }

  /**
   * Writes two bytes.
   *
   * @param offset where
   * @param value the number
   */
  public void putShort(long offset, short value) {
    store(offset, 2, Bytes.PLAIN, value);
  }

  /**
   * Writes two bytes with release semantics.
   *
   * @param offset where, a multiple of 2
   * @param value the number
   */
  public void putShortRelease(long offset, short value) {
    store(offset, 2, Bytes.ORDERED, value);
  }

  /**
   * Writes two bytes with volatile semantics.
   *
   * @param offset where, a multiple of 2
   * @param value the number
   */
  public void putShortVolatile(long offset, short value) {
    store(offset, 2, Bytes.VOLATILE, value);
  }

  /**
   * Reads four bytes.
   *
   * @param offset where
   * @return the number
   */
  public int getInt(long offset) {
    return (int) load(offset, 4, Bytes.PLAIN);
  }

  /**
   * Reads four bytes with acquire semantics.
   *
   * @param offset where, a multiple of 4
   * @return the number
   */
  public int getIntAcquire(long offset) {
    return (int) load(offset, 4, Bytes.ORDERED);
  }

  /**
   * Reads four bytes with volatile semantics.
   *
   * @param offset where, a multiple of 4
   * @return the number
   */
  public int getIntVolatile(long offset) {
    return (int) load(offset, 4, Bytes.VOLATILE);
  }

  /**
   * Writes four bytes.
   *
   * @param offset where
   * @param value the number
   */
  public void putInt(long offset, int value) {
    store(offset, 4, Bytes.PLAIN, value);
  }

  /**
   * Writes four bytes with release semantics.
   *
   * @param offset where, a multiple of 4
   * @param value the number
   */
  public void putIntRelease(long offset, int value) {
    store(offset, 4, Bytes.ORDERED, value);
  }

  /**
   * Writes four bytes with volatile semantics.
   *
   * @param offset where, a multiple of 4
   * @param value the number
   */
  public void putIntVolatile(long offset, int value) {
    store(offset, 4, Bytes.VOLATILE, value);
  }

  /**
   * Replaces four bytes if they are as expected, with volatile semantics.
   *
   * @param offset where, a multiple of 4
   * @param expected the old number
   * @param value the new number
   * @return whether it was replaced
   */
  public boolean compareAndSetInt(long offset, int expected, int value) {
    return compareAndSet(offset, 4, expected, value);
  }

  /**
   * Reads eight bytes.
   *
   * @param offset where
   * @return the number
   */
  public long getLong(long offset) {
    return load(offset, 8, Bytes.PLAIN);
  }

  /**
   * Reads eight bytes with acquire semantics.
   *
   * @param offset where, a multiple of 8
   * @return the number
   */
  public long getLongAcquire(long offset) {
    return load(offset, 8, Bytes.ORDERED);
  }

  /**
   * Reads eight bytes with volatile semantics.
   *
   * @param offset where, a multiple of 8
   * @return the number
   */
  public long getLongVolatile(long offset) {
    return load(offset, 8, Bytes.VOLATILE);
  }

  /**
   * Reads eight bytes, or answers otherwise where that would throw: for hot loops.
   *
   * @param offset where, a multiple of 8
   * @param otherwise the answer if the page cannot be read
   * @return the number, or the answer
   */
  public long tryGetLong(long offset, long otherwise) {
    if ((offset & 7) != 0 || offset < 0 || offset >= length() || !(read || write)) {
      return otherwise;
    }
    long page = offset >> PAGE_SHIFT;
    for (; ; ) {
      long entry = table.entry(page);
      int pfn = PageTable.pfn(entry);
      if (pfn != 0) {
        long value =
            bytes().chunk(pfn).getLong(FrameContents.base(pfn) + ((int) offset & PAGE_MASK));
        VarHandle.acquireFence(); // the bytes before the entry: see PageTable
        if (table.entry(page) == entry) {
          return value;
        }
      } else if (!tryFault(page, false)) {
        return otherwise;
      }
    }
  }

  /**
   * Writes eight bytes, unless that would throw: for hot loops.
   *
   * @param offset where, a multiple of 8
   * @param value the number
   * @return whether it was written
   */
  public boolean tryPutLong(long offset, long value) {
    if ((offset & 7) != 0 || offset < 0 || offset >= length() || !write) {
      return false;
    }
    long page = offset >> PAGE_SHIFT;
    long access;
    while ((access = table.begin(page, 1)) == 0) {
      if (!tryFault(page, true)) {
        return false;
      }
    }
    int pfn = Accesses.pfn(access);
    try {
      bytes().chunk(pfn).putLong(FrameContents.base(pfn) + ((int) offset & PAGE_MASK), value);
      return true;
    } finally {
      accesses.end(access);
    }
  }

  /**
   * Writes eight bytes.
   *
   * @param offset where
   * @param value the number
   */
  public void putLong(long offset, long value) {
    store(offset, 8, Bytes.PLAIN, value);
  }

  /**
   * Writes eight bytes with release semantics.
   *
   * @param offset where, a multiple of 8
   * @param value the number
   */
  public void putLongRelease(long offset, long value) {
    store(offset, 8, Bytes.ORDERED, value);
  }

  /**
   * Writes eight bytes with volatile semantics.
   *
   * @param offset where, a multiple of 8
   * @param value the number
   */
  public void putLongVolatile(long offset, long value) {
    store(offset, 8, Bytes.VOLATILE, value);
  }

  /**
   * Replaces eight bytes if they are as expected, with volatile semantics.
   *
   * @param offset where, a multiple of 8
   * @param expected the old number
   * @param value the new number
   * @return whether it was replaced
   */
  public boolean compareAndSetLong(long offset, long expected, long value) {
    return compareAndSet(offset, 8, expected, value);
  }

  /**
   * Adds to eight bytes, with volatile semantics.
   *
   * @param offset where, a multiple of 8
   * @param delta what to add
   * @return the old number
   */
  public long getAndAddLong(long offset, long delta) {
    long page = page(offset, 8, true);
    requireAligned(offset, 8);
    long access = begin(page, offset, true);
    int pfn = Accesses.pfn(access);
    try {
      FrameContents c = bytes();
      return Bytes.getAndAdd(
          c.chunk(pfn), FrameContents.base(pfn) + ((int) offset & PAGE_MASK), delta);
    } finally {
      accesses.end(access);
    }
  }

  boolean compareAndSet(long offset, int width, long expected, long value) {
    long page = page(offset, width, true);
    requireAligned(offset, width);
    long access = begin(page, offset, true);
    int pfn = Accesses.pfn(access);
    try {
      FrameContents c = bytes();
      int at = FrameContents.base(pfn) + ((int) offset & PAGE_MASK);
      return Bytes.compareAndSet(c.chunk(pfn), at, width, expected, value);
    } finally {
      accesses.end(access);
    }
  }

  // ---- many bytes ----

  /** Moves bytes within one buffer: where in it, how far in, how many. */
  @FunctionalInterface
  interface Move {
    void bytes(ByteBuffer chunk, int at, int done, int length);
  }

  void move(long offset, int length, boolean write, Move move) {
    page(offset, length, write);
    for (int done = 0; done < length; ) {
      long at = offset + done;
      int in = (int) at & PAGE_MASK;
      long access = begin(at >> PAGE_SHIFT, pages(in + (long) length - done), at, write);
      try {
        int pfn = Accesses.pfn(access);
        int n = Math.min(length - done, FrameContents.bytes(pfn, Accesses.frames(access)) - in);
        move.bytes(bytes().chunk(pfn), FrameContents.base(pfn) + in, done, n);
        done += n;
      } finally {
        accesses.end(access);
      }
    }
  }

  /** How many pages to announce at once for so many bytes; one where a test steps in between. */
  private int pages(long bytes) {
    return hook != null
        ? 1
        : (int) Math.min(Accesses.MAX_FRAMES, (bytes + PAGE_MASK) >> PAGE_SHIFT);
  }

  /**
   * Reads bytes. If a page in the middle faults, what lies before it has been read.
   *
   * @param offset where
   * @param into takes the bytes
   * @param from the first index in {@code into}
   * @param length how many
   */
  public void get(long offset, byte[] into, int from, int length) {
    Objects.checkFromIndexSize(from, length, into.length);
    move(offset, length, false, (chunk, at, done, n) -> chunk.get(at, into, from + done, n));
  }

  /**
   * Reads bytes. If a page in the middle faults, what lies before it has been read, and the
   * buffer's position says so.
   *
   * @param offset where
   * @param into takes as many bytes as it has remaining
   */
  public void get(long offset, ByteBuffer into) {
    move(
        offset,
        into.remaining(),
        false,
        (chunk, at, done, n) -> {
          into.put(into.position(), chunk, at, n);
          into.position(into.position() + n);
        });
  }

  /**
   * Writes bytes. If a page in the middle faults, what lies before it has been written.
   *
   * @param offset where
   * @param from gives the bytes
   * @param at the first index in {@code from}
   * @param length how many
   */
  public void put(long offset, byte[] from, int at, int length) {
    Objects.checkFromIndexSize(at, length, from.length);
    move(offset, length, true, (chunk, to, done, n) -> chunk.put(to, from, at + done, n));
  }

  /**
   * Writes bytes. If a page in the middle faults, what lies before it has been written, and the
   * buffer's position says so.
   *
   * @param offset where
   * @param from gives as many bytes as it has remaining
   */
  public void put(long offset, ByteBuffer from) {
    move(
        offset,
        from.remaining(),
        true,
        (chunk, at, done, n) -> {
          chunk.put(at, from, from.position(), n);
          from.position(from.position() + n);
        });
  }

  // ---- advice ----

  /**
   * Advises the kernel about a range: {@code madvise}. The range may reach out of the mapping,
   * where nothing is mapped.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, rounded up to whole pages
   * @param advice what to do
   * @throws GuestMemfdException EINVAL if the offset is unaligned, the length negative, for {@link
   *     Advice#FREE} and {@link Advice#COLLAPSE}, and to populate against the protection; ENOMEM
   *     where nothing is mapped (with DONTNEED and REMOVE the mapped part has been done); EFAULT to
   *     populate past the end of the file or an inaccessible page (what lies before has been
   *     populated), EHWPOISON if its memory has failed; EINTR
   */
  public void madvise(long offset, long length, Advice advice) {
    requireMapped();
    Objects.requireNonNull(advice, "advice");
    if ((offset & PAGE_MASK) != 0) {
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
    return Inode.exception(errno, describe(offset, length, advice) + ": " + why);
  }

  private String describe(long offset, long length, Advice advice) {
    return "madvise " + advice + Inode.range(offset, length) + " of " + this;
  }

  private void advise(long offset, long length, Advice advice) {
    long first = offset >> PAGE_SHIFT;
    long end = first + ((length - 1) >> PAGE_SHIFT) + 1;
    long from = Math.max(first, 0);
    long to = Math.min(end, pages);
    boolean clipped = from != first || to != end;
    if (from < to) {
      switch (advice) {
        case DONTNEED -> {
          Errno errno = inode.dontNeed(this, from, to);
          if (errno != Errno.OK) {
            throw inode.refused(errno, describe(offset, length, advice));
          }
        }
        case REMOVE -> {
          BusyFolio busy = new BusyFolio();
          Errno errno = inode.punch(firstIndex + from, firstIndex + to, busy);
          if (errno != Errno.OK) {
            throw busy.offset() < 0
                ? inode.refused(errno, describe(offset, length, advice))
                : notAdvised(errno, offset, length, advice, "busy folio at " + busy);
          }
        }
        case POPULATE_READ, POPULATE_WRITE -> {
          if (from == first) {
            populate(offset, length, advice, from, to);
          }
        }
        case COLD, PAGEOUT, HUGEPAGE -> {}
        default ->
            throw notAdvised(
                Errno.EINVAL, offset, length, advice, "a guest_memfd does not take this advice");
      }
    }
    if (clipped) {
      String why =
          "expected a range in the mapping, from 0x0 to "
              + Hex.of(length())
              + ", actual "
              + Hex.of(offset)
              + " to "
              + Hex.of(end << PAGE_SHIFT);
      throw notAdvised(Errno.ENOMEM, offset, length, advice, why);
    }
  }

  private void populate(long offset, long length, Advice advice, long from, long to) {
    boolean forWrite = advice == Advice.POPULATE_WRITE;
    if (forWrite ? !write : !read) {
      String why = "expected a mapping for " + (forWrite ? "WRITE" : "READ");
      throw notAdvised(Errno.EINVAL, offset, length, advice, why);
    }
    for (long page = from; page < to; page++) {
      while (PageTable.pfn(table.entry(page)) == 0) {
        int result = inode.fault(this, page, forWrite);
        if (result == Inode.UNMAPPED) {
          throw notAdvised(Errno.ENOMEM, offset, length, advice, "it has been unmapped");
        }
        if (result != 0) {
          Errno errno = result == Inode.SIGBUS ? Errno.EFAULT : Errno.ofResult(result);
          throw noPage(errno, page, describe(offset, length, advice));
        }
      }
    }
  }

  /** A page of the mapping cannot be had, for an errno that this thread has just been answered. */
  private GuestMemfdException noPage(Errno errno, long page, String call) {
    String what = noPage(call, page);
    return errno == Errno.EFAULT && isPastEnd(page)
        ? Inode.exception(errno, what + ": it is past the end of the file")
        : inode.refused(errno, what);
  }

  private static String noPage(String call, long page) {
    return call + ": the page at offset " + Hex.of(page << PAGE_SHIFT) + " cannot be had";
  }

  private boolean isPastEnd(long page) {
    return firstIndex + page >= inode.size >> PAGE_SHIFT;
  }

  // ---- references ----

  /**
   * Takes plain references on the pages of a range, as {@code get_user_pages} does for vmsplice,
   * /proc/pid/mem and some direct I/O. Untouched pages are allocated.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @return the reference; shorter than asked for if a page after the first cannot be had
   * @throws GuestMemfdException EINVAL for a negative length; EFAULT if the first page is not
   *     accessible, past the end of the file or of the mapping, or its memory has failed, or the
   *     mapping cannot be read and has not mapped it; ENOMEM; EINTR
   */
  public HostReference getUserPages(long offset, long length) {
    return reference(offset, length, Counts.REF);
  }

  /**
   * As {@link #getUserPages}, but pinned, as {@code pin_user_pages} does for long-term DMA.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @return the reference; shorter than asked for if a page after the first cannot be had
   * @throws GuestMemfdException as {@code getUserPages}
   */
  public HostReference pin(long offset, long length) {
    return reference(offset, length, Counts.PIN);
  }

  /**
   * As {@link #pin}, but all of the range or nothing, as callers of {@code pin_user_pages} have it
   * that cannot do with a part.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @return the reference, as long as asked for
   * @throws GuestMemfdException as {@code getUserPages}, for any page of the range; nothing is held
   *     then, and pages that were allocated on the way stay
   */
  public HostReference pinFully(long offset, long length) {
    HostReference reference = pin(offset, length);
    if (reference.length() == length) {
      return reference;
    }
    long next = offset + reference.length();
    GuestMemfdException e =
        next < length()
            ? noPage(reference.end, next >> PAGE_SHIFT, offset, length)
            : noReference(
                reference.end,
                offset,
                length,
                RangeRule.END.text("offset", "length", offset, length, length()));
    reference.close(); // which may be told other reasons
    throw e;
  }

  private GuestMemfdException noPage(Errno errno, long page, long offset, long length) {
    String call = "reference" + Inode.range(offset, length) + " of " + this;
    if (errno == Errno.EHWPOISON) {
      return Inode.exception(Errno.EFAULT, noPage(call, page) + ": " + inode.why(errno));
    }
    if (errno == Errno.EFAULT && !read) {
      String why = "expected a mapping for READ, or one that has mapped the page";
      return noReference(errno, offset, length, why);
    }
    return noPage(errno, page, call);
  }

  private GuestMemfdException noReference(Errno errno, long offset, long length, String why) {
    String call = "reference" + Inode.range(offset, length) + " of " + this;
    return Inode.exception(errno, call + ": " + why);
  }

  HostReference reference(long offset, long length, long unit) {
    requireMapped();
    if (length < 0) {
      String why = "expected a length of 0 or more, actual " + length;
      throw noReference(Errno.EINVAL, offset, length, why);
    }
    if (length == 0) {
      return newReference(new int[0], unit, fileOffset(offset), 0, Errno.OK);
    }
    if (offset < 0 || offset >= length()) {
      String why = "expected offset 0x0 to " + Hex.of(length() - 1) + ", actual " + Hex.of(offset);
      throw noReference(Errno.EFAULT, offset, length, why);
    }
    long first = offset >> PAGE_SHIFT;
    int in = (int) offset & PAGE_MASK;
    long wanted = Math.min(length, length() - offset);
    int[] pfns = new int[(int) Math.min(16, ((in + wanted - 1) >> PAGE_SHIFT) + 1)];
    int n = 0;
    long got = 0;
    Errno end = wanted < length ? Errno.EFAULT : Errno.OK;
    try {
      while (got < wanted) {
        int pfn = getFast(first + n, unit);
        if (pfn == 0) { // the page table does not know what a mapping may do, only what it has
          pfn = read ? inode.get(firstIndex + first + n, unit) : -Errno.EFAULT.code();
        }
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
        got = Math.min(wanted, ((long) n << PAGE_SHIFT) - in);
      }
      HostReference reference =
          newReference(Arrays.copyOf(pfns, n), unit, fileOffset(offset), got, end);
      n = 0;
      return reference;
    } finally {
      while (n > 0) { // something was thrown
        inode.drop(pfns[--n], unit);
      }
    }
  }

  private long fileOffset(long offset) {
    return (firstIndex << PAGE_SHIFT) + offset;
  }

  HostReference newReference(int[] frames, long unit, long offset, long length, Errno end) {
    return new HostReference(inode, frames, unit, offset, length, write, end);
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
   * @return the frame, or 0 if the page cache must be asked
   */
  int getFast(long page, long unit) {
    long entry = table.entry(page);
    int pfn = PageTable.pfn(entry);
    if (pfn == 0 || !host.frames.tryGet(pfn, unit)) {
      return 0;
    }
    boolean mapped = false;
    try {
      if (hook != null) {
        hook.at(RacePoint.BEFORE_PTE_RELOAD, firstIndex + page);
      }
      mapped = table.entry(page) == entry;
    } finally {
      if (!mapped) {
        inode.drop(pfn, unit);
      }
    }
    return mapped ? pfn : 0;
  }

  // ---- faults ----

  /** Announces an access to a page, which must be ended; faults until it can. */
  private long begin(long page, long offset, boolean forWrite) {
    return begin(page, 1, offset, forWrite);
  }

  /** Announces an access to one page at least, and as many as can be at once. */
  private long begin(long page, int most, long offset, boolean forWrite) {
    for (; ; ) {
      long access = table.begin(page, most);
      if (access != 0) {
        if (hook != null) {
          inFlight(hook, page, access);
        }
        return access;
      }
      faultIn(page, offset, forWrite);
    }
  }

  private void inFlight(RaceHook h, long page, long access) {
    boolean done = false;
    try {
      h.at(RacePoint.ACCESS_IN_FLIGHT, firstIndex + page);
      done = true;
    } finally {
      if (!done) {
        accesses.end(access);
      }
    }
  }

  /** Maps a page; false if it cannot be mapped. */
  private boolean tryFault(long page, boolean forWrite) {
    return !closed.get() && accessFault(page, forWrite) == 0;
  }

  /** A fault by an access: one that is refused for what the page is, is a SIGBUS. */
  private int accessFault(long page, boolean forWrite) {
    int result = inode.fault(this, page, forWrite);
    if (result == Inode.SIGBUS || result == -Errno.EHWPOISON.code()) {
      inode.meters.count(Meter.SIGBUS);
    }
    return result;
  }

  /** Maps a page, or throws what the access gets. */
  private void faultIn(long page, long offset, boolean forWrite) {
    requireMapped();
    int result = accessFault(page, forWrite);
    if (result == Inode.SIGBUS) {
      throw new SigBusException(
          offset,
          SigBusException.Code.BUS_ADRERR,
          isPastEnd(page)
              ? "past the end of " + inode
              : inode.page(firstIndex + page) + " is inaccessible");
    }
    if (result == -Errno.EHWPOISON.code()) {
      throw new SigBusException(
          offset,
          SigBusException.Code.BUS_MCEERR_AR,
          "the memory of " + inode.page(firstIndex + page) + " has failed");
    }
    if (result == Inode.UNMAPPED) {
      requireMapped();
    }
    if (result < 0) {
      throw inode.refused(
          Errno.ofResult(result), "fault at offset " + Hex.of(offset) + " of " + this);
    }
  }

  final Inode inode() {
    return inode;
  }

  final boolean isReadable() {
    return read || write;
  }

  final boolean isWritable() {
    return write;
  }

  /** Checks the bounds and the protection of an access; returns its first page. */
  private long page(long offset, int length, boolean forWrite) {
    if (offset < 0 || offset > length() - length) {
      throw new IndexOutOfBoundsException(
          "access to "
              + this
              + ": expected offset 0x0 or more, and an end up to "
              + Hex.of(length())
              + ", actual "
              + length
              + " bytes at "
              + Hex.of(offset));
    }
    if (forWrite ? !write : !read && !write) {
      throw new SigSegvException(offset, (forWrite ? "write" : "read") + " forbidden by " + this);
    }
    return offset >> PAGE_SHIFT;
  }

  private static void requireAligned(long offset, int width) {
    if ((offset & (width - 1)) != 0) {
      throw new IllegalArgumentException(
          "atomic access: expected an offset that is a multiple of "
              + width
              + ", actual "
              + Hex.of(offset));
    }
  }

  private void requireMapped() {
    if (closed.get()) {
      throw new IllegalStateException(this + " is unmapped");
    }
  }

  private FrameContents bytes() {
    FrameContents c = contents;
    return c != null ? c : host.bytes();
  }

  @Override
  public String toString() {
    return "HostMapping[offset="
        + Hex.of(firstIndex << PAGE_SHIFT)
        + ", length="
        + length()
        + ", "
        + (read ? "r" : "-")
        + (write ? "w" : "-")
        + "] of "
        + inode;
  }
}
