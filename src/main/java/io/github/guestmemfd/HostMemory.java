package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.cache.LruBatches;
import io.github.guestmemfd.file.Audit;
import io.github.guestmemfd.file.Host;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.observe.HolderRegister;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.RaceHook;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Executor;

/**
 * The memory of a host, from which guest_memfds take their frames of 4096 bytes each.
 *
 * <p>Several files share one host. Memory is used as it is touched: 24 bytes of metadata for a
 * frame, and its content unless the host is metadata only. Content lies outside the Java heap, in
 * buffers of 2 MiB, so the JVM needs that much direct memory ({@code -XX:MaxDirectMemorySize}).
 */
public final class HostMemory implements AutoCloseable {

  /** Bytes of a page. */
  public static final int PAGE_SIZE = Pages.SIZE;

  /** The host itself. */
  final Host host;

  private final AddressSpace addressSpace = new AddressSpace();
  private final DirectMap directMap;
  private final PfnWalker pfnWalker;
  private final FrameAccess frameAccess;

  private HostMemory(Host host) {
    this.host = host;
    this.directMap = new DirectMap(host);
    this.pfnWalker = new PfnWalker(host);
    this.frameAccess = new FrameAccess(host);
  }

  /**
   * A host with bytes.
   *
   * @param bytes its size, a positive multiple of 4096, less than 4 TiB
   * @return the host
   * @throws GuestMemfdException EINVAL if the size is not such a number
   */
  public static HostMemory ofBytes(long bytes) {
    return builder(bytes).build();
  }

  /**
   * A host whose pages have no content, only metadata: for policies and very large guests. Reading
   * or writing bytes fails with {@link UnsupportedOperationException}.
   *
   * @param bytes its size, a positive multiple of 4096, less than 4 TiB
   * @return the host
   * @throws GuestMemfdException EINVAL if the size is not such a number
   */
  public static HostMemory metadataOnly(long bytes) {
    return builder(bytes).metadataOnly().build();
  }

  /**
   * Returns a builder of a host.
   *
   * @param bytes its size, a positive multiple of 4096, less than 4 TiB
   * @return a builder
   */
  public static Builder builder(long bytes) {
    return new Builder(bytes);
  }

  /** Builds a host. Not safe for use by several threads. */
  public static final class Builder {
    private final long bytes;
    private final Host.Options options = new Host.Options();

    private Builder(long bytes) {
      this.bytes = bytes;
    }

    /**
     * Leaves the content out.
     *
     * @return this
     */
    public Builder metadataOnly() {
      options.metadataOnly = true;
      return this;
    }

    /**
     * Sets how threads wait.
     *
     * @param strategy used by every wait in this host; {@link IdleStrategy#spinThenPark} by default
     * @return this
     */
    public Builder idleStrategy(IdleStrategy strategy) {
      options.idle = Objects.requireNonNull(strategy, "strategy");
      return this;
    }

    /**
     * Sets the executor that completes a {@linkplain GuestMemfd#makeInaccessibleLater pending
     * conversion} where the thread that drops the last reference cannot: a thread that keeps a
     * folio lock, or is in the middle of what depends on other conversions. The executor also tries
     * again what would have had to wait.
     *
     * <p>By default threads of the library do this, which all hosts share: daemons named {@code
     * guest_memfd-completion-}n, as many as there is work for, made when they are needed and gone 2
     * seconds after that. A task does not wait for pages, but runs callbacks and whatever depends
     * on the future, so it lasts as long as those do: in an executor with few threads a slow one
     * holds up others. One that runs its tasks on the calling thread ({@code Runnable::run}) makes
     * tests deterministic; delayed tasks are then run by the timer of the JDK, and a stage that
     * depends on one conversion must not wait for a stage that depends on another. What the
     * executor rejects is logged, and handed to it again.
     *
     * @param executor the executor; the host does not shut it down
     * @return this
     */
    public Builder completionExecutor(Executor executor) {
      options.completionExecutor = Objects.requireNonNull(executor, "executor");
      return this;
    }

