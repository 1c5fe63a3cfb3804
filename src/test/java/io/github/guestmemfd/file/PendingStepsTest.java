package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.AccessUnderWay;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.fixtures.NoScheduler;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The steps of pending conversions against who has their pages at that moment. The executor runs
 * nothing by itself.
 */
class PendingStepsTest {
  private static final int PAGES = 4;

  private final ConversionProtocol protocol = ConversionProtocol.bothCounters();
  private final RetryPolicy retry = RetryPolicy.completeLater();
  private final WaitProbe probe = new WaitProbe();
  private final BlockingQueue<Runnable> tasks = new LinkedBlockingQueue<>();

  /** What a try does first, with the pages busy. */
  private Runnable inTry = () -> {};

  /** What the client does when a frame is freed. */
  private Runnable freeing = () -> {};

  /** What the client answers. */
  private Errno answer = Errno.OK;

  private final FileClient client =
      new AgreeingClient() {
        @Override
        public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
          return answer;
        }

        @Override
        public void freeFolio(int pfn) {
          freeing.run();
        }
      };

  private final Host host = new Host(8, options());
  private final FileOperations file =
      new FileOperations(
          host,
          Pages.bytes(PAGES),
          CreateFlag.MMAP.bit() | CreateFlag.INIT_SHARED.bit(),
          client,
          protocol,
          retry);

  private Host.Options options() {
    Host.Options options = new Host.Options();
    options.idle = probe;
    options.completionExecutor = tasks::add;
    options.hook =
        (point, index) -> {
          if (point == RacePoint.RANGE_BUSY) {
            inTry.run();
          }
        };
    return options;
  }

  /** A conversion that the holder of one of its pages is in the way of. */
  private PendingConversion pend(long from, long to) {
    PendingConversion later = file.pendingDriver.toInaccessible(from, to);
    assertEquals(Errno.EAGAIN, file.pendingDriver.begin(later, new Mismatch()));
    assertFalse(later.isDone());
    assertSame(later, file.pendings.at(from));
    assertEquals(-Errno.EFAULT.code(), file.grab(from, HolderKind.UNSAFE), "neither side's");
    assertEquals(-Errno.EAGAIN.code(), file.grab(from, HolderKind.SAFE));
    return later;
  }

  private int hold(long page) {
    return file.grab(page, HolderKind.UNSAFE);
  }

  private void letGo(int pfn) {
    file.put(-1, pfn, HolderKind.UNSAFE);
  }

  /** The next task for the executor, which may come after a delay. */
  private Runnable task() throws InterruptedException {
    Runnable task = tasks.poll(Worker.LIMIT_SECONDS, TimeUnit.SECONDS);
    assertNotNull(task, "nothing was handed over");
    return task;
  }

  @AfterEach
  void nothingIsBusyOrPending() {
    Thread.interrupted(); // of a test that has failed
    assertEquals(PAGES, file.inode.cache.nextBusy(0, PAGES));
    for (long page = 0; page < PAGES; page++) {
      assertNull(file.pendings.at(page));
    }
    file.inode.close();
    assertEquals(0, host.frames.used());
    host.close();
  }

  /** An operation on one page undoes the conversion of all of them, and so waits for all. */
  @ParameterizedTest
  @ValueSource(ints = {0, 2})
  void anOperationWaitsForThePagesThatItUndoes(int page) throws Exception {
    int pfn = hold(1);
    PendingConversion later = pend(0, 3);
    int other = 2 - page;
    assertTrue(file.inode.cache.lock(other, other + 1));
    Worker<Errno> operation =
        Worker.start(
            () -> {
              Errno errno = file.pendings.lockToChange(page, page + 1, "a test");
              assertEquals(page, file.inode.cache.nextBusy(0, PAGES), "the others are free again");
              assertEquals(PAGES, file.inode.cache.nextBusy(page + 1, PAGES));
              file.pendings.unlockChanged(page, page + 1);
              return errno;
            });
    probe.awaitWaiting(operation);
    file.inode.cache.unlock(other, other + 1);
    assertEquals(Errno.OK, operation.result());
    assertTrue(later.isCompletedExceptionally());
    letGo(pfn);
  }

  /** One that has become pending since the operation looked for them is undone as well. */
  @Test
  void anOperationLooksAgain() {
    int pfn = hold(1);
    PendingConversion[] later = new PendingConversion[1];
    Meanwhile.beforeWriteTo(
        long[].class,
        1,
        () -> later[0] = pend(0, 3),
        () -> {
          assertEquals(Errno.OK, file.pendings.lockToChange(2, 3, "a test"));
          assertEquals(2, file.inode.cache.nextBusy(0, PAGES));
          file.pendings.unlockChanged(2, 3);
        });
    assertTrue(later[0].isCompletedExceptionally());
    letGo(pfn);
  }

  @Test
  void anOperationThatLooksAgainCanBeInterrupted() {
    int pfn = hold(1);
    PendingConversion[] later = new PendingConversion[1];
    Meanwhile.beforeWriteTo(
        long[].class,
        1,
        () -> {
          later[0] = pend(0, 3);
          Thread.currentThread().interrupt();
        },
        () -> assertEquals(Errno.EINTR, file.pendings.lockToChange(2, 3, "a test")));
    assertTrue(Thread.interrupted());
    assertFalse(later[0].isDone());
    assertEquals(PAGES, file.inode.cache.nextBusy(0, PAGES));
    later[0].cancel(false);
    letGo(pfn);
  }

  /** A try that would have to wait for the pages is made again later, by the executor. */
  @Test
  void aTryDoesNotWaitForThePages() throws Exception {
    int pfn = hold(0);
    PendingConversion later = pend(0, 2);
    assertTrue(file.inode.cache.lock(1, 2));
    Worker.start(
            () -> {
              letGo(pfn);
              return null;
            })
        .result();
    assertFalse(later.isDone());
    byAnother(task()); // in vain
    Runnable again = task();
    assertFalse(later.isDone());
    file.inode.cache.unlock(1, 2);
    again.run();
    assertNull(later.join());
    assertFalse(file.inode.isAccessible(1));
  }

  private static void byAnother(Runnable task) throws Exception {
    Worker.start(
            () -> {
              task.run();
              return null;
            })
        .result();
  }

  /** A thread that cannot have the pages ends it; the executor gives them back. */
  @Test
  void itIsEndedWithoutThePages() throws Exception {
    int pfn = hold(0);
    PendingConversion later = pend(0, 2);
    assertTrue(file.inode.cache.lock(1, 2));
    Worker<Boolean> cancelled =
        Worker.start(
            () -> {
              Thread.currentThread().interrupt();
              return later.cancel(false);
            });
    assertTrue(cancelled.result());
    assertTrue(later.isCancelled());
    assertSame(later, file.pendings.at(0), "its pages are marked");
    Runnable rest = task();
    file.inode.cache.unlock(1, 2);
    rest.run();
    assertNull(file.pendings.at(0));
    assertTrue(file.inode.isAccessible(0));
    letGo(pfn);
  }

  /** What such a call answers: whether it has ended the conversion. */
  @Test
  void whoHasEndedIt() throws Exception {
    int pfn = hold(0);
    PendingConversion later = pend(0, 2);
    IllegalStateException why = new IllegalStateException("planned");
    Callable<Boolean> end =
        () -> {
          Thread.currentThread().interrupt();
          return later.completeExceptionally(why);
        };
    boolean[] ended = new boolean[1];
    inTry = // with the pages busy
        () -> {
          try {
            ended[0] = Worker.start(end).result();
          } catch (Exception e) {
            throw new AssertionError(e);
          }
        };
    letGo(pfn);
    inTry = () -> {};
    assertFalse(ended[0], "the try may still complete it");
    assertNull(later.join());
    int other = hold(2);
    PendingConversion second = pend(2, 4);
    assertTrue(file.inode.cache.lock(3, 4));
    assertTrue(
        Worker.start(
                () -> {
                  Thread.currentThread().interrupt();
                  return second.completeExceptionally(why);
                })
            .result());
    file.inode.cache.unlock(3, 4);
    task().run();
    assertTrue(second.isCompletedExceptionally());
    letGo(other);
  }

  /** Its user ends it while it is tried: the try that does not succeed ends it. */
  @Test
  void itIsEndedDuringATry() {
    int pfn = hold(0);
    PendingConversion later = pend(0, 2);
    CancellationException why = new CancellationException("planned");
    inTry = () -> assertFalse(later.endWithoutPages(why), "it is not pending now");
    file.pendingDriver.attempt(later);
    inTry = () -> {};
    assertTrue(later.isCompletedExceptionally());
    assertSame(why, later.handle((none, e) -> e).join()); // join of its own wraps it on JDK 25
    assertThrows(CancellationException.class, later::join);
    letGo(pfn);
  }

  /** A try that would have to wait for an access, or is interrupted, is made again. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aTryDoesNotWaitForAnAccess(boolean interrupted) throws Exception {
    int pfn = hold(0);
    PendingConversion later = pend(0, 2);
    host.frames.unwatch(pfn); // the put does not try it
    letGo(pfn);
    CountDownLatch over = new CountDownLatch(1);
    Worker<Void> access = AccessUnderWay.begin(host.frames.accesses, pfn, over);
    if (interrupted) {
      inTry = () -> Thread.currentThread().interrupt();
      file.pendingDriver.attempt(later);
      inTry = () -> {};
      assertTrue(Thread.interrupted());
    } else {
      Wait.withoutWaiting(() -> file.pendingDriver.attempt(later));
    }
    over.countDown();
    access.result();
    assertFalse(later.isDone());
    task().run();
    assertNull(later.join());
  }

  /** Has every try throw what this returns. */
  private IllegalStateException failingTries() {
    IllegalStateException planned = new IllegalStateException("planned");
    inTry =
        () -> {
          throw planned;
        };
    return planned;
  }

  @Test
  void whatATryThrowsFailsIt() {
    int pfn = hold(0);
    PendingConversion later = pend(0, 2);
    IllegalStateException planned = failingTries();
    letGo(pfn);
    inTry = () -> {};
    assertSame(planned, assertThrows(CompletionException.class, later::join).getCause());
    assertTrue(file.inode.isAccessible(0));
  }

  /** A callback that answers EINTR is not an interrupt. */
  @Test
  void aTryIsRefusedByACallback() {
    int pfn = hold(0);
    PendingConversion later = pend(0, 2);
    answer = Errno.EINTR;
    letGo(pfn);
    answer = Errno.OK;
    assertTrue(later.isCompletedExceptionally());
    Throwable why = assertThrows(CompletionException.class, later::join).getCause();
    assertEquals(Errno.EINTR, ((GuestMemfdException) why).errno());
    assertEquals(0, tasks.size());
    assertTrue(file.inode.isAccessible(0));
  }

  /** Of a file that is gone the pages are given back by its end. */
  @Test
  void itIsEndedWhenTheFileIsGone() {
    FileOperations gone = new FileOperations(host, Pages.SIZE, 0, null, protocol, retry);
    gone.inode.close();
    PendingConversion later = gone.pendingDriver.toInaccessible(0, 1);
    CancellationException why = new CancellationException("planned");
    assertFalse(gone.pendingDriver.undo(later, why, new Failures()), "it is not pending");
    later.pend();
    assertTrue(later.isEnded(), "asked for before");
    PendingConversion other = gone.pendingDriver.toInaccessible(0, 1);
    other.pend();
    assertFalse(other.isEnded());
    assertTrue(gone.pendingDriver.undo(other, why, new Failures()));
    assertTrue(other.isEnded());
  }

  // ---- its states ----

  @Test
  void isTriedByOneThreadOnceItIsPending() {
    PendingConversion later = file.pendingDriver.toInaccessible(0, 1);
    assertFalse(later.mayBeTried());
    assertFalse(later.beginTry(), "its first attempt is under way");
    later.pend();
    assertTrue(later.mayBeTried());
    assertTrue(later.beginTry());
    assertFalse(later.mayBeTried());
    assertFalse(later.beginTry());
    later.pend();
    assertTrue(later.undo(new CancellationException()));
    assertFalse(later.undo(new CancellationException()));
    assertFalse(later.beginTry());
  }

  /** Its last holder lets go right before the counts are watched. */
  @Test
  void whatIsLetGoBeforeIsNotMissed() {
    int pfn = hold(0);
    PendingConversion later = file.pendingDriver.toInaccessible(0, 2);
    Meanwhile.beforeWriteTo(
        PendingConversion.class,
        1,
        () -> letGo(pfn),
        () -> assertEquals(Errno.EAGAIN, file.pendingDriver.begin(later, new Mismatch())));
    assertNull(later.join());
    assertFalse(file.inode.isAccessible(0));
  }

  /** A thread that waits for one that is ready completes it, since it may be the one to do so. */
  @ParameterizedTest
  @ValueSource(strings = {"join", "get", "get for a time"})
  void whoWaitsCompletesWhatIsReady(String how) throws Exception {
    PendingConversion later = file.pendingDriver.toInaccessible(0, 1);
    later.decide(null);
    assertFalse(later.isDone());
    later.readyToComplete();
    assertFalse(later.isDone());
    Worker.start(
            () ->
                switch (how) {
                  case "join" -> later.join();
                  case "get" -> later.get();
                  default -> later.get(1, TimeUnit.HOURS);
                })
        .result();
    assertTrue(later.isDone());
  }

  /** What a race hook throws is the caller's, and the conversion is undone all the same. */
  @Test
  void itIsCancelledThoughAHookThrows() {
    int pfn = hold(0);
    PendingConversion later = pend(0, 2);
    IllegalStateException planned = failingTries();
    assertSame(planned, assertThrows(IllegalStateException.class, () -> later.cancel(false)));
    inTry = () -> {};
    assertTrue(later.isCancelled());
    letGo(pfn);
  }

  /** The delays double up to a limit; one task at a time is handed over. */
  @Test
  void delays() {
    PendingConversion later = file.pendingDriver.toInaccessible(0, 1); // a try does nothing
    List<Long> millis = new ArrayList<>();
    NoScheduler scheduler =
        new NoScheduler() {
          @Override
          public void execute(Runnable task, long nanos) {
            millis.add(TimeUnit.NANOSECONDS.toMillis(nanos));
            task.run();
          }
        };
    Exploration.during(
        () -> {
          Exploration.by(
              scheduler,
              () -> {
                for (int i = 0; i < 9; i++) {
                  later.tryLater();
                  tasks.remove().run();
                }
                later.handOverLater(() -> {}, 7);
                tasks.remove();
              });
          return null;
        });
    assertEquals(List.of(1L, 2L, 4L, 8L, 16L, 32L, 64L, 100L, 100L, 7L), millis);
    later.tryLater();
    later.tryLater();
    assertEquals(0, tasks.size(), "the timer has it");
  }

  /** A protocol that throws when it is asked again fails the conversion. */
  @Test
  void whatTheProtocolThrowsFailsIt() {
    IllegalStateException planned = new IllegalStateException("planned");
    boolean[] throwing = new boolean[1];
    FileOperations other =
        new FileOperations(
            host,
            Pages.SIZE,
            CreateFlag.INIT_SHARED.bit(),
            null,
            new ForwardingProtocol(protocol) {
              @Override
              public boolean mayTurnInaccessible(int refs, int safe) {
                if (throwing[0]) {
                  throw planned;
                }
                return super.mayTurnInaccessible(refs, safe);
              }
            },
            retry);
    int pfn = other.grab(0, HolderKind.UNSAFE);
    PendingConversion later = other.pendingDriver.toInaccessible(0, 1);
    Meanwhile.beforeWriteTo(
        PendingConversion.class,
        1,
        () -> throwing[0] = true,
        () -> assertEquals(Errno.EAGAIN, other.pendingDriver.begin(later, new Mismatch())));
    assertSame(planned, assertThrows(CompletionException.class, later::join).getCause());
    other.put(0, pfn, HolderKind.UNSAFE);
    other.inode.close();
  }

  /** What a callback lets go of is dealt with when the callback is over. */
  @Test
  void aFreeingCallbackLetsGo() {
    int orphan = hold(3);
    assertEquals(Errno.OK, file.truncation.punch(3, 4, new Mismatch()));
    int pfn = hold(0);
    PendingConversion later = pend(0, 2);
    freeing =
        () -> {
          letGo(pfn);
          assertFalse(later.isDone(), "not inside the callback");
        };
    letGo(orphan);
    assertTrue(later.isDone());
    freeing = () -> {};
  }
}
