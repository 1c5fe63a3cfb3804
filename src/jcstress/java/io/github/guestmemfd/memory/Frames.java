package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.IdleStrategy;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;

/**
 * The frame table that the states of a test share: a table of its own for every state would cost 64
 * KiB and the time to fill them, a frame of a shared one costs a few atomic steps.
 */
public final class Frames {
  /** Waits by parking only: a thread that is not woken sleeps on. */
  static final IdleStrategy PARK =
      (round, maxNanos) -> java.util.concurrent.locks.LockSupport.parkNanos(maxNanos);

  /** Large enough for all states of a test, and for those that the harness makes and drops. */
  public static final FrameTable TABLE = used(new FrameTable(1 << 26, IdleStrategy.spinThenPark()));

  private static final FrameOwners.Owner NONE = TABLE.newOwner(pfn -> {});

  private Frames() {}

  /**
   * A frame table whose first frames have been in use before, so that each state finds frames on
   * the free list: explored orders must not differ by where their frames come from.
   */
  public static FrameTable used(FrameTable table) {
    FrameOwners.Owner owner = table.newOwner(pfn -> {});
    int[] frames = new int[1_000];
    for (int i = 0; i < frames.length; i++) {
      table.reserve(1);
      frames[i] = table.allocate(owner);
      table.thaw(frames[i], Counts.REF);
      table.mark(frames[i]); // as use does, once and for all
    }
    for (int pfn : frames) {
      table.put(pfn, Counts.REF);
    }
    owner.close();
    return table;
  }

  /** A frame with these references, of a file that does not care. */
  public static int frame(long unit) {
    return frame(NONE, unit);
  }

  /** A frame with these references. */
  public static int frame(FrameOwners.Owner owner, long unit) {
    int pfn = frozen(owner);
    TABLE.thaw(pfn, unit);
    return pfn;
  }

  /** A frame that has been allocated and not thawed. */
  static int frozen(FrameOwners.Owner owner) {
    if (!TABLE.reserve(1)) {
      throw new IllegalStateException("no frames left");
    }
    return TABLE.allocate(owner);
  }

  /** A frame that has been allocated for no file and not thawed. */
  static int frozen() {
    return frozen(NONE);
  }

  /** Something that waits; actors may not throw checked exceptions. */
  @FunctionalInterface
  public interface Waiting {
    void run() throws InterruptedException;
  }

  /** Runs something that waits and is not interrupted. */
  public static void run(Waiting waiting) {
    try {
      waiting.run();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Whether the calling thread is explored: then every order comes, and none has to be helped. */
  public static boolean isExplored() {
    return Exploration.scheduler() != null;
  }

  /** Holds a twin's gap open for a moment, so that the other actor finds it on any machine. */
  public static void gap() {
    for (int i = 0; i < 20 && !isExplored(); i++) {
      Thread.onSpinWait();
    }
  }

  /** A gap that ends when the other actor has come, or does not come. */
  public static void gapUntil(BooleanSupplier come) {
    for (int i = 0; i < 1_000 && !isExplored() && !come.getAsBoolean(); i++) {
      Thread.onSpinWait();
    }
  }

  /** A frame whose end is counted. */
  static final class Counted {
    final AtomicInteger freed = new AtomicInteger();
    final FrameOwners.Owner owner;
    final int pfn;

    Counted(long unit) {
      FrameOwners.Listener count = pfn -> freed.incrementAndGet();
      owner = TABLE.newOwner(count);
      pfn = frame(owner, unit);
    }
  }

  /**
   * What the broken twins use for a counts word: a count, and how often it was found to be 0.
   *
   * <p>It has the shipped protocol's steps, and leaves it to each twin to put them together
   * wrongly.
   */
  public static final class Word {
    static final long FROZEN = Long.MIN_VALUE / 2;
    private static final VarHandle WORD;

    static {
      try {
        WORD = MethodHandles.lookup().findVarHandle(Word.class, "word", long.class);
      } catch (ReflectiveOperationException e) {
        throw new ExceptionInInitializerError(e);
      }
    }

    volatile long word;
    final AtomicInteger freed = new AtomicInteger();

    public Word(long word) {
      this.word = word;
    }

    public long get() {
      return word;
    }

    public void set(long value) {
      word = value;
    }

    /** Adds, and answers what was there before. */
    public long add(long delta) {
      return (long) WORD.getAndAdd(this, delta);
    }

    public boolean cas(long expected, long value) {
      return WORD.compareAndSet(this, expected, value);
    }

    /** Reads with no order to other words. */
    public long opaque() {
      return (long) WORD.getOpaque(this);
    }

    /** Writes with no order to other words. */
    public void setOpaque(long value) {
      WORD.setOpaque(this, value);
    }

    /** A correct try-get: adds unless frozen. */
    public boolean tryGet() {
      if (add(1) >= 0) {
        return true;
      }
      add(-1);
      return false;
    }
  }
}
