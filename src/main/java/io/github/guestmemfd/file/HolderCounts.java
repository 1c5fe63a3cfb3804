package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.FolioHolders;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.Counts;

/** Counts the holders of the folios of a file. */
public final class HolderCounts {
  private final Inode inode;
  private final ReverseMap reverseMap;
  private final GuestSteps guest;

  HolderCounts(Inode inode, ReverseMap reverseMap, GuestSteps guest) {
    this.inode = inode;
    this.reverseMap = reverseMap;
    this.guest = guest;
  }

  /**
   * The holders of the folio of a page.
   *
   * @param index the page
   * @return the numbers, by kind
   */
  public FolioHolders of(long index) {
    long offset = Pages.bytes(index);
    int pfn = SlotWord.pfn(inode.cache.slot(index));
    if (pfn == 0) {
      return new FolioHolders(offset, 0, 0, 0, 0, 0, 0);
    }
    long counts = inode.frames.counts(pfn);
    int mapped = reverseMap.mapped(index, pfn);
    int known = guest.safeRefs(counts) + mapped;
    return new FolioHolders(
        offset,
        pfn,
        mapped,
        Counts.plain(counts, known),
        Counts.pins(counts, known),
        Counts.accessible(counts),
        guest.safe(counts));
  }
}
