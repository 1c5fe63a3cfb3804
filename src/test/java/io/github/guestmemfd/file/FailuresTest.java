package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.slf4j.Logger;

/** What is thrown in the middle of something that must be done to its end. */
class FailuresTest {
  private final Failures failures = new Failures();

  private void fail(Error e) {
    failures.attempt(
        () -> {
          throw e;
        });
  }

  @Test
  void allIsDoneAndTheFirstIsThrown() {
    AtomicInteger done = new AtomicInteger();
    failures.attempt(done::incrementAndGet);
    failures.throwIfAny();
    Error first = new Error("first");
    Error second = new Error("second");
    fail(first);
    fail(second);
    fail(first);
    failures.attempt(done::incrementAndGet);
    assertSame(first, assertThrows(Error.class, failures::throwIfAny));
    assertArrayEquals(new Throwable[] {second}, first.getSuppressed());
    assertEquals(2, done.get());
  }

  @Test
  void anExceptionIsThrownAsItIs() {
    RuntimeException planned = new IllegalStateException("planned");
    failures.add(planned);
    assertSame(planned, assertThrows(RuntimeException.class, failures::throwIfAny));
    assertEquals(0, planned.getSuppressed().length);
  }

  @Test
  void whatHasNoCallerIsLogged() {
    List<Object> logged = new ArrayList<>();
    Logger log =
        (Logger)
            Proxy.newProxyInstance(
                Logger.class.getClassLoader(),
                new Class<?>[] {Logger.class},
                (proxy, method, arguments) -> {
                  logged.addAll(List.of(arguments));
                  return null;
                });
    failures.logIfAny(log, "nothing");
    assertEquals(List.of(), logged);
    Error planned = new Error("planned");
    fail(planned);
    failures.logIfAny(log, "something");
    assertEquals(List.of("something", planned), logged);
  }
}
