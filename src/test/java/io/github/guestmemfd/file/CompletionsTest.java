package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.InCallback;
import io.github.guestmemfd.fixtures.InCallback.Where;
import io.github.guestmemfd.fixtures.NoScheduler;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The work of completing a conversion is done by a thread that has nothing else in hand, of
 * whatever host: it neither waits for itself nor gets lost.
 */
class CompletionsTest extends ProtocolFixture {
  private static GuestMemfd later(HostMemory host, int pages) {
    return on(host, pages, b -> b);
  }

  private static GuestMemfd on(HostMemory host, int pages, UnaryOperator<GuestMemfd.Builder> more) {
    return more.apply(
            GuestMemfd.builder(host)
                .size((long) pages * PAGE)
                .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                .retryPolicy(RetryPolicy.completeLater()))
        .build();
  }

  private static HostMemory hostWith(Executor executor) {
    return HostMemory.builder(64L * PAGE).completionExecutor(executor).build();
  }

  /** Waits for the end of a conversion, which is soon but on some other thread. */
  private static void await(CompletableFuture<?> future) throws Exception {
    future.get(Worker.LIMIT_SECONDS, TimeUnit.SECONDS);
  }

  private static Throwable failureOf(CompletableFuture<?> future) {
    try {
      await(future);
    } catch (ExecutionException e) {
      return e.getCause();
    } catch (CancellationException e) {
      return e;
    } catch (Exception e) {
      throw new AssertionError(e);
    }
    throw new AssertionError("did not fail");
  }

  // ---- a thread that keeps a folio lock ----

  /** The conversion wants both folios' locks, and the putting thread keeps one of them. */
  @ParameterizedTest
  @MethodSource("io.github.guestmemfd.file.PendingConversionTest#soundProtocols")
  void aThreadThatKeepsAFolioLockDoesNotWaitForItself(ConversionProtocol protocol)
      throws Exception {
    GuestMemfd memfd = file(2, protocol, RetryPolicy.completeLater());
    AtomicReference<CompletableFuture<Void>> conversion = new AtomicReference<>();
    run(
        () -> {
          Folio unsafe = memfd.grab(0, UNSAFE);
          Folio folio = memfd.grab(PAGE);
          if (!protocol.id().equals("lock-only")) {
            folio.lock();
          }
          conversion.set(memfd.makeInaccessibleLater(0, 2L * PAGE));
          assertFalse(conversion.get().isDone());
          unsafe.close();
          if (!protocol.id().equals("lock-only")) {
            assertFalse(conversion.get().isDone(), "the lock is this thread's");
            folio.unlock();
          }
          folio.close();
        });
    await(conversion.get());
    assertFalse(memfd.isAccessible(0));
    assertQuiet(memfd);
  }

  /** Tasks that the putting thread would run itself wait until its lock is free. */
  @Test
  void aDirectExecutorDoesNotMakeItWaitForItself() throws Exception {
    try (HostMemory direct = hostWith(Runnable::run);
        GuestMemfd memfd = later(direct, 2)) {
      AtomicReference<CompletableFuture<Void>> conversion = new AtomicReference<>();
      run(
          () -> {
            Folio unsafe = memfd.grab(0, UNSAFE);
            try (Folio folio = memfd.grab(PAGE)) {
              folio.lock();
              conversion.set(memfd.makeInaccessibleLater(0, PAGE));
              unsafe.close();
              folio.unlock();
            }
          });
      await(conversion.get());
      assertQuiet(memfd);
    }
  }

  /** Another thread's completions do not stall behind it. */
  @Test
  void whileItKeepsTheLockOthersComplete() throws Exception {
    GuestMemfd memfd = later(3);
    Folio first = memfd.grab(0, UNSAFE);
    Folio other = memfd.grab(2L * PAGE, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, 2L * PAGE);
    CompletableFuture<Void> elsewhere = memfd.makeInaccessibleLater(2L * PAGE, PAGE);
    GuestMemfd locked = file(1);
    CountDownLatch put = new CountDownLatch(1);
    CountDownLatch go = new CountDownLatch(1);
    Worker<Void> keeper =
        Worker.start(
            () -> {
              try (Folio folio = locked.grab(0)) {
                folio.lock();
                first.close();
                put.countDown();
                go.await();
                folio.unlock();
              }
              return null;
            });
    put.await();
    await(conversion); // handed over: the lock is another folio's
    Worker.start(
            () -> {
              other.close();
              return null;
            })
        .result();
    await(elsewhere);
    go.countDown();
    keeper.result();
    assertQuiet(memfd);
  }

