package io.github.guestmemfd.platform;

import io.github.guestmemfd.abi.Errno;
import org.jspecify.annotations.Nullable;

/**
 * The hypervisor of a host with pKVM, at EL2: it alone says who owns a page. A page is the host's,
 * or a guest's and then either the guest's alone or shared with the host.
 *
 * <p>Each transition is of one page, and one atomic step; in the kernel it is made under the lock
 * of the host's component and then that of the guest's. Safe for use by any number of threads.
 */
public final class PkvmHypervisor {
  /** The transitions that can fail. */
  public enum Call implements HardwareCall {
    /** The host donates a page to a guest. */
    DONATE(Errno.ENOMEM),
    /** A guest shares a page with the host. */
    SHARE(Errno.EPERM),
    /** A guest takes a shared page back. */
    UNSHARE(Errno.EPERM),
    /** The host reclaims a page of a guest. */
    RECLAIM(Errno.EBUSY);

    private final Errno failure;

    Call(Errno failure) {
      this.failure = failure;
    }

    @Override
    public Errno failure() {
      return failure;
    }
  }

  /** A page as the host sees it. */
  public enum HostState {
    /** The host's own. */
    OWNED,
    /** A guest's, who shares it. */
    SHARED_BORROWED,
    /** A guest's: an access of the host is an abort. */
    NO_PAGE
  }

  /** A page that is a guest's. */
  record Owner(int guest, long ipa, boolean shared) {
    Owner withShared(boolean now) {
      return new Owner(guest, ipa, now);
    }
  }

  private final OwnedFrames<Owner> frames = new OwnedFrames<>();
  private final HardwareFaults<Call> faults = new HardwareFaults<>(Call.class);

  /** Makes the hypervisor of a host, which owns all pages. */
  public PkvmHypervisor() {}

  /**
   * The failures of transitions.
   *
   * @return the same each time
   */
  public HardwareFaults<Call> faults() {
    return faults;
  }

  /**
   * Whose a page is, as the host sees it.
   *
   * @param pfn the page frame number
   * @return the state, of this moment
   */
  public HostState hostState(int pfn) {
    Owner owner = frames.of(pfn);
    return owner == null
        ? HostState.OWNED
        : owner.shared ? HostState.SHARED_BORROWED : HostState.NO_PAGE;
  }

  /**
   * How many pages are guests', shared ones included.
   *
   * @return the number
   */
  public int ownedByGuests() {
    return frames.size();
  }

  int newGuest() {
    return frames.newGuest();
  }

  @Nullable Owner owner(int pfn) {
    return frames.of(pfn);
  }

  Errno donate(int pfn, Owner owner) {
    Errno errno = faults.next(Call.DONATE);
    return errno != Errno.OK || frames.give(pfn, owner) ? errno : Errno.EPERM;
  }

  /** Shares a page, or takes it back. */
  Errno share(int pfn, Owner owner, boolean shared) {
    Errno errno = faults.next(shared ? Call.SHARE : Call.UNSHARE);
    if (errno != Errno.OK) {
      return errno;
    }
    boolean done = owner.shared != shared && frames.change(pfn, owner, owner.withShared(shared));
    return done ? Errno.OK : Errno.EPERM;
  }

  Errno reclaim(int pfn, Owner owner) {
    Errno errno = faults.next(Call.RECLAIM);
    return errno != Errno.OK || frames.giveBack(pfn, owner) ? errno : Errno.EPERM;
  }
}