    /**
     * Lets a test step into races.
     *
     * @param raceHook called at every race point that a thread of this host passes
     * @return this
     */
    public Builder raceHook(RaceHook raceHook) {
      options.hook = Objects.requireNonNull(raceHook, "raceHook");
      return this;
    }

    /**
     * Lets every folio that comes into a page cache stay for a while in a batch on its way to the
     * LRU lists, as the kernel's {@code folio_add_lru} does: the batch holds one more reference,
     * which no conversion expects, until it is full or drained. Without this there are no batches.
     *
     * @param cpus how many batches there are, at least 1; threads are spread over them
     * @param size how many folios fill a batch, at least 1; the kernel's is 31
     * @return this
     * @throws IllegalArgumentException if a number is below 1, the size above 2^20, or all batches
     *     together above 2^24 folios
     */
    public Builder lruBatches(int cpus, int size) {
      if (cpus < 1
          || size < 1
          || size > LruBatches.MAX_SIZE
          || (long) cpus * size > LruBatches.MAX_TOTAL) {
        throw new IllegalArgumentException(
            "LRU batches: expected at least 1 CPU, a size of 1 to "
                + LruBatches.MAX_SIZE
                + ", and a product up to "
                + LruBatches.MAX_TOTAL
                + ", actual "
                + cpus
                + " and "
                + size);
      }
      options.cpus = cpus;
      options.batchSize = size;
      return this;
    }

    /**
     * Remembers of every descriptor, mapping, reference and pending conversion which thread took
     * it, when, and from which line: {@link HostMemory#holders}. A blocked conversion, a refused
     * punch and a host closed too early then name their holders. For tests and for debugging:
     * taking a reference then costs microseconds and some hundred bytes. Off by default, and free
     * then.
     *
     * @return this
     */
    public Builder trackHolders() {
      options.trackHolders = true;
      return this;
    }

    /**
     * Poisons memory, to show the use of a view ({@link Folio#buffer}, {@link
     * HostReference#buffer}) after its reference is gone: a frame is filled with the byte {@code
     * 0xAA} when it is freed, and a page that becomes inaccessible moves to another frame, unless a
     * guest-side holder has it or there is no memory, so that its old frame is freed. To clients
     * this is a folio that is freed ({@link GuestMemfdOps#freeFolio}) between the beginning and the
     * end of the invalidation, and another one that is prepared. What is written through the
     * {@linkplain HostMemory#directMap direct map} while the page moves may be lost. For tests and
     * for debugging: a conversion copies its pages, and takes as many free frames for a moment as
     * it converts pages, as far as there are. Pages that are {@linkplain
     * io.github.guestmemfd.abi.FileTrait#ZAP_BEFORE_MAPPING out of the direct map while they are
     * accessible} do not move. Off by default.
     *
     * @return this
     */
    public Builder poisonViews() {
      options.poisonViews = true;
      return this;
    }

    /**
     * Makes the host.
     *
     * @return the host
     * @throws GuestMemfdException EINVAL if the size is not a positive multiple of 4096 or too
     *     large
     */
    public HostMemory build() {
      if (bytes <= 0 || !Pages.isAligned(bytes) || Pages.index(bytes) > FrameTable.MAX_FRAMES) {
        throw new GuestMemfdException(
            Errno.EINVAL,
            "host memory: expected a positive multiple of 4096 up to "
                + Pages.bytes(FrameTable.MAX_FRAMES)
                + ", actual "
                + bytes);
      }
      return new HostMemory(new Host((int) Pages.index(bytes), options));
    }
  }

  /**
   * The address space of the program, in which {@link GuestMemfd#mmap} maps.
   *
   * @return the process that each other one is forked from
   */
  public AddressSpace addressSpace() {
    return addressSpace;
  }

  /**
   * The size.
   *
   * @return all memory in bytes
   */
  public long size() {
    return host.size();
  }

  /**
   * Memory in use by page caches and orphans. Memory that has failed counts for as long as it is in
   * use.
   *
   * @return how many bytes; exact while nothing is being changed
   */
  public long used() {
    return Pages.bytes(host.frames.used());
  }

