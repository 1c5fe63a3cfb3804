package io.github.guestmemfd.conformance;

import static io.github.guestmemfd.abi.Protection.EXEC;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.cache.PageTable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What munmap, mprotect and mremap of a part of a mapping answer, and what is left of it. */
class PartsOfMappingTest extends ConformanceFixture {
  private static final long SHARED_AT_FIRST = 3;
  private static final long TASK_SIZE = (1L << 47) - PAGE;

  private GuestMemfd memfd;
  private HostMapping map;

  @BeforeEach
  void map() {
    memfd = file(16, SHARED_AT_FIRST);
    map = map(memfd);
    for (int page = 0; page < 8; page++) {
      map.putLong(page * PAGE, page + 1);
    }
  }

  private static boolean isMapped(HostMapping mapping, int page) {
    return PageTable.held(Insides.entry(mapping, page)) != 0;
  }

  private static void isSigSegv(HostMapping mapping, long offset) {
    assertThatThrownBy(() -> mapping.getByte(offset))
        .isInstanceOfSatisfying(
            SigSegvException.class, e -> assertThat(e.offset()).isEqualTo(offset));
  }

  // ---- munmap ----

  @Test
  void whatIsUnmappedIsAHoleAndTheRestGoesOn() {
    map.munmap(4 * PAGE, 2 * PAGE);
    assertThat(map.getLong(3 * PAGE)).isEqualTo(4);
    isSigSegv(map, 4 * PAGE);
    isSigSegv(map, 6 * PAGE - 1);
    assertThat(map.getLong(6 * PAGE)).isEqualTo(7);
    assertThat(memfd.cachedPages()).isEqualTo(8);
    assertThat(isMapped(map, 4)).isFalse();
    assertThat(isMapped(map, 3)).isTrue();
    map.putLong(16 * PAGE - 8, 1); // a new fault
    map.munmap(-PAGE, 2 * PAGE); // also before the start
    isSigSegv(map, 0);
    map.munmap(15 * PAGE, 9 * PAGE); // and over the end
    isSigSegv(map, 15 * PAGE);
    map.munmap(4 * PAGE, PAGE); // is unmapped already
    map.munmap(6 * PAGE, 1);
    isSigSegv(map, 7 * PAGE - 1);
    assertThat(map.getLong(7 * PAGE)).isEqualTo(8);
  }

  @Test
  void aNumberOverTheEdgeOfAHoleIsASigSegvThere() {
    map.munmap(PAGE, PAGE);
    for (Runnable access :
        new Runnable[] {
          () -> map.getLong(PAGE - 4),
          () -> map.putLong(PAGE - 4, -1),
          () -> map.get(PAGE - 4, new byte[8], 0, 8)
        }) {
      assertThatThrownBy(access::run)
          .isInstanceOfSatisfying(
              SigSegvException.class, e -> assertThat(e.offset()).isEqualTo(PAGE));
    }
    assertThat(map.getInt(PAGE - 4)).isZero(); // nothing was stored
  }

  @ParameterizedTest
  @CsvSource({
    "1, 4096",
    "1, 0",
    "0, 0",
    "0, -1",
    "0, -4096",
    "0, 0x800000000000",
    "0, 0x4000000000000000"
  })
  void munmapIsRefused(String offset, String length) {
    long at = Long.decode(offset);
    assertThat(errno(() -> map.munmap(at, Long.decode(length)))).isEqualTo(Errno.EINVAL);
    assertThat(map.getLong(0)).isEqualTo(1);
  }

  /** The file goes with the last part of its last mapping. */
  @Test
  void whatIsUnmappedAltogetherHoldsTheFileNoLonger() {
    long used = host.used();
    map.munmap(0, 8 * PAGE);
    memfd.close();
    assertThat(host.used()).isEqualTo(used);
    map.munmap(8 * PAGE, 8 * PAGE);
    assertThat(host.used()).isZero();
    assertThat(map.isClosed()).isFalse();
    isSigSegv(map, 0);
    assertThat(errno(() -> map.madvise(0, PAGE, Advice.DONTNEED))).isEqualTo(Errno.ENOMEM);
    map.munmap(0, PAGE);
    map.close();
    map.close();
  }

