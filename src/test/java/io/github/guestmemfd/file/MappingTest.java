package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.AccessUnderWay;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.Counts;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Function;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A mapping that reaches over the end of its file, pages 1 to 5 of a file of 4; and what a change
 * of it leaves, whatever is thrown.
 */
class MappingTest {
  private final WaitProbe probe = new WaitProbe();
  private final Host host = new Host(8, options());
  private final FileOperations file =
      new FileOperations(
          host,
          Pages.bytes(4),
          CreateFlag.MMAP.bit() | CreateFlag.INIT_SHARED.bit(),
          null,
          ConversionProtocol.bothCounters(),
          RetryPolicy.failAtOnce());
  private final Mm<Mapping> mm = new Mm<>();
  private final Mapping mapping =
      new Mapping(mm, new OpenFile(file.inode), 1, Areas.of(5, Areas.bits(true, true)));

  private Host.Options options() {
    Host.Options options = new Host.Options();
    options.idle = probe;
    options.trackHolders = true;
    return options;
  }

  @Test
  void pagesPastTheEnd() {
    assertFalse(mapping.isPastEnd(0));
    assertFalse(mapping.isPastEnd(2));
    assertTrue(mapping.isPastEnd(3));
    assertTrue(mapping.isPastEnd(4));
  }

  @Test
  void inWords() {
    assertEquals(
        "HostMapping[offset=0x1000, length=20480, rw] of " + file.inode, mapping.toString());
  }

  /** What lies beside the mapping is its first page, or its end. */
  @Test
  void pagesOfAnIndex() {
    assertEquals(0, mapping.page(0));
    assertEquals(0, mapping.page(1));
    assertEquals(2, mapping.page(3));
    assertEquals(5, mapping.page(6));
    assertEquals(5, mapping.page(9));
    assertEquals(Pages.bytes(5), mapping.length());
  }

  @Test
  void aPageThatCannotBeHad() {
    String past = mapping.noPage(Errno.EFAULT, 3, "pin").getMessage();
    assertTrue(past.contains("pin: the page at offset 0x3000 cannot be had: it is past"), past);
    for (String other :
        new String[] {
          mapping.noPage(Errno.EFAULT, 2, "pin").getMessage(),
          mapping.noPage(Errno.ENOMEM, 3, "pin").getMessage()
        }) {
      assertFalse(other.contains("past the end"), other);
    }
  }

  @Test
  void isClosedOnce() {
    assertFalse(mapping.isClosed());
    mapping.requireMapped();
    assertTrue(mapping.tryClose());
    assertTrue(mapping.isClosed());
    assertFalse(mapping.tryClose());
    assertThrows(IllegalStateException.class, mapping::requireMapped);
  }

  /** It leaves the file's mappings first. */
  @Test
  void givesUpTheFileOnce() {
    assertFalse(mapping.tryRelease());
    assertTrue(mapping.tryLeave());
    assertFalse(mapping.tryLeave());
    assertTrue(mapping.tryRelease());
    assertFalse(mapping.tryRelease());
  }

  /** A page that is there and was never used loses its entry on a move, and its frame is let go. */
  @Test
  void onlyAPageThatIsReadyKeepsItsEntry() {
    assertEquals(Errno.OK, file.allocation.allocate(1, 3));
    int used = file.lookup.get(1, Counts.REF, Wanted.ACCESSIBLE);
    host.frames.put(used, Counts.REF);
    file.hostFault.copyEntry(mapping, 0);
    file.hostFault.copyEntry(mapping, 1);
    file.hostFault.copyEntry(mapping, 2); // there is none
    assertEquals(used, PageTable.pfn(mapping.table.entry(0)));
    assertEquals(0, mapping.table.entry(1));
    assertEquals(0, mapping.table.entry(2));
    assertEquals(Counts.CACHE_REF + Counts.REF, host.frames.counts(used));
    int unused = SlotWord.pfn(file.inode.cache.slot(2));
    assertEquals(Counts.CACHE_REF, host.frames.counts(unused));
  }

  // ---- changes ----

  /** The mapping is one of the file's, as mmap makes it. */
  private void add() {
    assertTrue(file.inode.tryOpen());
    file.reverseMap.add(mapping);
    mm.add(mapping, mapping);
  }

