package io.github.guestmemfd.platform;

import io.github.guestmemfd.abi.Errno;
import org.jspecify.annotations.Nullable;

/**
 * The reverse map table of a host with AMD SEV-SNP, and the firmware of its secure processor: which
 * frame belongs to which guest at which guest address. All frames belong to the host at first.
 * Every entry is of 4 KiB: larger ones, and {@code PSMASH}, which splits them, come with large
 * folios.
 *
 * <p>Emulates what Linux reaches by {@code snp_lookup_rmpentry}, {@code rmp_make_private}, {@code
 * rmp_make_shared} and the firmware commands of a launch. Safe for use by any number of threads.
 */
public final class Rmp {
  /** The calls that can fail. */
  public enum Call implements HardwareCall {
    /** An entry is looked up. */
    LOOKUP(Errno.ENOENT),
    /** RMPUPDATE gives a frame to a guest. */
    MAKE_PRIVATE(Errno.EINVAL),
    /** RMPUPDATE gives a frame back to the host. */
    MAKE_SHARED(Errno.EINVAL),
    /** The firmware encrypts and measures a page of a launch: SNP_LAUNCH_UPDATE. */
    LAUNCH_UPDATE(Errno.EIO),
    /** The firmware ends a launch: SNP_LAUNCH_FINISH. */
    LAUNCH_FINISH(Errno.EIO);

    private final Errno failure;

    Call(Errno failure) {
      this.failure = failure;
    }

    @Override
    public Errno failure() {
      return failure;
    }
  }

  /** An entry of a frame that is assigned. */
  record Entry(int asid, long gpa, boolean immutable) {}

  private final OwnedFrames<Entry> frames = new OwnedFrames<>();
  private final HardwareFaults<Call> faults = new HardwareFaults<>(Call.class);

  /** Makes the table of a host. */
  public Rmp() {}

  /**
   * The failures of the table and the firmware.
   *
   * @return the same each time
   */
  public HardwareFaults<Call> faults() {
    return faults;
  }

  /**
   * Whether a frame is assigned to a guest: the host may read it then, and sees ciphertext, and may
   * not write to it.
   *
   * @param pfn the page frame number
   * @return the answer, without a call that can fail
   */
  public boolean isAssigned(int pfn) {
    return frames.of(pfn) != null;
  }

  /**
   * How many frames are assigned to guests. What is still assigned when the files of all guests are
   * closed is lost to the host.
   *
   * @return the number
   */
  public int assigned() {
    return frames.size();
  }

  int newAsid() {
    return frames.newGuest();
  }

  /** The entry of a frame, without a call that can fail. */
  @Nullable Entry entry(int pfn) {
    return frames.of(pfn);
  }

  Errno lookup() {
    return faults.next(Call.LOOKUP);
  }

  Errno makePrivate(int pfn, Entry entry) {
    Errno errno = faults.next(Call.MAKE_PRIVATE);
    return errno != Errno.OK || frames.give(pfn, entry) ? errno : Errno.EINVAL;
  }

  Errno makeShared(int pfn, Entry entry) {
    Errno errno = faults.next(Call.MAKE_SHARED);
    return errno != Errno.OK || frames.giveBack(pfn, entry) ? errno : Errno.EINVAL;
  }

  Errno launchUpdate() {
    return faults.next(Call.LAUNCH_UPDATE);
  }

  Errno launchFinish() {
    return faults.next(Call.LAUNCH_FINISH);
  }
}
