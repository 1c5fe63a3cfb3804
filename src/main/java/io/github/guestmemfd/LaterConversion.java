package io.github.guestmemfd;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/**
 * A conversion to inaccessible that is refused for now, and completes when the last holder lets go:
 * the kernel's {@code NONE_SHARED}.
 *
 * <p>While it is pending its pages are neither side's, and whoever lets go of the folio that was
 * found busy has it tried again. Whoever cancels it, completes it exceptionally, or converts or
 * punches any of its pages undoes it first: then the pages are as they were.
 */
final class LaterConversion extends CompletableFuture<Void> {

  /** How long to sleep while a completion, which tells nobody when it is over, is under way. */
  private static final long LOOK_AGAIN_NANOS = 20_000;

  private enum State {
    PENDING,
    /** Its state is being changed, by the thread that has set this. */
    CLAIMED,
    OVER
  }

  final long from;
  final long to;
  private final Inode inode;
  private final AtomicReference<State> state = new AtomicReference<>(State.CLAIMED);

  /** The frame that was found busy. Written by whoever has claimed. */
  private int watched;

  LaterConversion(Inode inode, long from, long to) {
    this.inode = inode;
    this.from = from;
    this.to = to;
  }

  boolean overlaps(long otherFrom, long otherTo) {
    return from < otherTo && otherFrom < to;
  }

  /**
   * Tries for the first time.
   *
   * @param busy says which folio is in the way, if one is
   * @return EAGAIN if one is; this is pending then, if the retry policy lets it
   */
  Errno begin(BusyFolio busy) {
    Errno errno = inode.convertLater(this, busy);
    if (errno == Errno.OK) {
      finish(null);
    }
    return errno;
  }

  private void finish(@Nullable Throwable failure) {
    state.set(State.OVER);
    if (failure == null) {
      super.complete(null);
    } else {
      super.completeExceptionally(failure);
    }
  }

  /** Waits for a busy folio to be let go; its pages are in the page cache, and nobody's. */
  void await(int pfn) {
    watched = pfn;
    inode.host.frames.watch(pfn, this::triggered);
    state.set(State.PENDING);
    if (inode.mayTurnInaccessible(inode.host.frames.counts(pfn))) {
      triggered(); // it was let go before anybody was told to tell us
    }
  }

  private void triggered() {
    inode.host.completions.add(this);
  }

  private void stopWatching() {
    if (watched != 0) {
      inode.host.frames.unwatch(watched);
      watched = 0;
    }
  }

  /** Completes it, if the folios allow that. This thread holds no pages. */
  void tryComplete() {
    if (!state.compareAndSet(State.PENDING, State.CLAIMED)) {
      return; // over, or about to be
    }
    stopWatching();
    Throwable failure = null;
    try {
      BusyFolio busy = new BusyFolio();
      Errno errno = inode.convertPending(this, busy);
      if (errno == Errno.EAGAIN && busy.offset() >= 0) {
        return; // awaits that folio
      }
      if (errno != Errno.OK) {
        failure = Inode.exception(errno, "completing the conversion of " + describe());
      }
    } catch (Throwable e) {
      failure = e;
    }
    finish(failure);
  }

  /**
   * Ends it without having converted.
   *
   * @param failures takes what was thrown meanwhile
   * @return false if it is over, or just being completed
   */
  private boolean tryUndo(Failures failures) {
    if (!state.compareAndSet(State.PENDING, State.CLAIMED)) {
      return false;
    }
    stopWatching();
    failures.attempt(() -> inode.endPending(this));
    state.set(State.OVER);
    return true;
  }

  /** Undoes it on behalf of an operation on some of its pages. */
  void undoFor(String operation) {
    Failures failures = new Failures();
    if (tryUndo(failures)) {
      super.completeExceptionally(
          Inode.exception(
              Errno.ECANCELED, "conversion of " + describe() + " undone: " + operation));
    }
    failures.throwIfAny();
  }

  /** Undoes it on behalf of its user, and ends it; waits for a completion that is under way. */
  private boolean undo(BooleanSupplier end) {
    Callbacks.forbid("cancelling a conversion");
    Failures failures = new Failures();
    for (int round = 0; !tryUndo(failures); round++) {
      if (state.get() == State.OVER) {
        return false;
      }
      inode.host.idle.idle(round, LOOK_AGAIN_NANOS);
    }
    boolean ended = end.getAsBoolean();
    failures.throwIfAny();
    return ended;
  }

  @Override
  public boolean cancel(boolean mayInterruptIfRunning) {
    return !isDone() && undo(() -> super.cancel(mayInterruptIfRunning));
  }

  @Override
  public boolean completeExceptionally(Throwable failure) {
    return !isDone() && undo(() -> super.completeExceptionally(failure));
  }

  @Override
  public boolean complete(Void value) {
    throw new UnsupportedOperationException("a conversion completes by itself");
  }

  @Override
  public void obtrudeValue(Void value) {
    throw new UnsupportedOperationException("a conversion completes by itself");
  }

  @Override
  public void obtrudeException(Throwable failure) {
    throw new UnsupportedOperationException("a conversion completes by itself");
  }

  /** Dependent stages are ordinary ones: ending them does nothing to the conversion. */
  @Override
  public <U> CompletableFuture<U> newIncompleteFuture() {
    return new CompletableFuture<>();
  }

  private String describe() {
    return "pages " + from + " to " + to + " of " + inode;
  }
}
