package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.PlaysOtherThreads;
import io.github.guestmemfd.spi.RacePoint;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A file whose private pages are out of the direct map. A conversion that fails, wherever and
 * however it does, leaves the direct map, the attributes and the contents as they were; and no
 * private byte can be read through the direct map before a conversion has succeeded.
 */
class DirectMapUndoTest extends HostFixture {
  private static final int PAGES = 3;

  /** What a callback does when it does not agree. */
  enum How {
    AGREES,
    REFUSES,
    THROWS,
    THROWS_ERROR;

    Errno answer(Throwable thrown) {
      switch (this) {
        case AGREES -> {
          return Errno.OK;
        }
        case REFUSES -> {
          return Errno.EPERM;
        }
        default -> {
          if (thrown instanceof Error e) {
            throw e;
          }
          throw (RuntimeException) thrown;
        }
      }
    }

    Throwable throwable(String message) {
      return this == THROWS_ERROR ? new AssertionError(message) : new ArithmeticException(message);
    }
  }

  /** Callbacks that agree until they are armed. */
  private class Script implements GuestMemfdOps {
    private boolean armed;
    private boolean inaccessible;
    private long failAt = -1;
    private How how = How.AGREES;
    private How undo = How.AGREES;
    private How end = How.AGREES;
    private Throwable planned = new AssertionError("not planned");
    private final Throwable plannedInUndo = new AssertionError("planned, in the undoing");

    /** Which pages were undone, by offset. */
    private final List<Long> undone = new ArrayList<>();

    private int begun;
    private int ended;
    private boolean noDirectMap = true;
    private boolean sawDirectMapped;
    private Runnable onPrepare = () -> {};

    void everInDirectMap() {
      noDirectMap = false;
    }

    void arm(boolean toInaccessible) {
      armed = true;
      inaccessible = toInaccessible;
    }

    private Errno prepare(Folio folio, boolean toInaccessible) {
      if (!armed) {
        return Errno.OK;
      }
      onPrepare.run();
      if (noDirectMap && toInaccessible == inaccessible) {
        // Whichever the direction, a page that is on its way is the guest's alone.
        sawDirectMapped |= host.directMap().contains(folio.pfn());
      }
      if (toInaccessible == inaccessible) {
        return folio.offset() == failAt ? how.answer(planned) : Errno.OK;
      }
      undone.add(folio.offset());
      return undo.answer(plannedInUndo);
    }

    @Override
    public Errno prepareAccessible(Folio folio) {
      return prepare(folio, false);
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      return prepare(folio, true);
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      begun++;
      return Errno.OK;
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      ended++;
      if (armed) {
        end.answer(planned);
      }
    }
  }

  private final Script script = new Script();
  private final int[] pfns = new int[PAGES];

  /** A file with content, in the state from which the conversion starts. */
  private GuestMemfd file(boolean inaccessible, CreateFlag... flags) {
    GuestMemfd memfd = file(PAGES, b -> b.flags(flags).ops(script));
    if (inaccessible) {
      memfd.makeInaccessible(0, (long) PAGES * PAGE);
    }
    for (int i = 0; i < PAGES; i++) {
      pfns[i] = write(memfd, (long) i * PAGE, SECRET + i);
    }
    return memfd;
  }

  private static Errno convert(GuestMemfd memfd, boolean toInaccessible) {
    long length = (long) PAGES * PAGE;
    return toInaccessible
        ? memfd.tryMakeInaccessible(0, length)
        : memfd.tryMakeAccessible(0, length);
  }

  private void assertState(GuestMemfd memfd, boolean inaccessible, boolean directMapped)
      throws Exception {
    for (int i = 0; i < PAGES; i++) {
      long offset = (long) i * PAGE;
      int page = i;
      assertEquals(!inaccessible, memfd.isAccessible(offset), "page " + i + " is accessible");
      assertEquals(
          directMapped, host.directMap().contains(pfns[i]), "page " + i + " is in the direct map");
      if (directMapped) {
        assertEquals(SECRET + i, readDirect(pfns[i]));
      } else {
        refused(Errno.EFAULT, () -> readDirect(pfns[page]));
      }
      run(
          () -> {
            try (Folio folio = memfd.grab(offset)) {
              assertEquals(pfns[page], folio.pfn());
              assertEquals(SECRET + page, folio.buffer().getLong(0));
            }
          });
    }
    assertEquals(script.begun, script.ended, "one end for each begin");
    assertFalse(script.sawDirectMapped, "a page was in the direct map while it was prepared");
  }

  /** After the failure the callbacks agree again, and so the conversion succeeds. */
  private void assertConverts(GuestMemfd memfd, boolean toInaccessible, boolean noDirectMap)
      throws Exception {
    script.armed = false;
    run(() -> assertEquals(Errno.OK, convert(memfd, toInaccessible)));
    assertState(memfd, toInaccessible, !(noDirectMap && toInaccessible));
    assertQuiet(memfd);
  }

