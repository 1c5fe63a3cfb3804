package io.github.guestmemfd.platform;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.Wait;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.IntFunction;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A confidential guest with its private memory, as the client of one file: the page table by which
 * the guest reaches it, and what the hardware does when a page is mapped, unmapped, converted and
 * freed. Guest addresses are offsets in the file.
 *
 * <p>The page table follows the file as KVM's does: an invalidation marks its range, blocks what is
 * mapped there, waits for the accesses under way, unmaps, and raises a number at its end; a fault
 * reads the number first, and maps only if no invalidation of its page is under way and the number
 * is the same. What the hardware is told and asked in between is what makes one platform different
 * from another.
 *
 * <p>An access to private memory is of 8 bytes, little-endian. It is made wholly before an
 * invalidation of its page, or not at all. Safe for use by any number of threads.
 */
public abstract class PlatformGuest implements GuestMemfdOps {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  /** What a platform makes of the content of a page that the guest and the host hand over. */
  public enum Content {
    /** Each finds what the other has written. */
    KEPT,
    /** Each finds a page without content. */
    DESTROYED,
    /** It is there, and makes no sense: what one has written the other reads by another key. */
    ENCRYPTED
  }

  private static final Logger LOG = LoggerFactory.getLogger(PlatformGuest.class);

  private final IdleStrategy idle = IdleStrategy.spinThenPark();

  // Frames that the hardware has kept: how many, the first, and whether it has been logged.
  private final AtomicLong lost = new AtomicLong();
  private volatile @Nullable String loss;
  private final AtomicBoolean told = new AtomicBoolean();

  /** Guards what the page table becomes: the kernel's {@code mmu_lock}. */
  private final Mutex mmuLock = new Mutex(LockClass.MMU_LOCK);

  /** The page table by offset, changed under the lock. */
  private final NavigableMap<Long, Leaf> leaves = new ConcurrentSkipListMap<>();

  /** Changed under the lock. */
  private volatile long invalidateSeq;

  /** Set once. */
  private volatile @Nullable String death;

  /** Whether the guest has been launched. Set once. */
  private volatile boolean runs;

  /** The file and its frames. Set once, under the lock, before there is an entry. */
  private @Nullable GuestMemfd file;

  private @Nullable FrameAccess frames;

  // Under the lock: invalidations under way, what holds all their ranges, and references that are
  // never given back.
  private int inProgress;
  private long rangeStart;
  private long rangeEnd;
  private final List<Leaf> leaked = new ArrayList<>();

  PlatformGuest() {}

  // ---- what a platform does; all of it under the lock, and without waiting ----

  /** The hardware begins to run the guest: OK, or why not. */
  Errno launch() {
    return Errno.OK;
  }

  /** Whether the guest reaches pages that the host may map too. */
  boolean mapsAccessible() {
    return false;
  }

  /** Whether an entry has a reference on its frame. */
  boolean holdsReferences() {
    return false;
  }

  /** Maps a page: OK, EBUSY to fault once more, or why not. */
  abstract Errno mapLeaf(long offset, int pfn, boolean accessible);

  /** Whether the guest has to accept a page before it may touch it. */
  boolean isAcceptedByGuest() {
    return true;
  }

  /** The guest accepts a page that is mapped: OK, or why not. */
  Errno acceptLeaf(long offset, int pfn) {
    return Errno.OK;
  }

  /** A range is being invalidated, whether or not any of it is mapped. */
  void invalidating(long offset, long length) {}

  /** Accesses by an entry are to begin no more. */
  void blockLeaf(long offset, int pfn) {}

  /** Some entries have been blocked. */
  void track() {}

  /** Unmaps a blocked page, to which there is no access; false if its frame must be kept. */
  boolean unmapLeaf(long offset, int pfn) {
    return true;
  }

  /** The guest has touched a page that it has not accepted. */
  void touchedTooEarly(long offset) {}

  // ---- the guest's life ----

  /**
   * What becomes of content that the guest and the host hand over by a conversion.
   *
   * @return the rule of the platform
   */
  public abstract Content content();

  /**
   * Why the guest is dead: the kernel's {@code KVM_BUG_ON}. A dead guest accesses nothing and maps
   * nothing, {@link Errno#EIO}; its file goes on, and can be closed.
   *
   * @return the reason; empty while it lives
   */
  public final Optional<String> death() {
    return Optional.ofNullable(Announce.read(this).death);
  }

  final boolean isDead() {
    return Announce.read(this).death != null;
  }