  /** What depends on a conversion may want any lock, so it is not for a thread that keeps one. */
  @Test
  void whatDependsOnItDoesNotRunWhereALockIsKept() throws Exception {
    GuestMemfd memfd = later(1);
    GuestMemfd locked = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Errno> dependent =
        memfd
            .makeInaccessibleLater(0, PAGE)
            .handle((done, failure) -> locked.tryMakeInaccessible(0, PAGE));
    run(
        () -> {
          Folio folio = locked.grab(0);
          folio.lock();
          memfd.makeAccessible(0, PAGE); // undoes it
          folio.unlock();
          folio.close();
        });
    await(dependent);
    assertThat(dependent.join()).as("not EDEADLK").isIn(Errno.OK, Errno.EAGAIN);
    unsafe.close();
    assertQuiet(memfd);
  }

  // ---- inside a callback ----

  /** The last put comes in a callback of a file of this host, or of another. */
  @ParameterizedTest
  @EnumSource
  void aPutInsideACallbackCompletesAfterIt(Where callback) throws Exception {
    putInside(callback, host);
    try (HostMemory another = HostMemory.ofBytes(8L * PAGE)) {
      putInside(callback, another);
    }
  }

  private void putInside(Where callback, HostMemory where) throws Exception {
    GuestMemfd memfd = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    AtomicReference<Boolean> doneInside = new AtomicReference<>();
    InCallback ops = new InCallback(callback);
    ops.once(
        () -> {
          unsafe.close();
          doneInside.set(conversion.isDone());
        });
    run(
        () -> {
          GuestMemfd other = on(where, 1, b -> b.ops(ops));
          for (Runnable operation : operations(other)) {
            operation.run();
            assertEquals(
                doneInside.get() != null, conversion.isDone(), "before the thread goes on");
          }
          assertEquals(false, doneInside.get(), "the thread had pages in hand");
        });
    assertQuiet(memfd);
  }

  /** What has every callback come; the last one closes the file. */
  private static List<Runnable> operations(GuestMemfd file) {
    return List.of(
        () -> write(file, 0, 7), // a first use
        () -> file.makeInaccessible(0, PAGE),
        () -> assertThat(file.tryGetPfn(0)).isPositive(),
        () -> file.makeAccessible(0, PAGE),
        () -> file.punchHole(0, PAGE),
        file::close);
  }

  /** The last descriptor is closed in a callback: the file ends when the operation is over. */
  @ParameterizedTest
  @EnumSource(mode = EnumSource.Mode.EXCLUDE, names = "RELEASE") // it is closed by then
  void aFileThatIsClosedInsideACallbackEndsAfterIt(Where callback) throws Exception {
    InCallback ops = new InCallback(callback);
    run(
        () -> {
          GuestMemfd other = on(host, 1, b -> b.ops(ops));
          ops.once(other::close);
          for (Runnable operation : operations(other)) {
            operation.run();
            if (!other.isOpen()) {
              assertEquals(0, host.used(), "before the thread goes on");
              return;
            }
          }
          throw new AssertionError("the callback did not come");
        });
  }

  // ---- what depends on a conversion ----

  /**
   * A dependent stage of each conversion drops the reference that the next waits for, and joins.
   */
  @ParameterizedTest
  @ValueSource(ints = {2, 3, 20})
  void aDependentMayWaitForAnotherConversion(int depth) throws Exception {
    GuestMemfd memfd = later(depth);
    List<Folio> held = new ArrayList<>();
    List<CompletableFuture<Void>> conversions = new ArrayList<>();
    for (int i = 0; i < depth; i++) {
      held.add(memfd.grab((long) i * PAGE, UNSAFE));
      conversions.add(memfd.makeInaccessibleLater((long) i * PAGE, PAGE));
    }
    List<CompletableFuture<Void>> stages = new ArrayList<>();
    for (int i = 0; i < depth - 1; i++) {
      int next = i + 1;
      stages.add(
          conversions
              .get(i)
              .thenRun(
                  () -> {
                    held.get(next).close();
                    conversions.get(next).orTimeout(Worker.LIMIT_SECONDS, TimeUnit.SECONDS).join();
                  }));
    }
    run(() -> held.get(0).close());
    for (CompletableFuture<Void> stage : stages) {
      await(stage);
    }
    await(conversions.get(depth - 1));
    assertQuiet(memfd);
  }

