package io.github.guestmemfd.platform;

import io.github.guestmemfd.abi.Errno;
import org.jspecify.annotations.Nullable;

/**
 * The module of a host with Intel TDX, which alone changes what a trust domain has mapped: the
 * secure page tables (S-EPT), and the owner of each frame (PAMT). Pages are of 4 KiB.
 *
 * <p>Each call may find the module busy, {@link Errno#EBUSY}, or fail. Safe for use by any number
 * of threads.
 */
public final class TdxModule {
  /** The calls that can fail. */
  public enum Call implements HardwareCall {
    /** TDH.MEM.PAGE.ADD: a page with content, before the domain runs. */
    ADD,
    /** TDH.MEM.PAGE.AUG: a page without content, for a fault. */
    AUG,
    /** TDH.MEM.RANGE.BLOCK: no new translation. */
    BLOCK,
    /** TDH.MEM.TRACK: vCPUs forget old translations when they have left the guest once. */
    TRACK,
    /** TDH.MEM.PAGE.REMOVE: the frame is no longer the domain's. */
    REMOVE,
    /** TDH.PHYMEM.PAGE.WBINVD: the caches are written back by the domain's key. */
    WBINVD,
    /** TDH.MR.FINALIZE: the measurement is complete. */
    FINALIZE;

    @Override
    public Errno failure() {
      return Errno.EIO;
    }
  }

  /** Whose frame it is, and where the domain has it. */
  record Owner(int domain, long gpa) {}

  private final OwnedFrames<Owner> frames = new OwnedFrames<>();
  private final HardwareFaults<Call> faults = new HardwareFaults<>(Call.class);

  /** Makes the module of a host. */
  public TdxModule() {}

  /**
   * The failures of the module.
   *
   * @return the same each time
   */
  public HardwareFaults<Call> faults() {
    return faults;
  }

  /**
   * Whether a frame belongs to a trust domain. The host must not touch it then.
   *
   * @param pfn the page frame number
   * @return the answer
   */
  public boolean isOwned(int pfn) {
    return frames.of(pfn) != null;
  }

  /**
   * How many frames belong to trust domains.
   *
   * @return the number
   */
  public int owned() {
    return frames.size();
  }

  int newDomain() {
    return frames.newGuest();
  }

  /** A call that gives a frame to a domain. A frame that is not free is refused. */
  Errno give(Call call, int pfn, Owner owner) {
    Errno errno = faults.next(call);
    return errno != Errno.OK || frames.give(pfn, owner) ? errno : Errno.EIO;
  }

  /** A call that changes no owner. */
  Errno call(Call call) {
    return faults.next(call);
  }

  Errno remove(int pfn, Owner owner) {
    Errno errno = faults.next(Call.REMOVE);
    return errno != Errno.OK || frames.giveBack(pfn, owner) ? errno : Errno.EIO;
  }

  @Nullable Owner owner(int pfn) {
    return frames.of(pfn);
  }
}
