package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.NoScheduler;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.InjectedFault;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Each callback: what it is told, where it is called from, and what its answer leaves. */
class CallbacksTest {
  private final Host host = new Host(8, new Host.Options());
  private final Inode inode =
      new FileOperations(
              host,
              Pages.bytes(4),
              0,
              null,
              ConversionProtocol.bothCounters(),
              RetryPolicy.failAtOnce())
          .inode;

  private final List<String> calls = new ArrayList<>();
  private Errno answer = Errno.OK;
  private boolean takesFolios = true;

  private final FileClient client =
      new AgreeingClient() {
        @Override
        public boolean takesFolios() {
          return takesFolios;
        }

        private Errno called(String call) {
          calls.add(call + ", " + CallbackContext.inside());
          return answer;
        }

        @Override
        public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
          return called("begin " + offset + " " + length + " " + filter);
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          called("end " + offset + " " + length);
        }

        @Override
        public Errno prepare(long index, int pfn, boolean inaccessible) {
          return called("prepare " + index + " " + pfn + " " + inaccessible);
        }

        @Override
        public Errno makePrivate(long index, int pfn) {
          return called("private " + index + " " + pfn);
        }

        @Override
        public void makeShared(long index, int pfn) {
          called("shared " + index + " " + pfn);
        }

        @Override
        public void freeFolio(int pfn) {
          called("free " + pfn);
        }

