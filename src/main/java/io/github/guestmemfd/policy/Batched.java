package io.github.guestmemfd.policy;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import java.util.BitSet;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;
import org.jspecify.annotations.Nullable;

/** Converts what vCPUs use and, to private, what is around it: {@link ConversionPolicy#batched}. */
final class Batched implements ConversionPolicy {
  private static final int PAGE_SHIFT = Integer.numberOfTrailingZeros(HostMemory.PAGE_SIZE);
  private static final int BLOCK_SHIFT = 21;
  private static final int BLOCK_PAGES = 1 << (BLOCK_SHIFT - PAGE_SHIFT);
  private static final int FIRST_THRESHOLD = 2;

  /** By guest address: the blocks of which more is known than that all of it is shared. */
  private final ConcurrentNavigableMap<Long, Block> blocks = new ConcurrentSkipListMap<>();

  /** Guards the creation of a block, and the next field. A leaf: nothing is called under it. */
  private final Mutex unmadeLock = new Mutex(LockClass.POLICY_LOCK);

  /**
   * What the guest wants shared, in blocks, of those that are not in the map yet: runs by their
   * first, with the one after the last. What it says of blocks that are in the map means nothing.
   */
  private final NavigableMap<Long, Long> unmadeShared = new TreeMap<>();

  @Override
  public String id() {
    return "batched";
  }

