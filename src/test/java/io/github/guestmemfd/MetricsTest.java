package io.github.guestmemfd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import java.lang.reflect.Method;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** Each call counts what it is said to count, and nothing else. */
class MetricsTest extends HostFixture {
  private @Nullable Metrics before;

  /** The numbers that are not 0, by name. */
  private static Map<String, Long> numbers(Metrics metrics) {
    Map<String, Long> numbers = new TreeMap<>(metrics.asMap());
    numbers.values().removeIf(n -> n == 0);
    return numbers;
  }

  /** What has been counted since this was called last is what is given. */
  private void counted(GuestMemfd memfd, Map<String, Long> expected) {
    Metrics now = memfd.metrics();
    assertEquals(expected, numbers(before == null ? now : now.minus(before)));
    assertEquals(now, host.metrics(), "the host has but this file");
    before = now;
  }

  /** Each number has a method of its name, which is the name by which it is exported. */
  @Test
  void everyNumberHasAMethod() throws Exception {
    GuestMemfd memfd = file(2);
    memfd.makeInaccessible(0, PAGE);
    memfd.punchHole(0, PAGE);
    Metrics metrics = memfd.metrics();
    Map<String, Long> byMethod = new TreeMap<>();
    for (Method method : Metrics.class.getDeclaredMethods()) {
      if (method.getReturnType() == long.class) {
        byMethod.put(method.getName(), (Long) method.invoke(metrics));
      }
    }
    assertEquals(new TreeMap<>(metrics.asMap()), byMethod);
    assertEquals("Metrics[conversionsToInaccessible=1, punches=1]", metrics.toString());
  }

  @Test
  void conversionsThatAreDone() throws Exception {
    GuestMemfd memfd = file(4);
    counted(memfd, Map.of());
    memfd.makeInaccessible(0, 2L * PAGE);
    memfd.makeInaccessible(0, 2L * PAGE);
    memfd.makeAccessible(0, PAGE);
    counted(memfd, Map.of("conversionsToInaccessible", 2L, "conversionsToAccessible", 1L));
    assertEquals(Errno.EINVAL, memfd.tryMakeInaccessible(1, PAGE));
    counted(memfd, Map.of());
  }

