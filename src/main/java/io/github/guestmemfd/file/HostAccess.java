package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.util.function.LongUnaryOperator;
import org.jspecify.annotations.Nullable;

/**
 * Accesses of the host to the bytes of a mapping.
 *
 * <p>Reads of a number are optimistic: they read the page table entry, the bytes, and the entry
 * again, and start over if the page was unmapped in between. Everything else is announced for the
 * frame, and a conversion waits until it is over; a copy announces up to 64 pages at once.
 */
public final class HostAccess {
  private final Mapping mapping;
  private final Inode inode;
  private final AccessFaults faults;
  private final PageTable table;
  private final Accesses accesses;
  private final @Nullable FrameContents contents;
  private final @Nullable RaceHook hook;

  /** The contents, if a store may go the short way; null with a race hook, or without contents. */
  private final @Nullable FrameContents unhooked;

  /** The length of the mapping in bytes. */
  private final long size;

  /**
   * Accesses to a mapping.
   *
   * @param mapping the mapping
   * @param hostFault maps its pages
   */
  public HostAccess(Mapping mapping, HostFault hostFault) {
    this.mapping = mapping;
    this.inode = mapping.inode;
    this.faults = new AccessFaults(mapping, hostFault);
    this.table = mapping.table;
    this.accesses = inode.frames.accesses;
    this.contents = inode.host.contents;
    this.hook = inode.hook;
    this.unhooked = hook == null ? contents : null;
    this.size = mapping.length();
  }

  // ---- one number ----

  /**
   * Reads a number.
   *
   * @param offset where, in bytes from the start of the mapping
   * @param width 1, 2, 4 or 8
   * @param mode one of {@link Bytes}
   * @return the number, sign-extended
   */
  public long load(long offset, int width, int mode) {
    Areas areas = mapping.areas();
    long page = offset >>> Pages.SHIFT; // of a negative offset: beyond all areas
    if (page < areas.readable && (offset & (width - 1)) == 0) {
      long[] leaf = table.leaf(page);
      if (leaf != null) {
        long entry = PageTable.entry(leaf, page);
        if (PageTable.isMapped(entry)) {
          long value = peek(entry, offset, width, mode);
          if (PageTable.entry(leaf, page) == entry && mapping.areas() == areas) {
            return value;
          }
        }
      }
    }
    return loadSlowly(offset, width, mode);
  }

  /** Loads a number; faults, or throws, if need be. */
  private long loadSlowly(long offset, int width, int mode) {
    long page = page(offset, width);
    if (mode != Bytes.PLAIN) {
      requireAligned(offset, width);
    } else if (isAcross(offset, width)) {
      return byByte(offset, width, at -> load(at, 1, Bytes.PLAIN));
    }
    for (; ; ) {
      Areas areas = areas(page, offset, false);
      long entry = table.entry(page);
      if (PageTable.isMapped(entry)) {
        long value = peek(entry, offset, width, mode);
        if (table.entry(page) == entry && mapping.areas() == areas) {
          return value;
        }
      } else {
        faults.faultIn(page, offset, false);
      }
    }
  }

  /** Reads a number by an entry, before the caller looks at the entry again. */
  private long peek(long entry, long offset, int width, int mode) {
    int pfn = PageTable.held(entry);
    long value = Bytes.get(bytes().chunkToRead(pfn), FrameContents.place(pfn, offset), width, mode);
    VarHandle.acquireFence(); // the bytes before the entry: see PageTable
    return value;
  }

  /**
   * Whether a number reaches over the end of a page. The host does not read or write it at once
   * then.
   *
   * @param offset where it starts, in bytes
   * @param width 1, 2, 4 or 8
   * @return the answer
   */
  public static boolean isAcross(long offset, int width) {
    return ((int) offset & Pages.OFFSET_MASK) > Pages.SIZE - width;
  }

  /**
   * Reads a number byte by byte, upwards: a fault names the first byte that faults.
   *
   * @param offset where it starts, in bytes
   * @param width 1, 2, 4 or 8
   * @param load reads a byte
   * @return the number, without its sign
   */
  public static long byByte(long offset, int width, LongUnaryOperator load) {
    long value = 0;
    for (int i = 0; i < width; i++) {
      value |= (load.applyAsLong(offset + i) & 0xff) << (8 * i);
    }
    return value;
  }

  /**
   * Writes a number.
   *
   * @param offset where, in bytes from the start of the mapping
   * @param width 1, 2, 4 or 8
   * @param mode one of {@link Bytes}
   * @param value the number
   */
  public void store(long offset, int width, int mode, long value) {
    if (width != Long.BYTES || mode != Bytes.PLAIN || !tryStore(offset, value)) {
      storeSlowly(offset, width, mode, value);
    }
  }

