package io.github.guestmemfd.memory;

/**
 * The counts word of a frame: how many holders it has, by kind.
 *
 * <pre>
 *  63            43  42  41  40  39          28 27              16 15        0
 * +----------------+---+---+---+--------------+------------------+-----------+
 * | own (21, sign) | C | L | W | unsafe (12)  | accessible (12)  | safe (16) |
 * +----------------+---+---+---+--------------+------------------+-----------+
 * </pre>
 *
 * <ul>
 *   <li><b>own</b>: references of holders that are part of the library: page table entries, GUP (a
 *       pin is 1024 of them), LRU batches, walkers of frame numbers, and those of guest-side
 *       holders. Each of them is kept by an object or a word that gives it back once, so no caller
 *       can drop one by mistake. It is the top field, so that a carry out of it leaves the word.
 *       Its sign bit means <i>frozen</i>: no thread may take a reference. A free frame is frozen.
 *   <li><b>C</b>: the page cache's reference, at most one.
 *   <li><b>L</b>: that reference is lent: the file's guest-side holders take none of their own.
 *       Only on such a frame can a holder be counted without a reference; on a frame of a file
 *       whose protocol takes safe holders off the references, a late one would hide an unsafe
 *       holder.
 *   <li><b>W</b>: a thread waits for the counts to change, or watches them; a thread that lowers
 *       one, or marks a reference as safe, wakes it.
 *   <li><b>unsafe</b>, <b>accessible</b>: references that a caller took by a kind, and gives back
 *       by naming that kind again.
 *   <li><b>safe</b>: guest-side holders, whatever the protocol has them do; the reference of one,
 *       if it has any, is counted in own.
 * </ul>
 *
 * <p>A frame lives for as long as any field but W is not 0; a guest-side holder without a reference
 * keeps it too, when it has left its page cache.
 *
 * <p><b>Limits and transients.</b> A get adds first and looks afterwards, so any field may hold,
 * for a moment, more than there are holders: what was added to a frozen frame, or past the largest
 * count. A field can take as much again as its largest count (own: 2^15 more) before it would reach
 * its neighbour. A put asks only whether the field it lowers is large enough, and transients make
 * fields larger; so no get, refused or not, makes another's put fail.
 */
public final class Counts {

  static final int SAFE_BITS = 16;
  static final int ACCESSIBLE_BITS = 12;
  static final int UNSAFE_BITS = 12;
  static final int ACCESSIBLE_SHIFT = SAFE_BITS;
  static final int UNSAFE_SHIFT = ACCESSIBLE_SHIFT + ACCESSIBLE_BITS;
  static final int WAITED_SHIFT = UNSAFE_SHIFT + UNSAFE_BITS;
  static final int LENT_SHIFT = WAITED_SHIFT + 1;
  static final int CACHED_SHIFT = LENT_SHIFT + 1;
  static final int OWN_SHIFT = CACHED_SHIFT + 1;

  static final long SAFE_MASK = (1L << SAFE_BITS) - 1;
  static final long ACCESSIBLE_MASK = ((1L << ACCESSIBLE_BITS) - 1) << ACCESSIBLE_SHIFT;
  static final long UNSAFE_MASK = ((1L << UNSAFE_BITS) - 1) << UNSAFE_SHIFT;
  static final long OWN_MASK = -1L << OWN_SHIFT;

  /** The top bits of the fields under own: set by a step past the largest count. */
  private static final long SAFE_TOP = 1L << (ACCESSIBLE_SHIFT - 1);

  private static final long ACCESSIBLE_TOP = 1L << (UNSAFE_SHIFT - 1);
  private static final long UNSAFE_TOP = 1L << (WAITED_SHIFT - 1);
  private static final long TOPS = UNSAFE_TOP | ACCESSIBLE_TOP | SAFE_TOP;

  /** Set while a thread waits for the counts of the frame to change, or watches them. */
  static final long WAITED = 1L << WAITED_SHIFT;

  /** The page cache's reference. */
  public static final long CACHE_REF = 1L << CACHED_SHIFT;