  // ---- mprotect ----

  @Test
  void aProtectionIsLookedAtByEachAccessAndChangesNothingElse() {
    map.mprotect(0, PAGE, READ);
    assertThat(map.getLong(0)).isEqualTo(1);
    assertThat(map.tryPutLong(0, 9)).isFalse();
    assertThatThrownBy(() -> map.putLong(0, 9)).isInstanceOf(SigSegvException.class);
    map.putLong(PAGE, 9);
    map.mprotect(0, PAGE);
    isSigSegv(map, 0);
    assertThat(map.tryGetLong(0, 7)).isEqualTo(7);
    assertThat(isMapped(map, 0)).isTrue();
    map.mprotect(0, PAGE, WRITE); // as on x86-64, it may be read too
    map.putLong(0, 3);
    assertThat(map.getLong(0)).isEqualTo(3);
  }

  @Test
  void mprotectErrorsInOrder() {
    assertThat(errno(() -> map.mprotect(1, PAGE, EXEC))).isEqualTo(Errno.EINVAL);
    assertThat(errno(() -> map.mprotect(1, 0, READ))).isEqualTo(Errno.EINVAL);
    assertThat(errno(() -> map.mprotect(20 * PAGE, 0, EXEC))).isEqualTo(Errno.OK);
    assertThat(errno(() -> map.mprotect(20 * PAGE, PAGE, EXEC))).isEqualTo(Errno.ENOMEM);
    assertThat(errno(() -> map.mprotect(-PAGE, 2 * PAGE, READ))).isEqualTo(Errno.ENOMEM);
    assertThat(errno(() -> map.mprotect(0, -PAGE, READ))).isEqualTo(Errno.ENOMEM);
    assertThat(errno(() -> map.mprotect(0, 20 * PAGE, READ, EXEC))).isEqualTo(Errno.EACCES);
    map.putLong(0, 2); // nothing has changed
  }

  @Test
  void mprotectOverAHoleChangesWhatIsBeforeIt() {
    map.munmap(3 * PAGE, PAGE);
    assertThat(errno(() -> map.mprotect(2 * PAGE, 4 * PAGE, READ))).isEqualTo(Errno.ENOMEM);
    assertThat(map.tryPutLong(2 * PAGE, 1)).isFalse();
    assertThat(map.tryPutLong(4 * PAGE, 1)).isTrue();
    assertThat(errno(() -> map.mprotect(3 * PAGE, 4 * PAGE, READ))).isEqualTo(Errno.ENOMEM);
    assertThat(map.tryPutLong(4 * PAGE, 1)).isTrue();
  }

  // ---- mremap ----

  @Test
  void aPartMovesWithItsEntries() {
    HostMapping moved = closing(map.mremap(2 * PAGE, 2 * PAGE, 2 * PAGE));
    assertThat(moved.length()).isEqualTo(2 * PAGE);
    assertThat(isMapped(moved, 0) && isMapped(moved, 1)).isTrue();
    assertThat(moved.getLong(PAGE)).isEqualTo(4);
    assertThat(isMapped(map, 3)).isFalse();
    isSigSegv(map, 2 * PAGE);
    isSigSegv(map, 4 * PAGE - 1);
    assertThat(map.getLong(4 * PAGE)).isEqualTo(5);
    map.close();
    memfd.close(); // it holds the file
    assertThat(moved.getLong(0)).isEqualTo(3);
  }

