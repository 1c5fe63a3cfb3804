package io.github.guestmemfd.faults;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The client of a file: fails as planned, and remembers what it was told. */
final class Ops implements GuestMemfdOps {

  enum Callback {
    BEGIN(true),
    END(false),
    PREPARE_ACCESSIBLE(true),
    PREPARE_INACCESSIBLE(true),
    FREE_FOLIO(false),
    RELEASE(false);

    final boolean mayRefuse;

    Callback(boolean mayRefuse) {
      this.mayRefuse = mayRefuse;
    }
  }

  private record Range(long offset, long length) {}

  private final Injector injector;

  /** What has begun and not ended. */
  private final List<Range> begun = new ArrayList<>();

  /** Of each prepared frame whether it is inaccessible, as this was told last. */
  final Map<Integer, Boolean> inaccessible = new HashMap<>();

  int releases;

  /** What was wrong with a call. */
  final List<String> violations = new ArrayList<>();

  Ops(Injector injector) {
    this.injector = injector;
  }

  boolean isIdle() {
    return begun.isEmpty();
  }

  @Override
  public Errno invalidateBegin(long offset, long length) {
    Errno errno = injector.callback(Callback.BEGIN);
    if (errno == Errno.OK) {
      begun.add(new Range(offset, length));
    }
    return errno;
  }

  @Override
  public void invalidateEnd(long offset, long length) {
    if (!begun.remove(new Range(offset, length))) {
      violations.add("end without begin: " + offset + ", " + length);
    }
    injector.callback(Callback.END);
  }

  @Override
  public Errno prepareAccessible(Folio folio) {
    return prepare(Callback.PREPARE_ACCESSIBLE, folio);
  }

  @Override
  public Errno prepareInaccessible(Folio folio) {
    return prepare(Callback.PREPARE_INACCESSIBLE, folio);
  }

  private Errno prepare(Callback callback, Folio folio) {
    Errno errno = injector.callback(callback);
    if (errno == Errno.OK) {
      inaccessible.put(folio.pfn(), callback == Callback.PREPARE_INACCESSIBLE);
    }
    return errno;
  }

  @Override
  public void freeFolio(Folio folio) {
    inaccessible.remove(folio.pfn());
    injector.callback(Callback.FREE_FOLIO);
  }

  @Override
  public void release() {
    if (++releases > 1) {
      violations.add("released twice");
    }
    injector.callback(Callback.RELEASE);
  }
}