  static List<Arguments> failures() {
    List<Arguments> all = new ArrayList<>();
    for (boolean toInaccessible : new boolean[] {true, false}) {
      for (int nth = 0; nth < PAGES; nth++) {
        for (How how : new How[] {How.REFUSES, How.THROWS, How.THROWS_ERROR}) {
          for (How undo : How.values()) {
            all.add(Arguments.of(toInaccessible, nth, how, undo));
          }
        }
      }
    }
    return all;
  }

  @ParameterizedTest(name = "toInaccessible={0}, page {1} {2}, undo {3}")
  @MethodSource("failures")
  void ofAPrepareIsComplete(boolean toInaccessible, int nth, How how, How undo) throws Exception {
    GuestMemfd memfd = file(!toInaccessible, MMAP, INIT_SHARED, NO_DIRECT_MAP);
    assertState(memfd, !toInaccessible, toInaccessible);
    script.failAt = (long) nth * PAGE;
    script.how = how;
    script.planned = how.throwable("planned");
    script.undo = undo;
    script.arm(toInaccessible);
    if (how == How.REFUSES) {
      assertEquals(Errno.EPERM, convert(memfd, toInaccessible));
    } else {
      assertSame(script.planned, thrown(memfd, toInaccessible));
    }
    assertEquals(nth, script.undone.size(), "every page that was prepared is undone");
    assertState(memfd, !toInaccessible, toInaccessible);
    assertConverts(memfd, toInaccessible, true);
  }

  private static Throwable thrown(GuestMemfd memfd, boolean toInaccessible) {
    return assertThrows(Throwable.class, () -> convert(memfd, toInaccessible));
  }

  /** The last callback of all comes when the slots have changed already. */
  @ParameterizedTest
  @CsvSource({
    "true, true, THROWS, AGREES",
    "true, true, THROWS_ERROR, AGREES",
    "true, true, THROWS, REFUSES",
    "true, true, THROWS, THROWS_ERROR",
    "true, false, THROWS, AGREES",
    "true, false, THROWS_ERROR, THROWS",
    "false, true, THROWS, AGREES",
    "false, true, THROWS_ERROR, AGREES",
    "false, true, THROWS, REFUSES",
    "false, true, THROWS, THROWS_ERROR",
    "false, false, THROWS, AGREES",
    "false, false, THROWS_ERROR, THROWS"
  })
  void ofTheEndIsComplete(boolean toInaccessible, boolean noDirectMap, How end, How undo)
      throws Exception {
    GuestMemfd memfd =
        noDirectMap
            ? file(!toInaccessible, MMAP, INIT_SHARED, NO_DIRECT_MAP)
            : fileInDirectMap(!toInaccessible);
    script.end = end;
    script.planned = end.throwable("planned");
    script.undo = undo;
    script.arm(toInaccessible);
    assertSame(script.planned, thrown(memfd, toInaccessible));
    assertEquals(PAGES, script.undone.size(), "every page is undone");
    assertState(memfd, !toInaccessible, toInaccessible || !noDirectMap);
    assertConverts(memfd, toInaccessible, noDirectMap);
  }

  private GuestMemfd fileInDirectMap(boolean inaccessible) {
    script.everInDirectMap();
    return file(inaccessible, MMAP, INIT_SHARED);
  }

  /**
   * Pages that differ: of a range of which a part is converted already only the rest changes, and
   * only the rest is undone.
   */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void leavesPagesAloneThatWereConvertedBefore(boolean toInaccessible) throws Exception {
    GuestMemfd memfd = file(!toInaccessible, MMAP, INIT_SHARED, NO_DIRECT_MAP);
    if (toInaccessible) {
      memfd.makeInaccessible(PAGE, PAGE);
    } else {
      memfd.makeAccessible(PAGE, PAGE);
    }
    script.end = How.THROWS;
    script.planned = How.THROWS.throwable("planned");
    script.undo = How.REFUSES;
    script.arm(toInaccessible);
    assertSame(script.planned, thrown(memfd, toInaccessible));
    assertEquals(List.of(0L, 2L * PAGE), script.undone);
    for (int i = 0; i < PAGES; i++) {
      boolean inaccessible = toInaccessible == (i == 1);
      assertEquals(!inaccessible, memfd.isAccessible((long) i * PAGE), "page " + i);
      assertEquals(!inaccessible, host.directMap().contains(pfns[i]), "page " + i);
    }
    assertConverts(memfd, toInaccessible, true);
  }

