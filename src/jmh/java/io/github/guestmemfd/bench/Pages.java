package io.github.guestmemfd.bench;

import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;

/** Random pages, the same sequence for all rows: xorshift64. */
@State(Scope.Thread)
public class Pages {
  private long x = 0x9E3779B97F4A7C15L ^ Thread.currentThread().getId();

  /**
   * The next page.
   *
   * @param pages how many there are, a power of two up to 2^26
   * @return its number
   */
  int next(int pages) {
    x ^= x << 13;
    x ^= x >>> 7;
    x ^= x << 17;
    return (int) (x >>> 38) & (pages - 1);
  }

  /**
   * Where eight bytes begin, in a random page.
   *
   * @param pages how many there are
   * @return a multiple of 8
   */
  long nextOffset(int pages) {
    int page = next(pages);
    return ((long) page << 12) | ((page * 72) & 0xff8);
  }
}
