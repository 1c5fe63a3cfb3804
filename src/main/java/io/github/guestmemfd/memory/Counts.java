package io.github.guestmemfd.memory;

/**
 * The counts word of a frame: who holds it.
 *
 * <pre>
 *  63                 38   37  36  35 34  33         19  18 17  16               0
 * +---------------------+----+----+------+-------------+------+-------------------+
 * |  refs (26, signed)  | C  | W  | 0  1 |  safe (15)  | 0  1 |  accessible (17)  |
 * +---------------------+----+----+------+-------------+------+-------------------+
 * </pre>
 *
 * <ul>
 *   <li><b>refs</b>: every reference there is. It is the top field, so that a borrow or carry out
 *       of it leaves the word. Negative means <i>frozen</i>: nobody may take a reference. A free
 *       frame is frozen. The bias is far from 0, so that lookups that add first and find out
 *       afterwards cannot bring a frozen count back to life.
 *   <li><b>C</b>: one of the references is a page cache's. While it is set, refs cannot become 0
 *       but by a put without a get.
 *   <li><b>W</b>: somebody waits for the counts to fall; whoever lowers one wakes them.
 *   <li><b>safe</b>: those references that survive a conversion, {@code safe <= refs}.
 *   <li><b>accessible</b>: users that each asked for the folio to be accessible.
 * </ul>
 *
 * <p>The two bits {@code 0 1} above safe and above accessible are <i>guards</i>. A step below zero
 * borrows from the guard and leaves {@code 0 0}, a step past the largest value carries into it and
 * leaves {@code 1 0}; either is seen in the result and taken back before a neighbour is touched. So
 * every change is a single fetch-and-add.
 */
public final class Counts {

  static final int ACCESSIBLE_BITS = 17;
  static final int SAFE_BITS = 15;
  static final int SAFE_SHIFT = ACCESSIBLE_BITS + 2;
  static final int WAITED_SHIFT = SAFE_SHIFT + SAFE_BITS + 2;
  static final int CACHED_SHIFT = WAITED_SHIFT + 1;
  static final int REF_SHIFT = CACHED_SHIFT + 1;

  static final long ACCESSIBLE_MASK = (1L << ACCESSIBLE_BITS) - 1;
  static final long ACCESSIBLE_GUARD = 1L << ACCESSIBLE_BITS;
  static final long ACCESSIBLE_GUARD_MASK = 3L << ACCESSIBLE_BITS;
  static final long SAFE_MASK = ((1L << SAFE_BITS) - 1) << SAFE_SHIFT;
  static final long SAFE_GUARD = 1L << (SAFE_SHIFT + SAFE_BITS);
  static final long SAFE_GUARD_MASK = 3L << (SAFE_SHIFT + SAFE_BITS);
  static final long GUARD_MASK = SAFE_GUARD_MASK | ACCESSIBLE_GUARD_MASK;
  static final long GUARDS = SAFE_GUARD | ACCESSIBLE_GUARD;
  static final long REF_MASK = -1L << REF_SHIFT;

  /** Set while somebody waits for the counts of the frame to fall. */
  static final long WAITED = 1L << WAITED_SHIFT;

  /** One reference. */
  public static final long REF = 1L << REF_SHIFT;

  /** The page cache's reference: one, and the mark that it is there. */
  public static final long CACHE_REF = REF | (1L << CACHED_SHIFT);

  /** One safe holder, without its reference. */
  public static final long SAFE = 1L << SAFE_SHIFT;

  /** One safe reference: both counters, in one step. */
  public static final long SAFE_REF = REF | SAFE;

  /** One user that asked for the folio to be accessible, with its reference. */
  public static final long ACCESSIBLE_REF = REF | 1;

  /**
   * How many references a pin counts as. The kernel marks a pinned page that way too ({@code
   * GUP_PIN_COUNTING_BIAS}), which is why "maybe pinned" has false positives.
   */
  public static final int PIN_BIAS = 1024;

  /** One pinned reference. */
  public static final long PIN = REF * PIN_BIAS;

  /** More references than this are refused; far below the sign, so that a race cannot reach it. */
  static final int MAX_REFS = 1 << 23;

  /** The largest number of safe holders of one frame. */
  static final int MAX_SAFE = (1 << SAFE_BITS) - 1;

  static final long FROZEN_BIAS = (long) -(1 << 24) << REF_SHIFT;

  /** A frame on the free list. */
  static final long FREE = FROZEN_BIAS | GUARDS;

  private Counts() {}

  /** Whether the page cache has a reference. */
  static boolean isCached(long word) {
    return (word & (1L << CACHED_SHIFT)) != 0;
  }

  /** Whether a frame with these counts is somebody's: held, or frozen in its page cache. */
  static boolean isInUse(long word) {
    return word >= 0 || isCached(word);
  }

  /**
   * All references, safe ones included; a pin counts {@link #PIN_BIAS}.
   *
   * @param word a counts word
   * @return the count; negative when the frame is frozen
   */
  public static int refs(long word) {
    return (int) (word >> REF_SHIFT);
  }

  /**
   * Safe references.
   *
   * @param word a counts word
   * @return the count
   */
  public static int safe(long word) {
    return (int) ((word & SAFE_MASK) >>> SAFE_SHIFT);
  }

  /**
   * Users that asked for the folio to be accessible; each has a reference that is not safe.
   *
   * @param word a counts word
   * @return the count
   */
  public static int accessible(long word) {
    return (int) (word & ACCESSIBLE_MASK);
  }

  /** Whether there is no holder of a kind that is counted apart. */
  static boolean isNobodys(long word) {
    return !isCached(word) && safe(word) == 0 && accessible(word) == 0;
  }

  static boolean guardsIntact(long word) {
    return (word & GUARD_MASK) == GUARDS;
  }

  static String toString(long word) {
    int refs = refs(word);
    return (refs < 0 ? "frozen" : "refs=" + refs)
        + " safe="
        + safe(word)
        + " accessible="
        + accessible(word)
        + (isCached(word) ? " cached" : "")
        + ((word & WAITED) == 0 ? "" : " waited");
  }
}