        @Override
        public void release() {
          called("release");
        }
      };

  private final Callbacks callbacks = new Callbacks(inode, client);

  /** Every callback, by name; those that have an answer give it. */
  private final Map<String, Supplier<Errno>> all =
      Map.of(
          "invalidateBegin",
          () -> callbacks.invalidateBegin(1, 3, InvalidationFilter.BOTH),
          "prepareInaccessible",
          () -> callbacks.prepare(2, 7, true),
          "prepareAccessible",
          () -> callbacks.prepare(2, 7, false),
          "populated",
          () -> callbacks.populated(2, () -> client.prepare(2, 7, true)),
          "makePrivate",
          () -> callbacks.makePrivate(2, 7),
          "makeShared",
          () -> {
            callbacks.makeShared(2, 7);
            return Errno.OK;
          },
          "invalidateEnd",
          () -> {
            callbacks.invalidateEnd(1, 3);
            return Errno.OK;
          },
          "freeFolio",
          () -> {
            callbacks.freeFolio(7);
            return Errno.OK;
          },
          "release",
          () -> {
            Failures failures = new Failures();
            callbacks.release(failures);
            failures.throwIfAny();
            return Errno.OK;
          });

  private Errno call(String name) {
    return Objects.requireNonNull(all.get(name)).get();
  }

  @AfterEach
  void isOutside() {
    assertFalse(CallbackContext.isInTheMiddleOfAny());
    assertNull(CallbackContext.inside());
    inode.close();
    host.close();
  }

  @Test
  void areCalledFromInside() {
    Map<String, String> expected =
        Map.of(
            "invalidateBegin",
            "begin 4096 8192 BOTH, callback invalidateBegin [offset=0x1000, length=8192]",
            "invalidateEnd",
            "end 4096 8192, callback invalidateEnd [offset=0x1000, length=8192]",
            "prepareInaccessible",
            "prepare 2 7 true, callback prepareInaccessible [offset=0x2000, length=4096]",
            "prepareAccessible",
            "prepare 2 7 false, callback prepareAccessible [offset=0x2000, length=4096]",
            "populated",
            "prepare 2 7 true, callback populated [offset=0x2000, length=4096]",
            "makePrivate",
            "private 2 7, callback makePrivate [offset=0x2000, length=4096]",
            "makeShared",
            "shared 2 7, callback makeShared [offset=0x2000, length=4096]",
            "freeFolio",
            "free 7, callback freeFolio",
            "release",
            "release, callback release [offset=0x0, length=16384]");
    assertEquals(all.keySet(), expected.keySet());
    assertTrue(callbacks.isAny());
    expected.forEach(
        (name, call) -> {
          assertEquals(Errno.OK, call(name));
          assertEquals(List.of(call + " of " + inode), calls);
          calls.clear();
        });
  }

  @Test
  void withoutAClientThereAreNone() {
    Callbacks none = new Callbacks(inode, null);
    assertFalse(none.isAny());
    assertEquals(Errno.OK, none.invalidateBegin(0, 1, InvalidationFilter.BOTH));
    assertEquals(Errno.OK, none.prepare(0, 1, true));
    assertEquals(Errno.OK, none.makePrivate(0, 1));
    none.makeShared(0, 1);
    none.invalidateEnd(0, 1);
    none.freeFolio(1);
    none.release(new Failures());
    assertEquals(List.of(), calls);
  }

  /** It is told of ranges and of the end, as any other. */
  @Test
  void aClientThatTakesNoFoliosIsNotCalledForThem() {
    takesFolios = false;
    Callbacks ofRanges = new Callbacks(inode, client);
    assertTrue(ofRanges.isAny());
    assertFalse(ofRanges.takeFolios());
    answer = Errno.EBUSY;
    assertEquals(Errno.OK, ofRanges.prepare(0, 1, true));
    assertEquals(Errno.OK, ofRanges.makePrivate(0, 1));
    ofRanges.makeShared(0, 1);
    ofRanges.freeFolio(1);
    assertEquals(List.of(), calls);
    assertEquals(Errno.EBUSY, ofRanges.invalidateBegin(0, 1, InvalidationFilter.BOTH));
    ofRanges.invalidateEnd(0, 1);
    ofRanges.release(new Failures());
    assertEquals(3, calls.size());
  }

  /** A callback from inside another, twice: what is kept of the first is not seen in the second. */
  @Test
  void callbacksInsideOneAnother() {
    for (int round = 0; round < 2; round++) {
      CallbackContext.enterCallback("outer" + round, inode, 0, 4096);
      String outer = CallbackContext.inside();
      CallbackContext.enterCallback("inner" + round, "another file", -1, 4096);
      assertEquals("callback inner" + round + " of another file", CallbackContext.inside());
      assertEquals(Errno.EIO, CallbackContext.answered(Errno.EIO));
      CallbackContext.leaveCallback();
      assertEquals(outer, CallbackContext.inside());
      assertNotNull(CallbackContext.reason(Errno.EIO));
      assertEquals(Errno.OK, CallbackContext.answered(Errno.OK));
      CallbackContext.leaveCallback();
      assertNull(CallbackContext.inside());
      assertNull(CallbackContext.reason(Errno.EIO));
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "invalidateBegin",
        "prepareInaccessible",
        "prepareAccessible",
        "makePrivate",
        "populated"
      })
  void aRefusalIsTheReason(String name) {
    CallbackContext.enterOperation();
    answer = Errno.EBUSY;
    assertEquals(Errno.EBUSY, call(name));
    answer = Errno.EIO;
    assertEquals(Errno.EIO, call(name), "another while the operation is undone");
    CallbackContext.Reason reason = Objects.requireNonNull(CallbackContext.reason(Errno.EBUSY));
    assertTrue(reason.text().startsWith("callback " + name + " [offset="), reason.text());
    assertTrue(reason.text().endsWith("answered EBUSY"), reason.text());
    assertNull(CallbackContext.reason(Errno.EIO));
    CallbackContext.leaveOperation();
    assertNotNull(CallbackContext.reason(Errno.EBUSY), "the caller asks afterwards");
    CallbackContext.forgetReason();
    assertNull(CallbackContext.reason(Errno.EBUSY));
  }

  /** That there was no memory before is no reason for what a callback refuses. */
  @Test
  void aRefusalReplacesTheLackOfMemory() {
    OutOfMemoryError planned = new OutOfMemoryError("planned");
    CallbackContext.enterOperation();
    CallbackContext.outOfMemory(planned);
    CallbackContext.Reason reason = Objects.requireNonNull(CallbackContext.reason(Errno.ENOMEM));
    assertSame(planned, reason.noMemory());
    assertTrue(reason.text().endsWith("is out of memory: planned"), reason.text());
    answer = Errno.ENOMEM;
    callbacks.invalidateBegin(0, 1, InvalidationFilter.BOTH);
    reason = Objects.requireNonNull(CallbackContext.reason(Errno.ENOMEM));
    assertNull(reason.noMemory());
    CallbackContext.leaveOperation();
    CallbackContext.enterOperation(); // another one
    assertNull(CallbackContext.reason(Errno.ENOMEM));
    CallbackContext.leaveOperation();
  }

  /** An operation inside another has the reason of that. */
  @Test
  void theReasonIsThatOfTheWholeOperation() {
    CallbackContext.enterOperation();
    answer = Errno.EBUSY;
    callbacks.invalidateBegin(0, 1, InvalidationFilter.BOTH);
    CallbackContext.enterOperation();
    assertNotNull(CallbackContext.reason(Errno.EBUSY));
    CallbackContext.leaveOperation();
    assertTrue(CallbackContext.isInTheMiddleOfAny());
    assertFalse(CallbackContext.isInside());
    CallbackContext.leaveOperation();
  }

  /** What is done on the way out has reasons of its own, and leaves that of the operation. */
  @Test
  void theWayOutKeepsTheReason() {
    List<Object> seen = new ArrayList<>();
    CallbackContext.enterOperation();
    answer = Errno.EBUSY;
    callbacks.invalidateBegin(0, 1, InvalidationFilter.BOTH);
    CallbackContext.whenOut(
        () -> {
          CallbackContext.enterOperation();
          seen.add(String.valueOf(CallbackContext.reason(Errno.EBUSY)));
          CallbackContext.leaveOperation();
        });
    assertEquals(List.of(), seen);
    CallbackContext.leaveOperation();
    assertEquals(List.of("null"), seen);
    assertNotNull(CallbackContext.reason(Errno.EBUSY));
    CallbackContext.forgetReason();
  }

  /** What a thread must not wait for, and why. */
  @Test
  void insideNothingMayWait() {
    CallbackContext.forbid("punch");
    assertTrue(CallbackContext.deadlock().contains("keeps a folio lock"));
    CallbackContext.enterCallback("outer", "a file", 0, 8);
    CallbackContext.enterCallback("inner", "another", -1, 8);
    assertEquals("callback inner of another", CallbackContext.inside());
    CallbackContext.leaveCallback();
    GuestMemfdException e =
        assertThrows(GuestMemfdException.class, () -> CallbackContext.forbid("punch"));
    assertEquals(Errno.EDEADLK, e.errno());
    String why = "punch: called from inside callback outer [offset=0x0, length=8] of a file";
    assertTrue(e.getMessage().endsWith(why), e::getMessage);
    CallbackContext.leaveCallback();
  }

  @Test
  @SuppressWarnings("NullAway") // a mistake of the client
  void anAnswerOfNullIsAMistake() {
    answer = null;
    NullPointerException e =
        assertThrows(
            NullPointerException.class,
            () -> callbacks.invalidateBegin(0, 1, InvalidationFilter.BOTH));
    assertTrue(e.getMessage().contains("answered null"), e::getMessage);
  }

  // ---- fault injection ----

  /** Has callbacks fail as an explorer does, by the answers to whether each may. */
  private Errno injected(String name, Boolean... failures) {
    Deque<Boolean> left = new ArrayDeque<>(List.of(failures));
    NoScheduler scheduler =
        new NoScheduler() {
          @Override
          public boolean mayFail() {
            return left.remove();
          }
        };
    Errno[] answered = new Errno[1];
    Exploration.during(
        () -> {
          Exploration.by(scheduler, () -> answered[0] = call(name));
          return null;
        });
    assertEquals(0, left.size());
    return answered[0];
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "invalidateBegin",
        "prepareInaccessible",
        "prepareAccessible",
        "makePrivate",
        "populated"
      })
  void faultsOfCallbacksThatAnswer(String name) {
    String thrown = assertThrows(InjectedFault.class, () -> injected(name, true)).getMessage();
    assertTrue(thrown.startsWith(name + " throws"), thrown);
    assertEquals(Errno.ENOMEM, injected(name, false, true));
    assertEquals(List.of(), calls, "instead of the callback's own answer");
    assertEquals(Errno.OK, injected(name, false, false));
    assertEquals(1, calls.size());
  }

  @ParameterizedTest
  @ValueSource(strings = {"invalidateEnd", "makeShared", "freeFolio", "release"})
  void faultsOfCallbacksThatDoNotAnswer(String name) {
    String thrown = assertThrows(InjectedFault.class, () -> injected(name, true)).getMessage();
    assertTrue(thrown.startsWith(name + " throws"), thrown);
    assertEquals(1, calls.size(), "after the callback itself");
    assertEquals(Errno.OK, injected(name, false));
  }
}
