package io.github.guestmemfd.cache;

import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Exploration;
import java.util.List;
import java.util.stream.Stream;
import org.jctools.queues.atomic.MpmcAtomicArrayQueue;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The batches of folios on their way to the LRU lists, one for each CPU: the kernel's {@code
 * folio_add_lru}, {@code lru_add_drain} and {@code lru_add_drain_all}. There are no lists here;
 * what matters is the reference that a batch holds on each of its folios, which no conversion
 * expects and any thread can drop.
 *
 * <p><b>Assumptions.</b> A frame is added with a reference, which is the batch's from then on.
 *
 * <p><b>Guarantees.</b> A reference whose {@link #add} has returned is dropped by the drain that
 * fills its batch or by the next {@link #drain} of it, once. A drain that finds a batch empty while
 * another thread is emptying it may return before that thread has dropped what it took out; such a
 * reference is a speculative one, which goes by itself.
 *
 * <p><b>Progress.</b> Adding and draining are lock-free but for a thread that stops in the middle
 * of an add, for which a drain of that batch spins. A reference that is the last one frees its
 * frame, on the thread that drains.
 */
public final class LruBatches {

  /** The largest size of a batch. */
  public static final int MAX_SIZE = 1 << 20;

  /** The largest sum of the sizes of all batches. */
  public static final int MAX_TOTAL = 1 << 24;

  private static final Logger LOG = LoggerFactory.getLogger(LruBatches.class);

  private final FrameTable frames;
  private final int size;
  private final List<MpmcAtomicArrayQueue<Integer>> batches;

  /**
   * Makes empty batches.
   *
   * @param frames whose references they hold
   * @param cpus how many batches, at least 1
   * @param size how many folios fill one, 1 to {@link #MAX_SIZE}
   */
  public LruBatches(FrameTable frames, int cpus, int size) {
    this.frames = frames;
    this.size = size;
    this.batches =
        Stream.generate(() -> new MpmcAtomicArrayQueue<Integer>(Math.max(2, size)))
            .limit(cpus)
            .toList();
  }

  /**
   * Puts a folio into the batch of this thread's CPU, which is emptied when that fills it.
   *
   * @param pfn the frame, with one reference for the batch
   */
  public void add(int pfn) {
    MpmcAtomicArrayQueue<Integer> batch = local();
    while (!Announce.write(batch).offer(pfn)) { // other threads were quicker
      drain(batch);
    }
    if (Announce.read(batch).size() >= size) {
      drain(batch);
    }
  }

  private MpmcAtomicArrayQueue<Integer> local() {
    return batches.get((int) (Exploration.threadId() % batches.size()));
  }

  /**
   * Empties the batch of this thread's CPU, as {@link #drain} empties all.
   *
   * @return how many references were dropped
   */
  public int drainLocal() {
    return drain(local());
  }

  /**
   * Empties all batches. What the owner of a freed frame throws is logged.
   *
   * @return how many references were dropped
   */
  public int drain() {
    int dropped = 0;
    for (MpmcAtomicArrayQueue<Integer> batch : batches) {
      dropped += drain(batch);
    }
    return dropped;
  }

  private int drain(MpmcAtomicArrayQueue<Integer> batch) {
    int dropped = 0;
    for (Integer pfn = Announce.write(batch).poll();
        pfn != null;
        pfn = Announce.write(batch).poll()) {
      dropped++;
      try {
        frames.put(pfn, Counts.REF);
      } catch (Throwable e) {
        LOG.warn("exception when frame {} left its LRU batch", pfn, e);
      }
    }
    return dropped;
  }
}
