package io.github.guestmemfd.platform;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.Wait;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.IntFunction;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The page table by which a confidential guest reaches its private memory, and the steps of it that
 * a platform fills in.
 *
 * <p>It follows the file as KVM's does: an invalidation marks its range, blocks what is mapped
 * there, waits for the accesses under way, unmaps, and raises a number at its end; a fault reads
 * the number first, and maps only if no invalidation of its page is under way and the number is the
 * same. An invalidation that is interrupted in its wait leaves its entries blocked: the next one
 * waits and unmaps, or a fault maps them again, for it is still the same page.
 *
 * <p>Where a machine with two memories has the attributes, it tells of changes as a file does of
 * conversions: to the page table both are invalidations.
 */
abstract class PrivatePageTable {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final Logger LOG = LoggerFactory.getLogger(PrivatePageTable.class);

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

  /** Why the guest is dead. Set once. */
  private final AtomicReference<@Nullable String> death = new AtomicReference<>();

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

  // ---- whether the guest lives ----

  final @Nullable String causeOfDeath() {
    return Announce.read(death).get();
  }

  final boolean isDead() {
    return causeOfDeath() != null;
  }

  /** Ends the guest for a reason, unless it is dead already. */
  final void kill(String why) {
    Announce.write(death).compareAndSet(null, why);
  }

