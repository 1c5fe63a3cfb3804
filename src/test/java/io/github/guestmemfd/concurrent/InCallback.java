package io.github.guestmemfd.concurrent;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** A client that does something in one of its callbacks; the others agree. */
public final class InCallback implements GuestMemfdOps {

  /** The callbacks of a client. */
  public enum Where {
    INVALIDATE_BEGIN,
    INVALIDATE_END,
    PREPARE_ACCESSIBLE,
    PREPARE_INACCESSIBLE,
    FREE_FOLIO,
    RELEASE
  }

  private final Where callback;
  private final AtomicReference<@Nullable Runnable> body = new AtomicReference<>();

  public InCallback(Where callback) {
    this.callback = callback;
  }

  /** Does something each time the callback comes. */
  public void always(Runnable step) {
    body.set(step);
  }

  /** Does something the next time the callback comes, and then nothing. */
  public void once(Runnable step) {
    body.set(
        () -> {
          body.set(null);
          step.run();
        });
  }

  /** Whether there is something to do when the callback comes. */
  public boolean isArmed() {
    return body.get() != null;
  }

  private void in(Where which) {
    Runnable step = body.get();
    if (which == callback && step != null) {
      step.run();
    }
  }

  @Override
  public Errno invalidateBegin(long offset, long length) {
    in(Where.INVALIDATE_BEGIN);
    return Errno.OK;
  }

  @Override
  public void invalidateEnd(long offset, long length) {
    in(Where.INVALIDATE_END);
  }

  @Override
  public Errno prepareAccessible(Folio folio) {
    in(Where.PREPARE_ACCESSIBLE);
    return Errno.OK;
  }

  @Override
  public Errno prepareInaccessible(Folio folio) {
    in(Where.PREPARE_INACCESSIBLE);
    return Errno.OK;
  }

  @Override
  public void freeFolio(Folio folio) {
    in(Where.FREE_FOLIO);
  }

  @Override
  public void release() {
    in(Where.RELEASE);
  }
}
