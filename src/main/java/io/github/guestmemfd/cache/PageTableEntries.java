package io.github.guestmemfd.cache;

import io.github.guestmemfd.memory.SharedLongs;
import io.github.guestmemfd.spi.Announce;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import org.jspecify.annotations.Nullable;

/**
 * The words of a page table: directories of leaves of 512 words, each made when one of its words is
 * first set. What is made stays, so a reader that has reached a leaf can rely on it.
 *
 * <p>The first directory, of 16 GiB, is at hand: a word of it is two loads away. Words of
 * neighbouring pages are neighbours, as in the kernel: only faults and unmapping change them.
 */
class PageTableEntries {
  /** The most pages that there can be: a number of a leaf is an int. */
  private static final long MAX_PAGES = 1L << 40;

  private static final int LEAF_SHIFT = 9;
  private static final int LEAF_WORDS = 1 << LEAF_SHIFT;
  private static final int LEAF_MASK = LEAF_WORDS - 1;

  private static final int DIRECTORY_SHIFT = 13;
  private static final int DIRECTORY_LEAVES = 1 << DIRECTORY_SHIFT;
  private static final long DIRECTORY_PAGES = 1L << (DIRECTORY_SHIFT + LEAF_SHIFT);

  private static final VarHandle LEAVES = MethodHandles.arrayElementVarHandle(long[][].class);
  private static final VarHandle DIRECTORIES =
      MethodHandles.arrayElementVarHandle(long[][][].class);

  /** The first directory. */
  private final long[] @Nullable [] near;

  /** All directories. */
  private final long[] @Nullable [] @Nullable [] directories;

  /**
   * Makes words that are all 0.
   *
   * @param pages how many, at most 2^40
   */
  PageTableEntries(long pages) {
    if (pages > MAX_PAGES) {
      throw new IllegalArgumentException(
          "page table: expected up to " + MAX_PAGES + " pages, actual " + pages);
    }
    int last = leafNumber(pages - 1);
    near = new long[Math.min(last, DIRECTORY_LEAVES - 1) + 1][];
    directories = new long[(last >>> DIRECTORY_SHIFT) + 1][][];
    directories[0] = near;
  }

  private static int leafNumber(long page) {
    return (int) (page >>> LEAF_SHIFT);
  }

  /**
   * The leaf of a page, for an access. A plain read is enough: where it is behind, the access
   * faults, and the fault finds the leaf by {@link #leafNow}.
   *
   * @param page the page of the mapping
   * @return the leaf, which stays the page's; null if there may be none
   */
  public final long @Nullable [] leaf(long page) {
    int leaf = leafNumber(page);
    long[] @Nullable [] leaves = near;
    if (leaf < 0 || leaf >= leaves.length) { // one compare, and the bounds check of the array
      return leafNow(page);
    }
    Announce.read(leaves, leaf);
    return leaves[leaf];
  }

  /** The leaf of a page, read with volatile semantics; null if there is none. */
  private long @Nullable [] leafNow(long page) {
    long[] @Nullable [] directory = directory(page);
    return directory == null ? null : leafNow(directory, page);
  }

  private static long @Nullable [] leafNow(long[] @Nullable [] directory, long page) {
    int leaf = leafNumber(page) & (DIRECTORY_LEAVES - 1);
    Announce.read(directory, leaf);
    return (long[]) LEAVES.getVolatile(directory, leaf);
  }

  private long[] @Nullable [] directory(long page) {
    int at = leafNumber(page) >>> DIRECTORY_SHIFT;
    Announce.read(directories, at);
    return (long[][]) DIRECTORIES.getVolatile(directories, at);
  }

  /** The leaf of a page, which is made if need be. */
  private long[] madeLeaf(long page) {
    long[] @Nullable [] directory = directory(page);
    if (directory == null) {
      long[][] made = new long[DIRECTORY_LEAVES][];
      int at = leafNumber(page) >>> DIRECTORY_SHIFT;
      Announce.write(directories, at);
      long[][] found = (long[][]) DIRECTORIES.compareAndExchange(directories, at, null, made);
      directory = found == null ? made : found;
    }
    long[] leaf = leafNow(directory, page);
    if (leaf == null) {
      long[] made = new long[LEAF_WORDS];
      int at = leafNumber(page) & (DIRECTORY_LEAVES - 1);
      Announce.write(directory, at);
      long[] found = (long[]) LEAVES.compareAndExchange(directory, at, null, made);
      leaf = found == null ? made : found;
    }
    return leaf;
  }

  /** The word of a page in its leaf, read with volatile semantics. */
  static long word(long[] leaf, long page) {
    return SharedLongs.getVolatile(leaf, (int) page & LEAF_MASK);
  }

  /** The word of a page, read with volatile semantics. */
  final long word(long page) {
    long[] leaf = leafNow(page);
    return leaf == null ? 0 : word(leaf, page);
  }

  /** Replaces a word if it is as expected, with volatile semantics. */
  final boolean compareAndSet(long page, long expected, long word) {
    return SharedLongs.compareAndSet(madeLeaf(page), (int) page & LEAF_MASK, expected, word);
  }

  /** How many pages from one on, at most so many, stand in the same leaf. */
  static int inLeaf(long page, int most) {
    return Math.min(most, LEAF_WORDS - ((int) page & LEAF_MASK));
  }

  /** The first page in a range whose word has one of some bits; {@code to} if there is none. */
  final long next(long from, long to, long bits) {
    for (long page = from; page < to; ) {
      long[] @Nullable [] directory = directory(page);
      if (directory == null) {
        page = (page | (DIRECTORY_PAGES - 1)) + 1;
        continue;
      }
      long[] leaf = leafNow(directory, page);
      long end = Math.min(to, (page | LEAF_MASK) + 1);
      for (; leaf != null && page < end; page++) {
        if ((word(leaf, page) & bits) != 0) {
          return page;
        }
      }
      page = end;
    }
    return to;
  }
}
