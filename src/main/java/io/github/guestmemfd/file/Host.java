package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.LruBatches;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.observe.Holder;
import io.github.guestmemfd.observe.HolderRegister;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.nio.ByteBuffer;
import java.util.concurrent.Executor;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.IntSupplier;
import org.jspecify.annotations.Nullable;

/** The memory of a host: its frames, their contents, and what all of its files share. */
public final class Host {
  /** How a host is made. */
  public static final class Options {
    /** No bytes. */
    public boolean metadataOnly;

    /** How threads wait. */
    public IdleStrategy idle = IdleStrategy.spinThenPark();

    /** Called at race points. */
    public @Nullable RaceHook hook;

    /** Batches of the least recently used list; 0 for none. */
    public int cpus;

    /** Folios in a batch. */
    public int batchSize;

    /** Completes pending conversions; null for threads of the library's. */
    public @Nullable Executor completionExecutor;

    /** Tracks the holders. */
    public boolean trackHolders;

    /** Poisons bytes that must not be read any more. */
    public boolean poisonViews;

    /** Makes options that are all at their defaults. */
    public Options() {}
  }

  /** The frames. */
  public final FrameTable frames;

  /** What they contain; null if the host is metadata only. */
  public final @Nullable FrameContents contents;

  /** How threads wait. */
  public final IdleStrategy idle;

  /** Called at race points. */
  public final @Nullable RaceHook hook;

  /** Completes pending conversions where the thread that lets go cannot. */
  public final Completions completions;

  /** The counters of all files. */
  public final Counters<Meter> meters = new Counters<>(Meter.class);

  private final AtomicLong lastIno = new AtomicLong();

  /**
   * The files that are open, in the lower half, and how many there have been, in the upper one: a
   * word that was read twice and is the same tells that none was created in between. {@link
   * #CLOSED} once the host is closed.
   */
  private final AtomicLong files = new AtomicLong();

  private static final long CREATED = 1L << 32;
  private static final long CLOSED = -1;

  final @Nullable LruBatches lru;

  /** Whether a view whose reference is gone is to see poison. */
  final boolean poisonsViews;

  /** The register of holders; null if the host does not track them. */
  public final @Nullable HolderRegister register;

  /**
   * Makes a host.
   *
   * @param pages how many frames it has
   * @param options the rest
   */
  public Host(int pages, Options options) {
    this.idle = options.idle;
    this.hook = options.hook;
    this.completions = new Completions(options.completionExecutor);
    this.frames = new FrameTable(pages, idle);
    this.lru = options.cpus == 0 ? null : new LruBatches(frames, options.cpus, options.batchSize);
    this.poisonsViews = options.poisonViews;
    this.register = options.trackHolders ? new HolderRegister() : null;
    this.contents = options.metadataOnly ? null : new FrameContents(pages);
  }

  /**
   * Drops the references that the LRU batches hold: the kernel's {@code lru_add_drain_all}.
   *
   * @return how many
   */
  public int drainLru() {
    return lru == null ? 0 : drained(lru::drain);
  }

  /** Drops those of the batch of this thread's CPU: the kernel's {@code lru_add_drain}. */
  int drainLocalLru() {
    return lru == null ? 0 : drained(lru::drainLocal);
  }

  private static int drained(IntSupplier drain) {
    CallbackContext.enterOperation(); // work that a put causes is done after the last one
    try {
      return drain.getAsInt();
    } finally {
      CallbackContext.leaveOperation();
    }
  }

  /**
   * Removes a holder that has let go from the register.
   *
   * @param holder the holder; null if it is not tracked
   */
  public void untrack(@Nullable Holder holder) {
    if (register != null) {
      register.remove(holder);
    }
  }

  /**
   * The contents, for an access to bytes.
   *
   * @return the contents
   * @throws UnsupportedOperationException if there are none
   */
  public FrameContents bytes() {
    FrameContents c = contents;
    if (c == null) {
      throw new UnsupportedOperationException("the host memory is metadata only: it has no bytes");
    }
    return c;
  }

  /**
   * The bytes of a frame that the caller names, and may write: perhaps one that was never used.
   *
   * @param pfn the number
   * @return a new view of one page
   * @throws UnsupportedOperationException if the host is metadata only
   * @throws IndexOutOfBoundsException if the host has no such frame
   * @throws IllegalStateException if the frame has never been in use
   */
  public ByteBuffer view(int pfn) {
    FrameContents c = bytes();
    frames.mark(checked(pfn));
    return c.view(pfn);
  }

  /**
   * Checks the number of a frame.
   *
   * @param pfn the number
   * @return the number
   * @throws IndexOutOfBoundsException if the host has no such frame
   */
  public int checked(int pfn) {
    if (pfn < 1 || pfn > frames.limit()) {
      throw new IndexOutOfBoundsException(
          "frame: expected 1 to " + frames.limit() + ", actual " + pfn);
    }
    return pfn;
  }

  /**
   * Counts a file that is being created.
   *
   * @return its number
   */
  long openFile() {
    for (; ; ) {
      long now = Announce.read(files).get();
      if (now == CLOSED) {
        throw new GuestMemfdException(Errno.EBADF, "the host memory is closed");
      }
      if (Announce.write(files).compareAndSet(now, ((now + CREATED) & Long.MAX_VALUE) + 1)) {
        return Announce.write(lastIno).incrementAndGet();
      }
    }
  }

  void closeFile() {
    Announce.write(files).decrementAndGet();
  }

  /**
   * Closes the host, of which no file is open and no frame in use.
   *
   * @throws GuestMemfdException EBUSY otherwise
   */
  public void close() {
    if (!CallbackContext.isInTheMiddleOfAny()) {
      completions.await(idle, Long.MAX_VALUE);
    }
    drainLru();
    for (; ; ) {
      long now = Announce.read(files).get();
      if (now == CLOSED) {
        return;
      }
      long open = now & (CREATED - 1);
      long used = frames.used(); // while no file is open or created, it only falls
      if (hook != null) {
        hook.at(RacePoint.BEFORE_HOST_CLOSE, -1);
      }
      if (open != 0 || used != 0) {
        throw new GuestMemfdException(
            Errno.EBUSY,
            "host memory closed with "
                + open
                + " files open and "
                + used
                + " frames in use, expected 0 and 0"
                + (register == null ? "" : "\n" + dump()));
      }
      if (Announce.write(files).compareAndSet(now, CLOSED)) {
        return;
      }
    }
  }

  /**
   * Why the holders cannot be listed.
   *
   * @return one line, without its end
   */
  public String notTracked() {
    return this + ": holders are not tracked; HostMemory.builder(size).trackHolders() does";
  }

  /**
   * The holders, as a tree.
   *
   * @return lines of text
   */
  public String dump() {
    return register == null ? notTracked() + "\n" : this + "\n" + register.dump().indent(2);
  }

  /**
   * The size.
   *
   * @return bytes
   */
  public long size() {
    return Pages.bytes(frames.limit());
  }

  @Override
  public String toString() {
    return "HostMemory[size=" + size() + ", used=" + Pages.bytes(frames.used()) + "]";
  }
}
