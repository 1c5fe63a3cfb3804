package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.FolioHolders;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.memory.Waiting;
import io.github.guestmemfd.observe.Holder;
import io.github.guestmemfd.observe.HolderRegister;
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
 * A conversion to inaccessible that is refused for now, and completes when the last holder lets go:
 * the kernel's {@code NONE_SHARED}.
 *
 * <p>While it is pending its pages are neither side's, and whoever lets go of the folio that was
 * found busy has it tried again. Whoever cancels it, completes it exceptionally, or converts or
 * punches any of its pages undoes it first: then the pages are as they were.
 *
 * <h2>Who may do what</h2>
 *
 * Whoever has made its pages busy may try it, undo it, or have it wait again, so of these only one
 * happens at a time. Without its pages it can only be ended: then it will not convert any more, and
 * the pages are given back by the next who has them.
 *
 * <h2>A try never waits</h2>
 *
 * A try takes pages, folio locks and accesses under way as they are. Where it would have to wait,
 * or an interrupt comes in between, nothing has changed, and the conversion is tried again by the
 * host's executor after a while. So a put that lets go of the last reference waits for nothing, and
 * no thread is held up by a conversion.
 */
public final class PendingConversion extends CompletableFuture<Void> implements WayOut.Deferred {
  /** What can be done with the conversions of a file. */
  interface Owner {
    /** Tries one, if that is possible without waiting. */
    void attempt(PendingConversion later);

    /**
     * Undoes one on behalf of its user. If this thread must not wait for its pages any more, it is
     * ended all the same, and the pages are given back a little later.
     *
     * @param why what its future is to fail with
     * @param failures takes what a race hook throws
     * @return whether it is this that has ended it
     */
    boolean undo(PendingConversion later, Throwable why, Failures failures);

    /** Whether a folio with these counts may turn inaccessible. */
    boolean mayTurnInaccessible(long counts);

    /** Who holds the folio of a page. */
    FolioHolders holders(long index);
  }

  private static final int MAX_DELAY_MILLIS = 100;

  /** Where it is on its way. */
  private sealed interface State permits Step, Ended, Over {}

  private enum Step implements State {
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
  private final Owner owner;
  private final AtomicReference<State> state = new AtomicReference<>(Step.BEGUN);

  /** The frame that was found busy; 0 for none. Written by who has the pages. */
  private volatile int watched;

  /** The page whose folio that was. */
  private volatile long busyIndex;

  /** How long until the next try, if one is needed that no put brings about; 0 for at once. */
  private volatile int delayMillis;

  private final AtomicBoolean willBeTried = new AtomicBoolean();

  /** Whether it is over and its pages have been dealt with: whoever waits may complete it. */
  private volatile boolean ready;

  /** Who asked for it, where holders are tracked. */
  private final @Nullable Holder tracked;

  /** With what its user wants it to end, if a try under way does not complete it. */
  private volatile @Nullable Throwable wantedEnd;

