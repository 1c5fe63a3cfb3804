package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.observe.Meter;

/** The faults of accesses to a mapping, and what an access gets whose page cannot be had. */
final class AccessFaults {
  private final Mapping mapping;
  private final Inode inode;
  private final HostFault hostFault;

  /**
   * Faults on pages of a mapping.
   *
   * @param mapping the mapping
   * @param hostFault maps its pages
   */
  AccessFaults(Mapping mapping, HostFault hostFault) {
    this.mapping = mapping;
    this.inode = mapping.inode;
    this.hostFault = hostFault;
  }

  /** Maps a page; false if it cannot be mapped. */
  boolean tryFault(long page, boolean forWrite) {
    int result = accessFault(page, forWrite);
    return result == 0 || result == HostFault.UNMAPPED; // which the areas say too
  }

  /** A fault by an access: one that is refused for what the page is, is a SIGBUS. */
  private int accessFault(long page, boolean forWrite) {
    int result = hostFault.fault(mapping, page, forWrite);
    if (result == Lookup.SIGBUS || result == -Errno.EHWPOISON.code()) {
      inode.meters.count(Meter.SIGBUS);
    }
    return result;
  }

  /** Maps a page, or throws what the access gets. */
  void faultIn(long page, long offset, boolean forWrite) {
    int result = accessFault(page, forWrite);
    if (result == Lookup.SIGBUS) {
      throw new SigBusException(
          offset,
          SigBusException.Code.BUS_ADRERR,
          mapping.isPastEnd(page)
              ? "past the end of " + inode
              : inode.page(mapping.firstIndex + page) + " is inaccessible");
    }
    if (result == -Errno.EHWPOISON.code()) {
      throw new SigBusException(
          offset,
          SigBusException.Code.BUS_MCEERR_AR,
          "the memory of " + inode.page(mapping.firstIndex + page) + " has failed");
    }
    if (result < 0 && result != HostFault.UNMAPPED) { // that the areas say too
      throw inode.refused(
          Errno.ofResult(result), "fault at offset " + Hex.of(offset) + " of " + mapping);
    }
  }
}