  /** Stores a number, if that needs no fault, and nothing is to be asked page by page. */
  private boolean tryStore(long offset, long value) {
    Areas areas = mapping.areas();
    long page = offset >>> Pages.SHIFT;
    if (page >= areas.writable || (offset & (Long.BYTES - 1)) != 0) {
      return false;
    }
    long[] leaf = table.leaf(page);
    if (leaf == null) {
      return false;
    }
    long entry = PageTable.entry(leaf, page);
    FrameContents bytes = unhooked;
    if (!PageTable.isMapped(entry) || bytes == null) {
      return false;
    }
    int pfn = PageTable.held(entry);
    int place = accesses.tryBeginAtHome(pfn);
    if (place < 0) {
      return false;
    }
    boolean same;
    try {
      same = PageTable.entry(leaf, page) == entry && mapping.areas() == areas; // announced: again
      if (same) {
        Bytes.put(
            bytes.chunk(pfn), FrameContents.place(pfn, offset), Long.BYTES, Bytes.PLAIN, value);
      }
    } finally {
      accesses.endAtHome(place);
    }
    return same;
  }

  private void storeSlowly(long offset, int width, int mode, long value) {
    long page = page(offset, width);
    if (mode != Bytes.PLAIN) {
      requireAligned(offset, width);
    } else if (isAcross(offset, width)) {
      storeAcross(offset, width, value);
      return;
    }
    long access = begin(page, offset, true);
    int pfn = Accesses.pfn(access);
    try {
      Bytes.put(bytes().chunk(pfn), FrameContents.place(pfn, offset), width, mode, value);
    } finally {
      accesses.end(access);
    }
  }

