package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.FolioHolders;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.observe.Holder;
import io.github.guestmemfd.observe.HolderRegister;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Wait;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A conversion to inaccessible that is refused for now and completes when the last holder lets go:
 * the kernel's {@code NONE_SHARED}.
 *
 * <p>While it is pending, its pages belong to neither side. When the counts of the folio that was
 * found busy change so that the conversion may become possible, the thread that changes them tries
 * it again, or has the executor do it. To cancel it, to complete it exceptionally, or to convert or
 * punch any of its pages undoes it first: the pages are then as they were.
 *
 * <h2>Who may do what</h2>
 *
 * Only the thread that has made its pages busy may try it, undo it, or leave it pending again, so
 * only one of these happens at a time. A thread that does not have the pages can only end it: it
 * then never converts, and the next thread that has the pages gives them back.
 *
 * <h2>A try never waits</h2>
 *
 * A try does not wait for pages, for folio locks, or for accesses under way. If it would have to
 * wait, or is interrupted, it changes nothing, and the host's executor tries the conversion again
 * after a delay. So a put that drops the last reference waits for nothing, and a conversion holds
 * up no thread.
 */
public final class PendingConversion extends CompletableFuture<Void> implements WayOut.Completable {
  /** What drives the pending conversions of a file. */
  interface Driver {
    /** Tries a conversion, if that is possible without waiting. */
    void attempt(PendingConversion later);

    /**
     * Undoes a conversion on behalf of its user. If this thread must not wait for the pages any
     * longer, the conversion is ended all the same, and its pages are given back a little later.
     *
     * @param why what its future is to fail with
     * @param failures takes what a race hook throws
     * @return whether this call has ended it
     */
    boolean undo(PendingConversion later, Throwable why, Failures failures);

    /** Whether a folio with these counts may turn inaccessible. */
    boolean mayTurnInaccessible(long counts);

    /** The holders of the folio of a page. */
    FolioHolders holders(long index);
  }

  private static final int MAX_DELAY_MILLIS = 100;

  /** The state of a conversion. */
  private sealed interface State permits Phase, Ended, Over {}

  private enum Phase implements State {
    /** Its first attempt is under way. */
    BEGUN,
    PENDING,
    /** Another attempt is under way, by a thread that has the pages. */
    TRIED
  }

  /** It will not convert any more, but its pages are still marked. */
  private record Ended(Throwable why) implements State {}

  private record Over(@Nullable Throwable failure) implements State {}

  final long from;
  final long to;
  private final Inode inode;
  private final Driver driver;
  private final AtomicReference<State> state = new AtomicReference<>(Phase.BEGUN);

  /** The frame that was found busy; 0 for none. Written by the thread that has the pages. */
  private volatile int watched;

  /** The page whose folio was found busy. */
  private volatile long busyIndex;

  /** The delay before the next try, if no put triggers one; 0 for at once. */
  private volatile int delayMillis;

  /** Whether the executor has been asked for a try that has not begun. */
  private final AtomicBoolean willBeTried = new AtomicBoolean();

  /** Whether it is over and its pages have been dealt with: a waiting thread may complete it. */
  private volatile boolean ready;

  /** The holder that asked for it, where holders are tracked. */
  private final @Nullable Holder tracked;

  /** The failure that its user wants it to end with, unless a try under way completes it. */
  private volatile @Nullable Throwable wantedEnd;

  PendingConversion(Inode inode, Driver driver, long from, long to) {
    this.inode = inode;
    this.driver = driver;
    this.from = from;
    this.to = to;
    HolderRegister register = inode.host.register;
    this.tracked =
        register == null
            ? null
            : register.describe(
                inode.ino,
                inode,
                TrackedHolder.Kind.PENDING_CONVERSION,
                from << Pages.SHIFT,
                (to - from) << Pages.SHIFT);
  }

  /** Enters it in the register of holders: it is pending. */
  void track() {
    HolderRegister register = inode.host.register;
    if (register != null && tracked != null) {
      register.add(tracked);
    }
  }

  /** Removes it from the register of holders: it is no longer pending. */
  void untrack() {
    inode.host.untrack(tracked);
  }

  private Completions completions() {
    return inode.host.completions;
  }

  @Override
  public void handOver(Runnable task) {
    completions().handOver(task);
  }

  @Override
  public void handOverLater(Runnable task, long millis) {
    completions().handOverLater(task, millis);
  }

  // ---- for the thread that has the pages ----

  /** Makes it pending until a busy folio is let go. Does not wait. */
  void pendUntilLetGo(Mismatch busy) {
    int pfn = SlotWord.pfn(inode.cache.slot(Pages.index(busy.offset())));
    boolean done = false;
    try {
      busyIndex = Pages.index(busy.offset());
      Announce.write(this).watched = pfn;
      inode.host.frames.watch(pfn, this::retry);
      done = true;
    } finally {
      pend();
      if (!done) {
        tryLater();
      }
    }
    if (mayConvert(pfn)) {
      tryAgain(); // the folio was let go before the watch was set
    }
  }