  /** Set while the page cache's reference is lent. */
  static final long LENT = 1L << LENT_SHIFT;

  /** The page cache's reference, lent to guest-side holders that have none of their own. */
  public static final long LENT_CACHE_REF = CACHE_REF | LENT;

  /** One reference of a holder that is part of the library. */
  public static final long REF = 1L << OWN_SHIFT;

  /** One guest-side holder, without a reference. */
  public static final long SAFE = 1L;

  /** One guest-side holder and its reference, in one step. */
  public static final long SAFE_REF = REF | SAFE;

  /** One reference of a user on the host's side. */
  public static final long UNSAFE_REF = 1L << UNSAFE_SHIFT;

  /** One reference of a user that asked for the folio to be accessible. */
  public static final long ACCESSIBLE_REF = 1L << ACCESSIBLE_SHIFT;

  /**
   * How many references a pin counts as. The kernel marks a pinned page that way too ({@code
   * GUP_PIN_COUNTING_BIAS}), which is why "maybe pinned" has false positives.
   */
  public static final int PIN_BIAS = 1024;

  /** One pinned reference. */
  public static final long PIN = REF * PIN_BIAS;

  /** The largest number of the library's own references; 2^15 below the sign bit. */
  static final int MAX_OWN = (1 << 20) - (1 << 15);

  /** The largest number of them that a pin may lead to: pins leave room for the others. */
  static final int MAX_PINNED = MAX_OWN - (1 << 16);

  /** The largest number of unsafe references. */
  static final int MAX_UNSAFE = (1 << (UNSAFE_BITS - 1)) - 1;

  /** The largest number of users that asked for the folio to be accessible. */
  static final int MAX_ACCESSIBLE = (1 << (ACCESSIBLE_BITS - 1)) - 1;

  /** The largest number of guest-side holders. */
  static final int MAX_SAFE = (1 << (SAFE_BITS - 1)) - 1;

  /** Added to counts, freezes them; added once more, unfreezes them. */
  static final long FROZEN = Long.MIN_VALUE;

  /** A frame on the free list. */
  static final long FREE = FROZEN;

  /**
   * Bits that are all clear in the word that a get has made, if the frame is neither frozen nor
   * near a limit: the sign, the tops, and the half of own.
   */
  private static final long LOOK_CLOSER = FROZEN | (FROZEN >>> 1) | TOPS;

  private Counts() {}

  // ---- taking ----

  /** Whether a get that has made this word needs no closer look. */
  static boolean isFarFromLimits(long word) {
    return (word & LOOK_CLOSER) == 0;
  }

  /** Whether a get of a unit that has made this word went past the largest count of a field. */
  static boolean isTooMany(long word, long unit) {
    return ((unit & OWN_MASK) != 0 && own(word) > (unit == PIN ? MAX_PINNED : MAX_OWN))
        || ((unit & UNSAFE_MASK) != 0 && (word & UNSAFE_TOP) != 0)
        || ((unit & ACCESSIBLE_MASK) != 0 && (word & ACCESSIBLE_TOP) != 0)
        || ((unit & SAFE_MASK) != 0 && (word & SAFE_TOP) != 0);
  }

  // ---- giving back ----

  /**
   * Whether there is what is to be given back: the frame is not frozen, and each field that the
   * unit names is large enough.
   *
   * <p>A field that is too small borrows, which sets its top bit where it was not set before. A top
   * bit that was set and is no more is an ordinary step down from above the largest count.
   *
   * @param word counts
   * @param unit what a get has taken
   */
  static boolean has(long word, long unit) {
    return word >= 0
        && ((word - unit) & ~word & (FROZEN | TOPS)) == 0
        && (unit & ~word & LENT_CACHE_REF) == 0;
  }

  /**
   * Whether a put needs no closer look: {@link #has} it, another holder is left, and no thread
   * waits for it.
   */
  static boolean isPlainPut(long word, long unit) {
    long after = word - unit;
    return ((word | after) & (FROZEN | WAITED)) == 0
        && ((after & ~word & TOPS) | (unit & LENT_CACHE_REF)) == 0
        && after != 0;
  }