  @Test
  void refusalsByWhatTheCountsShow() throws Exception {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    counted(memfd, Map.of("faults", 1L, "firstUses", 1L));
    try (HostReference reference = window.getUserPages(0, PAGE)) {
      assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE));
      counted(memfd, Map.of("refusedOthersCounted", 1L));
      assertEquals(1, reference.pages());
    }
    try (Folio user = memfd.grab(0, HolderKind.ACCESSIBLE);
        HostReference pin = window.pin(0, PAGE)) {
      assertThrows(GuestMemfdException.class, () -> memfd.makeInaccessible(0, PAGE));
      assertEquals(user.pfn(), pin.pfn(0));
    }
    counted(memfd, Map.of("faults", 1L, "refusedOthersCounted", 1L)); // the conversion unmaps
  }

  /** A protocol that lets no holder keep the folio, refused by a safe holder alone. */
  @Test
  void aRefusalOverSafeReferencesOnlyIsFiledApart() throws Exception {
    ConversionProtocol strict =
        new ConversionProtocol() {
          @Override
          public String id() {
            return "strict";
          }

          @Override
          public List<Step> guestTakes() {
            return List.of(Step.REF_AND_SAFE);
          }

          @Override
          public boolean mayTurnInaccessible(int refs, int safe) {
            return refs == 1;
          }
        };
    GuestMemfd memfd = file(1, b -> b.protocol(strict));
    Folio folio = memfd.grab(0);
    counted(memfd, Map.of("slowGrabs", 1L, "firstUses", 1L));
    assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE));
    counted(memfd, Map.of("refusedNoOthersCounted", 1L));
    folio.close();
  }

  @Test
  void conversionsThatFail() throws Exception {
    boolean[] throwing = new boolean[1];
    GuestMemfdOps refuses =
        new GuestMemfdOps() {
          @Override
          public Errno invalidateBegin(long offset, long length) {
            if (throwing[0]) {
              throw new IllegalStateException("on purpose");
            }
            return Errno.EAGAIN; // a client's, not a busy folio's
          }
        };
    GuestMemfd memfd = file(1, b -> b.ops(refuses));
    assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE));
    assertThrows(GuestMemfdException.class, () -> memfd.punchHole(0, PAGE));
    throwing[0] = true;
    assertThrows(IllegalStateException.class, () -> memfd.tryMakeInaccessible(0, PAGE));
    assertThrows(IllegalStateException.class, () -> memfd.punchHole(0, PAGE));
    Thread.currentThread().interrupt();
    assertEquals(Errno.OK, memfd.tryMakeAccessible(0, PAGE), "nothing to wait for");
    Thread.interrupted();
    counted(
        memfd,
        Map.of("conversionsFailed", 2L, "punchesRefused", 2L, "conversionsToAccessible", 1L));
  }

  @Test
  void looksAgainAndWaits() throws Exception {
    GuestMemfd memfd =
        file(1, b -> b.retryPolicy(RetryPolicy.spinThenWait(3, Duration.ofNanos(1))));
    HostReference reference = map(memfd).getUserPages(0, PAGE);
    counted(memfd, Map.of("faults", 1L, "firstUses", 1L));
    assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE));
    counted(memfd, Map.of("retries", 3L, "holderWaits", 1L, "refusedOthersCounted", 1L));
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    conversion.result();
    counted(memfd, Map.of("retries", 3L, "holderWaits", 1L, "refusedOthersCounted", 1L));
    reference.close();
  }

  @Test
  void aWaitThatSucceedsIsALookToo() throws Exception {
    GuestMemfd memfd =
        file(1, b -> b.retryPolicy(RetryPolicy.spinThenWait(0, Duration.ofHours(1))));
    HostReference reference = map(memfd).getUserPages(0, PAGE);
    races.at(RacePoint.ON_MISMATCH, reference::close);
    counted(memfd, Map.of("faults", 1L, "firstUses", 1L));
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
    counted(memfd, Map.of("retries", 1L, "holderWaits", 1L, "conversionsToInaccessible", 1L));
  }

  @Test
  void pendingConversions() throws Exception {
    GuestMemfd memfd = later(1);
    HostMapping window = map(memfd);
    HostReference reference = window.getUserPages(0, PAGE);
    counted(memfd, Map.of("faults", 1L, "firstUses", 1L));
    CompletableFuture<Void> cancelled = memfd.makeInaccessibleLater(0, PAGE);
    counted(memfd, Map.of("pendingBegun", 1L));
    cancelled.cancel(true);
    counted(memfd, Map.of("pendingUndone", 1L));
    CompletableFuture<Void> later = memfd.makeInaccessibleLater(0, PAGE);
    assertFalse(later.isDone());
    reference.close();
    later.join();
    counted(
        memfd, Map.of("pendingBegun", 1L, "pendingCompleted", 1L, "conversionsToInaccessible", 1L));
  }

  @Test
  void aPendingConversionThatACallbackRefusesIsUndoneAndFailed() throws Exception {
    GuestMemfdOps refuses =
        new GuestMemfdOps() {
          @Override
          public Errno prepareInaccessible(Folio folio) {
            return Errno.EPERM;
          }
        };
    GuestMemfd memfd = file(1, b -> b.ops(refuses).retryPolicy(RetryPolicy.completeLater()));
    HostReference reference = map(memfd).getUserPages(0, PAGE);
    CompletableFuture<Void> later = memfd.makeInaccessibleLater(0, PAGE);
    reference.close();
    assertThat(later).isCompletedExceptionally();
    counted(
        memfd,
        Map.of(
            "faults",
            1L,
            "firstUses",
            1L,
            "pendingBegun",
            1L,
            "pendingUndone",
            1L,
            "conversionsFailed",
            1L));
  }

  @Test
  void punches() throws Exception {
    GuestMemfd memfd = file(2, b -> b.protocol(ConversionProtocol.safeOnly()));
    HostMapping window = map(memfd);
    memfd.punchHole(0, PAGE);
    memfd.punchHole(64L * PAGE, PAGE);
    window.madvise(0, PAGE, Advice.REMOVE);
    counted(memfd, Map.of("punches", 3L));
    Folio folio = memfd.grab(0);
    assertThrows(GuestMemfdException.class, () -> memfd.punchHole(0, PAGE));
    counted(memfd, Map.of("slowGrabs", 1L, "firstUses", 1L, "punchesRefused", 1L));
    folio.close();
  }

  @Test
  void faultsAndWhatBecomesOfThem() throws Exception {
    GuestMemfd memfd = file(3);
    HostMapping window = map(memfd);
    window.madvise(0, 2L * PAGE, Advice.POPULATE_READ);
    counted(memfd, Map.of("faults", 2L, "firstUses", 2L));
    window.getLong(0);
    window.putLong(PAGE, 1);
    assertEquals(0, window.tryGetLong(0, 1));
    counted(memfd, Map.of());
    memfd.makeInaccessible(0, PAGE);
    assertThrows(SigBusException.class, () -> window.getLong(0));
    assertEquals(7, window.tryGetLong(0, 7));
    assertFalse(window.tryPutLong(0, 7));
    assertThrows(GuestMemfdException.class, () -> window.madvise(0, PAGE, Advice.POPULATE_READ));
    counted(memfd, Map.of("conversionsToInaccessible", 1L, "faults", 4L, "sigbus", 3L));
  }

  @Test
  void grabs() throws Exception {
    GuestMemfd memfd = file(1);
    memfd.grab(0).close();
    counted(memfd, Map.of("slowGrabs", 1L, "firstUses", 1L));
    memfd.grab(0).close();
    int pfn = memfd.tryGrab(0, HolderKind.SAFE);
    memfd.put(pfn, HolderKind.SAFE);
    counted(memfd, Map.of());
  }

  @Test
  void lookupsThatStartOverAndWait() throws Exception {
    GuestMemfd memfd = file(1);
    memfd.grab(0).close();
    counted(memfd, Map.of("slowGrabs", 1L, "firstUses", 1L));
    races.at(RacePoint.BEFORE_SLOT_RELOAD, () -> memfd.punchHole(0, PAGE));
    memfd.grab(0).close();
    counted(
        memfd, Map.of("lookupsStartedOver", 1L, "punches", 1L, "slowGrabs", 1L, "firstUses", 1L));
  }

  @Test
  void aGrabThatWaitsForAConversion() throws Exception {
    GuestMemfd memfd = file(1);
    memfd.grab(0).close();
    counted(memfd, Map.of("slowGrabs", 1L, "firstUses", 1L));
    Worker<?>[] grab = new Worker<?>[1];
    races.at(
        RacePoint.BEFORE_COMMIT,
        () -> {
          grab[0] =
              Worker.start(
                  () -> {
                    memfd.grab(0).close();
                    return null;
                  });
          while (memfd.metrics().busyWaits() == 0) {
            Thread.onSpinWait();
          }
        });
    memfd.makeInaccessible(0, PAGE);
    grab[0].result();
    counted(memfd, Map.of("slowGrabs", 1L, "busyWaits", 1L, "conversionsToInaccessible", 1L));
  }

  @Test
  void memoryThatFails() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    Folio folio = memfd.grab(0);
    counted(memfd, Map.of("slowGrabs", 1L, "firstUses", 1L));
    assertEquals(Errno.OK, host.pfnWalker().memoryFailure(folio.pfn()));
    folio.close();
    assertThrows(SigBusException.class, () -> window.getLong(0));
    assertThrows(GuestMemfdException.class, () -> memfd.grab(0));
    counted(
        memfd,
        Map.of(
            "memoryFailures", 1L, "poisonedUses", 2L, "faults", 1L, "sigbus", 1L, "slowGrabs", 1L));
  }

  /** The host's numbers are those of all its files, and stay when a file goes. */
  @Test
  void theHostSumsUpItsFiles() throws Exception {
    GuestMemfd one = file(1);
    GuestMemfd other = file(1);
    one.makeInaccessible(0, PAGE);
    other.makeInaccessible(0, PAGE);
    other.makeAccessible(0, PAGE);
    one.close();
    assertEquals(2, host.metrics().conversionsToInaccessible());
    assertEquals(1, host.metrics().conversionsToAccessible());
    assertEquals(1, one.metrics().conversionsToInaccessible(), "also when it is closed");
    assertEquals(1, other.metrics().conversionsToInaccessible());
  }
}
