package io.github.guestmemfd.policy;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.kvm.MemoryAttribute;
import java.util.BitSet;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/** What vCPUs use and, to private, what is around it. See {@link ConversionPolicy#batched}. */
final class Batched implements ConversionPolicy {
  private static final int PAGE_SHIFT = Integer.numberOfTrailingZeros(HostMemory.PAGE_SIZE);
  private static final int BLOCK_SHIFT = 21;
  private static final int BLOCK_PAGES = 1 << (BLOCK_SHIFT - PAGE_SHIFT);
  private static final int FIRST_THRESHOLD = 2;

  /** By guest address, in blocks. */
  private final ConcurrentMap<Long, Block> blocks = new ConcurrentHashMap<>();

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
    forEachBlock(range, attribute, (block, from, to) -> block.wants(from, to, attribute));
    return Optional.empty();
  }

  @Override
  public void converted(GpaRange range, MemoryAttribute attribute) {
    forEachBlock(range, attribute, (block, from, to) -> block.converted(from, to, attribute));
  }

  /** Something to do with the pages from one to before another in a block. */
  private interface Action {
    void on(Block block, int from, int to);
  }

  /** Blocks of which nothing is known, and that are to be private, need not come into being. */
  private void forEachBlock(GpaRange range, MemoryAttribute attribute, Action action) {
    for (long at = range.gpa(); at < range.end(); ) {
      long number = at >> BLOCK_SHIFT;
      long last = Math.min(range.end() - 1, at | ((1L << BLOCK_SHIFT) - 1));
      Block block = attribute == MemoryAttribute.SHARED ? blockAt(number) : blocks.get(number);
      if (block != null) {
        action.on(block, pageInBlock(at), pageInBlock(last) + 1);
      }
      at = last + 1;
    }
  }

  private Block blockAt(long number) {
    @Nullable Block block = blocks.get(number);
    return block != null ? block : blocks.computeIfAbsent(number, n -> new Block());
  }

  private static int pageInBlock(long gpa) {
    return (int) (gpa >> PAGE_SHIFT) & (BLOCK_PAGES - 1);
  }

  /** What is known of 2 MiB. Its lock is a leaf: nothing is called under it. */
  private static final class Block {
    private final ReentrantLock lock = new ReentrantLock();

    /** The pages that the guest wants shared. */
    private final BitSet shared = new BitSet(BLOCK_PAGES);

    /** How many private faults in a row convert single pages. */
    private int threshold = FIRST_THRESHOLD;

    /** How many have. */
    private int inRow;

    /** Whether a neighbourhood has been converted since the last conversion to shared. */
    private boolean batched;

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
