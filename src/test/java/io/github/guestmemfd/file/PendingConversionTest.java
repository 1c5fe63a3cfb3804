package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Conversions that complete when the last holder lets go, and what undoes them. */
class PendingConversionTest extends HostFixture {

  /** With the protocol that completes later by itself. */
  @Override
  protected GuestMemfd later(int pages) {
    return later(pages, ConversionProtocol.lastPut());
  }

  private GuestMemfd later(int pages, ConversionProtocol protocol) {
    return file(pages, b -> b.protocol(protocol).retryPolicy(RetryPolicy.completeLater()));
  }

  private static Errno failure(CompletableFuture<Void> future) {
    assertTrue(future.isCompletedExceptionally());
    CompletionException e = assertThrows(CompletionException.class, future::join);
    return ((GuestMemfdException) e.getCause()).errno();
  }

  static Stream<ConversionProtocol> soundProtocols() {
    return ConversionProtocol.all().stream().filter(ConversionProtocol::isSound);
  }

  @ParameterizedTest
  @MethodSource("soundProtocols")
  void isDoneAtOnceWhenNobodyIsInTheWay(ConversionProtocol protocol) {
    GuestMemfd memfd = later(2, protocol);
    map(memfd).putLong(0, SECRET);
    CompletableFuture<Void> done = memfd.makeInaccessibleLater(0, 2L * PAGE);
    assertTrue(done.isDone() && !done.isCompletedExceptionally());
    done.join();
    assertFalse(memfd.isAccessible(0));
    assertEquals(SECRET, read(memfd, 0));
  }

  @ParameterizedTest
  @MethodSource("soundProtocols")
  void isCompletedByTheLastPut(ConversionProtocol protocol) throws Exception {
    GuestMemfd memfd = later(3, protocol);
    HostMapping window = map(memfd);
    window.putLong(PAGE, SECRET);
    HostReference one = window.getUserPages(PAGE, PAGE);
    HostReference two = window.pin(2L * PAGE, PAGE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, 3L * PAGE);
    assertFalse(conversion.isDone());

    for (int page = 0; page < 3; page++) { // neither side's, the untouched page too
      long at = (long) page * PAGE;
      assertFalse(memfd.isAccessible(at));
      assertThrows(SigBusException.class, () -> window.getLong(at));
      assertEquals(-Errno.EAGAIN.code(), memfd.tryGrab(at, SAFE));
      assertEquals(-Errno.EFAULT.code(), memfd.tryGrab(at, UNSAFE));
    }
    one.close();
    assertFalse(conversion.isDone(), "another holder is left");
    two.close();
    assertTrue(conversion.isDone(), "completed before the put returned");
    conversion.join();
    assertThrows(SigBusException.class, () -> window.getLong(PAGE));
    assertEquals(SECRET, read(memfd, PAGE));
    assertQuiet(memfd);
  }

  @Test
  void aPolicyThatDoesNotCompleteLaterRefuses() throws Exception {
    GuestMemfd memfd = file(1, b -> b.retryPolicy(RetryPolicy.failAtOnce()));
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> refused = memfd.makeInaccessibleLater(0, PAGE);
    assertEquals(Errno.EAGAIN, failure(refused));
    CompletionException e = assertThrows(CompletionException.class, refused::join);
    assertEquals(
        1,
        assertInstanceOf(ConversionBlockedException.class, e.getCause())
            .busyFolio()
            .unsafeHolders());
    assertTrue(memfd.isAccessible(0));
    unsafe.close();
    assertQuiet(memfd);
  }