  /** Maps a page of the mapping, and returns its frame. */
  private int fault(long page) {
    assertEquals(0, file.hostFault.fault(mapping, page, false));
    return PageTable.pfn(mapping.table.entry(page));
  }

  private void munmap(long page, long pages) {
    file.remap.munmap(mapping, Pages.bytes(page), Pages.bytes(pages));
  }

  /** What is left of the file, once its descriptor is closed too. */
  private void assertGone() {
    assertEquals(List.of(), file.reverseMap.mappings());
    assertTrue(host.register.entries().isEmpty(), host::dump);
    file.inode.close();
    assertTrue(file.inode.isGone());
    host.close(); // no file is open
  }

  /** The page before the mapping, its first two and the one behind it. */
  @Test
  void whoHasAFrameMapped() {
    add();
    int pfn = fault(0);
    assertEquals(0, file.reverseMap.mapped(0, pfn));
    assertEquals(1, file.reverseMap.mapped(1, pfn));
    assertEquals(0, file.reverseMap.mapped(1, pfn + 1));
    assertEquals(0, file.reverseMap.mapped(2, pfn));
    assertEquals(0, file.reverseMap.mapped(6, pfn));
    Mapping other = move(0, 0, 5);
    assertEquals(1, file.reverseMap.mapped(1, pfn));
    assertEquals(0, file.hostFault.fault(other, 0, false));
    assertEquals(2, file.reverseMap.mapped(1, pfn));
    file.remap.close(mapping);
    file.remap.close(other);
    assertGone();
  }

  @Test
  void accessesToFoliosThatChangeAreWaitedFor() throws Exception {
    add();
    int pfn = fault(0);
    CountDownLatch over = new CountDownLatch(1);
    Worker<Void> access = AccessUnderWay.begin(host.frames.accesses, pfn, over);
    Worker<Void> changing = await(true);
    await(false).result();
    probe.awaitWaiting(changing);
    over.countDown();
    access.result();
    changing.result();
    file.remap.close(mapping);
    assertGone();
  }

  private Worker<Void> await(boolean inaccessible) {
    return Worker.start(
        () -> {
          file.reverseMap.awaitAccessesToChanging(0, 4, inaccessible);
          return null;
        });
  }

  @Test
  void leavesTheFileWhenNothingIsMapped() {
    add();
    assertEquals(1, host.register.entries().size());
    fault(0);
    munmap(0, 1);
    munmap(2, 1);
    assertEquals(List.of(mapping), file.reverseMap.mappings());
    munmap(0, 5);
    assertGone();
  }

  @Test
  void leavesTheFileWhenItIsClosed() {
    add();
    fault(0);
    file.remap.close(mapping);
    file.remap.close(mapping);
    assertGone();
  }

  /** A reference that another has given back by mistake; the file is given up all the same. */
  @Test
  void leavesTheFileAlsoWhenAPutThrows() {
    add();
    host.frames.put(fault(0), Counts.REF);
    assertThrows(IllegalStateException.class, () -> munmap(0, 5));
    assertGone();
  }

  /** The last unmapping removes what one that was interrupted has left, before it and behind. */
  @Test
  void theLastUnmappingRemovesWhatAnInterruptedOneHasLeft() {
    add();
    int pfn = fault(0);
    int other = fault(2);
    mapping.change(0, 5, bits -> Areas.UNMAPPED);
    munmap(1, 1);
    assertEquals(Counts.CACHE_REF, host.frames.counts(pfn));
    assertEquals(Counts.CACHE_REF, host.frames.counts(other));
    assertGone();
  }

  /** So does a move of the last part. */
  @Test
  void theLastMoveRemovesWhatAnInterruptedUnmappingHasLeft() {
    add();
    int pfn = fault(0);
    int other = fault(2);
    mapping.change(0, 1, bits -> Areas.UNMAPPED);
    mapping.change(2, 5, bits -> Areas.UNMAPPED);
    Mapping moved = move(1, 1, 1);
    assertEquals(List.of(moved), file.reverseMap.mappings());
    assertEquals(Counts.CACHE_REF, host.frames.counts(pfn));
    assertEquals(Counts.CACHE_REF, host.frames.counts(other));
    file.remap.close(moved);
    assertGone();
  }