  /**
   * One operation ends two conversions; what depends on each waits until the other has been ended.
   */
  @Test
  void dependentsOfTwoConversionsMayWaitForEachOther() throws Exception {
    GuestMemfd memfd = later(2);
    Folio one = memfd.grab(0, UNSAFE);
    Folio two = memfd.grab(PAGE, UNSAFE);
    CompletableFuture<Void> first = memfd.makeInaccessibleLater(0, PAGE);
    CompletableFuture<Void> second = memfd.makeInaccessibleLater(PAGE, PAGE);
    CountDownLatch both = new CountDownLatch(2);
    List<CompletableFuture<Boolean>> stages = new ArrayList<>();
    for (CompletableFuture<Void> conversion : List.of(first, second)) {
      stages.add(
          conversion.handle(
              (done, failure) -> {
                both.countDown();
                try {
                  return both.await(Worker.LIMIT_SECONDS, TimeUnit.SECONDS);
                } catch (InterruptedException e) {
                  return false;
                }
              }));
    }
    run(() -> memfd.makeAccessible(0, 2L * PAGE)); // undoes both
    for (CompletableFuture<Boolean> stage : stages) {
      assertTrue(stage.get(Worker.LIMIT_SECONDS, TimeUnit.SECONDS), "both ran at once");
    }
    one.close();
    two.close();
    assertQuiet(memfd);
  }

  /** The same where the executor is the thread itself: who waits for a future completes it. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aDependentMayWaitForAnotherThatTheSameThreadIsToComplete(boolean reverse) throws Exception {
    try (HostMemory direct = hostWith(Runnable::run);
        GuestMemfd memfd = later(direct, 2)) {
      Folio one = memfd.grab(0, UNSAFE);
      Folio two = memfd.grab(PAGE, UNSAFE);
      CompletableFuture<Void> first = memfd.makeInaccessibleLater(0, PAGE);
      CompletableFuture<Void> second = memfd.makeInaccessibleLater(PAGE, PAGE);
      CompletableFuture<Void> waiting = reverse ? second : first;
      CompletableFuture<Void> waitedFor = reverse ? first : second;
      CompletableFuture<Throwable> stage = waiting.handle((done, failure) -> failureOf(waitedFor));
      CompletableFuture<Void> other = waitedFor.exceptionally(failure -> null);
      run(() -> memfd.punchHole(0, 2L * PAGE)); // undoes both
      assertInstanceOf(GuestMemfdException.class, stage.join());
      assertTrue(other.isDone());
      one.close();
      two.close();
    }
  }

  /** A stage that blocks holds up the thread that runs it, and no other file. */
  @Test
  void aDependentThatBlocksStallsNoOther() throws Exception {
    GuestMemfd memfd = later(1);
    GuestMemfd other = later(1);
    Folio one = memfd.grab(0, UNSAFE);
    Folio two = other.grab(0, UNSAFE);
    CompletableFuture<Void> first = memfd.makeInaccessibleLater(0, PAGE);
    CompletableFuture<Void> second = other.makeInaccessibleLater(0, PAGE);
    CountDownLatch blocked = new CountDownLatch(1);
    CountDownLatch go = new CountDownLatch(1);
    CompletableFuture<Void> stage =
        first.thenRun(
            () -> {
              blocked.countDown();
              try {
                go.await();
              } catch (InterruptedException e) {
                throw new AssertionError(e);
              }
            });
    Worker<Void> putting =
        Worker.start(
            () -> {
              one.close();
              return null;
            });
    blocked.await();
    assertEquals(Errno.OK, memfd.tryMakeAccessible(0, PAGE), "no page is held up");
    run(two::close);
    await(second);
    go.countDown();
    putting.result();
    await(stage);
    assertQuiet(memfd);
    assertQuiet(other);
  }