  private boolean mayConvert(int pfn) {
    try {
      return driver.mayTurnInaccessible(inode.host.frames.counts(pfn));
    } catch (RuntimeException | Error e) {
      return true; // the protocol threw: the next try reports that to the future
    }
  }

  /** Makes it pending, or pending again; ends it if its user has asked for that. */
  void pend() {
    Announce.write(state).set(Phase.PENDING);
    Throwable why = Announce.read(this).wantedEnd;
    if (why != null) {
      tryToEnd(why);
    }
  }

  private void stopWatching() {
    int pfn = Announce.read(this).watched;
    if (pfn != 0) {
      inode.host.frames.unwatch(pfn);
      Announce.write(this).watched = 0;
    }
  }

  /** Begins a try; returns false if it is not pending. */
  boolean beginTry() {
    if (!Announce.write(state).compareAndSet(Phase.PENDING, Phase.TRIED)) {
      return false;
    }
    stopWatching();
    return true;
  }

  /** Records the outcome: done, or failed. */
  void decide(@Nullable Throwable failure) {
    Announce.write(state).set(new Over(failure));
  }

  /**
   * Ends it without converting.
   *
   * @param why what its future is to fail with
   * @return false if it was over or ended already
   */
  boolean undo(Throwable why) {
    stopWatching();
    boolean undone = Announce.write(state).compareAndSet(Phase.PENDING, new Over(why));
    if (Announce.read(state).get() instanceof Ended ended) {
      decide(ended.why);
    }
    return undone;
  }

  /** Whether a try has anything to do. */
  boolean mayBeTried() {
    State now = Announce.read(state).get();
    return now == Phase.PENDING || now instanceof Ended;
  }

  /** Whether a thread without the pages has ended it; the pages are still marked. */
  boolean isEnded() {
    return Announce.read(state).get() instanceof Ended;
  }

  // ---- tries ----

  /** Tries again: the counts of the folio that is in the way have changed. */
  private void retry() {
    Announce.write(this).delayMillis = 0;
    CallbackContext.whenOut(this::tryHere);
  }

  /**
   * Tries once more: soon the first time, after a delay from then on, so that one thread does not
   * try over and over.
   */
  private void tryAgain() {
    if (Announce.read(this).delayMillis == 0) {
      Announce.write(this).delayMillis = 1;
      CallbackContext.whenOut(this::tryHere);
    } else {
      tryLater();
    }
  }

  /** Has the executor try it after a delay, which doubles each time up to a limit. */
  void tryLater() {
    int delay = Math.max(1, Announce.read(this).delayMillis);
    Announce.write(this).delayMillis = Math.min(2 * delay, MAX_DELAY_MILLIS);
    if (Announce.write(willBeTried).compareAndSet(false, true)) {
      completions()
          .handOverLater(
              () -> {
                Announce.write(willBeTried).set(false);
                tryByExecutor();
              },
              delay);
    }
  }

  /** Tries on this thread, or hands over to the executor if this thread must not. */
  private void tryHere() {
    if (WayOut.mustHandOver()) {
      completions().handOver(this::tryByExecutor);
    } else {
      tryNow();
    }
  }

  /**
   * Tries on a thread of the executor. This may be any thread: an executor may run a task on the
   * thread that submits it.
   */
  private void tryByExecutor() {
    completions().attempt(this::tryNow);
  }

  /**
   * Tries, unless this thread keeps a folio lock. The interrupt status is cleared for the try and
   * restored afterwards.
   */
  private void tryNow() {
    if (FrameTable.keepsLock()) {
      tryLater();
      return;
    }
    Wait.keepingInterrupt(
        () -> {
          try {
            Wait.withoutWaiting(() -> driver.attempt(this));
          } catch (Throwable e) {
            tryLater();
            throw e;
          }
        });
  }

  /**
   * Lets waiting threads complete the future: its outcome is decided, and nothing is left to do
   * before.
   */
  @Override
  public void readyToComplete() {
    Announce.write(this).ready = true;
  }

  // ---- waiting: completes what is ready, since the thread that is to do so may be this one ----

  @Override
  public Void join() {
    completeIfReady();
    return super.join();
  }

  @Override
  public Void get() throws InterruptedException, ExecutionException {
    completeIfReady();
    return super.get();
  }

  @Override
  public Void get(long timeout, TimeUnit unit)
      throws InterruptedException, ExecutionException, TimeoutException {
    completeIfReady();
    return super.get(timeout, unit);
  }