  @Test
  void itGrowsPastTheEndOfTheFileAndShrinks() {
    HostMapping grown = closing(map.mremap(14 * PAGE, 2 * PAGE, 4 * PAGE));
    grown.putLong(PAGE, 5);
    assertThatThrownBy(() -> grown.getByte(2 * PAGE)).isInstanceOf(SigBusException.class);
    HostMapping shrunk = closing(map.mremap(0, 4 * PAGE, PAGE + 1));
    assertThat(shrunk.length()).isEqualTo(2 * PAGE);
    assertThat(shrunk.getLong(PAGE)).isEqualTo(2);
    isSigSegv(map, 3 * PAGE);
    assertThat(map.getLong(4 * PAGE)).isEqualTo(5);
  }

  @Test
  void lengthZeroMapsTheSameOnceMoreWithoutEntries() {
    map.mprotect(PAGE, PAGE, READ);
    HostMapping more = closing(map.mremap(PAGE, 0, 3 * PAGE));
    assertThat(isMapped(more, 0)).isFalse();
    assertThat(more.getLong(2 * PAGE)).isEqualTo(4);
    assertThat(more.tryPutLong(2 * PAGE, 1)).isFalse(); // as its first page
    map.putLong(3 * PAGE, 40);
    assertThat(more.getLong(2 * PAGE)).isEqualTo(40);
  }

  @Test
  void ofTheSameLengthHolesAndProtectionsMoveToo() {
    map.munmap(PAGE, PAGE);
    map.mprotect(2 * PAGE, PAGE, READ);
    HostMapping moved = closing(map.mremap(0, 20 * PAGE, 20 * PAGE));
    assertThat(moved.getLong(0)).isEqualTo(1);
    isSigSegv(moved, PAGE);
    assertThat(moved.tryPutLong(2 * PAGE, 1)).isFalse();
    assertThat(moved.tryPutLong(3 * PAGE, 1)).isTrue();
    isSigSegv(moved, 16 * PAGE);
    isSigSegv(map, 0);
  }

  @ParameterizedTest
  @CsvSource({
    // page 3 is unmapped, page 5 protected: page, pages before and after
    "2, 2, 3, EFAULT",
    "0, 8, 4, EFAULT",
    "4, 3, 4, EFAULT",
    "3, 1, 1, EFAULT",
    "14, 4, 3, EFAULT",
    "16, 1, 1, EFAULT",
    "-1, 2, 2, EFAULT",
    "0, 8, 3, OK",
    "2, 2, 1, OK",
    "2, 2, 2, OK",
    "14, 4, 2, OK",
    "0, 1, 0, EINVAL",
    "3, 1, 0, EINVAL",
    "0, 1, 0x800000000, EINVAL",
    "0, 0x800000000, 1, EINVAL",
    "0, -1, 1, EINVAL",
    "3, -1, 1, EFAULT",
    "0, 1, -1, EINVAL"
  })
  void mremapAnswers(long page, String was, String is, Errno answer) {
    map.munmap(3 * PAGE, PAGE);
    map.mprotect(5 * PAGE, PAGE, READ);
    long before = Long.decode(was) * PAGE;
    long after = Long.decode(is) * PAGE;
    assertThat(errno(() -> closing(map.mremap(page * PAGE, before, after)))).isEqualTo(answer);
  }

  @Test
  void whatIsAdvisedInPartIsNotAlike() {
    map.madvise(PAGE, PAGE, Advice.HUGEPAGE);
    assertThat(errno(() -> map.mremap(0, 2 * PAGE, 3 * PAGE))).isEqualTo(Errno.EFAULT);
    map.madvise(0, PAGE, Advice.HUGEPAGE);
    map.madvise(2 * PAGE, PAGE, Advice.COLD);
    closing(map.mremap(0, 2 * PAGE, 3 * PAGE));
    assertThat(errno(() -> map.mremap(0, 0, TASK_SIZE))).isEqualTo(Errno.EINVAL);
    assertThat(errno(() -> map.mremap(1, 0, 1))).isEqualTo(Errno.EINVAL);
  }

  // ---- other calls on what has parts ----

