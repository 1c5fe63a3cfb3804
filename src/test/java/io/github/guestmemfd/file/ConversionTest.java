package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.spi.RacePoint;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The steps of a conversion, and what is undone of them. */
class ConversionTest {
  private final Set<RacePoint> passed = EnumSet.noneOf(RacePoint.class);
  private final Host host = new Host(8, options());
  private final List<String> told = new ArrayList<>();
  private final RuntimeException planned = new IllegalArgumentException("planned");
  private boolean throwsInMakeShared;

  private final FileClient client =
      new AgreeingClient() {
        @Override
        public Errno prepare(long index, int pfn, boolean inaccessible) {
          told.add("prepare " + index + (inaccessible ? " private" : " shared"));
          return Errno.OK;
        }

        @Override
        public void makeShared(long index, int pfn) {
          if (throwsInMakeShared) {
            throw planned;
          }
          told.add("makeShared " + index);
        }
      };

  private final FileOperations file =
      new FileOperations(
          host,
          Pages.bytes(4),
          0,
          client,
          ConversionProtocol.bothCounters(),
          RetryPolicy.failAtOnce());

  private Host.Options options() {
    Host.Options options = new Host.Options();
    options.hook = (point, index) -> passed.add(point);
    return options;
  }

  /** Uses a private page. */
  private int use(long index) {
    int pfn = file.grab(index, HolderKind.SAFE);
    file.put(index, pfn, HolderKind.SAFE);
    return pfn;
  }

  @AfterEach
  void nothingIsLeft() {
    Leftovers.assertNone(file, host);
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void ofAFileThatIsGone(boolean inaccessible) {
    file.inode.close();
    assertEquals(Errno.EBADF, file.conversion.convert(0, 4, inaccessible, null));
  }

  @Test
  void whatAProtocolLocksForIt() {
    assertEquals(1, file.rangeLock.first(1));
    assertEquals(2, file.rangeLock.last(2));
    RangeLock whole = new RangeLock(file.inode, true);
    assertEquals(0, whole.first(1));
    assertEquals(4, whole.last(2));
  }

  /** What is as wanted is left alone: no client is told, and there is nothing to commit. */
  @Test
  void ofWhatIsAsWanted() {
    use(0);
    told.clear();
    passed.clear();
    assertEquals(Errno.OK, file.conversion.convert(0, 4, true, null));
    assertEquals(List.of(), told);
    assertEquals(Set.of(RacePoint.RANGE_BUSY), passed);
  }

  /** All that were in use are prepared when a client throws: these are prepared as they were. */
  @Test
  void aClientThatThrowsAfterPagesHaveBeenPrepared() {
    use(0);
    use(2);
    assertEquals(Errno.OK, file.allocation.allocate(1, 2));
    told.clear();
    throwsInMakeShared = true;
    assertSame(
        planned,
        assertThrows(
            RuntimeException.class, () -> file.conversion.convert(0, 4, false, new Mismatch())));
    assertEquals(
        List.of("prepare 0 shared", "prepare 2 shared", "prepare 0 private", "prepare 2 private"),
        told);
    assertFalse(file.inode.isAccessible(0));
    throwsInMakeShared = false;
    assertEquals(Errno.OK, file.conversion.convert(0, 4, false, null));
  }
}
