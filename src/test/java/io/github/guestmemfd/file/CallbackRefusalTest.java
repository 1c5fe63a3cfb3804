package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.SigBusException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Callbacks that refuse or throw: nothing is half done, and the client knows what is. */
class CallbackRefusalTest extends RaceFixture {
  /** How a callback fails. */
  enum How {
    REFUSE,
    THROW,
    THROW_ERROR
  }

  /** At which call. */
  enum Where {
    BEGIN,
    FIRST_PREPARE,
    LAST_PREPARE,
    END
  }

  /** Fails once, where it is told, and remembers what it was told of each folio. */
  private static final class Script implements GuestMemfdOps {
    private final Where where;
    private final How how;
    private boolean armed;
    private int prepares;
    private int agreed;
    private int ended;
    private int freed;
    private final Map<Integer, Boolean> inaccessible = new HashMap<>();

    Script(Where where, How how) {
      this.where = where;
      this.how = how;
    }

    private Errno fail(boolean here) {
      if (!armed || !here) {
        return Errno.OK;
      }
      armed = false;
      switch (how) {
        case REFUSE -> {
          return Errno.EPERM;
        }
        case THROW -> throw new IllegalStateException("planned");
        default -> throw new StackOverflowError("planned");
      }
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      Errno errno = fail(where == Where.BEGIN);
      if (errno == Errno.OK) {
        agreed++;
      }
      return errno;
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      ended++;
      fail(where == Where.END);
    }

    private Errno prepare(Folio folio, boolean toInaccessible) {
      if (armed) {
        prepares++;
      }
      Errno errno = fail(prepares == (where == Where.FIRST_PREPARE ? 1 : 3) && where != Where.END);
      if (errno == Errno.OK) {
        inaccessible.put(folio.pfn(), toInaccessible);
      }
      return errno;
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
    public void freeFolio(Folio folio) {
      freed++;
      inaccessible.remove(folio.pfn());
      fail(where == Where.END);
    }
  }

  private void fails(How how, Executable body) {
    switch (how) {
      case REFUSE -> refused(Errno.EPERM, body);
      case THROW ->
          assertEquals("planned", assertThrows(IllegalStateException.class, body).getMessage());
      default -> assertEquals("planned", assertThrows(StackOverflowError.class, body).getMessage());
    }
  }

  private List<String> state(GuestMemfd memfd, Script script) {
    List<String> state = new ArrayList<>();
    state.add("cached " + memfd.cachedPages());
    for (long at = 0; at < memfd.size(); at += PAGE) {
      if (at == 2L * PAGE) {
        state.add("hole " + memfd.isAccessible(at));
        continue;
      }
      Folio folio = memfd.grab(at);
      state.add(
          "frame "
              + folio.pfn()
              + " accessible "
              + memfd.isAccessible(at)
              + " content "
              + folio.buffer().getLong(0)
              + " direct "
              + host.directMap().contains(folio.pfn())
              + " told "
              + script.inaccessible.get(folio.pfn()));
      folio.close();
    }
    return state;
  }

  /**
   * Five pages: a hole in the middle, the last one already as all are to become. What the client
   * was told last of each folio must be what is.
   */
  @ParameterizedTest
  @CsvSource({
    "true, BEGIN, REFUSE",
    "true, BEGIN, THROW",
    "true, BEGIN, THROW_ERROR",
    "true, FIRST_PREPARE, REFUSE",
    "true, FIRST_PREPARE, THROW",
    "true, FIRST_PREPARE, THROW_ERROR",
    "true, LAST_PREPARE, REFUSE",
    "true, LAST_PREPARE, THROW",
    "true, LAST_PREPARE, THROW_ERROR",
    "true, END, THROW",
    "true, END, THROW_ERROR",
    "false, BEGIN, REFUSE",
    "false, BEGIN, THROW",
    "false, BEGIN, THROW_ERROR",
    "false, FIRST_PREPARE, REFUSE",
    "false, FIRST_PREPARE, THROW",
    "false, FIRST_PREPARE, THROW_ERROR",
    "false, LAST_PREPARE, REFUSE",
    "false, LAST_PREPARE, THROW",
    "false, LAST_PREPARE, THROW_ERROR",
    "false, END, THROW",
    "false, END, THROW_ERROR"
  })
  void ofAConversionLeavesEverythingAsItWas(boolean inaccessible, Where where, How how)
      throws Exception {
    for (CreateFlag[] flags :
        new CreateFlag[][] {{MMAP, INIT_SHARED}, {MMAP, INIT_SHARED, NO_DIRECT_MAP}}) {
      Script script = new Script(where, how);
      GuestMemfd memfd = file(5, b -> b.flags(flags).ops(script));
      HostMapping window = map(memfd);
      for (int i = 0; i < 5; i++) {
        if (i != 2) {
          window.putLong((long) i * PAGE, 100 + i);
        }
      }
      if (inaccessible) {
        memfd.makeInaccessible(4L * PAGE, PAGE);
      } else {
        memfd.makeInaccessible(0, 4L * PAGE);
      }
      List<String> before = state(memfd, script);
      script.armed = true;
      fails(
          how,
          () -> {
            if (inaccessible) {
              memfd.makeInaccessible(0, 5L * PAGE);
            } else {
              memfd.makeAccessible(0, 5L * PAGE);
            }
          });
      assertFalse(script.armed, "the callback was not reached");
      assertEquals(before, state(memfd, script));
      assertEquals(script.agreed, script.ended, "one end for each begin that agreed");
      long accessible = inaccessible ? 0 : 4L * PAGE;
      assertEquals(100 + accessible / PAGE, window.getLong(accessible));
      assertThrows(SigBusException.class, () -> window.getLong(inaccessible ? 4L * PAGE : PAGE));
      assertQuiet(memfd);
      memfd.makeInaccessible(0, 5L * PAGE);
      for (Boolean told : script.inaccessible.values()) {
        assertTrue(told);
      }
      window.close();
      memfd.close();
    }
  }

