package io.github.guestmemfd.faults;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.util.ArrayList;
import java.util.List;

/** Sees every callback and every race point of a step, and makes one of them go wrong. */
final class Injector implements RaceHook {

  /** What it throws. */
  static final class Injected extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Injected(String where) {
      super("injected at " + where, null, true, false);
    }
  }

  /** What it throws if that is to be an Error. */
  static final class InjectedError extends Error {
    private static final long serialVersionUID = 1L;

    InjectedError(String where) {
      super("injected at " + where, null, true, false);
    }
  }

  /** What it throws where the stack is to end. */
  static final class InjectedOverflow extends StackOverflowError {
    private static final long serialVersionUID = 1L;

    InjectedOverflow(String where) {
      super("injected at " + where);
    }

    @Override
    public Throwable fillInStackTrace() {
      return this;
    }
  }

  /** What it throws where the memory of the JVM is to end. */
  static final class InjectedOutOfMemory extends OutOfMemoryError {
    private static final long serialVersionUID = 1L;

    InjectedOutOfMemory(String where) {
      super("injected at " + where);
    }

    @Override
    public Throwable fillInStackTrace() {
      return this;
    }
  }

  /** Whether something was thrown by this. */
  static boolean isInjected(Throwable e) {
    return e instanceof Injected
        || e instanceof InjectedError
        || e instanceof InjectedOverflow
        || e instanceof InjectedOutOfMemory;
  }

  /** The callbacks of the step so far. */
  final List<Ops.Callback> callbacks = new ArrayList<>();

  /** The race points of the step so far. */
  final List<RacePoint> points = new ArrayList<>();

  private Fault fault;
  private boolean watching;

  /** Where the fault came first in this step, or null. */
  String where;

  /** Begins a step, in which this fault is to come; null for none. */
  void begin(Fault planned) {
    fault = planned;
    where = null;
    callbacks.clear();
    points.clear();
    watching = true;
    if (isPlanned(Fault.Kind.INTERRUPT_BEFORE)) {
      where = "the call";
      Thread.currentThread().interrupt();
    }
  }

  /** Ends the step: nothing goes wrong any more. */
  void end() {
    watching = false;
    fault = null;
  }

  private boolean isPlanned(Fault.Kind kind) {
    return fault != null && fault.kind() == kind;
  }

  /** A callback of a client. */
  Errno callback(Ops.Callback callback) {
    if (!watching) {
      return Errno.OK;
    }
    int n = callbacks.size();
    callbacks.add(callback);
    Fault f = fault;
    if (f == null
        || !f.kind().isOfCallbacks()
        || (f.kind().isLasting() ? n < f.n() : n != f.n())
        || (f.kind().isRefusal() && !callback.mayRefuse)) {
      return Errno.OK;
    }
    String here = callback + ", callback " + n;
    if (where == null) {
      where = here;
    }
    if (f.kind().isRefusal()) {
      return Errno.EPERM;
    }
    switch (f.kind()) {
      case CALLBACK_THROWS_ERROR -> throw new InjectedError(here);
      case CALLBACK_OVERFLOWS -> throw new InjectedOverflow(here);
      case CALLBACK_RUNS_OUT_OF_MEMORY -> throw new InjectedOutOfMemory(here);
      default -> throw new Injected(here);
    }
  }

  @Override
  public void at(RacePoint point, long index) {
    if (!watching) {
      return;
    }
    int n = points.size();
    points.add(point);
    if (fault == null || fault.n() != n) {
      return;
    }
    if (!fault.kind().isOfRacePoints()) {
      return;
    }
    String here = point + ", race point " + n;
    where = here;
    switch (fault.kind()) {
      case INTERRUPT_AT_RACE_POINT -> Thread.currentThread().interrupt();
      case RACE_POINT_OVERFLOWS -> throw new InjectedOverflow(here);
      case RACE_POINT_RUNS_OUT_OF_MEMORY -> throw new InjectedOutOfMemory(here);
      default -> throw new Injected(here);
    }
  }
}
