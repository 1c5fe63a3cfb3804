package io.github.guestmemfd.kvm;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.PopulateHook;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.RaceHook;
import java.nio.ByteBuffer;
import java.util.BitSet;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
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

  final Mmu mmu;
  final MemoryRegions regions;
  final Counters<VmMeter> counters = new Counters<>(VmMeter.class);

  private final UserMemory user = new UserMemory();
  private final KernelProfile profile;
  private final @Nullable VmType type;
  private final Attributes attributes;
  private final FileAttributes fileAttributes;
  private final ByGuestAddress byGuestAddress;
  private final PreFault preFault;
  private final Populate populate;
  private final Handover handover;
  private final AtomicInteger vcpuIds = new AtomicInteger();

  /** Creates a virtual machine without memory. */
  public VirtualMachine() {
    this(new Builder());
  }

  private VirtualMachine(Builder builder) {
    profile = builder.profile;
    type = builder.type;
    VmAttributes own = hasTwoMemories() ? new VmAttributes() : null;
    boolean getsPfns = profile.convertsInPlace();
    mmu = new Mmu(builder.idle, builder.keepReferences, getsPfns, counters, user, own);
    regions = new MemoryRegions(this, mmu, profile, type, user, builder.hook);
    MemoryAttributes ofFiles = new MemoryAttributes(regions);
    if (type == null) {
      attributes = ofFiles;
    } else {
      attributes =
          own == null
              ? new NoMachineAttributes(ofFiles)
              : new AttributesOfVm(type, own, regions, mmu);
    }
    fileAttributes = new FileAttributes(this, profile, type, ofFiles);
    byGuestAddress = new ByGuestAddress(regions, user);
    preFault = new PreFault(regions, mmu, counters);
    populate = new Populate(regions, own);
    handover = new Handover(this, profile, type, regions, mmu, own);
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
    private @Nullable VmType type;

    private Builder() {}

    /**
     * Chooses the kernel whose answers the virtual machine gives, and with it its {@linkplain
     * #createGuestMemfd files} and its platform.
     *
     * @param kernel the kernel; {@link KernelProfile#LINUX_6_18} by default
     * @return this
     */
    public Builder kernelProfile(KernelProfile kernel) {
      profile = Objects.requireNonNull(kernel, "kernel");
      return this;
    }

    /**
     * Gives the virtual machine a type, and so two memories, as released kernels have it: a page
     * that is private is the guest_memfd's, one that is shared is the host's at the memslot's user
     * address, and which it is belongs to the machine, not to the file. Where the {@linkplain
     * #kernelProfile kernel} is {@link KernelProfile#IN_PLACE}, pages are converted in place all
     * the same, and the attributes are those of files.
     *
     * @param vmType the type; by default there is none, and pages are converted in place
     * @return this
     */
    public Builder type(VmType vmType) {
      type = Objects.requireNonNull(vmType, "vmType");
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
     * an operation on a mapped page waits forever. Not for {@link KernelProfile#IN_PLACE}, whose
     * faults get pages without a reference.
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
     * @throws IllegalStateException if it is to keep references that its kernel does not take
     */
    public VirtualMachine build() {
      if (keepReferences && profile.convertsInPlace()) {
        throw new IllegalStateException(
            "keepReferences: expected a kernel whose faults take references, actual Linux "
                + profile.release());
      }
      return new VirtualMachine(this);
    }
  }

  /**
   * The kernel whose answers it gives.
   *
   * @return what was {@linkplain Builder#kernelProfile chosen}
   */
  public KernelProfile kernelProfile() {
    return profile;
  }

  /**
   * Creates a file whose pages the guest can use: {@code KVM_CREATE_GUEST_MEMFD}. It belongs to
   * this virtual machine, and cannot be bound to another.
   *
   * @param builder describes the file; its {@code ops} and {@code traits} are set here
   * @return the first descriptor of the file
   * @throws io.github.guestmemfd.abi.GuestMemfdException as {@link GuestMemfd.Builder#build} and
   *     {@link #adopt}
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
   * @param builder describes the file; its {@code ops} and {@code traits} are set here
   * @param client the second client
   * @return the first descriptor of the file
   * @throws io.github.guestmemfd.abi.GuestMemfdException as {@link GuestMemfd.Builder#build} and
   *     {@link #adopt}
   */
  public GuestMemfd createGuestMemfd(GuestMemfd.Builder builder, GuestMemfdOps client) {
    requireAlive("create a file");
    GuestMemfdOps ops = ops(client);
    GuestMemfd memfd = builder.ops(ops).traits(profile.fileTraits()).build();
    boolean done = false;
    try {
      adopt(memfd, ops);
      done = true;
      return memfd;
    } finally {
      if (!done) {
        memfd.close();
      }
    }
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
    return Gmem.ofFile(mmu, Objects.requireNonNull(client, "client"));
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
   * @throws GuestMemfdException EINVAL if the file is of another virtual machine, has flags that
   *     {@linkplain VmType#fileFlags this type} does not support, or has not the {@linkplain
   *     KernelProfile#fileTraits traits} of this kernel
   */
  public void adopt(GuestMemfd memfd, GuestMemfdOps ops) {
    if (!(ops instanceof Gmem gmem) || !gmem.isOf(mmu)) {
      throw new IllegalArgumentException("expected what ops() of this returned, actual " + ops);
    }
    requireAlive("adopt a file");
    regions.adopt(memfd, gmem);
  }

  // ---- handover ----

  /**
   * Links a file of another virtual machine into this one: {@code KVM_LINK_GUEST_MEMFD}, as in
   * version 2 of an RFC of May 2025, which is not merged. What is returned has the same pages,
   * attributes and inode number, is of this machine and can be bound to its memslots alone. Both
   * machines may use the memory; what one of them converts or punches is invalidated for both. It
   * is closed on its own: the last close ends this machine's use of the pages, and they are freed
   * with the last of all.
   *
   * <p>A {@linkplain #createGuestMemfd(GuestMemfd.Builder, GuestMemfdOps) second client} stays the
   * file's, whichever machines it is of, as the context of a platform does: it is not told.
   *
   * @param memfd an open descriptor of the file, as the other machine has it
   * @param flags 0
   * @return the first descriptor of the file as this machine has it
   * @throws GuestMemfdException in this order: EIO if this machine is dead; EINVAL if there are
   *     flags; if the descriptor is closed; if the file is of this machine; if it was not created
   *     by a virtual machine; if that is of another {@linkplain #kernelProfile kernel}
   */
  public GuestMemfd linkGuestMemfd(GuestMemfd memfd, long flags) {
    Objects.requireNonNull(memfd, "memfd");
    requireAlive("link a file");
    Handover owner = memfd.boundTo().orElse(null) instanceof VirtualMachine vm ? vm.handover : null;
    return handover.link(memfd, owner, flags);
  }

  /**
   * Takes over from another virtual machine, whose files are linked into this one and bound as
   * there: {@code KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM}, as that RFC extends it. With a {@linkplain
   * Builder#type type} the attributes of the other machine become this one's, and what this one had
   * is forgotten; without, they are the files', and are here already. The other machine is dead
   * then: when this returns none of its vCPUs uses memory, and its references are given back. What
   * the guest does after that is an exit for a memory fault with EIO. Its memslots and descriptors
   * stay until they are closed, and cannot be used.
   *
   * <p>Waits for accesses of vCPUs under way, which only move bytes; an interrupt does not end
   * that.
   *
   * @param source the other machine
   * @throws GuestMemfdException in this order, and nothing has changed: EDEADLK from inside a
   *     callback or a window; EIO if this machine is dead; EINVAL if the other one is of another
   *     type or kernel, or this one; EBUSY if one of them takes part in another move; EINVAL if the
   *     other one is dead; if their memslots do not match: as many, at the same guest addresses, of
   *     the same sizes and flags, and with the same parts of the same files, which are open
   */
  public void moveContextFrom(VirtualMachine source) {
    Objects.requireNonNull(source, "source");
    if (GuestMemfd.isInsideCallback()) {
      throw new GuestMemfdException(Errno.EDEADLK, "handover: called from inside a callback");
    }
    requireAlive("take over");
    handover.moveFrom(source.handover);
  }

  /**
   * Whether another virtual machine has {@linkplain #moveContextFrom taken over}. A dead one
   * answers EIO to everything that is a call of {@code KVM} on it.
   *
   * @return the answer, which is final once it is true
   */
  public boolean isDead() {
    return mmu.isDead();
  }

  private void requireAlive(String call) {
    if (mmu.isDead()) {
      throw new GuestMemfdException(Errno.EIO, call + ": the virtual machine is dead");
    }
  }

  /**
   * Creates a vCPU.
   *
   * @return the vCPU; their numbers count from 0
   * @throws GuestMemfdException EIO if this machine is {@linkplain #isDead dead}
   */
  public Vcpu createVcpu() {
    requireAlive("create a vCPU");
    return new Vcpu(this, Announce.write(vcpuIds).getAndIncrement());
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
    return regions.metrics(slot);
  }

  /**
   * Creates, changes or deletes a memslot: {@code KVM_SET_USER_MEMORY_REGION2}. When it is deleted,
   * moved, or its pages are to be logged, no vCPU uses the memory as before when this returns; for
   * that it may wait for accesses under way, which only move bytes.
   *
   * <p>A memslot without a file may be moved to other guest addresses, and the logging of its dirty
   * pages turned on and off. One with a file can only be deleted. It holds its file weakly: if the
   * file is closed, it goes away, and the memslot is left without that memory. A file that was not
   * {@linkplain #createGuestMemfd created} by a virtual machine can be bound, but vCPUs cannot use
   * it.
   *
   * @param wanted the memslot; of size 0 to delete the one with this number
   * @throws GuestMemfdException in this order: EINVAL if flags are not supported: {@link
   *     MemslotFlag#LOG_DIRTY_PAGES} or {@link MemslotFlag#READONLY} with a file, {@code READONLY}
   *     by the {@linkplain VmType#canHaveReadOnlyMemslots type}, others at all; if a number is not
   *     a multiple of 4096, or wraps when the size is added, or the slot number or size is too
   *     large, or user addresses reach beyond 2^47 - 4096; if a slot to be deleted does not exist;
   *     if one that exists is to have a file or has one, or is to get another size, user address or
   *     {@code READONLY}; EEXIST if the guest addresses overlap another slot; EBADF if the
   *     descriptor is closed; EINVAL if the file is of another virtual machine, the range is not in
   *     the file, or overlaps that of another slot, or the guest addresses reach beyond 2^52;
   *     ENOMEM, and nothing has changed, if the JVM has no memory for it; before all that EDEADLK
   *     from inside a callback or a window
   */
  public void setUserMemoryRegion2(Memslot wanted) {
    regions.set(Objects.requireNonNull(wanted, "wanted"));
  }

  /**
   * As {@link #setUserMemoryRegion2(Memslot)}: creates a memslot with a range of a file and no user
   * address, or deletes a memslot if the size is 0.
   *
   * @param slot its number, 0 to 32763
   * @param gpa the first guest physical address, unsigned
   * @param size the size in bytes, unsigned
   * @param memfd the file behind it, ignored when a slot is deleted
   * @param offset where the range starts in the file; ignored when a slot is deleted
   * @throws GuestMemfdException as there
   */
  public void setUserMemoryRegion2(
      int slot, long gpa, long size, @Nullable GuestMemfd memfd, long offset) {
    int flags = size == 0 ? 0 : MemslotFlag.GUEST_MEMFD.bit();
    setUserMemoryRegion2(new Memslot(slot, flags, gpa, size, 0, memfd, offset));
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
      throw MemoryRegions.refuse(Errno.EINVAL, slot, "expected a size above 0, actual 0");
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

  /**
   * Returns the memslot that covers a guest address.
   *
   * @param gpa the guest physical address
   * @return the slot, if there is one
   */
  public Optional<Memslot> memslotAt(long gpa) {
    BoundSlot slot = regions.memslots().find(gpa);
    return slot == null ? Optional.empty() : Optional.of(slot.memslot);
  }

  /**
   * Returns the memslot that covers a guest address or, if there is none, the first one above it.
   *
   * @param gpa the guest physical address, at least 0
   * @return the slot, if there is one
   */
  public Optional<Memslot> nextMemslot(long gpa) {
    BoundSlot slot = regions.memslots().next(gpa);
    return slot == null ? Optional.empty() : Optional.of(slot.memslot);
  }

  /**
   * Takes the dirty log of a memslot: {@code KVM_GET_DIRTY_LOG}. The next write of the guest to any
   * of these pages is logged again.
   *
   * @param slot its number
   * @return the pages of the memslot, counted from 0, that the guest has written since they were
   *     taken last. What it has written to them before this returns can be read by the host; what
   *     it writes later is logged
   * @throws GuestMemfdException EINVAL if there cannot be such a memslot; ENOENT if there is none,
   *     or its dirty pages are not logged; EINTR, and nothing is taken; EDEADLK from inside a
   *     callback or a window
   */
  public BitSet getDirtyLog(int slot) {
    requireAlive("get the dirty log");
    return regions.takeDirty(slot, null);
  }

  /**
   * Takes pages out of the dirty log of a memslot, once their content has been dealt with: {@code
   * KVM_CLEAR_DIRTY_LOG}.
   *
   * @param slot its number
   * @param pages the pages of the memslot
   * @return those of them that were in the log
   * @throws GuestMemfdException as {@link #getDirtyLog}; EINVAL if a page is not in the memslot
   */
  public BitSet clearDirtyLog(int slot, BitSet pages) {
    requireAlive("clear the dirty log");
    return regions.takeDirty(slot, (BitSet) Objects.requireNonNull(pages, "pages").clone());
  }

  // ---- the host's memory ----

  /**
   * Makes memory of the host at a free user address, for memslots: anonymous memory.
   *
   * @param host where its frames come from, the same for all memory of a virtual machine
   * @param size the size in bytes, a positive multiple of 4096
   * @return the memory, untouched
   * @throws GuestMemfdException EINVAL if the size is not such a multiple; ENOMEM if nowhere are as
   *     many addresses free
   * @throws IllegalArgumentException as {@link #mapHostRam(HostMemory, long, long)}
   */
  public HostRam mapHostRam(HostMemory host, long size) {
    for (; ; ) {
      try {
        return mapHostRam(host, user.free(size), size);
      } catch (GuestMemfdException e) {
        if (e.errno() != Errno.EEXIST) { // else another thread has just mapped memory there
          throw e;
        }
      }
    }
  }

  /**
   * Makes memory of the host at a user address, for memslots: anonymous memory.
   *
   * @param host where its frames come from, the same for all memory of a virtual machine
   * @param userAddress where it begins, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096
   * @return the memory, untouched
   * @throws GuestMemfdException EINVAL if a number is not such a multiple; ENOMEM if it does not
   *     end by 2^47 - 4096; EEXIST if there is memory already
   * @throws IllegalArgumentException if other memory of the virtual machine is of another host
   */
  public HostRam mapHostRam(HostMemory host, long userAddress, long size) {
    Objects.requireNonNull(host, "host");
    return HostRam.map(host, user, regions.clientOfHostMemory(userAddress), userAddress, size);
  }

  /**
   * Returns the type of the virtual machine.
   *
   * @return the type; nothing if it converts in place
   */
  public Optional<VmType> type() {
    return Optional.ofNullable(type);
  }

  /**
   * Whether shared memory lies apart from files, and the attributes are the machine's.
   *
   * @return true with a {@linkplain Builder#type type}, unless the {@linkplain #kernelProfile
   *     kernel} converts in place
   */
  public boolean hasTwoMemories() {
    return profile.hasTwoMemories(type);
  }

  // ---- attributes ----

  /**
   * Returns the attribute of a page: shared or private.
   *
   * @param gpa a guest physical address
   * @return the attribute its file has for it; empty if there is no memslot, or its file is gone.
   *     With a {@linkplain Builder#type type}, the attribute that the machine has for it, whatever
   *     there is
   */
  public Optional<MemoryAttribute> memoryAttribute(long gpa) {
    return attributes.of(gpa);
  }

  /**
   * Returns the attribute of a page of a file, for clients that map pages for the guest by a page
   * table of their own, and know them by their offsets.
   *
   * @param memfd an open descriptor of the file
   * @param offset any byte of the page
   * @return the file's attribute. With {@linkplain #hasTwoMemories two memories} PRIVATE if the
   *     file has the page as private and the machine the guest address that a memslot has it at;
   *     empty if no memslot has it, if this machine is dead, and if the second client of the file
   *     is no {@link MachineOps} and so is not told when that changes
   * @throws GuestMemfdException EBADF if the descriptor is closed; EINVAL if the offset is not in
   *     the file
   */
  public Optional<MemoryAttribute> memoryAttribute(GuestMemfd memfd, long offset) {
    return attributes.of(Objects.requireNonNull(memfd, "memfd"), offset);
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
    return attributes.of(gpa, size);
  }

  /**
   * Converts the memory behind a range of guest addresses: {@code KVM_SET_MEMORY_ATTRIBUTES}.
   * Contents stay.
   *
   * <p>With a {@linkplain Builder#type type} the attributes are the machine's: the guest uses the
   * other memory from now on, all or nothing. A range needs no memslot; all are shared at first. No
   * holder can block that.
   *
   * <p>Without a type pages are converted in place, and this is about that.
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
    attributes.set(gpa, size, attribute);
  }

  /**
   * As {@link #setMemoryAttributes}, but returns the errno of a refusal.
   *
   * @param gpa the first guest physical address
   * @param size the size in bytes
   * @param attribute the new attribute of the pages
   * @param busy receives the address where it stopped, and the holders that blocked it
   * @return {@link Errno#OK}; EINVAL if the range is not such a range below 2^52. With a type:
   *     EINVAL if it has no private memory, or the range is empty, wraps, or is not of whole pages;
   *     EINTR or EDEADLK as below, and nothing is converted. Without: ENOENT, and nothing is
   *     converted, if a part of it has no memslot; EBADF if a file is gone; EAGAIN if a host holder
   *     has a page; EINTR; EDEADLK from inside a callback; what a callback answers
   */
  public Errno trySetMemoryAttributes(
      long gpa, long size, MemoryAttribute attribute, BusyGuestPage busy) {
    return attributes.trySet(gpa, size, attribute, busy);
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
    return attributes.setLater(gpa, size, attribute);
  }

  /**
   * The attributes that {@link #setMemoryAttributes} supports for a machine with a {@linkplain
   * Builder#type type}: {@code KVM_CAP_MEMORY_ATTRIBUTES}. Without one that call is the library's
   * own, whatever the kernel.
   *
   * @return {@link MemoryAttributes2#PRIVATE} or 0: with a type that has no private memory, or a
   *     kernel that converts in place
   */
  public long supportedMemoryAttributes() {
    boolean hasPrivateMemory = type == null || type.hasPrivateMemory();
    return hasPrivateMemory && !profile.convertsInPlace() ? MemoryAttributes2.PRIVATE : 0;
  }

  /**
   * The attributes that {@link #setMemoryAttributes2} supports: {@code
   * KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES}, whose number is not final.
   *
   * @return {@link MemoryAttributes2#PRIVATE}; or 0 for a {@linkplain Builder#type type} that has
   *     no private memory, or a kernel that does not convert in place
   */
  public long supportedFileAttributes() {
    return fileAttributes.supported();
  }

  /**
   * Converts pages of a file in place: {@code KVM_SET_MEMORY_ATTRIBUTES2} on its descriptor, of a
   * kernel that has it ({@link KernelProfile#IN_PLACE}). All or nothing. Contents stay. A range
   * that is as wanted already is not touched.
   *
   * @param memfd the descriptor; its file belongs to this virtual machine once a conversion is
   *     tried
   * @param argument what to do, read once; {@code error_offset} is written exactly if the
   *     conversion itself fails: the offset of the first page in the way, or the start of the
   *     range. The other numbers are then written too, as they were when the call began
   * @throws GuestMemfdException as {@link #trySetMemoryAttributes2}; after EAGAIN the pages are as
   *     they were, but mappings of the range have to be faulted in again
   * @throws IllegalArgumentException if the file is of another virtual machine
   */
  public void setMemoryAttributes2(GuestMemfd memfd, @Nullable MemoryAttributes2 argument) {
    fileAttributes.set(Objects.requireNonNull(memfd, "memfd"), argument);
  }

  /**
   * As {@link #setMemoryAttributes2}, but returns the errno of a refusal.
   *
   * @param memfd the descriptor; its file belongs to this virtual machine once a conversion is
   *     tried
   * @param argument what to do
   * @return {@link Errno#OK}; or, in this order: EBADF if the descriptor is closed; ENOTTY if the
   *     kernel does not convert in place; EFAULT for null; EINVAL for flags; for a reserved number;
   *     if the machine has no private memory; for attributes other than private; for a size of 0,
   *     or an end past 2^64; for what is no multiple of 4096; for a range not in the file. And of
   *     the conversion: ENOMEM; EAGAIN if a holder of a folio is in the way; EINTR; EDEADLK from
   *     inside a callback; what a callback answers; or EFAULT in place of any of these if the
   *     argument cannot be written. Nothing is converted then
   * @throws IllegalArgumentException if the file is of another virtual machine
   */
  public Errno trySetMemoryAttributes2(GuestMemfd memfd, @Nullable MemoryAttributes2 argument) {
    return fileAttributes.trySet(Objects.requireNonNull(memfd, "memfd"), argument, new BusyFolio());
  }

  /**
   * As {@link #trySetMemoryAttributes2} on each file behind a range of guest addresses, for a
   * monitor that converts in place whatever the type of its machine. Pieces that lie in one file
   * without a gap are converted one after the other, each all or nothing; those that were done stay
   * done if a later one is refused.
   *
   * @param gpa the first guest physical address, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096
   * @param attribute the new attribute of the pages
   * @param busy receives the address where it stopped, and the holders that blocked it
   * @return as {@link #trySetMemoryAttributes} without a type; before that ENOTTY with {@linkplain
   *     #hasTwoMemories two memories}, and EINVAL if the machine has no private memory
   */
  public Errno tryConvertInPlace(
      long gpa, long size, MemoryAttribute attribute, BusyGuestPage busy) {
    return fileAttributes.trySet(gpa, size, attribute, busy);
  }

  // ---- the host's side, by guest address ----

  /**
   * Maps the shared memory behind a range of guest addresses for the host, as {@link
   * GuestMemfd#mmap(long, long, Protection...)}: that of the file or, with two memories, the host's
   * at the user address. Offset 0 of the mapping is the first address of the range. The mapping of
   * the file survives the deletion of the memslot.
   *
   * @param gpa the first guest physical address, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096
   * @param protection what the mapping may be used for
   * @return the mapping
   * @throws GuestMemfdException EINVAL if the range is not such a range below 2^52, or lies in more
   *     than one piece; ENOENT if a part of it has no memslot; EBADF if the file is gone; EFAULT if
   *     the host has no memory at the user address; as mmap
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

  /**
   * Discards the host's memory behind a range of guest addresses, as {@link HostRam#discard}: what
   * is shared of it reads zero then. What has no memslot, or no memory of the host, is left out,
   * and so is what a file has.
   *
   * @param gpa the first guest physical address, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096
   * @throws GuestMemfdException EINVAL if the range is not such a range below 2^52; as {@link
   *     HostRam#madvise}: what comes before has been discarded
   */
  public void discardHostMemory(long gpa, long size) {
    byGuestAddress.discardHostMemory(gpa, size);
  }

  /**
   * How much memory the memslots use, and how much of it twice. Takes time in proportion to what is
   * allocated; waits for nothing.
   *
   * @return the figures; exact while nothing is being changed, and if no memory is in two memslots
   */
  public MemoryUse memoryUse() {
    return byGuestAddress.use();
  }

  // ---- initial content ----

  /**
   * Gives private pages that have never been used their first content, before the guest runs:
   * {@code kvm_gmem_populate}, as a launch update of SEV-SNP or the initial region of TDX does.
   * Keep it apart from changes of the machine's attributes and of its memslots: the kernel has one
   * lock for all three ({@code slots_lock}), but here a page may turn shared while its hook runs.
   *
   * @param gpa the first guest physical address, a multiple of 4096
   * @param size the size in bytes, a positive multiple of 4096; cut to the memslot
   * @param source the content, from its position on, which is advanced by what is done; null for
   *     zeroes
   * @param hook called for each page, once its content is there: it hands the page over to the
   *     guest
   * @return how many bytes are done, a multiple of 4096: fewer than asked for if a later page fails
   * @throws GuestMemfdException EINVAL if the range is not such a range below 2^52, or there is no
   *     memslot with a file; EFAULT if the file is gone. If nothing has been done: EEXIST if the
   *     page has been used; EINVAL if it is shared; as {@link GuestMemfd#populate}
   * @throws IllegalArgumentException if the source is shorter than what lies in the memslot
   */
  public long populate(long gpa, long size, @Nullable ByteBuffer source, PopulateHook hook) {
    requireAlive("populate");
    return populate.populate(gpa, size, source, hook);
  }

  // ---- prefaulting ----

  /**
   * Maps a range for the guest, each page with its current attribute: {@code KVM_PRE_FAULT_MEMORY}.
   * Holes are allocated. An interrupt ends it before the next page.
   *
   * @param gpa the first guest physical address, a multiple of 4096; unsigned
   * @param size the size in bytes, a multiple of 4096 and not 0; unsigned
   * @return how many bytes have been mapped, at least 4096; fewer than asked for if a later page
   *     could not be mapped
   * @throws GuestMemfdException if nothing was mapped: EINVAL if the range is not such a range, or
   *     does not end below 2^64; ENOENT if there is no memslot; EINTR; and as the errnos of {@link
   *     VcpuExit.MemoryFault}
   */
  public long preFault(long gpa, long size) {
    return preFault.preFault(gpa, size);
  }

  /** The size of the memory, and the numbers of memslots and vCPUs; takes no lock. */
  @Override
  public String toString() {
    long size = 0;
    List<BoundSlot> bound = regions.memslots().all();
    for (BoundSlot slot : bound) {
      size += slot.memslot.size();
    }
    return "VirtualMachine[memslots="
        + bound.size()
        + ", size="
        + size
        + ", vCPUs="
        + Announce.read(vcpuIds).get()
        + "]";
  }
}
