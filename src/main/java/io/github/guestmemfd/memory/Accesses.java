package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Wait;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The accesses to frames that are under way, by any path: a page table of the host, a guest page
 * table, the direct map. Each is announced in a slot, a hazard pointer.
 *
 * <pre>
 *  63                            36 35       30 29                    0
 * +--------------------------------+-----------+-----------------------+
 * |      announcements (28)        | more  (6) |       pfn (30)        |   a slot
 * +--------------------------------+-----------+-----------------------+
 * </pre>
 *
 * <ul>
 *   <li><b>pfn</b>: the first frame of the access, 0 if none is under way. <b>more</b>: how many
 *       frames follow it.
 *   <li><b>announcements</b>: incremented by each, so that a waiter sees that one has ended even if
 *       the next begins at once. It would miss that only by sleeping through exactly a multiple of
 *       2^28 accesses.
 * </ul>
 *
 * <p><b>Assumptions.</b> (1) An access reads the entry that it goes by again after it has announced
 * the frame, and gives up if the entry no longer leads there. (2) A removal (of entries, or from
 * the direct map) changes the entry first and then looks at the slots. (3) Between {@link #begin}
 * and {@link #end} a thread only moves bytes: it waits for nothing.
 *
 * <p><b>Guarantees.</b> An access writes its slot and then reads the entry, a removal writes the
 * entry and then reads the slots; all four are volatile or read-modify-writes (store buffering), so
 * at least one sees the other: the access gives up, or the removal finds it. What a removal does
 * not finish waiting for stays announced, and is found by the next that looks, whichever thread
 * removed the entry, and whether or not that thread was interrupted. So an operation that converts
 * or frees a frame looks at the slots for that frame, also where it has found no entry to remove.
 * The end of an access is a release store that the waiter's look reads, so the bytes were moved
 * before.
 *
 * <p><b>Progress.</b> To begin takes one compare-and-set on a cache line that stays with its
 * thread's processor. It waits for nothing: a thread whose slot is taken goes on to the next one,
 * and there is always room. A waiter waits for the accesses that it has found, not for later ones.
 */
public final class Accesses {

  /** The most frames that one access can announce: consecutive ones. */
  public static final int MAX_FRAMES = 64;

  private static final int MORE_SHIFT = FrameWords.PFN_BITS;
  private static final int COUNT_SHIFT = MORE_SHIFT + 6;
  private static final long COUNT = 1L << COUNT_SHIFT;
  private static final long WHAT_MASK = COUNT - 1;
  private static final long PFN_MASK = (1L << FrameWords.PFN_BITS) - 1;

  /** Slots stand 128 bytes apart, and the first 64 bytes from the head of the array. */
  private static final int SLOT_SHIFT = 4;

  private static final int FIRST = 8;

  private static final int FIRST_BLOCK_SLOTS = 16;

  private static final int FIRST_LENGTH = FIRST_BLOCK_SLOTS << SLOT_SHIFT;

  /** Each block has twice as many slots as the one before: a million in all. */
  private static final int BLOCKS = 16;

  private static final int BLOCK_SHIFT = 24;

  private static final VarHandle BLOCK = MethodHandles.arrayElementVarHandle(long[][].class);

  private final long[] first = new long[FIRST_LENGTH];

  /** The first block, and those made since all slots were taken. Null beyond. */
  private final long[] @Nullable [] blocks = new long[BLOCKS][];

  /** Makes slots for a host. */
  public Accesses() {
    blocks[0] = first;
  }

  /**
   * Announces an access to frames. The caller then reads the entry that led it there again, with
   * volatile semantics, and {@linkplain #end ends} the access if it leads elsewhere.
   *
   * @param pfn the first frame, at least 1
   * @param frames how many, 1 to {@link #MAX_FRAMES}
   * @return the access, never 0
   */
  public long begin(int pfn, int frames) {
    long what = (long) (frames - 1) << MORE_SHIFT | pfn;
    int at = home(FIRST_LENGTH);
    long access = tryAnnounce(first, at, what) ? access(0, at, what) : beginElsewhere(what);
    LockOrder.taken(LockClass.ACCESS, this, access, access + 1);
    return access;
  }

  /**
   * As {@link #begin}, to one frame, and only if the slot that the thread looks for first is free.
   *
   * @param pfn the frame
   * @return the place of the slot, for {@link #endAtHome}; negative, and nothing is announced, if
   *     the slot is taken
   */
  public int tryBeginAtHome(int pfn) {
    int at = home(FIRST_LENGTH);
    if (!tryAnnounce(first, at, pfn)) {
      return -1;
    }
    LockOrder.taken(LockClass.ACCESS, this, access(0, at, pfn), access(0, at, pfn) + 1);
    return at;
  }

  /**
   * Ends an access as {@link #end} does.
   *
   * @param at what {@link #tryBeginAtHome} returned
   */
  public void endAtHome(int at) {
    long access = access(0, at, end(first, at));
    LockOrder.givenBack(LockClass.ACCESS, this, access, access + 1);
  }

  private long beginElsewhere(long what) {
    for (int b = 0; b < BLOCKS; b++) {
      long[] slots = block(b);
      int at = home(slots.length);
      for (int i = 0; i < slots.length; i += 1 << SLOT_SHIFT) {
        if (isFree(slots, at) && tryAnnounce(slots, at, what)) {
          return access(b, at, what);
        }
        at = (at + (1 << SLOT_SHIFT)) & (slots.length - 1);
      }
    }
    throw new IllegalStateException("more than a million accesses under way at once");
  }

  private long[] block(int b) {
    Announce.read(blocks, b);
    long[] slots = (long[]) BLOCK.getVolatile(blocks, b);
    if (slots == null) {
      long[] made = new long[FIRST_BLOCK_SLOTS << (b + SLOT_SHIFT)];
      Announce.write(blocks, b);
      long[] found = (long[]) BLOCK.compareAndExchange(blocks, b, null, made);
      slots = found == null ? made : found;
    }
    return slots;
  }

  /** Where a thread looks for a slot first, in a block of some length. */
  private static int home(int length) {
    int slot = (int) Exploration.threadId();
    return (slot << SLOT_SHIFT | FIRST) & (length - 1);
  }

  /** Whether a slot is free: not to disturb its thread by a compare-and-set that cannot succeed. */
  private static boolean isFree(long[] slots, int at) {
    return pfn(SharedLongs.getOpaque(slots, at)) == 0;
  }

  /** Announces an access, if the slot is free: the compare-and-set fails if it is not. */
  private static boolean tryAnnounce(long[] slots, int at, long what) {
    long free = SharedLongs.getOpaque(slots, at) & ~WHAT_MASK;
    return SharedLongs.compareAndSet(slots, at, free, (free + COUNT) | what); // see the guarantees
  }

  private static long access(int block, int at, long what) {
    return (long) (block << BLOCK_SHIFT | at) << COUNT_SHIFT | what;
  }

  /**
   * Ends an access: the bytes that it has moved are visible to a thread that sees it ended.
   *
   * @param access what {@link #begin} returned
   */
  public void end(long access) {
    int place = (int) (access >>> COUNT_SHIFT);
    int at = place & ((1 << BLOCK_SHIFT) - 1);
    long[] slots = place == at ? first : block(place >>> BLOCK_SHIFT);
    end(slots, at);
    LockOrder.givenBack(LockClass.ACCESS, this, access, access + 1);
  }

  /** Ends the access that this thread has announced in a slot; returns to what it was. */
  private static long end(long[] slots, int at) {
    long word = slots[at]; // written by this thread
    SharedLongs.setRelease(slots, at, word & ~WHAT_MASK);
    return word & WHAT_MASK;
  }

  /**
   * Whether an access is under way. It may be one of another thread's, if that has announced the
   * same in the same slot.
   *
   * @param access any number
   * @return the answer
   */
  public boolean isUnderWay(long access) {
    int place = (int) (access >>> COUNT_SHIFT);
    int at = place & ((1 << BLOCK_SHIFT) - 1);
    int block = place >>> BLOCK_SHIFT;
    Announce.read(blocks, block);
    long[] slots = (long[]) BLOCK.getVolatile(blocks, block);
    return slots != null
        && at < slots.length
        && (at & ((1 << SLOT_SHIFT) - 1)) == FIRST
        && pfn(access) != 0
        && ((SharedLongs.getOpaque(slots, at) ^ access) & WHAT_MASK) == 0;
  }

  /**
   * The first frame of an access.
   *
   * @param access what {@link #begin} returned, or 0
   * @return the pfn; 0 for 0
   */
  public static int pfn(long access) {
    return (int) (access & PFN_MASK);
  }

  /**
   * How many frames an access is to.
   *
   * @param access what {@link #begin} returned
   * @return 1 to {@link #MAX_FRAMES}
   */
  public static int frames(long access) {
    return ((int) (access >>> MORE_SHIFT) & (MAX_FRAMES - 1)) + 1;
  }

  private static boolean isTo(long word, int pfn) {
    int beyond = pfn - pfn(word);
    return beyond >= 0 && beyond < frames(word);
  }

  /**
   * Looks which accesses are under way, after a full fence: so what the caller writes to a frame
   * later comes after the removal that it did before, also for a reader that announces nothing.
   *
   * @return what was found; null if no access is under way
   */
  public @Nullable UnderWay underWay() {
    VarHandle.fullFence();
    UnderWay found = null;
    for (int b = 0; b < BLOCKS; b++) {
      Announce.read(blocks, b);
      long[] slots = (long[]) BLOCK.getVolatile(blocks, b);
      if (slots == null) {
        break;
      }
      for (int at = FIRST; at < slots.length; at += 1 << SLOT_SHIFT) {
        long word = SharedLongs.getVolatile(slots, at);
        if ((word & PFN_MASK) != 0) {
          if (found == null) {
            found = new UnderWay();
          }
          found.add(slots, at, word);
        }
      }
    }
    return found;
  }

  /** Accesses that were under way at one moment. For one thread. */
  public static final class UnderWay {
    private long[][] slots = new long[8][];
    private int[] places = new int[8];
    private long[] words = new long[8];
    private int count;

    /** How many of them the caller waits for; they come first. */
    private int included;

    private UnderWay() {}

    private void add(long[] in, int at, long word) {
      if (count == words.length) {
        slots = Arrays.copyOf(slots, 2 * count);
        places = Arrays.copyOf(places, 2 * count);
        words = Arrays.copyOf(words, 2 * count);
      }
      slots[count] = in;
      places[count] = at;
      words[count] = word;
      count++;
    }

    /**
     * Includes the accesses to a frame in those that the caller waits for.
     *
     * @param pfn the frame
     */
    public void include(int pfn) {
      for (int i = included; i < count; i++) {
        if (isTo(words[i], pfn)) {
          swap(i, included++);
        }
      }
    }

    private void swap(int i, int j) {
      long[] in = slots[i];
      int at = places[i];
      long word = words[i];
      slots[i] = slots[j];
      places[i] = places[j];
      words[i] = words[j];
      slots[j] = in;
      places[j] = at;
      words[j] = word;
    }

    /** Drops accesses that have ended from those to wait for; returns whether none is left. */
    private boolean dropEnded() {
      while (included > 0) {
        int last = included - 1;
        if (SharedLongs.getVolatile(slots[last], places[last]) == words[last]) {
          return false;
        }
        included--;
      }
      return true;
    }

    /**
     * Waits for the accesses that are included.
     *
     * @param idle how to wait
     * @throws InterruptedException if the thread is interrupted, or must not wait, before they have
     *     ended; they stay announced
     */
    public void await(IdleStrategy idle) throws InterruptedException {
      Wait.await(idle, this::dropEnded, Wait.LOOK_AGAIN_NANOS);
    }

    /**
     * Waits for the accesses that are included, for a caller that cannot give up.
     *
     * @param idle how to wait; what it throws is thrown when they have ended
     */
    public void awaitUninterruptibly(IdleStrategy idle) {
      Wait.awaitUninterruptibly(idle, this::dropEnded, Wait.LOOK_AGAIN_NANOS);
    }
  }
}