  /**
   * As {@link #has}, for what the caller's own get has added, perhaps to frozen counts. The own
   * field is not checked: no mistake of another caller lowers it.
   */
  static boolean hasStill(long word, long unit) {
    return ((word - unit) & ~word & TOPS) == 0;
  }

  /** Whether there is no holder left. */
  static boolean isUnheld(long word) {
    return (word & ~WAITED) == 0;
  }

  // ---- looking ----

  /**
   * Whether the page cache has a reference.
   *
   * @param word a counts word
   * @return the answer
   */
  public static boolean isCached(long word) {
    return (word & CACHE_REF) != 0;
  }

  /** Whether guest-side holders may come that take no reference of their own. */
  static boolean isLent(long word) {
    return (word & LENT) != 0;
  }

  /** Whether a frame with these counts is in use: held, or frozen in its page cache. */
  static boolean isInUse(long word) {
    return word >= 0 || isCached(word);
  }

  /**
   * Whether the page cache is the only holder of the frame, counting holders without a reference
   * too: the condition of {@link FrameTable#freeze}.
   *
   * @param word a counts word
   * @return the answer; false for a frozen frame
   */
  public static boolean isCachesAlone(long word) {
    return (word & ~(WAITED | LENT)) == CACHE_REF;
  }

  /** The library's own references; negative when the frame is frozen. */
  private static int own(long word) {
    return (int) (word >> OWN_SHIFT);
  }

  /**
   * The library's own references except the page cache's, with those of guest-side holders; a pin
   * counts {@link #PIN_BIAS}.
   *
   * @param word a counts word
   * @return the count, at least 0
   */
  public static int ownRefs(long word) {
    return own(word & ~FROZEN);
  }

  /**
   * Pins, as far as references can tell: each is {@link #PIN_BIAS} of the library's own.
   *
   * @param word a counts word
   * @param known how many of its {@link #ownRefs} are known to be others
   * @return the count, at least 0
   */
  public static int pins(long word, int known) {
    return unknown(word, known) / PIN_BIAS;
  }

  /**
   * Plain references that are not known to be safe: those of the library's own that make no pin,
   * and those of users on the host's side.
   *
   * @param word a counts word
   * @param known how many of its {@link #ownRefs} are known to be others
   * @return the count, at least 0
   */
  public static int plain(long word, int known) {
    return unknown(word, known) % PIN_BIAS + unsafe(word);
  }

  private static int unknown(long word, int known) {
    return Math.max(0, ownRefs(word) - known);
  }

  /**
   * All references, of every kind of holder; a pin counts {@link #PIN_BIAS}. Guest-side holders
   * count if they have one.
   *
   * @param word a counts word
   * @return the count; negative when the frame is frozen
   */
  public static int refs(long word) {
    return own(word) + (isCached(word) ? 1 : 0) + unsafe(word) + accessible(word);
  }

  /**
   * References of users on the host's side that are not counted apart.
   *
   * @param word a counts word
   * @return the count
   */
  public static int unsafe(long word) {
    return (int) ((word & UNSAFE_MASK) >>> UNSAFE_SHIFT);
  }

  /**
   * Guest-side holders, with a reference or without.
   *
   * @param word a counts word
   * @return the count
   */
  public static int safe(long word) {
    return (int) (word & SAFE_MASK);
  }

  /**
   * Users that asked for the folio to be accessible; each has a reference.
   *
   * @param word a counts word
   * @return the count
   */
  public static int accessible(long word) {
    return (int) ((word & ACCESSIBLE_MASK) >>> ACCESSIBLE_SHIFT);
  }

  static String toString(long word) {
    return (word < 0 ? "frozen" : "refs=" + refs(word))
        + " safe="
        + safe(word)
        + " unsafe="
        + unsafe(word)
        + " accessible="
        + accessible(word)
        + (isCached(word) ? " cached" : "")
        + (isLent(word) ? " lent" : "")
        + ((word & WAITED) == 0 ? "" : " waited");
  }
}