  /** A client that never takes no for an answer does not keep the operation that undoes it busy. */
  @Test
  void askingAgainAtOnceDoesNotKeepOthersBusy() throws Exception {
    GuestMemfd memfd = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    AtomicLong asked = new AtomicLong();
    List<CompletableFuture<Void>> all = Collections.synchronizedList(new ArrayList<>());
    class Client {
      void ask() {
        asked.incrementAndGet();
        CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
        all.add(conversion);
        all.add(
            conversion.handle(
                (done, failure) -> {
                  if (failure != null && asked.get() < 1_000_000) {
                    ask();
                  }
                  return null;
                }));
      }
    }
    new Client().ask();
    for (int i = 0; i < 5; i++) {
      run(() -> memfd.makeAccessible(0, PAGE));
    }
    assertThat(asked.get()).isLessThan(1_000);
    unsafe.close();
    await(all.get(all.size() - 2));
    assertFalse(memfd.isAccessible(0), "in the end it has its way");
    assertQuiet(memfd);
  }

  // ---- ended by its user ----

  @Test
  void isCancelledAsOftenAsAskedFor() throws Exception {
    GuestMemfd memfd = later(1);
    try (Folio unsafe = memfd.grab(0, UNSAFE)) {
      CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
      assertTrue(conversion.cancel(true));
      assertTrue(conversion.cancel(false), "as any future");
      assertTrue(conversion.isCancelled());
      assertTrue(memfd.isAccessible(0));
      assertEquals(1, memfd.metrics().pendingUndone());
      assertEquals(0, unsafe.offset());
    }
    assertQuiet(memfd);
  }

  @Test
  void isEndedWithAFailureOfItsUsers() throws Exception {
    GuestMemfd memfd = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    IllegalStateException planned = new IllegalStateException("planned");
    assertTrue(conversion.completeExceptionally(planned));
    assertSame(planned, failureOf(conversion));
    assertTrue(memfd.isAccessible(0));
    unsafe.close();
    assertTrue(memfd.isAccessible(0), "undone for good");
    assertQuiet(memfd);
  }

  // ---- orTimeout ----

  /** Undoing wants pages, and may wait: that is nothing for the one timer of the JDK. */
  @Test
  void aTimeoutIsNotUndoneByTheTimer() throws Exception {
    GuestMemfd memfd = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    RacePoints.Gate undoing = races.hold(RacePoint.RANGE_BUSY);
    AtomicReference<String> timer = new AtomicReference<>();
    CompletableFuture<Void> stage =
        conversion.handle(
            (done, failure) -> {
              timer.set(Thread.currentThread().getName());
              return null;
            });
    assertSame(conversion, conversion.orTimeout(1, TimeUnit.MILLISECONDS));
    undoing.awaitReached();
    CompletableFuture<String> tick =
        CompletableFuture.supplyAsync(
            () -> Thread.currentThread().getName(),
            CompletableFuture.delayedExecutor(1, TimeUnit.MILLISECONDS, Runnable::run));
    await(tick); // the timer is free while the undoing is held up
    undoing.release();
    assertInstanceOf(TimeoutException.class, failureOf(conversion));
    await(stage);
    assertThat(timer.get()).isNotEqualTo(tick.join());
    assertTrue(memfd.isAccessible(0));
    unsafe.close();
    assertTrue(memfd.isAccessible(0));
    assertQuiet(memfd);
  }

  @Test
  void aTimeoutThatComesTooLateDoesNothing() throws Exception {
    GuestMemfd memfd = later(1);
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    conversion = conversion.orTimeout(1, TimeUnit.HOURS);
    unsafe.close();
    await(conversion);
    await(memfd.makeInaccessibleLater(0, PAGE).orTimeout(1, TimeUnit.NANOSECONDS));
    assertFalse(memfd.isAccessible(0));
    assertQuiet(memfd);
  }

  // ---- interrupts ----