  /** Ends the guest for a reason, unless it is dead already. */
  final void kill(String why) {
    if (!isDead()) {
      Announce.write(this).death = why;
    }
  }

  /**
   * How often the hardware has not given a frame back that a page had. The first is logged as a
   * warning.
   *
   * @return the number
   */
  public final long lostFrames() {
    return Announce.read(lost).get();
  }

  /** The hardware keeps a frame. May be called under the lock. */
  final void lose(int pfn, String why) {
    if (Announce.write(lost).getAndIncrement() == 0) {
      Announce.write(this).loss = "frame " + pfn + " is lost to the host: " + why;
    }
  }

  /**
   * Logs the first frame that the hardware has kept, once; not for each order of an exploration.
   */
  final void tellLoss() {
    String first = Announce.read(this).loss;
    if (first != null
        && Exploration.scheduler() == null
        && Announce.write(told).compareAndSet(false, true)) {
      LOG.warn("{}: {}; others will not be logged", this, first);
    }
  }

  /**
   * Ends the launch of the guest: from here on it runs, and its pages are mapped by faults. Before
   * that a fault answers EOPNOTSUPP.
   *
   * @return {@link Errno#OK}; EINVAL if it has been launched; EIO if it is dead, or the hardware
   *     refuses, and then it can be tried again
   */
  public final Errno finishLaunch() {
    return locked(
        () -> {
          if (isDead()) {
            return Errno.EIO;
          }
          if (runs()) {
            return Errno.EINVAL;
          }
          Errno errno = launch();
          if (errno == Errno.OK) {
            Announce.write(this).runs = true;
          }
          return errno;
        });
  }

  final boolean runs() {
    return Announce.read(this).runs;
  }

  // ---- faults ----

  /**
   * Maps a private page for the guest, as a fault does. The guest may have to {@link #accept} it.
   * Does nothing if it is mapped. Waits for an operation on the page that is under way, and asks
   * the hardware again for as long as that is busy.
   *
   * @param memfd the file whose client this is
   * @param offset any byte of the page
   * @return {@link Errno#OK}; EBADF if the descriptor is closed; EINVAL if the offset is not in the
   *     file, or another file has been mapped before; EFAULT if the page is the host's too and the
   *     platform does not map such pages; EIO if the guest is dead; EOPNOTSUPP before it has been
   *     {@linkplain #finishLaunch launched}; EDEADLK from inside a callback; EINTR; as {@link
   *     GuestMemfd#grab}; and what the platform adds
   */
  public final Errno map(GuestMemfd memfd, long offset) {
    return fault(memfd, offset, false);
  }

  /**
   * Uses a private page as a guest's kernel does: maps and accepts it in one step.
   *
   * @param memfd the file whose client this is
   * @param offset any byte of the page
   * @return {@link Errno#OK}, or why not, as {@link #map} and {@link #accept}
   */
  public final Errno use(GuestMemfd memfd, long offset) {
    return fault(memfd, offset, true);
  }

  private Errno fault(GuestMemfd memfd, long offset, boolean accept) {
    Objects.requireNonNull(memfd, "memfd");
    if (GuestMemfd.isInsideCallback()) {
      return Errno.EDEADLK;
    }
    if (!memfd.isOpen()) {
      return Errno.EBADF;
    }
    if (offset < 0 || offset >= memfd.size()) {
      return Errno.EINVAL;
    }
    return retry(memfd, new Fault(offset & -PAGE, accept, null));
  }

  /**
   * Maps a page before the guest runs, with content that it has accepted.
   *
   * @return as {@link #map}; EINVAL if it is not private; EEXIST if it is mapped; EBUSY if the
   *     hardware is
   */
  final Errno mapForLaunch(GuestMemfd memfd, long offset, IntFunction<Errno> mapper) {
    return retry(memfd, new Fault(offset, true, mapper));
  }

  /**
   * A fault.
   *
   * @param page where the page begins
   * @param accept whether the guest accepts the page too
   * @param forLaunch maps the page before the guest runs; null when it runs
   */
  private record Fault(long page, boolean accept, @Nullable IntFunction<Errno> forLaunch) {}

  private Errno retry(GuestMemfd memfd, Fault fault) {
    for (int round = 0; ; round++) {
      Errno errno = tryFault(memfd, fault);
      if (errno != null) {
        tellLoss();
        return errno;
      }
      if (!Wait.pause(idle, round, Wait.LOOK_AGAIN_NANOS)) {
        return Errno.EINTR;
      }
    }
  }