  /** Stores a number that reaches over the end of a page: in both pages, or in none. */
  private void storeAcross(long offset, int width, long value) {
    long page = offset >> Pages.SHIFT;
    long second = (page + 1) << Pages.SHIFT;
    for (; ; ) {
      long access = begin(page, offset, true);
      long next = 0;
      try {
        Areas areas = areas(page + 1, second, true);
        next = table.begin(page + 1, 1);
        if (next != 0 && mapping.areas() == areas) {
          for (int i = 0; i < width; i++) {
            long at = offset + i;
            int frame = Accesses.pfn(at < second ? access : next);
            int in = (int) at & Pages.OFFSET_MASK;
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
      if (next == 0) {
        faults.faultIn(page + 1, second, true); // with nothing announced: a fault may have to wait
      }
    }
  }

  /**
   * Reads eight bytes, or answers otherwise where that would throw.
   *
   * @param offset where, a multiple of 8
   * @param otherwise the answer if the page cannot be read
   * @return the number, or the answer
   */
  public long tryGetLong(long offset, long otherwise) {
    if ((offset & 7) != 0 || offset < 0 || offset >= size) {
      return otherwise;
    }
    long page = offset >> Pages.SHIFT;
    for (; ; ) {
      Areas areas = mapping.areas();
      if (!areas.allows(page, false)) {
        return otherwise;
      }
      long[] leaf = table.leaf(page);
      long entry = PageTable.entry(leaf, page);
      if (PageTable.isMapped(entry)) {
        long value = peek(entry, offset, Long.BYTES, Bytes.PLAIN);
        if (PageTable.entry(leaf, page) == entry && mapping.areas() == areas) {
          return value;
        }
      } else if (!faults.tryFault(page, false)) {
        return otherwise;
      }
    }
  }

  /**
   * Writes eight bytes, unless that would throw.
   *
   * @param offset where, a multiple of 8
   * @param value the number
   * @return whether it was written
   */
  public boolean tryPutLong(long offset, long value) {
    if (tryStore(offset, value)) {
      return true;
    }
    if ((offset & 7) != 0 || offset < 0 || offset >= size) {
      return false;
    }
    long page = offset >> Pages.SHIFT;
    long access;
    for (; ; ) {
      Areas areas = mapping.areas();
      if (!areas.allows(page, true)) {
        return false;
      }
      access = table.begin(page, 1);
      if (access == 0) {
        if (!faults.tryFault(page, true)) {
          return false;
        }
      } else if (mapping.areas() == areas) {
        break;
      } else {
        accesses.end(access);
      }
    }
    int pfn = Accesses.pfn(access);
    try {
      bytes().chunk(pfn).putLong(FrameContents.place(pfn, offset), value);
      return true;
    } finally {
      accesses.end(access);
    }
  }

  /**
   * Adds to eight bytes, with volatile semantics.
   *
   * @param offset where, a multiple of 8
   * @param delta what to add
   * @return the old number
   */
  public long getAndAddLong(long offset, long delta) {
    long page = page(offset, 8);
    requireAligned(offset, 8);
    long access = begin(page, offset, true);
    int pfn = Accesses.pfn(access);
    try {
      FrameContents c = bytes();
      return Bytes.getAndAdd(c.chunk(pfn), FrameContents.place(pfn, offset), 8, delta);
    } finally {
      accesses.end(access);
    }
  }

  /**
   * Replaces a number if it is as expected, with volatile semantics.
   *
   * @param offset where, a multiple of the width
   * @param width 4 or 8
   * @param expected the old number, sign-extended
   * @param value the new number
   * @return whether it was replaced
   */
  public boolean compareAndSet(long offset, int width, long expected, long value) {
    long page = page(offset, width);
    requireAligned(offset, width);
    long access = begin(page, offset, true);
    int pfn = Accesses.pfn(access);
    try {
      FrameContents c = bytes();
      int at = FrameContents.place(pfn, offset);
      return Bytes.compareAndExchange(c.chunk(pfn), at, width, expected, value) == expected;
    } finally {
      accesses.end(access);
    }
  }

  // ---- many bytes ----

  /** Moves bytes within one buffer: where in it, how far in, how many. */
  @FunctionalInterface
  public interface Move {
    /**
     * Moves some bytes.
     *
     * @param chunk the buffer
     * @param at where in the buffer
     * @param done how many have been moved before
     * @param length how many to move
     */
    void bytes(ByteBuffer chunk, int at, int done, int length);
  }

  /**
   * Moves bytes, a few pages at a time.
   *
   * @param offset where, in bytes from the start of the mapping
   * @param length how many
   * @param write whether the mapping is written
   * @param move moves them
   */
  public void move(long offset, int length, boolean write, Move move) {
    page(offset, length);
    for (int done = 0; done < length; ) {
      long at = offset + done;
      int in = (int) at & Pages.OFFSET_MASK;
      long access = begin(at >> Pages.SHIFT, pages(in + (long) length - done), at, write);
      try {
        int pfn = Accesses.pfn(access);
        int n = Math.min(length - done, FrameContents.bytes(pfn, Accesses.frames(access)) - in);
        int frames = (in + n + Pages.SIZE - 1) >> Pages.SHIFT;
        move.bytes(bytes().chunk(pfn, frames), FrameContents.base(pfn) + in, done, n);
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
        : (int) Math.min(Accesses.MAX_FRAMES, (bytes + Pages.OFFSET_MASK) >> Pages.SHIFT);
  }

  // ---- faults ----

  /** Announces an access to a page, which must be ended; faults until it can. */
  private long begin(long page, long offset, boolean forWrite) {
    return begin(page, 1, offset, forWrite);
  }

  /** Announces an access to one page at least, and as many as can be at once. */
  private long begin(long page, int most, long offset, boolean forWrite) {
    for (; ; ) {
      Areas areas = areas(page, offset, forWrite);
      int pages = most == 1 ? 1 : (int) Math.min(most, areas.end(page) - page);
      long access = table.begin(page, pages);
      if (access == 0) {
        faults.faultIn(page, offset, forWrite);
      } else if (mapping.areas() == areas) { // again, now that it is announced
        if (hook != null) {
          inFlight(hook, page, access);
        }
        return access;
      } else {
        accesses.end(access);
      }
    }
  }

  private void inFlight(RaceHook h, long page, long access) {
    try {
      h.at(RacePoint.ACCESS_IN_FLIGHT, mapping.firstIndex + page);
    } catch (Throwable e) {
      accesses.end(access);
      throw e;
    }
  }

  // ---- checks ----

  /**
   * Checks the bounds and the protection of an access.
   *
   * @param offset where, in bytes from the start of the mapping
   * @param length how many bytes
   * @param forWrite whether it is a write
   */
  public void require(long offset, int length, boolean forWrite) {
    areas(page(offset, length), offset, forWrite);
  }

  /** The page of an access, which is in the mapping. */
  private long page(long offset, int length) {
    if (offset < 0 || offset > size - length) {
      throw new IndexOutOfBoundsException(
          "access to "
              + mapping
              + ": expected offset 0x0 or more, and an end up to "
              + Hex.of(size)
              + ", actual "
              + length
              + " bytes at "
              + Hex.of(offset));
    }
    return offset >> Pages.SHIFT;
  }

  /** The areas as they are now, which allow an access to a page. */
  private Areas areas(long page, long offset, boolean forWrite) {
    Areas areas = mapping.areas();
    if (!areas.allows(page, forWrite)) {
      mapping.requireMapped();
      throw new SigSegvException(
          offset, (forWrite ? "write" : "read") + " forbidden by " + mapping);
    }
    return areas;
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

  private FrameContents bytes() {
    FrameContents c = contents;
    return c != null ? c : inode.host.bytes();
  }
}
