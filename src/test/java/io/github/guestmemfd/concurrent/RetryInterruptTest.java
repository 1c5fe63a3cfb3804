package io.github.guestmemfd.concurrent;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** A conversion looks at a folio again and again; an interrupt ends it before its last look. */
class RetryInterruptTest extends HostFixture {

  static List<Arguments> policies() {
    return List.of(
        Arguments.of(RetryPolicy.spin(Integer.MAX_VALUE)),
        Arguments.of(RetryPolicy.spinThenWait(Integer.MAX_VALUE, Duration.ofHours(1))),
        Arguments.of(RetryPolicy.spinThenWait(0, Duration.ofHours(1))));
  }

  @ParameterizedTest
  @MethodSource("policies")
  void endsTheRetry(RetryPolicy policy) throws Exception {
    GuestMemfd memfd = file(2, b -> b.retryPolicy(policy));
    write(memfd, 0, SECRET);
    try (Folio folio = memfd.grab(PAGE, HolderKind.UNSAFE)) {
      Worker<Boolean> conversion =
          Worker.start(
              () -> {
                assertEquals(Errno.EINTR, memfd.tryMakeInaccessible(0, 2L * PAGE));
                return Thread.currentThread().isInterrupted();
              });
      probe.awaitWaiting(conversion);
      assertFalse(conversion.isDone());
      conversion.interrupt();
      assertTrue(conversion.result(), "the interrupt status is gone");
      assertTrue(memfd.isAccessible(0));
      assertTrue(memfd.isAccessible(folio.offset()));
    }
    assertEquals(SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }
}