  /** Null if the fault has to begin once more. */
  private @Nullable Errno tryFault(GuestMemfd memfd, Fault fault) {
    long page = fault.page;
    if (isDead()) {
      return Errno.EIO;
    }
    if (runs() == (fault.forLaunch != null)) {
      return fault.forLaunch == null ? Errno.EOPNOTSUPP : Errno.EINVAL;
    }
    long seq = Announce.read(this).invalidateSeq; // first of all
    Optional<GuestMemfd> opened = memfd.reopen();
    if (opened.isEmpty()) {
      return Errno.EBADF;
    }
    try (GuestMemfd open = opened.get()) {
      boolean accessible = open.isAccessible(page);
      if (accessible && (fault.forLaunch != null || !mapsAccessible())) {
        return fault.forLaunch == null ? Errno.EFAULT : Errno.EINVAL; // without allocating it
      }
      int pfn = open.tryGrab(page, HolderKind.SAFE);
      if (pfn < 0) {
        return Errno.ofResult(pfn);
      }
      boolean kept = false;
      try {
        if (open.isAccessible(page) != accessible) {
          return null; // it was converted while the page was being got
        }
        mmuLock.lock();
        try {
          if (mustRetry(seq, page)) {
            return null;
          }
          Leaf before = leaf(page);
          Errno errno = mapLocked(memfd, fault, pfn, accessible);
          kept = before == null && leaf(page) != null && holdsReferences();
          return errno == Errno.EBUSY && fault.forLaunch == null ? null : errno;
        } finally {
          mmuLock.unlock();
        }
      } finally {
        if (!kept) {
          open.put(pfn, HolderKind.SAFE);
        }
      }
    } catch (GuestMemfdException e) {
      return e.errno(); // the descriptor has been closed meanwhile
    }
  }

  private boolean mustRetry(long seq, long page) {
    return (inProgress != 0 && page >= rangeStart && page < rangeEnd)
        || Announce.read(this).invalidateSeq != seq;
  }

  private Errno mapLocked(GuestMemfd memfd, Fault fault, int pfn, boolean accessible) {
    if (isDead()) { // by another thread, meanwhile
      return Errno.EIO;
    }
    if (file == null) {
      file = memfd;
      frames = memfd.frameAccess();
    } else if (!file.sameFile(memfd)) {
      return Errno.EINVAL; // no invalidation of that would come here
    }
    long page = fault.page;
    IntFunction<Errno> forLaunch = fault.forLaunch;
    Leaf leaf = leaf(page);
    if (leaf == null) {
      Errno errno = forLaunch == null ? mapLeaf(page, pfn, accessible) : forLaunch.apply(pfn);
      if (errno != Errno.OK) {
        return errno;
      }
      boolean accepted = forLaunch != null || !isAcceptedByGuest();
      leaf = new Leaf(pfn, accepted, false, holdsReferences() ? memfd : null);
      Announce.write(leaves).put(page, leaf);
    } else if (forLaunch != null) {
      return Errno.EEXIST;
    } else if (leaf.blocked) { // by an invalidation that was given up: the same page
      leaf = leaf.withBlocked(false);
      Announce.write(leaves).put(page, leaf);
    }
    return fault.accept && !leaf.accepted ? acceptLocked(page, leaf) : Errno.OK;
  }

  private Errno acceptLocked(long page, Leaf leaf) {
    Errno errno = acceptLeaf(page, leaf.pfn);
    if (errno == Errno.OK) {
      Announce.write(leaves).put(page, leaf.withAccepted(true));
    }
    return errno;
  }

  /**
   * The guest accepts a page that is mapped, and may touch it from then on.
   *
   * @param offset any byte of the page
   * @return {@link Errno#OK}, also if it has been accepted; ENOENT if it is not mapped; EIO if the
   *     guest is dead; and what the platform adds
   */
  public final Errno accept(long offset) {
    long page = offset & -PAGE;
    return locked(
        () -> {
          Leaf leaf = leaf(page);
          if (isDead()) {
            return Errno.EIO;
          }
          if (leaf == null || leaf.blocked) {
            return Errno.ENOENT;
          }
          return leaf.accepted ? Errno.OK : acceptLocked(page, leaf);
        });
  }

  /**
   * Whether a page is mapped for the guest.
   *
   * @param offset any byte of the page
   * @return the answer, which may be out of date when it is returned
   */
  public final boolean isMapped(long offset) {
    Leaf leaf = leaf(offset);
    return leaf != null && !leaf.blocked;
  }

