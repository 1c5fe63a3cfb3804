package io.github.guestmemfd.faults;

import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.kvm.VcpuExit;
import io.github.guestmemfd.kvm.VcpuExitException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/**
 * Calls of the library, one after the other, each of which can fail and be made again. Objects are
 * for one run.
 */
abstract class Scenario {
  static final int PAGE = Bench.PAGE;
  static final String OK = "OK";

  /** What a call leaves if it fails. */
  enum Leaves {
    /** All pages as they were, or, where that is documented, all as they should be. */
    ALL_OR_NOTHING,
    /** Each page as it was, as it should be, or allocated. */
    SOME,
    /** As the first; or a conversion that was pending has been undone. */
    ALL_OR_NOTHING_PENDING
  }

  /** What a step does; answers "OK", or whatever else came of it. */
  interface Body {
    String run() throws Exception;
  }

  record Step(String name, Leaves leaves, Body body) {

    /** Runs it; says how it ended. */
    String attempt() {
      try {
        return body.run();
      } catch (Exception | Error e) {
        return outcome(e);
      }
    }
  }

  final Bench bench;
  final List<Step> steps = new ArrayList<>();

  Scenario(Bench bench) {
    this.bench = bench;
  }

  final void add(String name, Leaves leaves, Body body) {
    steps.add(new Step(name, leaves, body));
  }

  /** A step that converts, punches or otherwise changes all or nothing. */
  final void whole(String name, Body body) {
    add(name, Leaves.ALL_OR_NOTHING, body);
  }

  /** A step that may do a part. */
  final void some(String name, Body body) {
    add(name, Leaves.SOME, body);
  }

  static String injected(Throwable e) {
    return "INJECTED " + e.getMessage();
  }

  /** What an exception says. */
  static String outcome(Throwable e) {
    if (Injector.isInjected(e)) {
      return injected(e);
    }
    if (e instanceof GuestMemfdException refused) {
      return refused.errno().name();
    }
    if (e instanceof VcpuExitException exited) {
      return outcome(exited.exit());
    }
    if (e instanceof CompletionException && e.getCause() != null) {
      return outcome(e.getCause());
    }
    if (e instanceof Error error) {
      throw error;
    }
    throw new AssertionError("unexpected: " + e, e);
  }

  static String outcome(VcpuExit exit) {
    if (exit instanceof VcpuExit.MemoryFault fault) {
      return fault.errno().name();
    }
    return exit instanceof VcpuExit.Interrupted ? "EINTR" : exit.toString();
  }

  /** What came of a conversion that may complete later. */
  static String outcome(CompletableFuture<Void> later) {
    if (!later.isDone()) {
      return "PENDING";
    }
    return later.handle((done, e) -> e == null ? OK : outcome(e)).join();
  }

  /** OK if a value is as expected. */
  static String same(Object expected, Object actual) {
    return expected.equals(actual) ? OK : "expected " + expected + ", actual " + actual;
  }
}
