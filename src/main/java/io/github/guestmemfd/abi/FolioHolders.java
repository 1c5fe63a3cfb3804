package io.github.guestmemfd.abi;

/**
 * The holders of the folio of a page, counted by kind, at one moment: the answer of {@link
 * io.github.guestmemfd.GuestMemfd#holders}.
 *
 * @param offset the page, in bytes from the start of the file, a multiple of 4096
 * @param pfn the frame; 0 for a hole, which has no holders
 * @param mapped page table entries of host mappings. A conversion removes them, so they are not in
 *     its way
 * @param unsafe other plain references, among them what has been grabbed as {@link
 *     HolderKind#UNSAFE}; in the way of a conversion
 * @param pinned pins, each of which the kernel counts as 1024 references; in the way of a
 *     conversion
 * @param accessible users that asked for the page to be accessible; in the way of a conversion
 * @param safe guest-side holders, as far as the protocol counts them. Others are among the unsafe
 */
public record FolioHolders(
    long offset, int pfn, int mapped, int unsafe, int pinned, int accessible, int safe) {

  /**
   * Whether there is no folio.
   *
   * @return true for a hole
   */
  public boolean isHole() {
    return pfn == 0;
  }

  @Override
  public String toString() {
    String where = "offset " + Hex.of(offset);
    return isHole()
        ? where + ": a hole"
        : where
            + ": "
            + mapped
            + " mapped, "
            + unsafe
            + " unsafe, "
            + pinned
            + " pinned, "
            + accessible
            + " accessible, "
            + safe
            + " safe";
  }
}