  /** The entry of a page, under the lock or out of date; null if it is not mapped. */
  final @Nullable Leaf leaf(long offset) {
    return Announce.read(leaves).get(offset & -PAGE);
  }

  // ---- accesses of the guest ----

  /**
   * Reads a number, as the guest.
   *
   * @param offset where it is, a multiple of 8
   * @return the number; empty if the page is not mapped and accepted, or the guest is dead
   * @throws IllegalArgumentException if the offset is not a multiple of 8
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public final OptionalLong read(long offset) {
    long access = begin(offset);
    if (access == 0) {
      return OptionalLong.empty();
    }
    try {
      return OptionalLong.of(frames().read(access, at(offset), Long.BYTES));
    } finally {
      frames().end(access);
    }
  }

  /**
   * Writes a number, as the guest.
   *
   * @param offset where it is to be, a multiple of 8
   * @param number the number
   * @return whether it was written: false where {@link #read} is empty
   * @throws IllegalArgumentException if the offset is not a multiple of 8
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public final boolean write(long offset, long number) {
    long access = begin(offset);
    if (access == 0) {
      return false;
    }
    try {
      frames().write(access, at(offset), Long.BYTES, number);
      return true;
    } finally {
      frames().end(access);
    }
  }

  /**
   * Replaces a number if it is as expected, atomically, as the guest.
   *
   * @param offset where it is, a multiple of 8
   * @param expected what must be there
   * @param number what to write
   * @return what was there: as expected exactly if it was replaced; empty where {@link #read} is
   * @throws IllegalArgumentException if the offset is not a multiple of 8
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public final OptionalLong compareAndExchange(long offset, long expected, long number) {
    long access = begin(offset);
    if (access == 0) {
      return OptionalLong.empty();
    }
    try {
      return OptionalLong.of(
          frames().compareAndExchange(access, at(offset), Long.BYTES, expected, number));
    } finally {
      frames().end(access);
    }
  }

  /** The accesses to the frames of the file, where there is an entry. */
  private FrameAccess frames() {
    return Objects.requireNonNull(frames);
  }

  private static int at(long offset) {
    return (int) (offset & (PAGE - 1));
  }

  /** Announces an access; 0 if there can be none. */
  private long begin(long offset) {
    if ((offset & (Long.BYTES - 1)) != 0) {
      throw new IllegalArgumentException("expected a multiple of 8, actual " + Hex.of(offset));
    }
    long page = offset & -PAGE;
    Leaf leaf = leaf(page);
    if (leaf == null || leaf.blocked || isDead()) {
      return 0;
    }
    if (!leaf.accepted) {
      touchedTooEarly(page);
      return 0;
    }
    long access = frames().begin(leaf.pfn);
    if (leaf(page) != leaf) { // looked at again, now that it is announced
      frames().end(access);
      return 0;
    }
    return access;
  }

  // ---- content ----

  /** The bytes of a mapped page's frame, which no other thread uses; null without content. */
  final @Nullable ByteBuffer content(int pfn) {
    GuestMemfd memfd = Objects.requireNonNull(file);
    return content(() -> memfd.buffer(pfn));
  }

  /** A view of a page; null if the host is metadata only. */
  static @Nullable ByteBuffer content(Supplier<ByteBuffer> view) {
    try {
      return view.get();
    } catch (UnsupportedOperationException e) {
      return null;
    }
  }

  static void xor(@Nullable ByteBuffer page, long pattern) {
    for (int at = 0; page != null && at < PAGE; at += Long.BYTES) {
      page.putLong(at, page.getLong(at) ^ pattern);
    }
  }

  static void fill(@Nullable ByteBuffer page, ByteBuffer content) {
    if (page != null) {
      page.put(0, content, content.position(), PAGE);
    }
  }

  static void wipe(@Nullable ByteBuffer page) {
    for (int at = 0; page != null && at < PAGE; at += Long.BYTES) {
      page.putLong(at, 0);
    }
  }

  // ---- invalidations ----

  /**
   * Takes a range from the guest: blocks what is mapped, waits for the accesses under way, unmaps.
   *
   * @return {@link Errno#OK}; EINTR if the thread is interrupted while it waits: what was mapped is
   *     blocked then, until a fault or the next invalidation. A failure of the hardware is no
   *     refusal
   */
  @Override
  public final Errno invalidateBegin(long offset, long length) {
    mark(offset, length);
    boolean done = false;
    try {
      Errno errno = takeAway(offset, length);
      done = errno == Errno.OK;
      return errno;
    } finally {
      if (!done) {
        invalidateEnd(offset, length);
      }
    }
  }

