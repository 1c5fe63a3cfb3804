package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Pages;
import java.util.Arrays;
import java.util.function.IntUnaryOperator;

/**
 * What is mapped in the range of addresses of a mapping, and how it may be used: the kernel's
 * {@code vm_area_struct}s, which an unmapping or a protection of a part splits, and which are
 * merged again where neighbours are alike. Immutable; a change makes another.
 *
 * <p>Each page is {@link #UNMAPPED}, or {@link #MAPPED} and, by more bits, readable and writable.
 */
public final class Areas {
  /** Nothing is mapped. */
  static final int UNMAPPED = 0;

  /** The page of the file is mapped. */
  static final int MAPPED = 1;

  /** Made for reading. */
  static final int READ = 2;

  /** Made for writing. */
  static final int WRITE = 4;

  /** Advised that huge pages are welcome, of which nothing is to be seen but where areas end. */
  static final int HUGEPAGE = 8;

  /** Advised not to be inherited by a child. */
  static final int DONTFORK = 16;

  /** The NUMA policy that was set through the mapping: its mode, and whether it has node 0. */
  static final int POLICY = 0xf00;

  private static final int POLICY_SHIFT = 8;
  private static final int POLICY_NODE = 0x800;

  /** By their numbers. */
  private static final MemoryPolicy.Mode[] MODES = new MemoryPolicy.Mode[8];

  static {
    for (MemoryPolicy.Mode mode : MemoryPolicy.Mode.values()) {
      MODES[mode.number()] = mode;
    }
  }

  /** The page after the last of each area, ascending; the last is the length of the mapping. */
  private final long[] ends;

  /** The bits of each area. */
  private final int[] bits;

  /** How many pages there are if every one may be read, else 0: what a read asks first. */
  final long readable;

  /** How many pages there are if every one may be written, else 0: what a write asks first. */
  final long writable;

  private Areas(long[] ends, int[] bits) {
    this.ends = ends;
    this.bits = bits;
    boolean r = true;
    boolean w = true;
    for (int b : bits) {
      r &= allows(b, false);
      w &= allows(b, true);
    }
    readable = r ? pages() : 0;
    writable = w ? pages() : 0;
  }

  /** One area. */
  static Areas of(long pages, int bits) {
    return new Areas(new long[] {pages}, new int[] {bits});
  }

  /** The bits of a mapping that is made for reading, for writing, for both or for neither. */
  static int bits(boolean read, boolean write) {
    return protect(MAPPED, read, write);
  }

  /** The same bits, but for reading, for writing, for both or for neither. */
  static int protect(int bits, boolean read, boolean write) {
    return (bits & ~(READ | WRITE)) | (read ? READ : 0) | (write ? WRITE : 0);
  }

  /** The bits of a policy. */
  static int policy(MemoryPolicy policy) {
    return policy.mode().number() << POLICY_SHIFT | (policy.nodes() == 0 ? 0 : POLICY_NODE);
  }

  /** The policy in bits. */
  static MemoryPolicy policy(int bits) {
    int mode = (bits & POLICY & ~POLICY_NODE) >> POLICY_SHIFT;
    return new MemoryPolicy(MODES[mode], (bits & POLICY_NODE) == 0 ? 0 : 1);
  }

  /** Whether an access is allowed by bits. As on x86-64, what may be written may be read too. */
  private static boolean allows(int bits, boolean write) {
    return (bits & (write ? WRITE : READ | WRITE)) != 0;
  }

  /** How many pages there are, mapped or not. */
  long pages() {
    return ends[ends.length - 1];
  }

  private int find(long page) {
    int at = Arrays.binarySearch(ends, page);
    return at >= 0 ? at + 1 : -at - 1;
  }

  /** The bits of a page. */
  int at(long page) {
    return bits[find(page)];
  }

  /** The page after the last of the area of a page. */
  long end(long page) {
    return ends[find(page)];
  }

