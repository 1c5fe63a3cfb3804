package io.github.guestmemfd.testing;

import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.spi.RacePoint;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.testkit.engine.EngineExecutionResults;
import org.junit.platform.testkit.engine.EngineTestKit;

/** What the extension gives to tests, and what it says of tests that leave something behind. */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class GuestMemfdExtensionTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private static EngineExecutionResults run(Class<?> tests) {
    return EngineTestKit.engine("junit-jupiter").selectors(selectClass(tests)).execute();
  }

  /** What the tests of a class have failed with, by their names; null for those that passed. */
  private static Map<String, Throwable> outcomes(Class<?> tests) {
    Map<String, Throwable> outcomes = new TreeMap<>();
    run(tests).testEvents().finished().stream()
        .forEach(
            event ->
                outcomes.put(
                    event.getTestDescriptor().getDisplayName().replaceAll("\\(.*", ""),
                    event
                        .getRequiredPayload(TestExecutionResult.class)
                        .getThrowable()
                        .orElse(null)));
    assertFalse(outcomes.isEmpty(), "no test was run");
    return outcomes;
  }

  private static Throwable failure(Class<?> tests, String name) {
    Throwable failure = outcomes(tests).get(name);
    assertNotNull(failure, name + " has passed");
    return failure;
  }

  // ---- what a test gets ----

  /** Everything that is asked for belongs together, and is new for each test. */
  @ExtendWith(GuestMemfdExtension.class)
  static class Given {
    static final List<HostMemory> HOSTS = new ArrayList<>();

    private final HostMemory host;
    private GuestMemfd before;

    Given(HostMemory host) {
      this.host = host;
    }

    @BeforeEach
    void before(GuestMemfd memfd) {
      before = memfd;
    }

    @AfterEach
    void after(GuestMemfd memfd, HostMemory after) {
      assertSame(host, after);
      assertTrue(memfd.isOpen(), "the file ends after the methods of the test");
    }

    @Test
    void belongsTogether(
        HostMemory again, GuestMemfd memfd, RacePoints races, ConversionProtocol protocol) {
      assertSame(host, again);
      assertSame(before, memfd);
      assertEquals("atomic-pair", protocol.id());
      int[] passed = new int[1];
      races.at(RacePoint.RANGE_BUSY, () -> passed[0]++);
      memfd.makeInaccessible(0, PAGE);
      assertEquals(1, passed[0]);
      assertEquals(1, host.holders().size());
    }

    @RepeatedTest(2)
    void isNew(GuestMemfd memfd) {
      assertEquals(0, memfd.cachedPages());
      memfd.allocate(0, PAGE);
      assertFalse(HOSTS.contains(host));
      HOSTS.add(host);
    }

    @Test
    void moreFilesLikeIt(GuestMemfd.Builder builder, GuestMemfd memfd) {
      try (GuestMemfd other = builder.size(2L * PAGE).build()) {
        assertFalse(other.sameFile(memfd));
        assertTrue(other.isAccessible(0));
        assertEquals(2, host.holders().size());
      }
    }
  }

  @Test
  void whatIsGivenBelongsTogetherAndIsNewForEachTest() {
    assertThat(outcomes(Given.class).values()).containsOnlyNulls();
    assertEquals(2, Given.HOSTS.size());
    assertNotSame(Given.HOSTS.get(0), Given.HOSTS.get(1));
    Given.HOSTS.clear();
  }

  /** A test that wants nothing gets nothing, and is not checked. */
  @ExtendWith(GuestMemfdExtension.class)
  static class WantsNothing {
    @Test
    void passes() {
      assertEquals(3, 1 + 2);
    }
  }

  @Test
  void aTestThatWantsNothingPasses() {
    assertThat(outcomes(WantsNothing.class).values()).containsOnlyNulls();
  }

  static class Configured {
    @RegisterExtension
    final GuestMemfdExtension small =
        new GuestMemfdExtension()
            .withHost(() -> HostMemory.builder(2L * PAGE).metadataOnly())
            .withFile(file -> file.size(2L * PAGE).retryPolicy(RetryPolicy.failAtOnce()));

    @Test
    void isAsDescribed(HostMemory host, GuestMemfd memfd) {
      assertEquals(2L * PAGE, host.size());
      assertFalse(host.hasContents());
      assertEquals(2L * PAGE, memfd.size());
    }
  }

  @Test
  void hostsAndFilesCanBeDescribed() {
    assertThat(outcomes(Configured.class).values()).containsOnlyNulls();
  }

  @ExtendWith(GuestMemfdExtension.class)
  static class ForAllTests {
    @BeforeAll
    static void before(HostMemory host) {
      assertNotNull(host);
    }

    @Test
    void isNotRun() {}
  }

  @TestInstance(TestInstance.Lifecycle.PER_CLASS)
  @ExtendWith(GuestMemfdExtension.class)
  static class OneInstance {
    OneInstance(HostMemory host) {
      assertNotNull(host);
    }

    @Test
    void isNotRun() {}
  }

  /** What no test ends for could not be checked. */
  @Test
  void aHostForAllTestsOfAClassIsRefused() {
    for (Class<?> tests : List.of(ForAllTests.class, OneInstance.class)) {
      Throwable failure =
          run(tests).containerEvents().failed().stream()
              .findFirst()
              .orElseThrow(() -> new AssertionError(tests + " has passed"))
              .getRequiredPayload(TestExecutionResult.class)
              .getThrowable()
              .orElseThrow();
      assertThat(failure).hasMessageContaining("expected to belong to one test");
    }
  }

  // ---- what is left behind ----

  @ExtendWith(GuestMemfdExtension.class)
  static class Leaks {
    @Test
    void pin(GuestMemfd memfd) {
      try (HostMapping window = memfd.mmap(0, PAGE, READ, WRITE)) {
        HostReference leaked = window.pin(0, PAGE); // THE LINE
        assertTrue(leaked.isOpen());
      }
    }

    @Test
    void mapping(GuestMemfd memfd) {
      assertFalse(memfd.mmap(0, PAGE, READ).isClosed());
    }

    @Test
    void descriptor(GuestMemfd memfd) {
      assertTrue(memfd.dup().isOpen());
    }

    @Test
    void folioByAnotherThread(GuestMemfd memfd) throws InterruptedException {
      Thread thread = new Thread(() -> memfd.tryGrab(0, HolderKind.SAFE), "vcpu-0");
      thread.start();
      thread.join();
      assertEquals(1, memfd.holders(0).safe());
    }

    @Test
    void pendingConversion(GuestMemfd.Builder builder) {
      GuestMemfd memfd = builder.retryPolicy(RetryPolicy.completeLater()).build();
      Folio folio = memfd.grab(0, HolderKind.UNSAFE);
      assertFalse(memfd.makeInaccessibleLater(0, PAGE).isDone());
      assertFalse(folio.isOrphan());
    }

    @Test
    void racePoint(RacePoints races) {
      races.at(RacePoint.BEFORE_COMMIT, () -> {});
    }

    @Test
    void twoThings(GuestMemfd memfd, RacePoints races) {
      races.at(RacePoint.BEFORE_COMMIT, () -> {});
      assertTrue(memfd.dup().isOpen());
    }

    @Test
    void andFails(GuestMemfd memfd) {
      assertTrue(memfd.dup().isOpen());
      throw new IllegalStateException("the test's own failure");
    }

    @Test
    void nothing(GuestMemfd memfd) {
      memfd.grab(0).close();
      memfd.close(); // the test may
    }
  }

  @Test
  void aLeakedPinFailsTheTestWithTheLineThatTookIt() throws Exception {
    Throwable failure = failure(Leaks.class, "pin");
    List<String> lines =
        java.nio.file.Files.readAllLines(
            java.nio.file.Path.of(
                "src/test/java/io/github/guestmemfd/testing/GuestMemfdExtensionTest.java"));
    int line = 1 + indexOf(lines, "// THE LINE");
    assertThat(failure)
        .isInstanceOf(AssertionError.class)
        .hasMessageContaining("left something behind")
        .hasMessageContaining("pinned at offset 0x0 by ")
        .hasMessageContaining(
            "$Leaks.pin(GuestMemfdExtensionTest.java:" + line + ")"); // in the tree
    Throwable holder = failure.getSuppressed()[0];
    assertThat(holder).hasMessageContaining("GuestMemfdExtensionTest.java:" + line);
    assertEquals(line, holder.getStackTrace()[0].getLineNumber(), "a link in a console");
  }

  private static int indexOf(List<String> lines, String text) {
    for (int i = 0; i < lines.size(); i++) {
      if (lines.get(i).endsWith(text)) {
        return i;
      }
    }
    throw new AssertionError(text);
  }

  @Test
  void everythingThatIsLeftIsNamed() {
    Map<String, Throwable> outcomes = outcomes(Leaks.class);
    assertThat(outcomes.get("mapping")).hasMessageContaining("mapped at offsets 0x0 to 0x1000 by");
    assertThat(outcomes.get("descriptor")).hasMessageContaining("opened by");
    assertThat(outcomes.get("folioByAnotherThread"))
        .hasMessageContaining("grabbed as safe at offset 0x0 by vcpu-0");
    assertThat(outcomes.get("pendingConversion"))
        .hasMessageContaining("waited for by a conversion at offsets 0x0 to 0x1000")
        .hasMessageContaining("grabbed as unsafe");
    assertThat(outcomes.get("racePoint")).hasMessageContaining("no thread came to BEFORE_COMMIT");
    assertThat(outcomes.get("twoThings"))
        .hasMessageContaining("no thread came to BEFORE_COMMIT")
        .hasMessageContaining("opened by");
    assertThat(outcomes.get("nothing")).isNull();
  }

  @Test
  void theTestsOwnFailureComesFirst() {
    Throwable failure = failure(Leaks.class, "andFails");
    assertThat(failure).hasMessage("the test's own failure");
    assertThat(failure.getSuppressed()[0]).hasMessageContaining("opened by");
  }

  // ---- the invariants ----

  @ExtendWith(GuestMemfdExtension.class)
  static class BreaksAnInvariant {
    @Test
    void leavesAnAccess(GuestMemfd memfd) {
      int pfn = memfd.tryGrab(0, HolderKind.SAFE);
      assertTrue(memfd.frameAccess().begin(pfn) != 0);
      memfd.put(pfn, HolderKind.SAFE);
    }

    @Test
    void leavesAnAccessAndAFolio(GuestMemfd memfd) {
      Folio folio = memfd.grab(0);
      assertTrue(memfd.frameAccess().begin(folio.pfn()) != 0);
    }

    @Test
    void throwsAtTheEndOfTheFile(GuestMemfd.Builder builder) {
      builder
          .ops(
              new GuestMemfdOps() {
                @Override
                public void release() {
                  throw new IllegalStateException("at the end");
                }
              })
          .build()
          .close();
    }
  }

  @Test
  void theLibrarysInvariantsAreLookedAt() {
    assertThat(failure(BreaksAnInvariant.class, "leavesAnAccess"))
        .hasMessageContaining("an access was announced, and has not ended");
    assertThat(failure(BreaksAnInvariant.class, "throwsAtTheEndOfTheFile"))
        .hasMessageContaining("at the end");
  }

  @Test
  void whereAnInvariantIsBrokenTheHoldersAreNamed() {
    assertThat(failure(BreaksAnInvariant.class, "leavesAnAccessAndAFolio"))
        .hasMessageContaining("an access was announced, and has not ended")
        .hasMessageContaining("grabbed as safe at offset 0x0 by ");
  }

  /** The end of the injected file throws, in a test that leaves something else behind too. */
  static class EndsWithAFailure {
    @RegisterExtension
    final GuestMemfdExtension extension =
        new GuestMemfdExtension().withFile(file -> file.ops(new ThrowsAtTheEnd()));

    private static final class ThrowsAtTheEnd implements GuestMemfdOps {
      @Override
      public void release() {
        throw new AssertionError("at the end");
      }
    }

    @Test
    void leaksAPin(GuestMemfd memfd) {
      try (HostMapping window = memfd.mmap(0, PAGE, READ, WRITE)) {
        assertTrue(window.pin(0, PAGE).isOpen());
      }
    }

    @Test
    void missesARacePoint(GuestMemfd memfd, RacePoints races) {
      assertTrue(memfd.isOpen());
      races.at(RacePoint.BEFORE_COMMIT, () -> {});
    }
  }

  static class EndsWithAnErrno {
    @RegisterExtension
    final GuestMemfdExtension extension =
        new GuestMemfdExtension().withFile(file -> file.ops(new RefusesAtTheEnd()));

    private static final class RefusesAtTheEnd implements GuestMemfdOps {
      @Override
      public void release() {
        throw new GuestMemfdException(Errno.EIO, "at the end");
      }
    }

    @Test
    void leavesNothing(GuestMemfd memfd) {
      assertTrue(memfd.isOpen());
    }
  }

  @Test
  void whatTheEndOfTheFileThrowsHidesNothing() {
    assertThat(failure(EndsWithAFailure.class, "leaksAPin"))
        .hasMessageContaining("at the end")
        .hasMessageContaining("pinned at offset 0x0 by ");
    assertThat(failure(EndsWithAFailure.class, "missesARacePoint"))
        .hasMessageContaining("at the end")
        .hasMessageContaining("no thread came to BEFORE_COMMIT");
    assertThat(failure(EndsWithAnErrno.class, "leavesNothing"))
        .hasMessageContaining("EIO: at the end")
        .message()
        .doesNotContain("left something behind");
  }

  // ---- every protocol ----

  @ExtendWith(GuestMemfdExtension.class)
  static class UnderEveryProtocol {
    static final List<String> SEEN = new ArrayList<>();
    private final ConversionProtocol constructed;

    UnderEveryProtocol(ConversionProtocol protocol) {
      constructed = protocol;
    }

    @ConversionProtocols
    void theContentStays(GuestMemfd memfd, ConversionProtocol protocol) {
      assertSame(constructed, protocol);
      SEEN.add(protocol.id());
      try (HostMapping window = memfd.mmap(0, PAGE, READ, WRITE)) {
        window.putLong(0, 42);
        assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
      }
      try (Folio folio = memfd.grab(0)) {
        assertEquals(42, folio.buffer().getLong(0));
      }
    }
  }

  @ExtendWith(GuestMemfdExtension.class)
  static class UnderSome {
    @ConversionProtocols({"last-put", "lock-only"})
    void some(ConversionProtocol protocol) {
      assertTrue(List.of("last-put", "lock-only").contains(protocol.id()));
    }

    @ConversionProtocols(unsound = true)
    void all(ConversionProtocol protocol) {
      assertNotNull(protocol);
    }
  }

  @ExtendWith(GuestMemfdExtension.class)
  static class UnderNone {
    @ConversionProtocols("no-such")
    void isNotRun() {}
  }

  @Test
  void aTestIsRunUnderEveryProtocol() {
    assertThat(outcomes(UnderEveryProtocol.class).values()).containsOnlyNulls();
    List<String> sound =
        ConversionProtocol.all().stream()
            .filter(ConversionProtocol::isSound)
            .map(ConversionProtocol::id)
            .toList();
    assertEquals(sound, UnderEveryProtocol.SEEN);
    UnderEveryProtocol.SEEN.clear();
    run(UnderSome.class)
        .testEvents()
        .assertStatistics(s -> s.succeeded(2 + ConversionProtocol.all().size()).failed(0));
  }

  @Test
  void anUnknownProtocolIsRefused() {
    Throwable failure =
        run(UnderNone.class).containerEvents().failed().stream()
            .findFirst()
            .orElseThrow()
            .getRequiredPayload(TestExecutionResult.class)
            .getThrowable()
            .orElseThrow();
    assertThat(failure).hasMessageContaining("actual no-such").hasMessageContaining("last-put");
    assertThat(Arrays.toString(failure.getSuppressed())).isEqualTo("[]");
  }
}