  private Errno takeAway(long offset, long length) {
    int[] pfns = block(offset, length);
    try {
      if (pfns.length > 0) {
        frames().await(pfns, pfns.length);
      }
    } catch (InterruptedException e) {
      return FrameAccess.interrupted(e);
    }
    unmap(offset, length);
    return Errno.OK;
  }

  @Override
  public final void invalidateEnd(long offset, long length) {
    mmuLock.lock();
    try {
      long next = Announce.read(this).invalidateSeq + 1;
      Announce.write(this).invalidateSeq = next; // a fault looks at both words under the lock
      inProgress--;
    } finally {
      mmuLock.unlock();
    }
  }

  @Override
  public final void release() {
    mark(0, Long.MAX_VALUE);
    try {
      int[] pfns = block(0, Long.MAX_VALUE);
      try {
        if (pfns.length > 0) {
          frames().awaitUninterruptibly(pfns, pfns.length);
        }
      } finally {
        unmap(0, Long.MAX_VALUE); // the accesses are over, also if the idle strategy has thrown
      }
    } finally {
      invalidateEnd(0, Long.MAX_VALUE);
    }
  }

  /** Runs a step of a platform under the lock. */
  final <R> R locked(Supplier<R> step) {
    mmuLock.lock();
    try {
      return step.get();
    } finally {
      mmuLock.unlock();
    }
  }

  private void mark(long offset, long length) {
    mmuLock.lock();
    try {
      if (inProgress++ == 0) {
        rangeStart = Long.MAX_VALUE;
        rangeEnd = 0;
      }
      rangeStart = Math.min(rangeStart, offset);
      rangeEnd = Math.max(rangeEnd, offset + length);
      invalidating(offset, length);
    } finally {
      mmuLock.unlock();
    }
  }

  /** What is mapped of a range, to be changed. */
  private Map<Long, Leaf> range(long offset, long length) {
    return Announce.write(leaves).subMap(offset, Math.max(offset, offset + length));
  }

  /** Blocks what is mapped of a range; returns the frames that accesses may be under way to. */
  private int[] block(long offset, long length) {
    int[] pfns = new int[16];
    int count = 0;
    boolean blocked = false;
    mmuLock.lock();
    try {
      Map<Long, Leaf> range = range(offset, length);
      for (Map.Entry<Long, Leaf> entry : List.copyOf(range.entrySet())) {
        Leaf leaf = entry.getValue();
        if (count == pfns.length) {
          pfns = Arrays.copyOf(pfns, 2 * count);
        }
        pfns[count++] = leaf.pfn;
        if (!leaf.blocked) { // or else by another thread, which may not have waited
          blockLeaf(entry.getKey(), leaf.pfn);
          range.put(entry.getKey(), leaf.withBlocked(true));
          blocked = true;
        }
      }
      if (blocked) {
        track();
      }
    } finally {
      mmuLock.unlock();
    }
    return Arrays.copyOf(pfns, count);
  }

  /**
   * Unmaps what is blocked of a range, to which no access is under way. None of it has been mapped
   * anew: the range is being invalidated.
   */
  private void unmap(long offset, long length) {
    List<Leaf> references = new ArrayList<>();
    mmuLock.lock();
    try {
      Iterator<Map.Entry<Long, Leaf>> entries = range(offset, length).entrySet().iterator();
      while (entries.hasNext()) {
        Map.Entry<Long, Leaf> entry = entries.next();
        Leaf leaf = entry.getValue();
        boolean free = unmapLeaf(entry.getKey(), leaf.pfn);
        entries.remove();
        if (leaf.reference != null) {
          (free ? references : leaked).add(leaf);
        }
      }
    } finally {
      mmuLock.unlock();
    }
    tellLoss();
    putAll(references);
  }

  /** Gives references back: all of them, whatever one of them throws. */
  private static void putAll(List<Leaf> leaves) {
    while (!leaves.isEmpty()) {
      Leaf leaf = leaves.remove(leaves.size() - 1);
      try {
        Objects.requireNonNull(leaf.reference).put(leaf.pfn, HolderKind.SAFE);
      } catch (Throwable e) {
        putAll(leaves);
        throw e;
      }
    }
  }

  /** How many references are never given back. */
  final int leakedReferences() {
    return locked(leaked::size);
  }

  /** Gives back what would be held until the machine is switched off. */
  final void putLeaked() {
    List<Leaf> references = new ArrayList<>();
    locked(() -> references.addAll(leaked) && leaked.removeAll(references));
    putAll(references);
  }
}