  final Errno tryLaunch() {
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

  final long losses() {
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

  // ---- faults ----

  /** A fault of the guest, as {@link PlatformGuest#map}. */
  final Errno fault(GuestMemfd memfd, long offset, boolean accept) {
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
    return retry(memfd, new Fault(offset & -PAGE, accept, null, true));
  }

  /**
   * Maps a page before the guest runs, with content that it has accepted.
   *
   * @return as {@link PlatformGuest#map}; EINVAL if it is not private; EEXIST if it is mapped;
   *     EBUSY if the hardware is
   */
  final Errno mapForLaunch(GuestMemfd memfd, long offset, IntFunction<Errno> mapper) {
    return retry(memfd, new Fault(offset, true, mapper, true));
  }

  /**
   * As {@link #mapForLaunch}, for a platform that fills a page before the guest runs and leaves the
   * mapping to a fault.
   *
   * @return as there, and what the step answers
   */
  final Errno fillForLaunch(GuestMemfd memfd, long offset, IntFunction<Errno> step) {
    return retry(memfd, new Fault(offset, true, step, false));
  }

  /**
   * A fault.
   *
   * @param page where the page begins
   * @param accept whether the guest accepts the page too
   * @param forLaunch maps the page before the guest runs; null when it runs
   * @param maps whether there is an entry then
   */
  private record Fault(
      long page, boolean accept, @Nullable IntFunction<Errno> forLaunch, boolean maps) {
    /** Why it cannot be, of a guest that runs or does not yet. */
    Errno refused(boolean runs) {
      if (runs != (forLaunch != null)) {
        return Errno.OK;
      }
      return runs ? Errno.EINVAL : Errno.EOPNOTSUPP;
    }
  }

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
    Errno refused = fault.refused(runs());
    if (refused != Errno.OK) {
      return refused;
    }
    long seq = Announce.read(this).invalidateSeq; // first of all
    Optional<GuestMemfd> opened = memfd.reopen();
    if (opened.isEmpty()) {
      return Errno.EBADF;
    }
    try (GuestMemfd open = opened.get()) {
      if (!mayBeOf(memfd)) {
        return Errno.EINVAL; // no invalidation of that would come here
      }
      boolean accessible = open.isAccessible(page);
      boolean isNone = fault.forLaunch != null || !mapsAccessible() || open.holders(page).isHole();
      if ((accessible && isNone) || isElsewhere(open, page)) { // not the guest's: do not allocate
        return fault.forLaunch == null ? Errno.EFAULT : Errno.EINVAL;
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

  /**
   * Whether a machine with two memories has a page for the host: then the guest's page is not in
   * the file. That it becomes so is an invalidation, so this need not be looked at again.
   */
  private static boolean isElsewhere(GuestMemfd memfd, long page) {
    return memfd.boundTo().orElse(null) instanceof VirtualMachine vm
        && vm.hasTwoMemories()
        && !vm.memoryAttribute(memfd, page).equals(Optional.of(MemoryAttribute.PRIVATE));
  }

  /** Whether no other file has been mapped before. */
  private boolean mayBeOf(GuestMemfd memfd) {
    return locked(() -> file == null || file.sameFile(memfd));
  }

  private boolean mustRetry(long seq, long page) {
    return (inProgress != 0 && page >= rangeStart && page < rangeEnd)
        || Announce.read(this).invalidateSeq != seq;
  }

  private Errno mapLocked(GuestMemfd memfd, Fault fault, int pfn, boolean accessible) {
    if (isDead()) { // by another thread, meanwhile
      return Errno.EIO;
    }
    Errno refused = fault.refused(runs());
    if (refused != Errno.OK) { // looked at again: it has been launched meanwhile
      return refused;
    }
    if (file == null) {
      file = memfd;
      frames = memfd.frameAccess();
    } else if (!file.sameFile(memfd)) {
      return Errno.EINVAL; // looked at again: another thread has mapped the first page
    }
    long page = fault.page;
    IntFunction<Errno> forLaunch = fault.forLaunch;
    if (forLaunch != null && !fault.maps) {
      return forLaunch.apply(pfn);
    }
    Leaf before = leaf(page);
    Leaf leaf = before;
    if (leaf == null) {
      Errno errno = forLaunch == null ? mapLeaf(page, pfn, accessible) : forLaunch.apply(pfn);
      if (errno != Errno.OK) {
        return errno;
      }
      boolean accepted = forLaunch != null || !isAcceptedByGuest();
      leaf = new Leaf(pfn, accepted, false, holdsReferences() ? memfd : null);
    } else if (forLaunch != null) {
      return Errno.EEXIST;
    } else if (leaf.blocked) { // by an invalidation that was given up: the same page
      leaf = leaf.withBlocked(false);
    }
    // Mapped and accepted are one change of the entry: an access meets none or both.
    Errno errno = Errno.OK;
    try {
      if (fault.accept && !leaf.accepted) {
        errno = acceptLeaf(page, leaf.pfn);
        leaf = errno == Errno.OK ? leaf.withAccepted(true) : leaf;
      }
    } finally {
      if (leaf != before) {
        Announce.write(leaves).put(page, leaf);
      }
    }
    return errno;
  }

  final Errno acceptLocked(long page, Leaf leaf) {
    Errno errno = acceptLeaf(page, leaf.pfn);
    if (errno == Errno.OK) {
      Announce.write(leaves).put(page, leaf.withAccepted(true));
    }
    return errno;
  }

  /** The entry of a page, under the lock or out of date; null if it is not mapped. */
  final @Nullable Leaf leaf(long offset) {
    return Announce.read(leaves).get(offset & -PAGE);
  }

  /** The accesses to the frames of the file, where there is an entry. */
  final FrameAccess frames() {
    return Objects.requireNonNull(frames);
  }

  /** The file, where there is or was an entry, or is about to be. */
  final GuestMemfd file() {
    return Objects.requireNonNull(file);
  }

  // ---- invalidations ----

  /** Begins an invalidation: OK, or EINTR, and then it has not begun. */
  final Errno begin(long offset, long length) {
    mark(offset, length);
    boolean done = false;
    try {
      int[] pfns = block(offset, length);
      if (pfns.length > 0) {
        frames().await(pfns, pfns.length);
      }
      unmap(offset, length);
      done = true;
      return Errno.OK;
    } catch (InterruptedException e) {
      return FrameAccess.interrupted(e);
    } finally {
      if (!done) {
        end();
      }
    }
  }

  /** Ends an invalidation that has begun. */
  final void end() {
    mmuLock.lock();
    try {
      long next = Announce.read(this).invalidateSeq + 1;
      Announce.write(this).invalidateSeq = next; // a fault looks at both words under the lock
      inProgress--;
    } finally {
      mmuLock.unlock();
    }
  }

  /** Takes everything from the guest, whether or not the thread is interrupted. */
  final void endOfFile() {
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
      end();
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