  /** The cancelling waits for the page, which a conversion keeps busy, and is interrupted. */
  @Test
  void anInterruptedCancelIsACancelAllTheSame() throws Exception {
    // A protocol whose conversions make all pages busy.
    GuestMemfd memfd = file(2, ConversionProtocol.invalidateLock(), RetryPolicy.completeLater());
    Folio unsafe = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    RacePoints.Gate busy = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> elsewhere = Worker.start(() -> memfd.tryMakeInaccessible(PAGE, PAGE));
    busy.awaitReached();
    Worker<Boolean> cancel =
        Worker.start(
            () -> {
              boolean cancelled = conversion.cancel(true);
              return cancelled && Thread.currentThread().isInterrupted();
            });
    probe.awaitWaiting(cancel);
    cancel.interrupt();
    assertTrue(cancel.result(), "cancelled, and the interrupt kept");
    assertTrue(conversion.isCancelled());
    busy.release();
    assertEquals(Errno.OK, elsewhere.result());
    unsafe.close();
    assertQuiet(memfd); // also waits for the pages, which come back a little later
    assertEquals(0, pendingNow(memfd));
  }

  private static long pendingNow(GuestMemfd memfd) {
    return memfd.metrics().pendingBegun()
        - memfd.metrics().pendingCompleted()
        - memfd.metrics().pendingUndone();
  }

  // ---- what throws ----

  @Test
  void anErrorInACompletionFailsThatOneAlone() throws Exception {
    StackOverflowError planned = new StackOverflowError("planned");
    InCallback client = new InCallback(Where.PREPARE_INACCESSIBLE);
    client.once(
        () -> {
          throw planned;
        });
    GuestMemfd memfd = file(2, b -> b.retryPolicy(RetryPolicy.completeLater()).ops(client));
    Folio one = memfd.grab(0, UNSAFE);
    Folio two = memfd.grab(PAGE, UNSAFE);
    CompletableFuture<Void> first = memfd.makeInaccessibleLater(0, PAGE);
    CompletableFuture<Void> second = memfd.makeInaccessibleLater(PAGE, PAGE);
    run(one::close);
    assertSame(planned, failureOf(first));
    assertTrue(memfd.isAccessible(0));
    run(two::close);
    await(second);
    assertQuiet(memfd);
  }

  // ---- executors ----

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void whatTheExecutorRejectsIsHandedToItAgain(boolean error) throws Exception {
    AtomicInteger offered = new AtomicInteger();
    Executor picky =
        task -> {
          if (offered.incrementAndGet() <= 3) {
            if (error) {
              throw new OutOfMemoryError("planned");
            }
            throw new RejectedExecutionException("planned");
          }
          new Thread(task, "picky").start();
        };
    try (HostMemory own = hostWith(picky);
        GuestMemfd memfd = later(own, 1);
        GuestMemfd locked = later(own, 1)) {
      Folio unsafe = memfd.grab(0, UNSAFE);
      CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
      run(
          () -> {
            try (Folio folio = locked.grab(0)) {
              folio.lock();
              unsafe.close();
              folio.unlock();
            }
          });
      await(conversion);
      assertEquals(4, offered.get());
      assertQuiet(memfd);
    }
  }

  // ---- many ----

  /** Each put tries its own conversion, and no other. */
  @Test
  void manyPendingConversionsCostNoMoreThanTheirNumber() throws Exception {
    int many = 20_000;
    AtomicInteger busy = new AtomicInteger();
    try (HostMemory large =
            HostMemory.builder((many + 1L) * PAGE)
                .metadataOnly()
                .raceHook(
                    (point, index) -> {
                      if (point == RacePoint.RANGE_BUSY) {
                        busy.incrementAndGet();
                      }
                    })
                .build();
        GuestMemfd memfd = later(large, many)) {
      List<Folio> held = new ArrayList<>();
      List<CompletableFuture<Void>> conversions = new ArrayList<>();
      for (int i = 0; i < many; i++) {
        held.add(memfd.grab((long) i * PAGE, UNSAFE));
      }
      for (int i = 0; i < many; i++) {
        conversions.add(memfd.makeInaccessibleLater((long) i * PAGE, PAGE));
      }
      int before = busy.get();
      assertEquals(many, before);
      run(() -> held.forEach(Folio::close));
      assertEquals(many, busy.get() - before, "one try each");
      for (CompletableFuture<Void> conversion : conversions) {
        await(conversion);
      }
    }
  }

