package io.github.guestmemfd.kvm;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.RangeRule;
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.RaceHook;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * A virtual machine: which guest addresses are backed by which part of which guest_memfd, the guest
 * page table over that, and the vCPUs that use it.
 *
 * <pre>{@code
 * VirtualMachine vm = new VirtualMachine();
 * try (GuestMemfd memfd = vm.createGuestMemfd(GuestMemfd.builder(host).size(1 << 30).flags(MMAP))) {
 *   vm.bind(0, 0, memfd.size(), memfd, 0);
 *   Vcpu vcpu = vm.createVcpu();
 *   vcpu.run(
 *       guest -> guest.write(0x1000, 8, 42, SHARED),
 *       (v, exit) -> {
 *         if (exit instanceof VcpuExit.MemoryFault fault && fault.errno() == EFAULT) {
 *           vm.setMemoryAttributes(fault.gpa(), fault.size(), fault.attribute());
 *           return true; // enter the guest again
 *         }
 *         return false;
 *       });
 * }
 * }</pre>
 *
 * <p>An object of this class is a client of {@link GuestMemfd} like any other: it uses only the
 * exported packages. The files that it creates call it back for conversions and punches ({@link
 * io.github.guestmemfd.GuestMemfdOps}), and it removes the pages from the guest page table. So a
 * guest mapping needs no reference on its frame; see {@link Builder#keepReferences}.
 *
 * <p>Binding models the part of {@code KVM_SET_USER_MEMORY_REGION2} that concerns guest_memfd, with
 * the answers of Linux 6.18 in its order, or of a later one ({@link KernelProfile}). Memslots may
 * be made and deleted, files converted, punched and closed while vCPUs run. Safe for use by any
 * number of threads.
 */
public final class VirtualMachine {

  /** One past the largest slot number of a user. */
  public static final int USER_SLOTS = 32764;

  private static final long PAGE_MASK = 4095;
  private static final long MAX_SLOT_BYTES = 1L << 43;
  private static final long GPA_LIMIT = 1L << 52;

  private static final int PAGE_SIZE = HostMemory.PAGE_SIZE;

  final Mmu mmu;
  final Counters<VmMeter> counters = new Counters<>(VmMeter.class);

  private final ByGuestAddress byGuestAddress = new ByGuestAddress(this);
  private final KernelProfile profile;
  private final @Nullable RaceHook hook;
  private final ReentrantLock slotsLock = new ReentrantLock();
  private final AtomicInteger vcpuIds = new AtomicInteger();

  /** The files created here. Guarded by the slots lock, as is the next field. */
  private final List<OwnedFile> files = new ArrayList<>();

  private final Map<Integer, BoundSlot> slots = new HashMap<>();

  /** The memslots by guest address, for readers without a lock; replaced as a whole. */
  private volatile BoundSlot[] sortedSlots = new BoundSlot[0];

  private record OwnedFile(GuestMemfd memfd, Gmem gmem) {}

  /** Creates a virtual machine without memory. */
  public VirtualMachine() {
    this(new Builder());
  }

  private VirtualMachine(Builder builder) {
    profile = builder.profile;
    hook = builder.hook;
    mmu = new Mmu(builder.idle, builder.keepReferences, counters);
  }

  /**
   * Starts to describe a virtual machine.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  /** Describes a virtual machine. Not safe for use by several threads. */
  public static final class Builder {
    private IdleStrategy idle = IdleStrategy.spinThenPark();
    private @Nullable RaceHook hook;
    private boolean keepReferences;
    private KernelProfile profile = KernelProfile.LINUX_6_18;

    private Builder() {}

    /**
     * Chooses the kernel whose answers the virtual machine gives.
     *
     * @param kernel the kernel; {@link KernelProfile#LINUX_6_18} by default
     * @return this
     */
    public Builder kernelProfile(KernelProfile kernel) {
      profile = Objects.requireNonNull(kernel, "kernel");
      return this;
    }

    /**
     * Sets how threads wait.
     *
     * @param strategy used by faults that have to be retried, and by invalidations that wait for
     *     accesses of vCPUs; {@link IdleStrategy#spinThenPark} by default
     * @return this
     */
    public Builder idleStrategy(IdleStrategy strategy) {
      idle = Objects.requireNonNull(strategy, "strategy");
      return this;
    }

    /**
     * Sets a hook that a test uses to step into races.
     *
     * @param raceHook called at {@link io.github.guestmemfd.spi.RacePoint#BEFORE_MMU_LOCK} and
     *     {@link io.github.guestmemfd.spi.RacePoint#ACCESS_IN_FLIGHT}
     * @return this
     */
    public Builder raceHook(RaceHook raceHook) {
      hook = Objects.requireNonNull(raceHook, "raceHook");
      return this;
    }

    /**
     * Keeps a safe reference on the frame of each page that the guest has mapped, until it is
     * zapped; by default, as in KVM, a mapping holds none. This is for protocols whose safe
     * references survive a conversion. With a protocol that counts a guest's reference like any
     * other, a mapped page cannot be converted. With a protocol whose holders have the folio lock,
     * an operation on a mapped page waits forever.
     *
     * @return this
     */
    public Builder keepReferences() {
      keepReferences = true;
      return this;
    }

    /**
     * Creates the virtual machine.
     *
     * @return the virtual machine, without memory
     */
    public VirtualMachine build() {
      return new VirtualMachine(this);
    }
  }

  /**
   * Creates a file whose pages the guest can use: {@code KVM_CREATE_GUEST_MEMFD}. It belongs to
   * this virtual machine, and cannot be bound to another.
   *
   * @param builder describes the file; its {@code ops} are set here
   * @return the first descriptor of the file
   * @throws io.github.guestmemfd.abi.GuestMemfdException as {@link GuestMemfd.Builder#build}
   */
  public GuestMemfd createGuestMemfd(GuestMemfd.Builder builder) {
    return createGuestMemfd(builder, GuestMemfdOps.NONE);
  }

  /**
   * As {@link #createGuestMemfd(GuestMemfd.Builder)}, for a file with a second client, which can
   * scrub or refuse. When an invalidation begins, the second client is called after the guest page
   * table, when no vCPU uses the range any more; when it ends, before the guest page table. Inside
   * its callbacks a vCPU can use the pages that it has mapped; an access to any other page answers
   * EDEADLK.
   *
   * @param builder describes the file; its {@code ops} are set here
   * @param client the second client
   * @return the first descriptor of the file
   * @throws io.github.guestmemfd.abi.GuestMemfdException as {@link GuestMemfd.Builder#build}
   */
  public GuestMemfd createGuestMemfd(GuestMemfd.Builder builder, GuestMemfdOps client) {
    GuestMemfdOps ops = ops(client);
    GuestMemfd memfd = builder.ops(ops).build();
    adopt(memfd, ops);
    return memfd;
  }

  /**
   * Returns the callbacks for a file that is created elsewhere, and is then {@linkplain #adopt
   * adopted}.
   *
   * @param client a second client, as for {@link #createGuestMemfd(GuestMemfd.Builder,
   *     GuestMemfdOps)}; {@link GuestMemfdOps#NONE} for none
   * @return the callbacks, for one file
   */
  public GuestMemfdOps ops(GuestMemfdOps client) {
    return new Gmem(mmu, Objects.requireNonNull(client, "client"));
  }

  /**
   * Makes a file belong to this virtual machine; it cannot be bound to another from then on. Call
   * this before the file is bound; files from {@link #createGuestMemfd(GuestMemfd.Builder)} are
   * adopted already.
   *
   * @param memfd a descriptor of the file
   * @param ops what {@link #ops} returned, and only this file was created with: otherwise the
   *     guest's mappings do not follow the file
   * @throws IllegalArgumentException if the callbacks are not of this virtual machine
   * @throws GuestMemfdException EINVAL if the file is of another virtual machine
   */
  public void adopt(GuestMemfd memfd, GuestMemfdOps ops) {
    if (!(ops instanceof Gmem gmem) || !gmem.isOf(mmu)) {
      throw new IllegalArgumentException("expected what ops() of this returned, actual " + ops);
    }
    if (!memfd.bindTo(this)) {
      throw new GuestMemfdException(
          Errno.EINVAL, "adopt: expected a file of no other virtual machine, actual " + memfd);
    }
    slotsLock.lock();
    try {
      files.removeIf(f -> f.gmem.isReleased());
      files.add(new OwnedFile(memfd, gmem));
    } finally {
      slotsLock.unlock();
    }
  }

  private @Nullable Gmem owner(GuestMemfd memfd) {
    for (OwnedFile file : files) {
      if (file.memfd.sameFile(memfd)) {
        return file.gmem;
      }
    }
    return null;
  }

  /**
   * Creates a vCPU.
   *
   * @return the vCPU; their numbers count from 0
   */
  public Vcpu createVcpu() {
    return new Vcpu(this, vcpuIds.getAndIncrement());
  }

  /**
   * Returns the counters of this virtual machine.
   *
   * @return the numbers now
   */
  public VmMetrics metrics() {
    return new VmMetrics(counters.read());
  }

  /**
   * Returns the counters of a memslot since it was created: faults, retries, zaps and
   * invalidations.
   *
   * @param slot its number
   * @return the numbers now
   * @throws GuestMemfdException EINVAL if there is no such memslot
   */
  public VmMetrics metrics(int slot) {
    slotsLock.lock();
    try {
      BoundSlot bound = slots.get(slot);
      if (bound == null) {
        throw refuse(Errno.EINVAL, slot, "there is none");
      }
      return new VmMetrics(bound.counters.read());
    } finally {
      slotsLock.unlock();
    }
  }

  /**
   * Creates a memslot, or deletes it if the size is 0. When a deletion returns, no vCPU uses the
   * memory any more; for that it may wait for accesses under way, which only move bytes.
   *
   * <p>A memslot holds its file weakly: if the file is closed, it goes away, and the memslot is
   * left without memory. A file that was not {@linkplain #createGuestMemfd created} by a virtual
   * machine can be bound, but vCPUs cannot use it.
   *
   * @param slot its number, 0 to 32763
   * @param gpa the first guest physical address, unsigned
   * @param size the size in bytes, unsigned
   * @param memfd the file behind it, ignored when a slot is deleted
   * @param offset where the range starts in the file
   * @throws GuestMemfdException in this order: EINVAL if a number is not a multiple of 4096, or
   *     wraps when the size is added, or the slot number or size is too large, or a slot to be
   *     deleted does not exist, or a slot to be made does; EEXIST if the guest addresses overlap
   *     another slot; EBADF if the descriptor is closed; EINVAL if the file is of another virtual
   *     machine, the range is not in the file, or overlaps that of another slot, or the guest
   *     addresses reach beyond 2^52
   */
  public void setUserMemoryRegion2(
      int slot, long gpa, long size, @Nullable GuestMemfd memfd, long offset) {
    BoundSlot deleted = change(slot, gpa, size, memfd, offset);
    if (deleted != null) {
      try {
        mmu.delete(deleted); // without the slots lock: it waits, and may free frames
      } finally {
        if (deleted.gmem != null) {
          deleted.gmem.bindings.remove(deleted);
        }
      }
    }
  }

  /** Changes the set of memslots; returns the memslot that was removed, if any. */
  private @Nullable BoundSlot change(
      int slot, long gpa, long size, @Nullable GuestMemfd memfd, long offset) {
    slotsLock.lock();
    try {
      String problem = problem(slot, gpa, size, offset);
      if (problem != null) {
        throw refuse(Errno.EINVAL, slot, problem);
      }
      if (size == 0) {
        BoundSlot old = slots.remove(slot);
        if (old == null) {
          throw refuse(Errno.EINVAL, slot, "there is none to delete");
        }
        publish();
        return old;
      }
      if (slots.containsKey(slot)) {
        throw refuse(
            Errno.EINVAL, slot, "exists, and cannot be changed: " + slots.get(slot).memslot);
      }
      for (BoundSlot other : slots.values()) {
        if (other.memslot.overlapsGuest(gpa, size)) {
          throw refuse(Errno.EEXIST, slot, "guest addresses overlap " + other.memslot);
        }
      }
      if (memfd == null || !memfd.isOpen()) {
        throw refuse(Errno.EBADF, slot, "expected an open descriptor, actual " + memfd);
      }
      if (isPastEnd(offset, size, memfd.size())) {
        throw refuse(
            Errno.EINVAL,
            slot,
            "expected a range in "
                + memfd
                + ", actual offset "
                + Hex.of(offset)
                + " and size "
                + Long.toUnsignedString(size));
      }
      for (BoundSlot other : slots.values()) {
        if (other.memslot.overlapsFile(memfd, offset, size)) {
          throw refuse(profile.fileOverlap, slot, "file range overlaps " + other.memslot);
        }
      }
      if (Long.compareUnsigned(gpa + size, GPA_LIMIT) > 0) {
        throw refuse(
            Errno.EINVAL,
            slot,
            "expected guest addresses up to "
                + Hex.of(GPA_LIMIT)
                + ", actual up to "
                + Hex.of(gpa + size));
      }
      if (!memfd.bindTo(this)) {
        throw refuse(
            Errno.EINVAL, slot, "expected a file of no other virtual machine, actual " + memfd);
      }
      Gmem gmem = owner(memfd);
      BoundSlot bound = new BoundSlot(new Memslot(slot, gpa, size, memfd, offset), gmem, hook);
      if (gmem != null) {
        gmem.bindings.add(bound); // before a vCPU can find it
      }
      slots.put(slot, bound);
      publish();
      return null;
    } finally {
      slotsLock.unlock();
    }
  }

  private boolean isPastEnd(long offset, long size, long fileSize) {
    return profile.signedOffsets
        ? offset < 0 || offset + size > fileSize // a sum past 2^63 - 1 is negative, and passes
        : Long.compareUnsigned(offset + size, fileSize) > 0; // it does not wrap: see problem
  }

  private static @Nullable String problem(int slot, long gpa, long size, long offset) {
    if (slot < 0 || slot >= USER_SLOTS) {
      return "expected a number of 0 to " + (USER_SLOTS - 1) + ", actual " + slot;
    }
    if (((gpa | size | offset) & PAGE_MASK) != 0) {
      return "expected multiples of 4096, actual gpa "
          + Hex.of(gpa)
          + " size "
          + Long.toUnsignedString(size)
          + " offset "
          + Hex.of(offset);
    }
    if (Long.compareUnsigned(gpa + size, gpa) < 0) {
      return wraps("gpa", gpa, size);
    }
    if (Long.compareUnsigned(offset + size, offset) < 0) {
      return wraps("offset", offset, size);
    }
    if (Long.compareUnsigned(size, MAX_SLOT_BYTES) >= 0) {
      return "expected a size below " + MAX_SLOT_BYTES + ", actual " + Long.toUnsignedString(size);
    }
    return null;
  }

  private static String wraps(String what, long start, long size) {
    return "expected an end below 2^64, actual %s %s and size %s"
        .formatted(what, Hex.of(start), Long.toUnsignedString(size));
  }

  private static GuestMemfdException refuse(Errno errno, int slot, String why) {
    return new GuestMemfdException(errno, "memslot " + slot + ": " + why);
  }

  /**
   * Makes a memslot.
   *
   * @param slot its number, 0 to 32763
   * @param gpa the first guest physical address
   * @param size the size in bytes, not 0
   * @param memfd the file behind it
   * @param offset where the range starts in the file
   * @throws GuestMemfdException as {@link #setUserMemoryRegion2}; EINVAL for size 0
   */
  public void bind(int slot, long gpa, long size, GuestMemfd memfd, long offset) {
    if (size == 0) {
      throw refuse(Errno.EINVAL, slot, "expected a size above 0, actual 0");
    }
    setUserMemoryRegion2(slot, gpa, size, memfd, offset);
  }

  /**
   * Deletes a memslot. The content of the file stays.
   *
   * @param slot its number
   * @throws GuestMemfdException EINVAL if there is none
   */
  public void unbind(int slot) {
    setUserMemoryRegion2(slot, 0, 0, null, 0);
  }

  /** The caller holds the slots lock. */
  private void publish() {
    BoundSlot[] sorted = slots.values().toArray(new BoundSlot[0]);
    Arrays.sort(sorted, Comparator.comparingLong(s -> s.memslot.gpa()));
    sortedSlots = sorted;
  }

  /**
   * Returns the memslot that covers a guest address.
   *
   * @param gpa the guest physical address
   * @return the slot, if there is one
   */
  public Optional<Memslot> memslotAt(long gpa) {
    BoundSlot slot = find(gpa);
    return slot == null ? Optional.empty() : Optional.of(slot.memslot);
  }

  /**
   * Returns the memslot that covers a guest address or, if there is none, the first one above it.
   *
   * @param gpa the guest physical address, at least 0
   * @return the slot, if there is one
   */
  public Optional<Memslot> nextMemslot(long gpa) {
    BoundSlot[] sorted = sortedSlots;
    int low = 0;
    for (int high = sorted.length; low < high; ) {
      int middle = (low + high) >>> 1;
      if (sorted[middle].endGpa() > gpa) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low == sorted.length ? Optional.empty() : Optional.of(sorted[low].memslot);
  }

  @Nullable BoundSlot find(long gpa) {
    return find(sortedSlots, gpa);
  }

  static @Nullable BoundSlot find(BoundSlot[] sorted, long gpa) {
    int low = 0;
    int high = sorted.length - 1;
    while (low <= high) {
      int middle = (low + high) >>> 1;
      BoundSlot slot = sorted[middle];
      if (slot.contains(gpa)) {
        return slot;
      }
      if (gpa < slot.memslot.gpa()) {
        high = middle - 1;
      } else {
        low = middle + 1;
      }
    }
    return null;
  }

  /**
   * All memslots as they are now; a thread that caches a slot compares arrays to see if it is
   * current.
   */
  BoundSlot[] memslots() {
    return sortedSlots;
  }

  // ---- attributes ----

  /**
   * Returns the attribute of a page: shared or private.
   *
   * @param gpa a guest physical address
   * @return the attribute its file has for it; empty if there is no memslot, or its file is gone
   */
  public Optional<MemoryAttribute> memoryAttribute(long gpa) {
    BoundSlot slot = find(gpa);
    if (slot == null) {
      return Optional.empty();
    }
    Optional<GuestMemfd> file = slot.memslot.memfd().reopen();
    if (file.isEmpty()) {
      return Optional.empty();
    }
    try (GuestMemfd memfd = file.get()) {
      return Optional.of(
          memfd.isAccessible(slot.offset(slot.page(gpa)))
              ? MemoryAttribute.SHARED
              : MemoryAttribute.PRIVATE);
    }
  }

  /**
   * Returns the attributes of a range, as parts of one attribute each.
   *
   * @param gpa the first guest physical address, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096
   * @return parts in ascending order, each of which differs from the next or has a gap before it:
   *     what has no memslot, or one whose file is gone, is left out
   * @throws GuestMemfdException EINVAL if the range is not such a range below 2^52
   */
  public List<MemoryAttributeRange> memoryAttributes(long gpa, long size) {
    return byGuestAddress.attributes(gpa, size);
  }

  /**
   * Converts the memory behind a range of guest addresses, in place: {@code
   * KVM_SET_MEMORY_ATTRIBUTES}. Contents stay.
   *
   * <p>The range may span several memslots and files. The part that lies in one piece in one file
   * is converted all or nothing. Pieces are converted one after the other, and those that were done
   * stay done if a later one is refused. Pages that already have the attribute are left alone:
   * vCPUs go on using their mappings of them.
   *
   * @param gpa the first guest physical address, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096
   * @param attribute the new attribute of the pages
   * @throws MemoryAttributesException EAGAIN if a host holder has a page; otherwise as {@link
   *     #trySetMemoryAttributes}
   */
  public void setMemoryAttributes(long gpa, long size, MemoryAttribute attribute) {
    BusyGuestPage busy = new BusyGuestPage();
    Errno errno = trySetMemoryAttributes(gpa, size, attribute, busy);
    if (errno != Errno.OK) {
      throw new MemoryAttributesException(
          errno,
          setTo(gpa, size, attribute) + ": " + whyNotSet(errno, gpa, size, busy),
          busy.gpa(),
          busy.convertedUpTo());
    }
  }

  private static String setTo(long gpa, long size, MemoryAttribute attribute) {
    return "set memory attributes of gpa " + Hex.of(gpa) + " size " + size + " to " + attribute;
  }

  private String whyNotSet(Errno errno, long gpa, long size, BusyGuestPage busy) {
    String wrong = wrong(gpa, size);
    if (wrong != null) {
      return wrong;
    }
    return busy.folio().offset() >= 0 ? busy.toString() : whyNot(errno, busy.gpa());
  }

  /** The reason for the errno that this thread has just got for a guest address. */
  private String whyNot(Errno errno, long gpa) {
    BoundSlot slot = find(gpa);
    return slot == null
        ? "no memslot at " + Hex.of(gpa)
        : "at " + Hex.of(gpa) + ": " + slot.memslot.memfd().why(errno);
  }

  /**
   * As {@link #setMemoryAttributes}, but returns the errno of a refusal.
   *
   * @param gpa the first guest physical address
   * @param size the size in bytes
   * @param attribute the new attribute of the pages
   * @param busy receives the address where it stopped, and the holders that blocked it
   * @return {@link Errno#OK}; EINVAL if the range is not such a range below 2^52; ENOENT, and
   *     nothing is converted, if a part of it has no memslot; EBADF if a file is gone; EAGAIN if a
   *     host holder has a page; EINTR; EDEADLK from inside a callback; what a callback answers
   */
  public Errno trySetMemoryAttributes(
      long gpa, long size, MemoryAttribute attribute, BusyGuestPage busy) {
    Objects.requireNonNull(attribute, "attribute");
    busy.set(gpa);
    if (isNoRange(gpa, size)) {
      return Errno.EINVAL;
    }
    BoundSlot[] sorted = sortedSlots;
    long missing = firstMissing(sorted, gpa, size);
    if (missing >= 0) {
      busy.set(missing, gpa, false);
      return Errno.ENOENT;
    }
    long end = gpa + size;
    for (long at = gpa; at < end; ) {
      BoundSlot slot = Objects.requireNonNull(find(sorted, at));
      long offset = slot.memslot.offsetOf(at);
      long to = endOfPiece(sorted, slot, end);
      Errno errno = convert(slot.memslot.memfd(), offset, to - at, attribute, busy.holders());
      if (errno == Errno.EAGAIN && attribute == MemoryAttribute.PRIVATE) {
        long busyOffset = busy.holders().offset();
        busy.set(busyOffset < 0 ? at : at + (busyOffset - offset), at, busyOffset >= 0);
      }
      if (errno != Errno.OK) {
        return errno;
      }
      at = to;
      busy.set(at);
    }
    return Errno.OK;
  }

  /**
   * As {@link #setMemoryAttributes}, for a range that lies in one piece in one file: converts it
   * now, or when the last holder that blocks it lets go. All or nothing, which is why it must be
   * one piece.
   *
   * <p>No holder blocks a conversion to {@link MemoryAttribute#SHARED}; its future is complete. A
   * conversion to {@link MemoryAttribute#PRIVATE} is a {@link GuestMemfd#makeInaccessibleLater},
   * and the future is the one that it returns. While it is pending the pages belong to neither
   * side, and an access that faults exits, a shared one with {@link Errno#EFAULT}, a private one
   * with {@link Errno#EAGAIN}. What the guest has mapped as shared stays mapped until the
   * conversion is done, since the guest page table is invalidated only then.
   *
   * <p>Throws only NullPointerException: all other failures complete the future. A failure at once
   * is a {@link MemoryAttributesException}: EINVAL if the range is not such a range below 2^52, or
   * lies in more than one piece; ENOENT if a part of it has no memslot; EBADF if its file is gone;
   * EAGAIN if a host holder has a page, and the file's retry policy is not one that completes
   * later; EINTR; EDEADLK from inside a callback; what a callback answers.
   *
   * @param gpa the first guest physical address, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096
   * @param attribute the new attribute of the pages
   * @return a future that is done, failed, or pending
   */
  public CompletableFuture<Void> setMemoryAttributesLater(
      long gpa, long size, MemoryAttribute attribute) {
    Objects.requireNonNull(attribute, "attribute");
    try {
      return convertLater(gpa, size, attribute);
    } catch (RuntimeException | Error e) {
      return CompletableFuture.failedFuture(e);
    }
  }

  /** As {@link #setMemoryAttributesLater}, but throws the failures that occur at once. */
  private CompletableFuture<Void> convertLater(long gpa, long size, MemoryAttribute attribute) {
    String wrong = wrong(gpa, size);
    if (wrong != null) {
      throw notLater(Errno.EINVAL, gpa, size, attribute, wrong, gpa);
    }
    BoundSlot[] sorted = sortedSlots;
    long missing = firstMissing(sorted, gpa, size);
    if (missing >= 0) {
      String why = "no memslot at " + Hex.of(missing);
      throw notLater(Errno.ENOENT, gpa, size, attribute, why, missing);
    }
    BoundSlot slot = Objects.requireNonNull(find(sorted, gpa));
    long end = endOfPiece(sorted, slot, gpa + size);
    if (end < gpa + size) {
      String why = "expected one piece of one file, which ends at " + Hex.of(end);
      throw notLater(Errno.EINVAL, gpa, size, attribute, why, end);
    }
    long offset = slot.memslot.offsetOf(gpa);
    Optional<GuestMemfd> file = slot.memslot.memfd().reopen();
    if (file.isEmpty()) {
      String why = "the file of " + slot.memslot + " is gone";
      throw notLater(Errno.EBADF, gpa, size, attribute, why, gpa);
    }
    try (GuestMemfd memfd = file.get()) {
      if (attribute == MemoryAttribute.PRIVATE) {
        CompletableFuture<Void> later = memfd.makeInaccessibleLater(offset, size);
        if (later.isCompletedExceptionally()
            && later.handle((done, e) -> e).join() instanceof GuestMemfdException refused) {
          throw refused;
        }
        return later;
      }
      memfd.makeAccessible(offset, size);
      return CompletableFuture.completedFuture(null);
    } catch (GuestMemfdException e) {
      long at =
          e instanceof ConversionBlockedException busy ? busy.busyFolio().offset() - offset : 0;
      MemoryAttributesException refused =
          notLater(e.errno(), gpa, size, attribute, e.getMessage(), gpa + at);
      refused.initCause(e);
      throw refused;
    }
  }

  private static MemoryAttributesException notLater(
      Errno errno, long gpa, long size, MemoryAttribute attribute, @Nullable String why, long at) {
    return new MemoryAttributesException(
        errno, setTo(gpa, size, attribute) + " later: " + why, at, gpa);
  }

  /** The first address of a range that has no memslot; -1 if every address has one. */
  static long firstMissing(BoundSlot[] sorted, long gpa, long size) {
    for (long at = gpa; at < gpa + size; ) {
      BoundSlot slot = find(sorted, at);
      if (slot == null) {
        return at;
      }
      at = slot.endGpa();
    }
    return -1;
  }

  static boolean isNoRange(long gpa, long size) {
    return RangeRule.broken(gpa, size, GPA_LIMIT) != null;
  }

  /** The rule that a range of guest addresses breaks, as text; null if none. */
  static @Nullable String wrong(long gpa, long size) {
    RangeRule broken = RangeRule.broken(gpa, size, GPA_LIMIT);
    return broken == null ? null : broken.text("gpa", "size", gpa, size, GPA_LIMIT);
  }

  /** The end of the piece that begins in a memslot and goes on in its file without a gap. */
  static long endOfPiece(BoundSlot[] sorted, BoundSlot first, long end) {
    BoundSlot last = first;
    while (last.endGpa() < end) {
      BoundSlot next = find(sorted, last.endGpa());
      if (next == null
          || !next.memslot.memfd().sameFile(last.memslot.memfd())
          || next.memslot.offset() != last.memslot.offset() + last.memslot.size()) {
        break;
      }
      last = next;
    }
    return Math.min(end, last.endGpa());
  }

  private static Errno convert(
      GuestMemfd weak, long offset, long length, MemoryAttribute attribute, BusyFolio busy) {
    Optional<GuestMemfd> file = weak.reopen();
    if (file.isEmpty()) {
      return Errno.EBADF;
    }
    try (GuestMemfd memfd = file.get()) {
      return attribute == MemoryAttribute.PRIVATE
          ? memfd.tryMakeInaccessible(offset, length, busy)
          : memfd.tryMakeAccessible(offset, length);
    }
  }

  // ---- the host's side, by guest address ----

  /**
   * Maps the memory behind a range of guest addresses for the host, as {@link GuestMemfd#mmap(long,
   * long, Protection...)}. Offset 0 of the mapping is the first address of the range. The mapping
   * of the file survives the deletion of the memslot.
   *
   * @param gpa the first guest physical address, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096
   * @param protection what the mapping may be used for
   * @return the mapping
   * @throws GuestMemfdException EINVAL if the range is not such a range below 2^52, or lies in more
   *     than one piece; ENOENT if a part of it has no memslot; EBADF if the file is gone; as mmap
   */
  public HostMapping mmap(long gpa, long size, Protection... protection) {
    Objects.requireNonNull(protection, "protection");
    return byGuestAddress.mmap(gpa, size, protection);
  }

  /**
   * Pins the memory behind a range of guest addresses, all of it or nothing, as is done for a
   * device that does DMA there. Untouched pages are allocated.
   *
   * @param gpa the first guest physical address, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096
   * @return the reference
   * @throws GuestMemfdException as {@link #mmap} and {@link HostMapping#pinFully}: EFAULT if a page
   *     is private; EDEADLK from inside a callback
   */
  public HostReference pin(long gpa, long size) {
    return byGuestAddress.pin(gpa, size);
  }

  /**
   * Punches the memory behind a range of guest addresses, as {@link GuestMemfd#punchHole}, for a
   * balloon that gives pages back. The attributes stay.
   *
   * <p>The range may span several memslots and files; their pieces are punched one after the other,
   * and those that were done stay done if a later one is refused.
   *
   * @param gpa the first guest physical address, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096
   * @throws GuestMemfdException EINVAL if the range is not such a range below 2^52; ENOENT, and
   *     nothing is punched, if a part of it has no memslot; EBADF if a file is gone; as {@link
   *     GuestMemfd#fallocate}
   */
  public void punchHole(long gpa, long size) {
    byGuestAddress.punchHole(gpa, size);
  }

  // ---- prefaulting ----

  /**
   * Maps a range for the guest, each page with its current attribute: {@code KVM_PRE_FAULT_MEMORY}.
   * Holes are allocated. An interrupt ends it before the next page.
   *
   * @param gpa the first guest physical address, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096
   * @return how many bytes have been mapped, at least 4096; fewer than asked for if a later page
   *     could not be mapped
   * @throws GuestMemfdException if nothing was mapped: EINVAL if the range is not such a range
   *     below 2^52; ENOENT if there is no memslot; EINTR; and as the errnos of {@link
   *     VcpuExit.MemoryFault}
   */
  public long preFault(long gpa, long size) {
    Errno errno = isNoRange(gpa, size) ? Errno.EINVAL : Errno.OK;
    long done = 0;
    while (errno == Errno.OK && done < size) {
      errno = Thread.currentThread().isInterrupted() ? Errno.EINTR : preFaultPage(gpa + done);
      if (errno == Errno.OK) {
        done += PAGE_SIZE;
      }
    }
    if (done == 0) {
      String wrong = wrong(gpa, size);
      throw new GuestMemfdException(
          errno,
          "pre-fault gpa "
              + Hex.of(gpa)
              + " size "
              + size
              + ": "
              + (wrong == null ? whyNotMapped(errno, gpa) : wrong));
    }
    return done;
  }

  private String whyNotMapped(Errno errno, long gpa) {
    BoundSlot slot = find(gpa);
    if (slot != null && slot.gmem == null) {
      return "expected a file from createGuestMemfd, or adopted, actual " + slot.memslot;
    }
    return slot != null && errno == Errno.EFAULT
        ? "the file of " + slot.memslot + " is gone"
        : whyNot(errno, gpa);
  }

  private Errno preFaultPage(long gpa) {
    MemoryAttribute attribute = MemoryAttribute.PRIVATE;
    for (int round = 0; ; ) {
      BoundSlot slot = find(gpa);
      if (slot == null) {
        return Errno.ENOENT;
      }
      int result = mmu.fault(slot, slot.page(gpa), attribute, counters);
      if (result == Mmu.MISMATCH) {
        attribute =
            attribute == MemoryAttribute.PRIVATE ? MemoryAttribute.SHARED : MemoryAttribute.PRIVATE;
      } else if (result != Mmu.RETRY) {
        return Errno.ofResult(result);
      } else if (!mmu.awaitRetry(round++)) {
        return Errno.EINTR;
      }
    }
  }

  /** The size of the memory, and the numbers of memslots and vCPUs; takes no lock. */
  @Override
  public String toString() {
    long size = 0;
    BoundSlot[] bound = sortedSlots;
    for (BoundSlot slot : bound) {
      size += slot.memslot.size();
    }
    return "VirtualMachine[memslots="
        + bound.length
        + ", size="
        + size
        + ", vCPUs="
        + vcpuIds.get()
        + "]";
  }
}
