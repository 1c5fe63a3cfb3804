package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameOwners;
import io.github.guestmemfd.memory.FrameTable;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The operations on a guest_memfd file, in one part for each topic: the kernel's {@code
 * file_operations} and {@code address_space_operations}.
 */
public final class FileOperations implements FrameOwners.Listener {
  /** The file itself. */
  public final Inode inode;

  /** Finds folios for the host. */
  public final Lookup lookup;

  /** Holds folios for the guest. */
  public final GuestRefs guest;

  /** Finds frames for the guest, without a reference. */
  public final GetPfn getPfn;

  /** Maps pages for the host's accesses. */
  public final HostFault hostFault;

  /** The host's mappings. */
  public final ReverseMap reverseMap;

  /** Changes them. */
  public final Remap remap;

  /** Sets the policies of mappings. */
  public final Mempolicy mempolicy;

  /** Allocates. */
  public final Allocation allocation;

  /** Punches. */
  public final Truncation truncation;

  /** Converts. */
  public final Conversion conversion;

  /** Converts later. */
  public final PendingConversionDriver pendingDriver;

  /** Takes pages away whose memory has failed. */
  public final MemoryFailure memoryFailure;

  /** Counts holders. */
  public final HolderCounts holders;

  /** Writes, and populates. */
  public final Fill fill;

  /** Reads without a reference. */
  public final OptimisticRead optimisticRead;

  final GuestSteps steps;
  final RangeLock rangeLock;

  /** Those of the inode, and what one step takes for a guest-side holder, or 0: one load away. */
  private final PageCache cache;

  private final FrameTable frames;
  private final long guestUnit;

  final PendingConversions pendings;
  private final Preparation preparation;
  private final Release release;

  /**
   * Creates a file as in Linux 6.18.
   *
   * @param host where its frames come from
   * @param size its size in bytes, a positive multiple of 4096
   * @param flags the bits of {@link CreateFlag}
   * @param client the client whose callbacks it makes; null for none
   * @param protocol how guest-side holders hold folios, and when these may turn inaccessible
   * @param retry what a conversion does while they may not
   * @throws IllegalArgumentException if the steps of the protocol make no sense
   */
  public FileOperations(
      Host host,
      long size,
      long flags,
      @Nullable FileClient client,
      ConversionProtocol protocol,
      RetryPolicy retry) {
    this(host, size, flags, Set.of(), client, protocol, retry);
  }

  /**
   * Creates a file.
   *
   * @param host where its frames come from
   * @param size its size in bytes, a positive multiple of 4096
   * @param flags the bits of {@link CreateFlag}
   * @param traits what it does that a file of Linux 6.18 does not
   * @param client the client whose callbacks it makes; null for none
   * @param protocol how guest-side holders hold folios, and when these may turn inaccessible
   * @param retry what a conversion does while they may not
   * @throws IllegalArgumentException if the steps of the protocol make no sense
   */
  public FileOperations(
      Host host,
      long size,
      long flags,
      Set<FileTrait> traits,
      @Nullable FileClient client,
      ConversionProtocol protocol,
      RetryPolicy retry) {
    steps = new GuestSteps(protocol); // refuses what makes no sense
    boolean locksWholeFile = protocol.locksWholeFile();
    inode = new Inode(host, size, flags, traits, steps.borrows, this, this::end);
    try {
      Callbacks callbacks = new Callbacks(inode, client);
      preparation = new Preparation(inode, callbacks);
      cache = inode.cache;
      frames = inode.frames;
      guestUnit = steps.oneStep ? steps.unit : 0;
      lookup = new Lookup(inode, preparation);
      guest = new GuestRefs(inode, lookup, steps);
      getPfn = new GetPfn(inode, guest, callbacks);
      fill = new Fill(inode, lookup, callbacks);
      optimisticRead = new OptimisticRead(inode);
      hostFault = new HostFault(inode, lookup);
      reverseMap = new ReverseMap(inode);
      remap = new Remap(inode, reverseMap, hostFault);
      mempolicy = new Mempolicy(inode, remap);
      holders = new HolderCounts(inode, reverseMap, steps);
      allocation = new Allocation(inode, lookup);
      rangeLock = new RangeLock(inode, locksWholeFile);
      pendings = new PendingConversions(inode, rangeLock);
      RefCheck refCheck = new RefCheck(inode, protocol, steps);
      truncation = new Truncation(inode, pendings, refCheck, reverseMap, callbacks, retry);
      conversion =
          new Conversion(inode, pendings, refCheck, reverseMap, callbacks, preparation, retry);
      pendingDriver =
          new PendingConversionDriver(
              inode, rangeLock, pendings, conversion, refCheck, holders, retry);
      memoryFailure = new MemoryFailure(inode, rangeLock, reverseMap, callbacks);
      release = new Release(inode, pendings, reverseMap, callbacks);
    } catch (Throwable e) { // the protocol has thrown, or there was no memory
      inode.abandon();
      throw e;
    }
  }

  private void end(Failures failures) {
    release.end(failures);
  }

  /**
   * A reference for a client of the file.
   *
   * @param index the page
   * @param kind what the reference means to a conversion
   * @return the frame; or a negated errno, EFAULT or EAGAIN for what is not there for it
   */
  public int grab(long index, HolderKind kind) {
    boolean ofGuest = kind == HolderKind.SAFE;
    long unit = ofGuest ? guestUnit : unit(kind);
    int pfn = unit == 0 ? 0 : cache.grab(index, unit, ofGuest ? Wanted.ANY : Wanted.ACCESSIBLE);
    return pfn != 0 ? pfn : grabInSteps(index, kind);
  }

  private int grabInSteps(long index, HolderKind kind) {
    return kind == HolderKind.SAFE ? guest.take(index) : lookup.get(index, unit(kind));
  }

  /**
   * Gives back what {@link #grab} took.
   *
   * @param index the page, for the race points; -1 if it is not known
   * @param pfn the frame
   * @param kind the kind
   * @throws IllegalStateException if there is no such reference; nothing is given back
   */
  public void put(long index, int pfn, HolderKind kind) {
    long unit = kind == HolderKind.SAFE ? guestUnit : unit(kind);
    if (unit == 0) {
      guest.drop(index, pfn);
    } else {
      frames.put(pfn, unit);
    }
  }

  private static long unit(HolderKind kind) {
    return kind == HolderKind.ACCESSIBLE ? Counts.ACCESSIBLE_REF : Counts.UNSAFE_REF;
  }

  @Override
  public void freeing(int pfn) {
    preparation.freeing(pfn);
  }

  @Override
  public void afterFree() {
    CallbackContext.runIfOut(); // the callback may have let go of something
  }
}