  /** While an unmapping waits for the accesses under way, no other begins by its entries. */
  @ParameterizedTest
  @ValueSource(strings = {"munmap", "close", "conversion"})
  void entriesAreRevokedFirst(String how) throws Exception {
    add();
    int pfn = fault(0);
    CountDownLatch over = new CountDownLatch(1);
    Worker<Void> access = AccessUnderWay.begin(host.frames.accesses, pfn, over);
    Worker<Void> unmapping =
        Worker.start(
            () -> {
              switch (how) {
                case "munmap" -> munmap(0, 5);
                case "close" -> file.remap.close(mapping);
                default -> file.reverseMap.unmap(0, 4);
              }
              return null;
            });
    probe.awaitWaiting(unmapping);
    assertEquals(pfn, PageTable.held(mapping.table.entry(0)));
    assertTrue(PageTable.isPending(mapping.table.entry(0)));
    over.countDown();
    access.result();
    unmapping.result();
    assertEquals(0, PageTable.held(mapping.table.entry(0)));
    file.remap.close(mapping);
    assertGone();
  }

  /** That it is closed comes before what is wrong with the arguments. */
  @Test
  void whatIsClosedSaysSoFirst() {
    add();
    file.remap.close(mapping);
    assertThrows(IllegalStateException.class, () -> file.remap.munmap(mapping, 1, 1));
    assertThrows(IllegalStateException.class, () -> mremap(mapping, 1, 1, 1));
    assertThrows(
        IllegalStateException.class, () -> file.remap.mprotect(mapping, 1, 1, ProtectionBits.of()));
    assertGone();
  }