  @ParameterizedTest
  @EnumSource(How.class)
  void ofAPunchAtItsBeginPunchesNothing(How how) throws Exception {
    Script script = new Script(Where.BEGIN, how);
    GuestMemfd memfd = file(2, b -> b.ops(script));
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    window.putLong(PAGE, 2);
    script.armed = true;
    fails(how, () -> memfd.punchHole(0, 2L * PAGE));
    assertEquals(0, script.ended);
    assertEquals(1, window.getLong(0));
    assertEquals(2, window.getLong(PAGE));
    memfd.punchHole(0, 2L * PAGE);
    assertEquals(0, window.getLong(0));
    assertEquals(1, script.ended);
    assertQuiet(memfd);
  }

  /** What throws at the end of a folio or of the punch stops neither. */
  @ParameterizedTest
  @EnumSource(
      value = How.class,
      names = {"THROW", "THROW_ERROR"})
  void atTheEndOfAPunchIsReportedAfterAllIsPunched(How how) throws Exception {
    Script script = new Script(Where.END, how);
    GuestMemfd memfd = file(3, b -> b.ops(script));
    HostMapping window = map(memfd);
    for (int i = 0; i < 3; i++) {
      window.putLong((long) i * PAGE, 1);
    }
    script.armed = true; // the first freeFolio throws
    fails(how, () -> memfd.punchHole(0, 3L * PAGE));
    assertEquals(3, script.freed);
    assertEquals(1, script.ended);
    assertEquals(0, memfd.cachedPages());
    assertEquals(0, host.used());
    script.armed = true; // invalidateEnd throws
    fails(how, () -> memfd.punchHole(0, PAGE));
    assertEquals(2, script.ended);
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @CsvSource({
    "true, REFUSE",
    "true, THROW",
    "true, THROW_ERROR",
    "false, REFUSE",
    "false, THROW",
    "false, THROW_ERROR"
  })
  void ofAFirstUseIsPassedOnAndCanBeTriedAgain(boolean accessible, How how) throws Exception {
    Script script = new Script(Where.FIRST_PREPARE, how);
    GuestMemfd memfd = file(1, b -> b.flags(MMAP, INIT_SHARED, NO_DIRECT_MAP).ops(script));
    HostMapping window = map(memfd);
    if (!accessible) {
      memfd.makeInaccessible(0, PAGE);
    }
    script.armed = true;
    fails(how, () -> memfd.grab(0));
    Folio folio = memfd.grab(0);
    assertEquals(accessible, host.directMap().contains(folio.pfn()));
    assertEquals(0, folio.buffer().getLong(0));
    folio.close();
    memfd.punchHole(0, PAGE);
    if (accessible) {
      script.armed = true;
      script.prepares = 0;
      fails(how, () -> window.putLong(0, 1));
      window.putLong(0, 2);
      assertEquals(2, window.getLong(0));
    }
    assertQuiet(memfd);
  }

  @Test
  void ofReleaseDoesNotKeepTheFolios() {
    GuestMemfd memfd =
        file(
            2,
            b ->
                b.ops(
                    new GuestMemfdOps() {
                      @Override
                      public void release() {
                        throw new IllegalStateException("planned");
                      }
                    }));
    memfd.allocate(0, 2L * PAGE);
    assertThrows(IllegalStateException.class, memfd::close);
    assertEquals(0, host.used());
  }
}