  /**
   * Memory that has failed, still in use or not: the kernel's {@code HardwareCorrupted}. The part
   * that is not in use is lost to allocations.
   *
   * @return how many bytes
   */
  public long poisoned() {
    return Pages.bytes(host.frames.poisoned());
  }

  /**
   * Whether pages have content.
   *
   * @return false if the host is metadata only
   */
  public boolean hasContents() {
    return host.contents != null;
  }

  /**
   * The host kernel's own access to every frame that has not been taken out of it.
   *
   * @return the direct map
   */
  public DirectMap directMap() {
    return directMap;
  }

  /**
   * The host kernel's memory management, where it starts from frame numbers.
   *
   * @return the walker
   */
  public PfnWalker pfnWalker() {
    return pfnWalker;
  }

  /**
   * The accesses by which clients use frames that they have mapped.
   *
   * @return the accesses of this host
   */
  public FrameAccess frameAccess() {
    return frameAccess;
  }

  /**
   * Empties the LRU batches of all CPUs: the kernel's {@code lru_add_drain_all}. Nothing to do
   * without {@link Builder#lruBatches}. Conversions do this when they meet an unexpected holder, so
   * do allocations that find no memory, and {@link #close}.
   *
   * <p>Waits for nothing, so it may be called from inside a callback. A reference that another
   * thread is just draining may go a moment after this returns. What {@link
   * GuestMemfdOps#freeFolio} throws is logged: the caller has nothing to do with that file.
   *
   * @return how many references were dropped
   */
  public int drainLru() {
    return host.drainLru();
  }

  /**
   * The counters of all files of this host, those that are gone included, since it was made.
   *
   * <p>May be called at any time, from any thread; waits for nothing.
   *
   * @return the numbers now
   */
  public Metrics metrics() {
    return new Metrics(host.meters.read());
  }

  // ---- holders ----

  /**
   * Everything in this host that has to be closed, put or completed.
   *
   * <p>A holder is listed from a moment after it has what it holds to a moment after it has given
   * that back. References that {@link GuestMemfd#put} gives back by naming a frame and a kind
   * cannot be told apart: of several, the last one of the thread that puts is taken to be the one,
   * or else the oldest. Waits for nothing.
   *
   * @return the holders, by file and in the order in which they came
   * @throws IllegalStateException if the host does not {@linkplain Builder#trackHolders track} them
   */
  public List<TrackedHolder> holders() {
    HolderRegister register = host.register;
    if (register == null) {
      throw new IllegalStateException(host.notTracked());
    }
    return register.all();
  }

  /**
   * What holds memory of this host, as readable text: each file, below it its holders, and below
   * each the lines that took it. Waits for nothing.
   *
   * @return the text; without {@link Builder#trackHolders} it has one line, which says so
   */
  public String dump() {
    return host.dump();
  }

  /**
   * The invariants of this host that are violated, for a test to check when no other thread uses
   * the host any more, whatever has failed before. Pages may be held then, and conversions pending;
   * but no page may be left busy, no access announced, no frame in two places, no page mapped that
   * the host may not touch, and each frame must be counted as used. Where holders are {@linkplain
   * Builder#trackHolders tracked}, every count of every frame must be explained by them. While
   * calls are under way the answer means nothing; if the library itself is just completing a
   * conversion, this waits for that, up to 10 seconds. It takes time in proportion to the frames
   * that were ever in use.
   *
   * @return a sentence for each violation; empty if all is well
   */
  public List<String> violations() {
    return new Audit(host).violations();
  }

  /**
   * Ends the host. All files, mappings and references in it must have been closed. Closing is one
   * atomic step, which the creation of a file comes before or after; a second call does nothing.
   *
   * @throws GuestMemfdException EBUSY if files are open or frames in use; it names the holders, if
   *     they are {@linkplain Builder#trackHolders tracked}. Nothing has changed then: no thread has
   *     seen the host closed
   */
  @Override
  public void close() {
    host.close();
  }

  @Override
  public String toString() {
    return host.toString();
  }
}