  @Override
  public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
    long block = pages.gpa() >> BLOCK_SHIFT;
    if (attribute == MemoryAttribute.SHARED || (pages.end() - 1) >> BLOCK_SHIFT != block) {
      return Optional.of(pages);
    }
    int first = pageInBlock(pages.gpa());
    return Optional.of(blockAt(block).onPrivateFault(pages, block << BLOCK_SHIFT, first));
  }

  @Override
  public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
    note(range, attribute);
    forEachBlock(range, (block, from, to) -> block.wants(from, to, attribute));
    return Optional.empty();
  }

  @Override
  public void converted(GpaRange range, MemoryAttribute attribute) {
    if (attribute == MemoryAttribute.SHARED) {
      note(range, attribute);
    }
    forEachBlock(range, (block, from, to) -> block.converted(from, to, attribute));
  }

  /** An action on the pages of a block from one to before another. */
  private interface Action {
    void on(Block block, int from, int to);
  }

  /** Runs an action on the existing blocks of a range. */
  private void forEachBlock(GpaRange range, Action action) {
    long first = range.gpa() >> BLOCK_SHIFT;
    long last = (range.end() - 1) >> BLOCK_SHIFT;
    Announce.read(blocks)
        .subMap(first, true, last, true)
        .forEach(
            (number, block) -> {
              int from = number == first ? pageInBlock(range.gpa()) : 0;
              int to = number == last ? pageInBlock(range.end() - 1) + 1 : BLOCK_PAGES;
              action.on(block, from, to);
            });
  }

  /**
   * Notes what a guest wants of blocks that have not been made, before those that have are told. It
   * makes those that come to be shared in part; of whole ones there may be millions.
   */
  private void note(GpaRange range, MemoryAttribute attribute) {
    boolean shared = attribute == MemoryAttribute.SHARED;
    long from = (range.gpa() >> BLOCK_SHIFT) + (pageInBlock(range.gpa()) == 0 ? 0 : 1);
    long to = range.end() >> BLOCK_SHIFT;
    if (from < to) {
      setUnmade(from, to, shared);
    }
    noteInPart(range.gpa(), shared);
    noteInPart(range.end(), shared);
  }

  /** Makes a block in which a range begins or ends, unless all of it is wanted private before. */
  private void noteInPart(long gpa, boolean shared) {
    long number = gpa >> BLOCK_SHIFT;
    if (pageInBlock(gpa) != 0 && (shared || isUnmadeShared(number))) {
      blockAt(number);
    }
  }

  /** Notes whether whole blocks are wanted shared. */
  private void setUnmade(long from, long to, boolean shared) {
    unmadeLock.lock();
    try {
      Map.Entry<Long, Long> before = unmadeShared.lowerEntry(from);
      Map.Entry<Long, Long> last = unmadeShared.lowerEntry(to);
      long start = from;
      long end = to;
      if (before != null && before.getValue() >= from) {
        start = before.getKey();
      }
      if (last != null && last.getValue() > to) {
        end = last.getValue();
      }
      unmadeShared.subMap(start, to).clear();
      if (shared) {
        Long next = unmadeShared.remove(to); // begins where this ends
        unmadeShared.put(start, next == null ? end : next);
      } else {
        putRun(start, from);
        putRun(to, end);
      }
    } finally {
      unmadeLock.unlock();
    }
  }

  private boolean isUnmadeShared(long number) {
    unmadeLock.lock();
    try {
      Map.Entry<Long, Long> run = unmadeShared.floorEntry(number);
      return run != null && run.getValue() > number;
    } finally {
      unmadeLock.unlock();
    }
  }

  private void putRun(long from, long to) {
    if (from < to) {
      unmadeShared.put(from, to);
    }
  }

  private Block blockAt(long number) {
    @Nullable Block block = Announce.read(blocks).get(number);
    return block != null ? block : makeBlock(number);
  }

  private Block makeBlock(long number) {
    unmadeLock.lock();
    try {
      @Nullable Block made = Announce.read(blocks).get(number);
      if (made != null) {
        return made;
      }
      Block block = new Block(isUnmadeShared(number));
      Announce.write(blocks).put(number, block);
      return block;
    } finally {
      unmadeLock.unlock();
    }
  }

  private static int pageInBlock(long gpa) {
    return (int) (gpa >> PAGE_SHIFT) & (BLOCK_PAGES - 1);
  }

  /** What is known of 2 MiB. Its lock is a leaf: nothing is called under it. */
  private static final class Block {
    private final Mutex lock = new Mutex(LockClass.POLICY_LOCK);

    /** The pages that the guest wants shared. */
    private final BitSet shared = new BitSet(BLOCK_PAGES);

    /** How many private faults in a row convert single pages. */
    private int threshold = FIRST_THRESHOLD;

    /** How many have. */
    private int inRow;

    /** Whether a neighbourhood has been converted since the last conversion to shared. */
    private boolean batched;

    Block(boolean isShared) {
      shared.set(0, BLOCK_PAGES, isShared);
    }

    GpaRange onPrivateFault(GpaRange pages, long gpa, int first) {
      int after = first + (int) (pages.size() >> PAGE_SHIFT);
      lock.lock();
      try {
        shared.clear(first, after); // by its use the guest says what it wants
        if (!batched && inRow < threshold) {
          inRow++;
          return pages;
        }
        inRow = 0; // if this is refused, single pages come next
        int from = shared.previousSetBit(first - 1) + 1;
        int bound = shared.nextSetBit(after);
        int to = bound < 0 ? BLOCK_PAGES : bound;
        return new GpaRange(gpa + ((long) from << PAGE_SHIFT), (long) (to - from) << PAGE_SHIFT);
      } finally {
        lock.unlock();
      }
    }

    void wants(int from, int to, MemoryAttribute attribute) {
      lock.lock();
      try {
        shared.set(from, to, attribute == MemoryAttribute.SHARED);
      } finally {
        lock.unlock();
      }
    }

    void converted(int from, int to, MemoryAttribute attribute) {
      lock.lock();
      try {
        if (attribute == MemoryAttribute.PRIVATE) {
          // A page asked for as shared since the range was given stays one: it is left out next
          // time.
          batched |= to - from > 1;
          return;
        }
        shared.set(from, to);
        inRow = 0;
        if (batched) {
          batched = false;
          threshold = Math.min(2 * threshold, BLOCK_PAGES);
        }
      } finally {
        lock.unlock();
      }
    }
  }
}
