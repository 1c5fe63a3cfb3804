package io.github.guestmemfd.faults;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameTable;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32;

/**
 * What the files of a bench are like, page by page.
 *
 * @param files of each file, in the order of creation, its pages; none if it is gone
 */
record State(List<List<Page>> files) {
  private static final long ZEROES = crc(new byte[Bench.PAGE]);

  /**
   * A page.
   *
   * @param accessible whether the host may touch it
   * @param neither whether a conversion is pending
   * @param cached whether there is a folio
   * @param content what it contains, as a checksum; zeroes for a hole
   */
  record Page(boolean accessible, boolean neither, boolean cached, long content) {

    boolean sameAttribute(Page other) {
      return accessible == other.accessible && neither == other.neither;
    }

    /** Whether this is one of two, or something on the way from one to the other. */
    boolean isBetween(Page before, Page after) {
      return (sameAttribute(before) || sameAttribute(after))
          && (cached == before.cached || cached == after.cached)
          && (content == before.content
              || content == after.content
              || (content == ZEROES && !before.cached));
    }

    /** The page before a conversion of it was pending. */
    Page undone() {
      return neither ? new Page(true, false, cached, content) : this;
    }
  }

  static State of(Bench bench) {
    List<List<Page>> files = new ArrayList<>();
    for (Bench.File file : bench.files) {
      List<Page> pages = new ArrayList<>();
      file.first()
          .reopen()
          .ifPresent(
              memfd -> {
                for (long i = 0; i < file.pages(); i++) {
                  pages.add(page(bench, memfd, i * Bench.PAGE));
                }
                memfd.close();
              });
      files.add(pages);
    }
    return new State(files);
  }

  private static Page page(Bench bench, GuestMemfd memfd, long offset) {
    FrameTable frames = Insides.frames(bench.host);
    long slot = Insides.slot(memfd, offset);
    int pfn = SlotWord.pfn(slot);
    boolean used = pfn != 0 && frames.isUptodate(pfn);
    long content = ZEROES;
    if (used) {
      CRC32 crc = new CRC32();
      crc.update(memfd.buffer(pfn));
      content = crc.getValue();
    }
    return new Page(!SlotWord.isInaccessible(slot), SlotWord.isNeither(slot), pfn != 0, content);
  }

  private static long crc(byte[] bytes) {
    CRC32 crc = new CRC32();
    crc.update(bytes);
    return crc.getValue();
  }

  /** Whether each page is as before, as after, or on the way. */
  boolean isBetween(State before, State after) {
    for (int f = 0; f < files.size(); f++) {
      List<Page> now = files.get(f);
      List<Page> was = before.pages(f, now);
      List<Page> is = after.pages(f, now);
      for (int i = 0; i < now.size(); i++) {
        if (!now.get(i).isBetween(was.get(i), is.get(i))) {
          return false;
        }
      }
    }
    return true;
  }

  /** The pages of a file; those given if it did not exist, or no more. */
  private List<Page> pages(int file, List<Page> otherwise) {
    List<Page> pages = file < files.size() ? files.get(file) : List.of();
    return pages.isEmpty() ? otherwise : pages;
  }

  /** The same with every pending conversion undone. */
  State undone() {
    return new State(
        files.stream().map(pages -> pages.stream().map(Page::undone).toList()).toList());
  }
}
