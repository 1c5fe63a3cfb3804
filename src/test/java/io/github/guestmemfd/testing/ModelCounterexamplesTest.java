package io.github.guestmemfd.testing;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.spi.Announce;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The counterexamples of docs/protocols.md, which spin finds in a model, found in the library; and
 * small scenarios that the model calls sound, in every order. The steps that cost each of them are
 * looked for in the report, so that what is found is the model's reason and not another.
 */
@Timeout(300)
@Execution(ExecutionMode.CONCURRENT) // an exploration shares nothing
class ModelCounterexamplesTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long SECRET = 0x5ec2e7;

  /** Waits as long as any thread can go on: the explorer's time stands still until then. */
  private static final RetryPolicy PATIENT = RetryPolicy.spinThenWait(0, Duration.ofMillis(100));

  /** A file whose pages are there and accessible, and a mapping of it. */
  private static final class World {
    final HostMemory host = HostMemory.ofBytes(4L * PAGE);
    final GuestMemfd memfd;
    final HostMapping window;
    final List<Folio> kept = new ArrayList<>();
    final List<HostReference> pins = new ArrayList<>();
    CompletableFuture<Void> later = CompletableFuture.completedFuture(null);

    World(String protocol, RetryPolicy retries, int pages) {
      memfd =
          GuestMemfd.builder(host)
              .size((long) pages * PAGE)
              .flags(MMAP, INIT_SHARED)
              .protocol(ConversionProtocol.byId(protocol).orElseThrow())
              .retryPolicy(retries)
              .build();
      window = memfd.mmap(0, (long) pages * PAGE, Protection.READ, Protection.WRITE);
      for (int page = 0; page < pages; page++) {
        memfd.grab((long) page * PAGE).close(); // ready
      }
    }

    void grabAndPut() {
      memfd.grab(0).close();
    }

    /** Is refused where the page is neither side's. */
    void tryGrabAndPut() {
      try {
        grabAndPut();
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isEqualTo(Errno.EAGAIN);
      }
    }

    /** Converts; who else uses the page is the guest's, or touches no content. */
    void convertWithoutHolders() {
      Errno errno = memfd.tryMakeInaccessible(0, PAGE);
      if (errno != Errno.OK) {
        throw new AssertionError(errno + " though no user of the host has the page");
      }
    }

    /** The guest's secret is there as soon as the page is the guest's. */
    void convertAndWriteSecret() {
      if (memfd.tryMakeInaccessible(0, PAGE) == Errno.OK) {
        try (Folio folio = memfd.grab(0)) {
          Announce.write(this);
          folio.buffer().putLong(0, SECRET);
        }
      }
    }

    void readByReference() {
      try (HostReference reference = window.getUserPages(0, PAGE)) {
        Announce.read(this);
        if (reference.buffer(0).getLong(0) == SECRET) {
          throw new AssertionError("a reference of the host reads the guest's secret");
        }
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isEqualTo(Errno.EFAULT); // it came too late
      }
    }

    void grabAndKeep() {
      Folio folio = memfd.grab(0);
      Announce.write(this);
      kept.add(folio);
    }

    void pinAndKeep() {
      try {
        HostReference pin = window.pin(0, PAGE);
        Announce.write(this);
        pins.add(pin);
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isEqualTo(Errno.EFAULT); // it came too late
      }
    }

    void convertWithoutWaiting() {
      Errno errno = memfd.tryMakeInaccessible(0, PAGE);
      if (errno != Errno.OK && memfd.metrics().holderWaits() != 0) {
        throw new AssertionError(errno + " after a wait for a pin that is kept");
      }
    }

    void tryPunch() {
      try {
        memfd.punchHole(0, PAGE);
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isEqualTo(Errno.EBUSY);
      }
    }

    void requireNoOrphan() {
      boolean orphan = kept.stream().anyMatch(Folio::isOrphan);
      close();
      if (orphan) {
        throw new AssertionError("the guest's holder has a page that has been punched");
      }
    }

    /** Everything is given back, and then nothing is left. */
    void close() {
      assertThat(host.violations()).isEmpty();
      kept.forEach(Folio::close);
      pins.forEach(HostReference::close);
      window.close();
      memfd.close();
      assertThat(host.used()).isZero();
      host.close();
    }
  }

  private static Interleavings<World> of(String protocol, RetryPolicy retries) {
    return of(protocol, retries, 1);
  }

  private static Interleavings<World> of(String protocol, RetryPolicy retries, int pages) {
    return Interleavings.of(() -> new World(protocol, retries, pages)).atEnd(World::close);
  }

  private static void assertFound(Interleavings<World> scenario, String... content) {
    assertThat(scenario.find().counterexample())
        .hasValueSatisfying(text -> assertThat(text).contains(content));
  }

  private static void assertComplete(Interleavings<World> scenario) {
    Interleavings.Report report = scenario.explore();
    assertThat(report.complete()).isTrue();
    assertThat(report.bounded()).isFalse();
    assertThat(report.orders()).isGreaterThan(1);
  }

  // ---- leaked ----

  private static Interleavings<World> referenceAgainstConversion(String protocol) {
    return of(protocol, RetryPolicy.failAtOnce())
        .thread("GUP", World::readByReference)
        .thread("converter", World::convertAndWriteSecret);
  }

  /** All but pin-check. */
  static Stream<String> sound() {
    return ConversionProtocol.all().stream()
        .filter(ConversionProtocol::isSound)
        .map(ConversionProtocol::id);
  }

  @Test
  void pinCheckLeaks() {
    assertFound(
        referenceAgainstConversion("pin-check"),
        "a reference of the host reads the guest's secret",
        "PageCache.grab",
        "SlotChange.commit");
  }

  @ParameterizedTest
  @MethodSource("sound")
  void theOthersDoNotLeak(String protocol) {
    assertComplete(referenceAgainstConversion(protocol));
  }

  // ---- falseAlarm ----

  private static Interleavings<World> grabAgainstConversion(String protocol, RetryPolicy retries) {
    return of(protocol, retries)
        .thread("vCPU", World::grabAndPut)
        .thread("converter", World::convertWithoutHolders);
  }

  @ParameterizedTest
  @ValueSource(strings = {"both-counters", "timed-wait", "last-put", "invalidate-lock"})
  void aVcpuIsTakenForAHolderOfTheHost(String protocol) {
    assertFound(
        grabAgainstConversion(protocol, RetryPolicy.failAtOnce()),
        "EAGAIN though no user of the host has the page",
        "PageCache.grab",
        protocol.equals("last-put") ? "FrameCounts.freeze" : "RefCheck.");
  }

  @ParameterizedTest
  @ValueSource(strings = {"pin-check", "safe-only", "lock-only", "atomic-pair"})
  void aVcpuIsInNoConversionsWay(String protocol) {
    assertComplete(grabAgainstConversion(protocol, RetryPolicy.failAtOnce()));
  }

  private static Interleavings<World> walkerAgainstConversion(String protocol) {
    return of(protocol, RetryPolicy.failAtOnce())
        .thread("PFN walker", w -> w.host.pfnWalker().scan(1))
        .thread("converter", World::convertWithoutHolders);
  }

  @ParameterizedTest
  @MethodSource("sound")
  void aWalkerIsTakenForAHolder(String protocol) {
    assertFound(
        walkerAgainstConversion(protocol),
        "EAGAIN though no user of the host has the page",
        "PfnWalker.tryGet");
  }

  @Test
  void pinCheckDoesNotMindAWalker() {
    assertComplete(walkerAgainstConversion("pin-check"));
  }

  // ---- waitedInVain ----

  @Test
  void timedWaitWaitsInVain() {
    assertFound(
        grabAgainstConversion("timed-wait", PATIENT),
        "EAGAIN though no user of the host has the page",
        "FolioLocks.");
  }

  @ParameterizedTest
  @ValueSource(strings = {"both-counters", "last-put", "invalidate-lock"})
  void theOthersWaitUntilTheVcpuLetsGo(String protocol) {
    Interleavings.Report report = grabAgainstConversion(protocol, PATIENT).explore();
    assertThat(report.complete()).isTrue();
  }

  // ---- a pin that is kept ----

  private static Interleavings<World> pinAgainstConversion(String protocol) {
    return of(protocol, PATIENT)
        .thread("GUP", World::pinAndKeep)
        .thread("converter", World::convertWithoutWaiting);
  }

  /** The model's deadlock: there a wait has no end. */
  @ParameterizedTest
  @ValueSource(strings = {"invalidate-lock-v8", "atomic-pair"})
  void aPinThatIsKeptIsWaitedFor(String protocol) {
    assertFound(
        pinAgainstConversion(protocol),
        "EAGAIN after a wait for a pin that is kept",
        "FrameCounts.awaitCounts");
  }

  @Test
  void invalidateLockRefusesAPinAtOnce() {
    assertComplete(pinAgainstConversion("invalidate-lock"));
  }

  // ---- deadlock ----

  /** Each vCPU holds one page and converts the other. */
  private static Interleavings<World> crosswise(String protocol) {
    return of(protocol, RetryPolicy.failAtOnce(), 2)
        .thread("one vCPU", w -> holdAndConvert(w, 0, PAGE))
        .thread("other vCPU", w -> holdAndConvert(w, PAGE, 0));
  }

  private static void holdAndConvert(World w, long held, long converted) {
    try (Folio folio = w.memfd.grab(held)) {
      assertThat(folio.offset()).isEqualTo(held);
      assertThat(w.memfd.tryMakeInaccessible(converted, PAGE)).isIn(Errno.OK, Errno.EAGAIN);
    }
  }

  @Test
  void twoVcpusWaitForEachOthersFolioLocks() {
    assertFound(
        crosswise("lock-only"),
        "no thread can go on: one vCPU is parked, other vCPU is parked",
        "FolioLocks.awaitUnlocked");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "pin-check",
        "both-counters",
        "safe-only",
        "timed-wait",
        "last-put",
        "invalidate-lock",
        "atomic-pair"
      })
  void theOthersAnswer(String protocol) {
    assertThat(crosswise(protocol).maxPreemptions(1).explore().complete()).isTrue();
  }

  /** The kernel would wait for ever: the model's deadlock with one vCPU. */
  @Test
  void aThreadThatWouldWaitForItselfIsToldSo() {
    World w = new World("lock-only", RetryPolicy.failAtOnce(), 1);
    try (Folio folio = w.memfd.grab(0)) {
      assertThat(w.memfd.tryMakeInaccessible(folio.offset(), PAGE)).isEqualTo(Errno.EDEADLK);
    }
    w.close();
  }

  // ---- orphaned, punchRefused ----

  private static Interleavings<World> keepingAgainstPunch(String protocol) {
    return of(protocol, RetryPolicy.failAtOnce())
        .thread("vCPU", World::grabAndKeep)
        .thread("puncher", World::tryPunch)
        .atEnd(World::requireNoOrphan);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "pin-check",
        "both-counters",
        "timed-wait",
        "last-put",
        "invalidate-lock",
        "atomic-pair"
      })
  void aPunchLeavesAnOrphan(String protocol) {
    assertFound(
        keepingAgainstPunch(protocol),
        "the guest's holder has a page that has been punched",
        "PageCache.remove");
  }

  @Test
  void safeOnlyLeavesNoOrphan() {
    assertComplete(keepingAgainstPunch("safe-only"));
  }

  private static Interleavings<World> grabAgainstPunch(String protocol) {
    return of(protocol, RetryPolicy.failAtOnce())
        .thread("vCPU", World::grabAndPut)
        .thread("puncher", w -> w.memfd.punchHole(0, PAGE));
  }

  @ParameterizedTest
  @ValueSource(strings = {"both-counters", "safe-only"})
  void aPunchIsRefused(String protocol) {
    assertFound(grabAgainstPunch(protocol), "EBUSY", "RefCheck.");
  }

  @ParameterizedTest
  @ValueSource(strings = {"pin-check", "last-put", "atomic-pair"})
  void aPunchIsNotRefused(String protocol) {
    assertThat(grabAgainstPunch(protocol).maxPreemptions(1).explore().complete()).isTrue();
  }

  // ---- waitedElsewhere ----

  private static Interleavings<World> faultElsewhere(String protocol) {
    return of(protocol, RetryPolicy.failAtOnce(), 2)
        .thread("host", w -> w.window.getLong(PAGE))
        .thread("converter", w -> w.memfd.tryMakeInaccessible(0, PAGE))
        .atEnd(
            w -> {
              long waits = w.memfd.metrics().busyWaits();
              w.close();
              if (waits != 0) {
                throw new AssertionError("a fault waited for a page that is not converted");
              }
            });
  }

  @Test
  void invalidateLockHoldsUpFaultsElsewhere() {
    assertFound(
        faultElsewhere("invalidate-lock"),
        "a fault waited for a page that is not converted",
        "PageCache.grab");
  }

  @Test
  void atomicPairDoesNot() {
    assertComplete(faultElsewhere("atomic-pair"));
  }

  // ---- pendingForEver ----

  /** Bounded: all orders are some hundred thousands. */
  @Test
  void whatLastPutLeavesPendingIsCompleted() {
    Interleavings.Report report =
        of("last-put", RetryPolicy.completeLater())
            .thread("vCPU", World::tryGrabAndPut)
            .thread("converter", w -> w.later = w.memfd.makeInaccessibleLater(0, PAGE))
            .atEnd(
                w -> {
                  w.later.get(30, TimeUnit.SECONDS); // by the executor, where the put found it busy
                  assertThat(w.memfd.isAccessible(0)).isFalse();
                  w.close();
                })
            .maxPreemptions(2)
            .explore();
    assertThat(report.complete()).isTrue();
  }
}