  private void completeIfReady() {
    if (Announce.read(this).ready && !CallbackContext.isInside() && !WayOut.mustHandOver()) {
      complete();
    }
  }

  /** Completes the future, if its outcome is decided. */
  @Override
  public void complete() {
    State now = Announce.read(state).get();
    if (now instanceof Ended ended) {
      Announce.write(this);
      super.completeExceptionally(ended.why);
    } else if (now instanceof Over over) {
      if (over.failure == null) {
        Announce.write(this);
        super.complete(null);
      } else {
        Announce.write(this);
        super.completeExceptionally(over.failure);
      }
    }
  }

  // ---- ended by its user ----

  /**
   * Undoes it on behalf of its user.
   *
   * @param why what the future is to fail with
   * @return whether this call has ended it
   */
  private boolean end(Throwable why) {
    CallbackContext.forbid("cancelling a conversion");
    Failures failures = new Failures();
    boolean ended = driver.undo(this, why, failures);
    complete(); // also if it ended before: its completion may be under way
    failures.throwIfAny();
    return ended;
  }

  /**
   * Ends it without having the pages.
   *
   * @param why what the future is to fail with
   * @return whether this call has ended it; if not, it is over, or a try is under way, which either
   *     completes it or ends it with {@code why}
   */
  boolean endWithoutPages(Throwable why) {
    Announce.write(this).wantedEnd = why; // before the state is looked at: see pend
    return tryToEnd(why);
  }

  private boolean tryToEnd(Throwable why) {
    return Announce.write(state).compareAndSet(Phase.PENDING, new Ended(why));
  }

  /**
   * Undoes the conversion, unless the future is done; the result is as for any future. An interrupt
   * ends the wait for its pages: they are then given back a little later. If a try has them just
   * then, the answer is false, and the try completes the future or cancels it.
   */
  @Override
  public boolean cancel(boolean mayInterruptIfRunning) {
    return (!isDone() && end(new CancellationException())) || isCancelled();
  }

  @Override
  public boolean completeExceptionally(Throwable failure) {
    return !isDone() && end(failure);
  }

  /**
   * As for any future. The executor undoes the conversion; the timer is cancelled when the future
   * completes.
   */
  @Override
  @SuppressWarnings("FutureReturnValueIgnored") // the stages are not needed
  public CompletableFuture<Void> orTimeout(long timeout, TimeUnit unit) {
    CompletableFuture<Void> timer = new CompletableFuture<>();
    timer.completeOnTimeout(null, timeout, unit);
    timer.thenRun(() -> completions().handOver(this::timeOut));
    whenComplete((done, failure) -> timer.cancel(false));
    return this;
  }

  private void timeOut() {
    if (!isDone()) {
      completions()
          .attempt(
              () -> {
                Failures failures = new Failures();
                Wait.withoutWaiting(() -> driver.undo(this, new TimeoutException(), failures));
                CallbackContext.complete(this);
                failures.throwIfAny();
              });
    }
  }

  private static UnsupportedOperationException completesByItself() {
    return new UnsupportedOperationException("a conversion completes by itself");
  }

  @Override
  public boolean complete(Void value) {
    throw completesByItself();
  }

  @Override
  public CompletableFuture<Void> completeAsync(Supplier<? extends Void> supplier) {
    throw completesByItself();
  }

  @Override
  public CompletableFuture<Void> completeAsync(
      Supplier<? extends Void> supplier, Executor executor) {
    throw completesByItself();
  }

  @Override
  public CompletableFuture<Void> completeOnTimeout(Void value, long timeout, TimeUnit unit) {
    throw completesByItself();
  }

  @Override
  public void obtrudeValue(Void value) {
    throw completesByItself();
  }

  @Override
  public void obtrudeException(Throwable failure) {
    throw completesByItself();
  }

  /** Makes an ordinary future: to end a dependent stage does nothing to the conversion. */
  @Override
  public <U> CompletableFuture<U> newIncompleteFuture() {
    return new CompletableFuture<>();
  }

  String describe() {
    long offset = from << Pages.SHIFT;
    return "the range" + Hex.range(offset, (to - from) << Pages.SHIFT) + " of " + inode;
  }

  /** Describes the range and, while it is pending, the holders in the way. */
  @Override
  public String toString() {
    String end = !isDone() ? "pending" : isCompletedExceptionally() ? "failed" : "done";
    StringBuilder text = new StringBuilder("conversion of " + describe() + ": " + end);
    int pfn = Announce.read(this).watched;
    if (!isDone() && pfn != 0) {
      text.append(", ").append(driver.holders(busyIndex));
      HolderRegister register = inode.host.register;
      if (register != null) {
        register.of(pfn).forEach(holder -> text.append("\n  ").append(holder));
      }
    }
    return text.toString();
  }
}