  /** The first page from one on that is not mapped; at most the other. */
  long mappedUpTo(long from, long to) {
    long most = Math.min(to, pages());
    long page = from;
    while (page < most && isMapped(page)) {
      page = Math.min(most, end(page));
    }
    return page;
  }

  /** Whether a page is mapped. */
  boolean isMapped(long page) {
    return at(page) != UNMAPPED;
  }

  /** Whether a page of a range is mapped. Of areas that are next to each other one is. */
  boolean isAnyMapped(long from, long to) {
    return from < to && (isMapped(from) || end(from) < to);
  }

  /**
   * Whether the host may read, or write, a page.
   *
   * @param page the page
   * @param write whether it writes
   * @return the answer
   */
  public boolean allows(long page, boolean write) {
    return (write ? writable : readable) != 0 || allows(at(page), write);
  }

  /** Whether a page was mapped, or protected since, for reading: not for writing alone. */
  boolean isMadeForReading(long page) {
    return (at(page) & READ) != 0;
  }

  /**
   * Whether the host may read, or write, all pages of a range.
   *
   * @param from the first page
   * @param to the page after the last
   * @param write whether it writes
   * @return the answer
   */
  public boolean allows(long from, long to, boolean write) {
    for (long page = from; page < to; page = end(page)) {
      if (!allows(page, write)) {
        return false;
      }
    }
    return true;
  }

  /** Whether nothing is mapped. */
  boolean isEmpty() {
    return bits.length == 1 && bits[0] == UNMAPPED;
  }

  /** These areas, with the bits of a range changed. */
  Areas with(long from, long to, IntUnaryOperator change) {
    Builder builder = new Builder(ends.length + 2);
    for (long page = 0; page < pages(); ) {
      boolean inside = page >= from && page < to;
      long end = end(page);
      long next = inside ? Math.min(end, to) : page < from ? Math.min(end, from) : end;
      builder.add(next, inside ? change.applyAsInt(at(page)) : at(page));
      page = next;
    }
    return builder.build();
  }

  /** A number of pages from one on, of which those past the end are not mapped. */
  Areas from(long first, long pages) {
    Builder builder = new Builder(ends.length + 1);
    long to = Math.min(pages(), first + pages);
    for (long page = first; page < to; page = end(page)) {
      builder.add(Math.min(end(page), to) - first, at(page));
    }
    if (to - first < pages) {
      builder.add(pages, UNMAPPED);
    }
    return builder.build();
  }

  /** What of it a child has. */
  Areas inherited() {
    return with(0, pages(), b -> (b & DONTFORK) != 0 ? UNMAPPED : b);
  }

  /** Puts areas together, and merges those that are alike. */
  private static final class Builder {
    private final long[] ends;
    private final int[] bits;
    private int count;

    Builder(int most) {
      ends = new long[most];
      bits = new int[most];
    }

    void add(long end, int b) {
      if (count == 0 || bits[count - 1] != b) {
        bits[count++] = b;
      }
      ends[count - 1] = end;
    }

    Areas build() {
      return new Areas(Arrays.copyOf(ends, count), Arrays.copyOf(bits, count));
    }
  }

  private static String text(int bits) {
    return bits == UNMAPPED
        ? "unmapped"
        : ((bits & READ) != 0 ? "r" : "-")
            + ((bits & WRITE) != 0 ? "w" : "-")
            + ((bits & HUGEPAGE) != 0 ? " with huge pages" : "")
            + ((bits & DONTFORK) != 0 ? " not inherited" : "")
            + ((bits & POLICY) != 0 ? " by " + policy(bits).mode() : "");
  }

  /** As {@code rw}, or {@code rw to 0x1000, unmapped to 0x2000, rw to 0x8000}. */
  @Override
  public String toString() {
    if (ends.length == 1) {
      return text(bits[0]);
    }
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < ends.length; i++) {
      text.append(i == 0 ? "" : ", ")
          .append(text(bits[i]))
          .append(" to ")
          .append(Hex.of(ends[i] << Pages.SHIFT));
    }
    return text.toString();
  }
}