  PendingConversion(Inode inode, Owner owner, long from, long to) {
    this.inode = inode;
    this.owner = owner;
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

  /** It has come to be pending. */
  void enter() {
    HolderRegister register = inode.host.register;
    if (register != null && tracked != null) {
      register.enter(tracked);
    }
  }

  /** It is not pending any more. */
  void leave() {
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

  // ---- for who has the pages ----

  /** Waits for a busy folio to be let go; its pages are in the page cache, and nobody's. */
  void await(Mismatch busy) {
    boolean watching = false;
    int pfn = SlotWord.pfn(inode.cache.slot(Pages.index(busy.offset())));
    try {
      busyIndex = Pages.index(busy.offset());
      watched = pfn;
      inode.host.frames.watch(pfn, this::letGo);
      watching = true;
    } finally {
      pend();
      if (!watching) {
        tryLater();
      }
    }
    if (isFree(pfn)) {
      tryAgain(); // it was let go before anybody was told to tell us
    }
  }

  private boolean isFree(int pfn) {
    try {
      return owner.mayTurnInaccessible(inode.host.frames.counts(pfn));
    } catch (RuntimeException | Error e) {
      return true; // a protocol that throws: the next try says so to the future
    }
  }

  /** Is pending, or pending again. */
  void pend() {
    state.set(Step.PENDING);
    Throwable why = wantedEnd;
    if (why != null) {
      tryToEnd(why);
    }
  }

  private void stopWatching() {
    if (watched != 0) {
      inode.host.frames.unwatch(watched);
      watched = 0;
    }
  }

  /** Begins a try; false if it is not to be tried any more. */
  boolean claim() {
    if (!state.compareAndSet(Step.PENDING, Step.TRIED)) {
      return false;
    }
    stopWatching();
    return true;
  }

  /** It is done, or has failed. */
  void over(@Nullable Throwable failure) {
    state.set(new Over(failure));
  }

  /**
   * Ends it without having converted.
   *
   * @param why what its future is to fail with
   * @return false if something else has ended it before
   */
  boolean undo(Throwable why) {
    stopWatching();
    boolean undone = state.compareAndSet(Step.PENDING, new Over(why));
    if (state.get() instanceof Ended ended) {
      over(ended.why);
    }
    return undone;
  }

  /** Whether a try has anything to do. */
  boolean mayBeTried() {
    State now = state.get();
    return now == Step.PENDING || now instanceof Ended;
  }

  /** Whether it has been ended by a thread that had not the pages, which are still marked. */
  boolean isEnded() {
    return state.get() instanceof Ended;
  }

  // ---- tries ----

  /** The counts of the folio that is in the way have changed. */
  private void letGo() {
    delayMillis = 0;
    CallbackContext.whenOut(this::tryHere);
  }

  /** Has it tried once more, soon; but not over and over by one thread. */
  private void tryAgain() {
    if (delayMillis == 0) {
      delayMillis = 1;
      CallbackContext.whenOut(this::tryHere);
    } else {
      tryLater();
    }
  }

  /** Has it tried after a while, twice as long each time. */
  void tryLater() {
    int delay = Math.max(1, delayMillis);
    delayMillis = Math.min(2 * delay, MAX_DELAY_MILLIS);
    if (willBeTried.compareAndSet(false, true)) {
      completions()
          .handOverLater(
              () -> {
                willBeTried.set(false);
                tryByExecutor();
              },
              delay);
    }
  }

  /** Tries on this thread, or hands over if this thread must not. */
  private void tryHere() {
    if (WayOut.mustHandOver()) {
      completions().handOver(this::tryByExecutor);
    } else {
      tryNow();
    }
  }

  /** Tries on a thread of the executor: which may be any, if it runs tasks where they come up. */
  private void tryByExecutor() {
    completions().attempt(this::tryNow);
  }

  /** Tries, with nothing in hand. An interrupt is not for this: it stays for later. */
  private void tryNow() {
    if (FrameTable.keepsLock()) {
      tryLater();
      return;
    }
    boolean interrupted = Thread.interrupted();
    boolean done = false;
    try {
      Waiting.withoutWaiting(() -> owner.attempt(this));
      done = true;
    } finally {
      if (!done) {
        tryLater();
      }
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /** It is decided how the future is to be completed, and nothing is left to be done before. */
  @Override
  public void readyToComplete() {
    ready = true;
  }

  // ---- waited for: what is ready is not left to another thread, which may be this one ----

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
    if (ready && !CallbackContext.isInside() && !WayOut.mustHandOver()) {
      complete();
    }
  }

  /** Completes the future, if it is decided how. */
  @Override
  public void complete() {
    State now = state.get();
    if (now instanceof Ended ended) {
      super.completeExceptionally(ended.why);
    } else if (now instanceof Over over) {
      if (over.failure == null) {
        super.complete(null);
      } else {
        super.completeExceptionally(over.failure);
      }
    }
  }

  // ---- ended by its user ----

  /**
   * Undoes it on behalf of its user.
   *
   * @param why what the future is to fail with
   * @return whether it has been ended by this
   */
  private boolean end(Throwable why) {
    CallbackContext.forbid("cancelling a conversion");
    Failures failures = new Failures();
    boolean ended = owner.undo(this, why, failures);
    complete(); // also what has come before, and may just be about to
    failures.throwIfAny();
    return ended;
  }

  /**
   * Ends it without having the pages.
   *
   * @param why what the future is to fail with
   * @return whether it has been ended by this; if not, it is over, or a try is under way, which
   *     either completes it or ends it like this
   */
  boolean endWithoutPages(Throwable why) {
    wantedEnd = why; // before the state is looked at: see pend
    return tryToEnd(why);
  }

  private boolean tryToEnd(Throwable why) {
    return state.compareAndSet(Step.PENDING, new Ended(why));
  }

  /**
   * Undoes the conversion; what comes before its end, or without one, is the same as for any
   * future. An interrupt ends the wait for its pages: then they are given back a little later.
   */
  @Override
  public boolean cancel(boolean mayInterruptIfRunning) {
    return (!isDone() && end(new CancellationException())) || isCancelled();
  }

  @Override
  public boolean completeExceptionally(Throwable failure) {
    return !isDone() && end(failure);
  }

  /** As for any future; the undoing is the executor's, and the timer goes with the conversion. */
  @Override
  @SuppressWarnings("FutureReturnValueIgnored") // the stages are nobody's
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
                Waiting.withoutWaiting(() -> owner.undo(this, new TimeoutException(), failures));
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

  /** Dependent stages are ordinary ones: ending them does nothing to the conversion. */
  @Override
  public <U> CompletableFuture<U> newIncompleteFuture() {
    return new CompletableFuture<>();
  }

  String describe() {
    long offset = from << Pages.SHIFT;
    return "the range" + Hex.range(offset, (to - from) << Pages.SHIFT) + " of " + inode;
  }

  /** What is converted, and while it is pending, who is in the way. */
  @Override
  public String toString() {
    String end = !isDone() ? "pending" : isCompletedExceptionally() ? "failed" : "done";
    StringBuilder text = new StringBuilder("conversion of " + describe() + ": " + end);
    int pfn = watched;
    if (!isDone() && pfn != 0) {
      text.append(", ").append(owner.holders(busyIndex));
      HolderRegister register = inode.host.register;
      if (register != null) {
        register.of(pfn).forEach(holder -> text.append("\n  ").append(holder));
      }
    }
    return text.toString();
  }
}
