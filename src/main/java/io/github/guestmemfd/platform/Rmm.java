package io.github.guestmemfd.platform;

import io.github.guestmemfd.abi.Errno;

/**
 * The realm management monitor of a host with Arm CCA, which keeps the granules that are not the
 * host's: those that the host has delegated, and of these the data of realms.
 *
 * <p>Safe for use by any number of threads.
 */
public final class Rmm {
  /** The calls that can fail. */
  public enum Call implements HardwareCall {
    /** RMI_GRANULE_DELEGATE: the host gives a granule away. */
    DELEGATE,
    /** RMI_DATA_CREATE: the granule gets content, before the realm runs. */
    DATA_CREATE,
    /** RMI_DATA_CREATE_UNKNOWN: the granule is mapped without content, for a fault. */
    DATA_CREATE_UNKNOWN,
    /** RMI_DATA_DESTROY: the granule is unmapped. */
    DATA_DESTROY,
    /** RMI_GRANULE_UNDELEGATE: the granule is wiped, and the host's again. */
    UNDELEGATE,
    /** RMI_REALM_ACTIVATE: the measurement is complete. */
    ACTIVATE;

    @Override
    public Errno failure() {
      return Errno.EIO;
    }
  }

  /** A granule that is not the host's. The realm is 0 if it is only delegated. */
  record Granule(int realm, long ipa) {}

  private static final Granule DELEGATED = new Granule(0, 0);

  private final OwnedFrames<Granule> frames = new OwnedFrames<>();
  private final HardwareFaults<Call> faults = new HardwareFaults<>(Call.class);

  /** Makes the monitor of a host, which has all granules. */
  public Rmm() {}

  /**
   * The failures of the monitor.
   *
   * @return the same each time
   */
  public HardwareFaults<Call> faults() {
    return faults;
  }

  /**
   * Whether a granule is not the host's: an access of the host is a granule protection fault.
   *
   * @param pfn the page frame number
   * @return the answer
   */
  public boolean isDelegated(int pfn) {
    return frames.of(pfn) != null;
  }

  /**
   * How many granules are not the host's.
   *
   * @return the number
   */
  public int delegated() {
    return frames.size();
  }

  int newRealm() {
    return frames.newGuest();
  }

  Errno delegate(int pfn) {
    Errno errno = faults.next(Call.DELEGATE);
    return errno != Errno.OK || frames.give(pfn, DELEGATED) ? errno : Errno.EIO;
  }

  /** A call that makes a delegated granule the data of a realm. */
  Errno create(Call call, int pfn, Granule data) {
    Errno errno = faults.next(call);
    return errno != Errno.OK || frames.change(pfn, DELEGATED, data) ? errno : Errno.EIO;
  }

  Errno destroy(int pfn, Granule data) {
    Errno errno = faults.next(Call.DATA_DESTROY);
    return errno != Errno.OK || frames.change(pfn, data, DELEGATED) ? errno : Errno.EIO;
  }

  Errno undelegate(int pfn) {
    Errno errno = faults.next(Call.UNDELEGATE);
    return errno != Errno.OK || frames.giveBack(pfn, DELEGATED) ? errno : Errno.EIO;
  }

  Errno activate() {
    return faults.next(Call.ACTIVATE);
  }
}