  /** An interrupt ends the unmapping of pages; those that it has reached stay revoked. */
  @Test
  void anUnmappingIsInterrupted() throws Exception {
    add();
    fault(0);
    fault(1);
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, () -> file.reverseMap.unmap(1, 3));
    assertTrue(PageTable.isPending(mapping.table.entry(0)));
    assertFalse(PageTable.isPending(mapping.table.entry(1)));
    file.reverseMap.unmap(1, 3);
    assertEquals(0, PageTable.held(mapping.table.entry(0)));
    assertEquals(0, PageTable.held(mapping.table.entry(1)));
    file.remap.close(mapping);
    assertGone();
  }

  @Test
  void isClosedMeanwhile() {
    add();
    Meanwhile.beforeWriteTo(
        AtomicBoolean.class, // its lock
        1,
        () -> assertTrue(mapping.tryClose()),
        () -> assertThrows(IllegalStateException.class, () -> munmap(0, 1)));
    assertTrue(mapping.isMapped(0));
    assertThrows(
        IllegalStateException.class, () -> file.remap.mprotect(mapping, 0, 0, ProtectionBits.of()));
  }

  @Test
  void thereIsNoMemoryForAMove() {
    add();
    int pfn = fault(0);
    OutOfMemoryError planned = new OutOfMemoryError("planned");
    Meanwhile.beforeWriteTo(
        CopyOnWriteArrayList.class,
        1,
        () -> {
          throw planned;
        },
        () -> assertThrows(OutOfMemoryError.class, () -> move(0, 1, 1)));
    assertEquals(pfn, PageTable.held(mapping.table.entry(0)));
    file.remap.close(mapping);
    assertGone();
  }

  private Mapping move(long page, long was, long is) {
    return mremap(mapping, Pages.bytes(page), Pages.bytes(was), Pages.bytes(is));
  }

  private Mapping mremap(Mapping of, long offset, long was, long is) {
    return file.remap.mremap(mm, of, offset, was, is, Function.identity());
  }

  /** What the unmapping of the old part throws undoes the move. */
  @Test
  void aMoveThatThrowsIsUndone() throws Exception {
    add();
    host.frames.put(fault(0), Counts.REF);
    assertTrue(file.inode.cache.lock(1, 2)); // it is busy: the move makes no entry of it
    assertThrows(IllegalStateException.class, Worker.start(() -> move(0, 1, 1))::result);
    file.inode.cache.unlock(1, 2);
    assertEquals(List.of(mapping), file.reverseMap.mappings());
    file.remap.close(mapping);
    assertGone();
  }

  /** What is advised before the moved part is known to others moves with it. */
  @ParameterizedTest
  @ValueSource(ints = {2, 7})
  void whatIsAdvisedDuringAMove(int pages) {
    add();
    Mapping moved =
        file.remap.mremap(
            mm,
            mapping,
            Pages.bytes(1),
            Pages.bytes(2),
            Pages.bytes(pages),
            to -> {
              assertEquals(pages, to.areas().mappedUpTo(0, pages));
              mapping.change(1, 3, bits -> bits | Areas.HUGEPAGE);
              return to;
            });
    assertTrue((moved.areas().at(0) & Areas.HUGEPAGE) != 0);
    assertEquals(pages, moved.areas().mappedUpTo(0, pages));
    assertEquals(List.of(mapping, moved), mm.mappings());
    file.remap.close(moved);
    file.remap.close(mapping);
    assertGone();
  }

  /** A length that is below 0 is long: what is mapped is looked at before it is refused. */
  @Test
  void aLengthBelow0IsLong() {
    add();
    GuestMemfdException e =
        assertThrows(
            GuestMemfdException.class, () -> mremap(mapping, 0, -Pages.SIZE, Pages.bytes(6)));
    assertEquals(Errno.EFAULT, e.errno());
    e =
        assertThrows(
            GuestMemfdException.class, () -> mremap(mapping, 0, -Pages.SIZE, Pages.bytes(5)));
    assertEquals(Errno.EINVAL, e.errno());
    file.remap.close(mapping);
    assertGone();
  }

  /** References have been dropped by mistake: what the undoing throws comes last. */
  @Test
  void whatTheUndoingOfAMoveThrows() {
    add();
    int pfn = fault(0);
    assertThrows(
        IllegalStateException.class,
        () ->
            file.remap.mremap(
                mm,
                mapping,
                0,
                Pages.SIZE,
                Pages.SIZE,
                to -> {
                  host.frames.put(pfn, Counts.REF);
                  host.frames.put(pfn, Counts.REF);
                  throw new IllegalArgumentException("planned");
                }));
    assertThrows(IllegalStateException.class, () -> file.remap.close(mapping));
    assertGone();
  }

  @Test
  void theLongestMove() {
    add();
    long most = Pages.index(Mapping.TASK_SIZE) - 1;
    Mapping longest = move(0, 1, most);
    assertEquals(most, longest.pages);
    Mapping shortened = mremap(longest, 0, Pages.bytes(most), Pages.SIZE);
    assertEquals(1, shortened.pages);
    file.remap.close(mapping);
    file.remap.close(longest);
    file.remap.munmap(shortened, 0, Mapping.TASK_SIZE);
    assertGone();
  }

  // ---- references ----

  @Test
  void referencesSayWhetherTheyAreAll() {
    add();
    UserPages pages = new UserPages(mapping, file.hostFault);
    UserPages.Taken all = pages.reference(8, Pages.bytes(2), Counts.UNSAFE_REF);
    assertEquals(3, all.pfns().length);
    assertEquals(Pages.bytes(2), all.length());
    assertEquals(Errno.OK, all.end());
    UserPages.Taken some = pages.reference(8, Pages.bytes(5), Counts.UNSAFE_REF);
    assertEquals(3, some.pfns().length);
    assertEquals(Pages.bytes(3) - 8, some.length());
    assertEquals(Errno.EFAULT, some.end());
    pages.giveBack(all, Counts.UNSAFE_REF);
    assertEquals(1, Counts.unsafe(host.frames.counts(all.pfns()[0])));
    pages.giveBack(some, Counts.UNSAFE_REF);
    assertEquals(0, Counts.unsafe(host.frames.counts(all.pfns()[0])));
    file.remap.close(mapping);
    assertThrows(IllegalStateException.class, () -> pages.reference(0, 0, Counts.UNSAFE_REF));
    assertGone();
  }

  @AfterEach
  void isNotInterrupted() { // though a test has failed
    Thread.interrupted();
  }
}