  @Test
  void aCallThatCannotBeToldLaterIsRefusedAtOnce() throws Exception {
    GuestMemfd memfd = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE));
    assertTrue(memfd.isAccessible(0), "nothing is left pending");
    unsafe.close();
    assertTrue(memfd.isAccessible(0));
    assertQuiet(memfd);
  }

  @Test
  void badRangesFailTheFuture() {
    GuestMemfd memfd = later(1);
    assertEquals(Errno.EINVAL, failure(memfd.makeInaccessibleLater(0, 0)));
    assertEquals(Errno.EINVAL, failure(memfd.makeInaccessibleLater(1, PAGE)));
    assertEquals(Errno.EINVAL, failure(memfd.makeInaccessibleLater(0, 2L * PAGE)));
    assertEquals(Errno.EINVAL, failure(memfd.makeInaccessibleLater(-PAGE, PAGE)));
    memfd.close();
    assertEquals(Errno.EBADF, failure(memfd.makeInaccessibleLater(0, PAGE)));
  }

  @Test
  void aCallbackThatThrowsAtOnceFailsTheFuture() {
    for (Throwable thrown : List.of(new IllegalStateException("no"), new AssertionError("no"))) {
      GuestMemfd memfd =
          file(
              1,
              b ->
                  b.ops(
                      new GuestMemfdOps() {
                        @Override
                        public Errno invalidateBegin(long offset, long length) {
                          if (thrown instanceof Error error) {
                            throw error;
                          }
                          throw (RuntimeException) thrown;
                        }
                      }));
      CompletableFuture<Void> refused = memfd.makeInaccessibleLater(0, PAGE);
      assertSame(thrown, assertThrows(CompletionException.class, refused::join).getCause());
      assertTrue(memfd.isAccessible(0));
    }
  }

  // ---- undone ----

  /** What a user does that undoes a pending conversion of pages 1 and 2 of 4. */
  enum Undoing {
    CANCEL,
    TIME_OUT,
    RE_SHARE,
    RE_SHARE_A_PART,
    PUNCH_A_PART,
    CONVERT_AROUND,
    CLOSE
  }

  @ParameterizedTest
  @EnumSource(Undoing.class)
  void isUndoneAndThePagesAreAsTheyWere(Undoing how) throws Exception {
    GuestMemfd memfd = later(4);
    HostMapping window = map(memfd);
    window.putLong(PAGE, SECRET);
    HostReference pin = window.pin(PAGE, PAGE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(PAGE, 2L * PAGE);
    assertFalse(conversion.isDone());
    switch (how) {
      case CANCEL -> {
        assertTrue(conversion.cancel(false));
        assertTrue(conversion.isCancelled());
        assertThrows(CancellationException.class, conversion::join);
        assertTrue(conversion.cancel(false), "it is cancelled, as a second call says too");
      }
      case TIME_OUT -> {
        conversion.orTimeout(1, TimeUnit.NANOSECONDS);
        assertThatThrownBy(conversion::join).hasCauseInstanceOf(TimeoutException.class);
      }
      case RE_SHARE -> memfd.makeAccessible(PAGE, 2L * PAGE);
      case RE_SHARE_A_PART -> memfd.makeAccessible(2L * PAGE, 2L * PAGE);
      case PUNCH_A_PART -> memfd.punchHole(2L * PAGE, PAGE);
      case CONVERT_AROUND -> {
        assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 4L * PAGE));
        assertFalse(conversion.isDone() && !conversion.isCompletedExceptionally());
      }
      case CLOSE -> {
        window.close();
        memfd.close();
      }
    }
    if (how != Undoing.CANCEL && how != Undoing.TIME_OUT) {
      assertEquals(Errno.ECANCELED, failure(conversion));
    }
    if (how == Undoing.RE_SHARE || how == Undoing.CONVERT_AROUND) {
      assertThatThrownBy(conversion::join)
          .hasStackTraceContaining(
              "undone: made " + (how == Undoing.RE_SHARE ? "accessible" : "inaccessible anew"));
    }
    if (how != Undoing.CLOSE) {
      assertTrue(memfd.isAccessible(PAGE));
      assertTrue(memfd.isAccessible(2L * PAGE));
      assertEquals(SECRET, window.getLong(PAGE));
      assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 4L * PAGE), "still pinned");
    }
    pin.close();
    if (how != Undoing.CLOSE) {
      assertTrue(memfd.isAccessible(PAGE), "what was undone is not completed");
      assertQuiet(memfd);
    }
  }

  @Test
  void isNotUndoneByWhatDoesNotConcernIt() throws Exception {
    GuestMemfd memfd = later(4);
    HostMapping window = map(memfd);
    window.putLong(PAGE, SECRET);
    HostReference pin = window.pin(PAGE, PAGE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(PAGE, 2L * PAGE);
    memfd.makeInaccessible(0, PAGE);
    memfd.punchHole(3L * PAGE, PAGE);
    memfd.allocate(0, 4L * PAGE); // also in the middle of it
    window.madvise(0, 4L * PAGE, Advice.DONTNEED);
    assertFalse(conversion.isDone());
    pin.close();
    conversion.join();
    assertEquals(SECRET, read(memfd, PAGE));
    assertFalse(memfd.isAccessible(2L * PAGE));
    assertQuiet(memfd);
  }

  @Test
  void pagesThatAreTheGuestsAlreadyStayIt() throws Exception {
    GuestMemfd memfd = later(3);
    HostMapping window = map(memfd);
    memfd.makeInaccessible(PAGE, PAGE);
    HostReference pin = window.pin(0, PAGE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, 3L * PAGE);
    memfd.grab(PAGE).close();
    assertTrue(conversion.cancel(true));
    assertTrue(memfd.isAccessible(0));
    assertFalse(memfd.isAccessible(PAGE));
    assertTrue(memfd.isAccessible(2L * PAGE));
    pin.close();
    assertQuiet(memfd);
  }

  @Test
  void cannotBeCompletedFromOutside() throws Exception {
    GuestMemfd memfd = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    List<Runnable> attempts =
        List.of(
            () -> conversion.complete(null),
            () -> conversion.completeAsync(() -> null),
            () -> conversion.completeAsync(() -> null, Runnable::run),
            () -> conversion.completeOnTimeout(null, 1, TimeUnit.NANOSECONDS),
            () -> conversion.obtrudeValue(null),
            () -> conversion.obtrudeException(new IllegalStateException()));
    for (Runnable attempt : attempts) {
      assertThrows(UnsupportedOperationException.class, attempt::run);
      assertFalse(conversion.isDone());
    }
    conversion.copy().complete(null); // its own
    conversion.thenRun(() -> {}).completeAsync(() -> null, Runnable::run);
    CompletableFuture<Void> dependent = conversion.thenRun(() -> {});
    assertTrue(dependent.cancel(true));
    assertFalse(conversion.isDone(), "a dependent stage is the user's own");
    assertEquals(1, memfd.metrics().pendingBegun());
    unsafe.close();
    conversion.join();
    assertFalse(conversion.cancel(true));
    assertFalse(conversion.isCancelled());
    assertFalse(conversion.completeExceptionally(new IllegalStateException("too late")));
    conversion.join();
    assertQuiet(memfd);
  }

  @Test
  void aPendingPageCannotBeLocked() throws Exception {
    GuestMemfd memfd = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    refused(Errno.EAGAIN, unsafe::lock);
    unsafe.close();
    conversion.join();
    assertQuiet(memfd);
  }

  // ---- callbacks ----

  /** Answers what it is told to, and writes down what it is asked. */
  private static final class Client implements GuestMemfdOps {
    final List<String> calls = new ArrayList<>();
    Errno prepare = Errno.OK;
    Errno begin = Errno.OK;
    Runnable inBegin = () -> {};

    @Override
    public Errno invalidateBegin(long offset, long length) {
      calls.add("begin");
      inBegin.run();
      return begin;
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      calls.add("end");
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      calls.add("inaccessible");
      return prepare;
    }
  }

  private GuestMemfd later(int pages, Client client) {
    return file(
        pages,
        b ->
            b.protocol(ConversionProtocol.lastPut())
                .retryPolicy(RetryPolicy.completeLater())
                .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED, CreateFlag.NO_DIRECT_MAP)
                .ops(client));
  }

  @Test
  void aCallbackThatRefusesAtTheEndFailsIt() throws Exception {
    Client client = new Client();
    GuestMemfd memfd = later(1, client);
    HostMapping window = map(memfd);
    window.putLong(0, SECRET);
    HostReference pin = window.pin(0, PAGE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    assertThat(client.calls).isEmpty();
    client.prepare = Errno.EACCES;
    int pfn = pin.pfn(0);
    pin.close();
    assertEquals(Errno.EACCES, failure(conversion));
    assertThat(client.calls).containsExactly("begin", "inaccessible", "end");
    assertEquals(SECRET, window.getLong(0));
    assertTrue(host.directMap().contains(pfn));
    client.prepare = Errno.OK;
    assertQuiet(memfd);
  }

  @Test
  void aCallbackThatAnswersEagainFailsItToo() throws Exception {
    Client client = new Client();
    GuestMemfd memfd = later(1, client);
    HostReference pin = map(memfd).pin(0, PAGE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    client.begin = Errno.EAGAIN;
    pin.close();
    assertEquals(Errno.EAGAIN, failure(conversion));
    client.begin = Errno.OK;
    assertQuiet(memfd);
  }

  @Test
  void aCallbackThatThrowsAtTheEndFailsItAndNotThePut() throws Exception {
    Client client = new Client();
    GuestMemfd memfd = later(1, client);
    HostReference pin = map(memfd).pin(0, PAGE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    IllegalStateException planned = new IllegalStateException("planned");
    client.inBegin =
        () -> {
          throw planned;
        };
    pin.close();
    assertSame(planned, assertThrows(CompletionException.class, conversion::join).getCause());
    client.inBegin = () -> {};
    assertQuiet(memfd);
  }

  @Test
  void cancellingFromInsideACallbackIsRefused() throws Exception {
    Client client = new Client();
    GuestMemfd memfd = later(1);
    GuestMemfd other = later(1, client);
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    client.inBegin = () -> refused(Errno.EDEADLK, () -> conversion.cancel(true));
    other.makeInaccessible(0, PAGE);
    assertThat(client.calls).contains("end");
    client.inBegin = () -> {};
    unsafe.close();
    conversion.join();
    assertQuiet(memfd);
  }

  @Test
  void dependentsRunWithNothingHeld() throws Exception {
    GuestMemfd memfd = later(2);
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> again =
        memfd.makeInaccessibleLater(0, 2L * PAGE).thenRun(() -> memfd.makeAccessible(0, 2L * PAGE));
    unsafe.close();
    again.join();
    assertTrue(memfd.isAccessible(0));
    assertQuiet(memfd);
  }

  // ---- races ----

  @Test
  void anInterruptOfTheThreadThatLetsGoIsNotForTheConversion() throws Exception {
    GuestMemfd memfd = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    boolean stillInterrupted =
        Worker.start(
                () -> {
                  Thread.currentThread().interrupt();
                  unsafe.close();
                  return Thread.currentThread().isInterrupted();
                })
            .result();
    assertTrue(stillInterrupted);
    conversion.join();
    assertQuiet(memfd);
  }

  /** It comes to be pending while another operation waits for its pages, and has looked before. */
  @Test
  void isUndoneByAnOperationThatCameBeforeItWasPending() throws Exception {
    GuestMemfd memfd = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    Worker<CompletableFuture<Void>> conversion;
    Worker<Errno> share;
    try (RacePoints.Gate gate = races.hold(RacePoint.ON_MISMATCH)) {
      conversion = Worker.start(() -> memfd.makeInaccessibleLater(0, PAGE));
      gate.awaitReached();
      share = Worker.start(() -> memfd.tryMakeAccessible(0, PAGE));
      probe.awaitWaiting(share);
    }
    assertEquals(Errno.OK, share.result());
    assertEquals(Errno.ECANCELED, failure(conversion.result()));
    assertTrue(memfd.isAccessible(0));
    unsafe.close();
    assertQuiet(memfd);
  }

  /** The put comes after the last look at the counts, when the conversion is not yet registered. */
  @Test
  void aPutBetweenTheLastLookAndTheWaitIsNotLost() throws Exception {
    AtomicReference<Folio> unsafe = new AtomicReference<>();
    AtomicInteger refusals = new AtomicInteger();
    GuestMemfd memfd =
        later(
            1,
            new ConversionProtocol() {
              @Override
              public String id() {
                return "lets-go-in-between";
              }

              @Override
              public boolean mayTurnInaccessible(int refs, int safe) {
                if (refs == safe + 1) {
                  return true;
                }
                if (refusals.incrementAndGet() == 2) {
                  unsafe.get().close();
                }
                return false;
              }
            });
    unsafe.set(memfd.grab(0, UNSAFE));
    memfd.makeInaccessibleLater(0, PAGE).join();
    assertEquals(2, refusals.get(), "the second was the last");
    assertFalse(memfd.isAccessible(0));
    assertQuiet(memfd);
  }

  @Test
  void aSecondHolderFoundAtTheEndKeepsItPending() throws Exception {
    GuestMemfd memfd = later(2);
    HostMapping window = map(memfd);
    HostReference first = window.getUserPages(0, PAGE);
    HostReference second = window.getUserPages(PAGE, PAGE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, 2L * PAGE);
    first.close(); // tried, and found the second
    assertFalse(conversion.isDone());
    assertThrows(SigBusException.class, () -> window.getLong(0));
    second.close();
    conversion.join();
    assertQuiet(memfd);
  }

  /** The whole-file lock of a conversion elsewhere does not undo it. */
  @Test
  void aConversionElsewhereThatLocksTheWholeFileDoesNotUndoIt() throws Exception {
    GuestMemfd memfd = later(2, ConversionProtocol.invalidateLock());
    HostMapping window = map(memfd);
    HostReference pin = window.pin(0, PAGE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    memfd.makeInaccessible(PAGE, PAGE);
    assertFalse(conversion.isDone());
    pin.close();
    conversion.join();
    assertQuiet(memfd);
  }

  @Test
  void aCancelWaitsForACompletionUnderWayAndIsTooLate() throws Exception {
    GuestMemfd memfd = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    Worker<?> put;
    Worker<Boolean> cancel;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_COMMIT)) {
      put =
          Worker.start(
              () -> {
                unsafe.close();
                return null;
              });
      gate.awaitReached();
      cancel = Worker.start(() -> conversion.cancel(true));
      probe.awaitWaiting(cancel);
      assertFalse(cancel.isDone());
    }
    put.result();
    assertFalse(cancel.result());
    conversion.join();
    assertQuiet(memfd);
  }

  /** Two threads: one lets go, one shares the pages again. Whichever wins, nothing is lost. */
  @Test
  void aPutAgainstAReShare() throws Exception {
    GuestMemfd memfd = later(2);
    HostMapping window = map(memfd);
    for (int round = 0; round < 300; round++) {
      window.putLong(0, round);
      HostReference pin = window.pin(0, PAGE);
      CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, 2L * PAGE);
      Worker<Errno> share = Worker.start(() -> memfd.tryMakeAccessible(0, 2L * PAGE));
      pin.close();
      assertEquals(Errno.OK, share.result());
      assertTrue(conversion.isDone());
      assertTrue(memfd.isAccessible(0), "shared last, or the conversion was undone");
      assertEquals(round, window.getLong(0));
    }
    assertQuiet(memfd);
  }

  @Test
  void saysWhatItWaitsFor() {
    GuestMemfd memfd = later(3);
    Folio holder = memfd.grab(PAGE, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(PAGE, 2L * PAGE);
    String range = "conversion of the range [offset=0x1000, length=8192] of " + memfd;
    assertThat(conversion.toString())
        .startsWith(range)
        .endsWith(": pending, " + memfd.holders(PAGE));
    holder.close();
    conversion.join();
    assertThat(conversion.toString()).startsWith(range).endsWith(": done");
    assertEquals(0, Insides.watched(host), "counts are watched no more");
    memfd.makeAccessible(PAGE, 2L * PAGE);
    holder = memfd.grab(2L * PAGE, UNSAFE);
    conversion = memfd.makeInaccessibleLater(PAGE, 2L * PAGE);
    conversion.cancel(false);
    assertThat(conversion.toString()).startsWith(range).endsWith(": failed");
    assertEquals(0, Insides.watched(host), "nor after it was cancelled");
    holder.close();
  }

  /**
   * Where holders are tracked they are named, and it is one itself for as long as it is pending.
   */
  @Test
  void isTrackedWhileItIsPending() {
    try (HostMemory tracked = HostMemory.builder(4L * PAGE).trackHolders().build();
        GuestMemfd memfd =
            GuestMemfd.builder(tracked)
                .size(2L * PAGE)
                .flags(CreateFlag.INIT_SHARED)
                .retryPolicy(RetryPolicy.completeLater())
                .build()) {
      Folio holder = memfd.grab(PAGE, UNSAFE);
      int holders = tracked.holders().size();
      CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(PAGE, PAGE);
      assertEquals(holders + 1, tracked.holders().size());
      assertThat(tracked.holders())
          .anyMatch(
              h ->
                  h.kind() == TrackedHolder.Kind.PENDING_CONVERSION
                      && h.offset() == PAGE
                      && h.length() == PAGE);
      assertThat(conversion.toString()).contains("pending, " + memfd.holders(PAGE) + "\n  ");
      holder.close();
      conversion.join();
      assertEquals(holders - 1, tracked.holders().size());
      assertThat(conversion.toString()).endsWith(": done");
    }
  }
}