  @Test
  void adviceGoesOverHolesAndThenSaysSo() {
    map.munmap(3 * PAGE, 2 * PAGE);
    for (Advice advice : new Advice[] {Advice.DONTNEED, Advice.COLD, Advice.HUGEPAGE}) {
      assertThat(errno(() -> map.madvise(2 * PAGE, 4 * PAGE, advice))).isEqualTo(Errno.ENOMEM);
    }
    assertThat(isMapped(map, 2) || isMapped(map, 5)).isFalse();
    assertThat(errno(() -> map.madvise(2 * PAGE, 4 * PAGE, Advice.REMOVE))).isEqualTo(Errno.ENOMEM);
    assertThat(memfd.cachedPages()).isEqualTo(6);
    assertThat(memfd.cachedPages(3 * PAGE, 2 * PAGE)).isEqualTo(2); // in the hole they stay
    assertThat(errno(() -> map.madvise(2 * PAGE, 4 * PAGE, Advice.POPULATE_READ)))
        .isEqualTo(Errno.ENOMEM);
    assertThat(memfd.cachedPages()).isEqualTo(7); // up to the hole
    assertThat(errno(() -> map.madvise(3 * PAGE, 3 * PAGE, Advice.FREE))).isEqualTo(Errno.EINVAL);
    assertThat(errno(() -> map.madvise(3 * PAGE, 2 * PAGE, Advice.FREE))).isEqualTo(Errno.ENOMEM);
    map.mprotect(PAGE, PAGE);
    assertThat(errno(() -> map.madvise(0, 3 * PAGE, Advice.POPULATE_WRITE)))
        .isEqualTo(Errno.EINVAL);
  }

  @Test
  void referencesEndAtAHole() {
    map.munmap(2 * PAGE, PAGE);
    try (HostReference reference = map.getUserPages(0, 4 * PAGE)) {
      assertThat(reference.pages()).isEqualTo(2);
    }
    assertThat(errno(() -> map.getUserPages(2 * PAGE, 1))).isEqualTo(Errno.EFAULT);
    assertThat(errno(() -> map.pinFully(0, 4 * PAGE))).isEqualTo(Errno.EFAULT);
  }

  /** They go by the entries, which a protection does not take away: see GUP-fast. */
  @Test
  void referencesOfWhatIsProtectedForWritingAlone() {
    map.getUserPages(9 * PAGE, 1).close(); // maps the page
    map.mprotect(8 * PAGE, 2 * PAGE);
    assertThat(errno(() -> map.getUserPages(9 * PAGE, 1))).isEqualTo(Errno.EFAULT);
    map.mprotect(8 * PAGE, 2 * PAGE, WRITE);
    map.getUserPages(9 * PAGE, 1).close();
    assertThat(errno(() -> map.getUserPages(8 * PAGE, 1))).isEqualTo(Errno.EFAULT);
    HostMapping moved = closing(map.mremap(8 * PAGE, 2 * PAGE, 2 * PAGE));
    moved.getUserPages(PAGE, 1).close();
    HostMapping more = closing(moved.mremap(PAGE, 0, PAGE));
    assertThat(errno(() -> more.getUserPages(0, 1))).isEqualTo(Errno.EFAULT);
  }

  @Test
  void aReferenceWritesWhatItsPagesMayBeWritten() {
    map.mprotect(PAGE, PAGE, READ);
    try (HostReference one = map.getUserPages(0, PAGE);
        HostReference two = map.getUserPages(0, 2 * PAGE)) {
      assertThat(one.buffer(0).isReadOnly()).isFalse();
      assertThat(two.buffer(0).isReadOnly()).isTrue();
    }
  }

  @Test
  void aConversionFindsEveryPart() {
    map.munmap(PAGE, PAGE);
    HostMapping moved = closing(map.mremap(2 * PAGE, 2 * PAGE, 2 * PAGE));
    memfd.makeInaccessible(0, 16 * PAGE);
    assertThat(isMapped(map, 0) || isMapped(moved, 0)).isFalse();
    assertThatThrownBy(() -> moved.getByte(0)).isInstanceOf(SigBusException.class);
    isSigSegv(map, PAGE);
  }
}