  /**
   * While pages are made accessible, the client's callbacks may scrub them. Until all is over, no
   * thread reads them through the direct map: not before the callback, nor after one that will be
   * undone.
   */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void nothingIsReadableBeforeTheConversionIsComplete(boolean succeeds) throws Exception {
    List<String> seen = new ArrayList<>();
    boolean[] armed = new boolean[1];
    GuestMemfdOps scrubber =
        new GuestMemfdOps() {
          private void look(String when) {
            if (!armed[0]) {
              return;
            }
            for (int pfn : pfns) {
              // Another thread, since the callback's own may be treated differently.
              Worker<String> reader =
                  Worker.start(
                      () ->
                          host.directMap().contains(pfn)
                              ? "frame " + pfn + " reads " + Long.toHexString(readDirect(pfn))
                              : "");
              try {
                String result = reader.result();
                if (!result.isEmpty()) {
                  seen.add(when + ": " + result);
                }
              } catch (Exception e) {
                throw new AssertionError(e);
              }
            }
          }

          @Override
          public Errno prepareAccessible(Folio folio) {
            look("prepare " + folio.offset());
            if (armed[0]) {
              folio.buffer().putLong(0, SECRET + folio.offset() / PAGE); // scrubbed, so to speak
            }
            return armed[0] && !succeeds && folio.offset() == 2L * PAGE ? Errno.EPERM : Errno.OK;
          }

          @Override
          public Errno prepareInaccessible(Folio folio) {
            look("undo " + folio.offset());
            return Errno.OK;
          }

          @Override
          public Errno invalidateBegin(long offset, long length) {
            look("begin");
            return Errno.OK;
          }

          @Override
          public void invalidateEnd(long offset, long length) {
            look("end");
          }
        };
    GuestMemfd memfd = inaccessible(PAGES, b -> b.flags(NO_DIRECT_MAP).ops(scrubber));
    for (int i = 0; i < PAGES; i++) {
      pfns[i] = write(memfd, (long) i * PAGE, SECRET + i);
    }
    races.at(
        RacePoint.AFTER_COMMIT,
        () -> {
          for (int pfn : pfns) {
            if (host.directMap().contains(pfn)) {
              seen.add("after commit: frame " + pfn);
            }
          }
        });
    armed[0] = true;
    assertEquals(succeeds ? Errno.OK : Errno.EPERM, convert(memfd, false));
    armed[0] = false;
    assertEquals(List.of(), seen);
    assertState(memfd, !succeeds, succeeds);
    assertQuiet(memfd);
  }

  /** A conversion waits for a reader of the direct map; interrupted, it undoes what it has done. */
  @ParameterizedTest
  @ValueSource(strings = {"AGREES", "REFUSES", "THROWS", "THROWS_ERROR"})
  void ofAnInterruptedRemovalIsComplete(How undo) throws Exception {
    GuestMemfd memfd = file(false, MMAP, INIT_SHARED, NO_DIRECT_MAP);
    script.undo = undo;
    script.arm(true);
    long[] access = new long[1];
    script.onPrepare = // of page 0: the file has waited for the accesses before
        () -> {
          if (access[0] == 0) {
            PlaysOtherThreads.playing(() -> access[0] = frames().beginDirectAccess(pfns[1]));
          }
        };
    Worker<Boolean> conversion =
        Worker.start(
            () -> {
              assertEquals(Errno.EINTR, convert(memfd, true));
              return Thread.currentThread().isInterrupted();
            });
    probe.awaitWaiting(conversion);
    conversion.interrupt();
    assertTrue(conversion.result(), "the interrupt status is gone");
    PlaysOtherThreads.playing(() -> frames().accesses.end(access[0]));
    script.onPrepare = () -> {};
    assertEquals(List.of(0L), script.undone);
    assertState(memfd, false, true);
    assertConverts(memfd, true, true);
  }

  /**
   * Making pages accessible never has to take one out of the direct map again, so its undoing does
   * not wait and cannot be interrupted.
   */
  @Test
  void ofMakingAccessibleWaitsForNobody() throws Exception {
    GuestMemfd memfd = file(true, MMAP, INIT_SHARED, NO_DIRECT_MAP);
    boolean[] begun = new boolean[PAGES];
    script.failAt = 2L * PAGE;
    script.how = How.REFUSES;
    script.onPrepare =
        () -> {
          for (int i = 0; i < PAGES; i++) {
            begun[i] |=
                frames().beginDirectAccess(pfns[i]) != 0; // a reader that does not come to end
          }
        };
    script.arm(false);
    Worker<Boolean> conversion =
        Worker.start(
            () -> {
              Thread.currentThread().interrupt();
              assertEquals(Errno.EPERM, convert(memfd, false));
              return Thread.currentThread().isInterrupted();
            });
    assertTrue(conversion.result(), "the interrupt status is gone");
    for (int i = 0; i < PAGES; i++) {
      assertFalse(begun[i], "a reader got at page " + i);
    }
    assertState(memfd, true, false);
    assertConverts(memfd, false, true);
  }
}