  // ---- the end of the file ----

  /** A lock that its user never gives back does not keep the file from ending. */
  @ParameterizedTest
  @MethodSource(ALL)
  void aFileEndsThoughAFolioIsLockedAndAConversionPending(ConversionProtocol protocol)
      throws Exception {
    try (HostMemory own = HostMemory.ofBytes(8L * PAGE)) {
      GuestMemfd memfd = on(own, 2, b -> b.protocol(protocol));
      Folio held = memfd.grab(PAGE);
      if (!protocol.id().equals("lock-only")) {
        held.lock();
      }
      Folio unsafe = memfd.grab(0, UNSAFE);
      CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
      run(memfd::close);
      assertTrue(conversion.isDone());
      if (!protocol.id().equals("lock-only")) {
        held.unlock();
      }
      held.close();
      unsafe.close();
      assertEquals(0, own.used());
    }
  }

  /** Two guests that lock a page each, in opposite orders, against a conversion of both. */
  @Test
  void twoLockedGrabsDoNotWaitInACircleWithAConversion() throws Exception {
    GuestMemfd memfd = file(2, protocol("lock-only"), PATIENT);
    write(memfd, 0, 1);
    write(memfd, PAGE, 2);
    CountDownLatch first = new CountDownLatch(1);
    CountDownLatch go = new CountDownLatch(1);
    Worker<Integer> guest =
        Worker.start(
            () -> {
              Folio one = memfd.grab(PAGE);
              first.countDown();
              go.await();
              int answer = memfd.tryGrab(0, SAFE);
              if (answer >= 0) {
                memfd.put(answer, SAFE);
              }
              one.close();
              return Math.min(answer, 0);
            });
    first.await();
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, 2L * PAGE));
    probe.awaitWaiting(conversion); // for the lock of page 1; page 0 is busy
    go.countDown();
    assertEquals(-Errno.EDEADLK.code(), guest.result(), "it keeps a lock, so it must not wait");
    assertEquals(Errno.OK, conversion.result());
    assertQuiet(memfd);
  }

  // ---- tries under way ----

  /** Waits for the try that is under way, but not for ever, and not when it is interrupted. */
  @Test
  void triesUnderWayAreWaitedFor() throws Exception {
    Completions completions = new Completions(Runnable::run);
    CountDownLatch begun = new CountDownLatch(1);
    CountDownLatch over = new CountDownLatch(1);
    Worker<Void> attempt =
        Worker.start(
            () -> {
              completions.attempt(
                  () -> {
                    begun.countDown();
                    awaitUnchecked(over);
                  });
              return null;
            });
    begun.await();
    completions.await(probe, 1);
    Worker<Boolean> waiting = await(completions, TimeUnit.HOURS.toNanos(1));
    probe.awaitWaiting(waiting);
    waiting.interrupt();
    assertTrue(waiting.result(), "the interrupt is kept");
    waiting = await(completions, Long.MAX_VALUE);
    probe.awaitWaiting(waiting);
    over.countDown();
    attempt.result();
    assertFalse(waiting.result());
  }

  private static void awaitUnchecked(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  private Worker<Boolean> await(Completions completions, long nanos) {
    return Worker.start(
        () -> {
          completions.await(probe, nanos);
          return Thread.currentThread().isInterrupted();
        });
  }

  /** Under the explorer its scheduler is the executor, and the timer. */
  @Test
  void theSchedulerIsTheExecutor() {
    Completions completions = new Completions(null);
    List<Long> delays = new ArrayList<>();
    NoScheduler scheduler =
        new NoScheduler() {
          @Override
          public void execute(Runnable task, long nanos) {
            delays.add(nanos);
            task.run();
          }
        };
    AtomicInteger runs = new AtomicInteger();
    Exploration.during(
        () -> {
          Exploration.by(
              scheduler,
              () -> {
                completions.handOver(runs::incrementAndGet);
                completions.handOverLater(runs::incrementAndGet, 7);
              });
          return null;
        });
    assertEquals(2, runs.get());
    assertEquals(List.of(0L, 7_000_000L, 0L), delays);
  }
}
