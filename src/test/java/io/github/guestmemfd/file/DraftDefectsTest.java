package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * What the drafts do wrong when a callback, a check or an allocation fails, and the library must
 * not, whatever the protocol.
 */
class DraftDefectsTest extends ProtocolFixture {

  /** A callback that fails once a test wants it to. */
  private static final class Failing implements GuestMemfdOps {
    final List<String> calls = new ArrayList<>();

    /** The name of the callback that fails; none at first. */
    String at = "";

    boolean throwing;

    private Errno answer(String call) {
      calls.add(call);
      if (!call.equals(at)) {
        return Errno.OK;
      }
      if (throwing) {
        throw new IllegalStateException(call);
      }
      return Errno.EPERM;
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      return answer("begin");
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      calls.add("end");
    }

    @Override
    public Errno prepareAccessible(Folio folio) {
      return answer("prepareAccessible");
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      return answer("prepareInaccessible");
    }

    /** Runs what must fail because this does. */
    void fails(String call, Runnable body) {
      at = call;
      calls.clear();
      if (throwing) {
        assertThrows(IllegalStateException.class, body::run);
      } else {
        refused(Errno.EPERM, body::run);
      }
      at = "";
    }
  }

  private final Failing client = new Failing();

  static Stream<Arguments> failures() {
    return ConversionProtocol.all().stream()
        .flatMap(p -> Stream.of(Arguments.of(p, "refusing"), Arguments.of(p, "throwing")));
  }

  private GuestMemfd file(int pages, ConversionProtocol protocol, String how) {
    client.throwing = how.equals("throwing");
    return file(
        pages, b -> b.flags(MMAP, INIT_SHARED, NO_DIRECT_MAP).protocol(protocol).ops(client));
  }

  // ---- a punch reports success although its beginning failed ----

  @ParameterizedTest
  @MethodSource("failures")
  void aPunchWhoseBeginningFailsIsRefusedAndPunchesNothing(ConversionProtocol protocol, String how)
      throws Exception {
    GuestMemfd memfd = file(2, protocol, how);
    HostMapping window = map(memfd);
    window.putLong(0, SECRET);
    client.fails("begin", () -> memfd.punchHole(0, memfd.size()));
    assertEquals(List.of("begin"), client.calls, "no end without a beginning");
    assertEquals(1, memfd.cachedPages());
    assertEquals(SECRET, window.getLong(0));
    memfd.punchHole(0, memfd.size());
    assertEquals(0, host.used());
    assertQuiet(memfd);
  }

  // ---- a refused conversion keeps the count it took ----

  static Stream<Arguments> policies() {
    return ConversionProtocol.all().stream()
        .flatMap(
            p ->
                Stream.of(
                    Arguments.of(p, RetryPolicy.failAtOnce()),
                    Arguments.of(p, RetryPolicy.spinThenWait(2, Duration.ofNanos(1000))),
                    Arguments.of(p, RetryPolicy.completeLater())));
  }

  @ParameterizedTest
  @MethodSource("policies")
  void aRefusedConversionLeavesTheCountsAsTheyWere(ConversionProtocol protocol, RetryPolicy policy)
      throws Exception {
    GuestMemfd memfd = file(3, protocol, policy);
    int first = write(memfd, 0, 1);
    HostMapping window = map(memfd);
    HostReference pin = window.pin(PAGE, PAGE);
    window.madvise(
        PAGE, PAGE, Advice.DONTNEED); // a conversion would remove the entry, refused or not
    int last = write(memfd, 2 * PAGE, 3);
    long[] before = counts(first, pin.pfn(0), last);
    for (int i = 0; i < 2; i++) {
      refused(Errno.EAGAIN, () -> memfd.makeInaccessible(0, memfd.size()));
      assertArrayEquals(before, counts(first, pin.pfn(0), last));
    }
    for (int pfn : new int[] {first, pin.pfn(0), last}) {
      assertFalse(frames().isLocked(pfn));
    }
    pin.close();
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @MethodSource("failures")
  void aConversionThatACallbackFailsLeavesTheCountsAsTheyWere(
      ConversionProtocol protocol, String how) throws Exception {
    GuestMemfd memfd = file(2, protocol, how);
    int first = write(memfd, 0, 1);
    int last = write(memfd, PAGE, 2);
    long[] before = counts(first, last);
    for (String call : List.of("begin", "prepareInaccessible")) {
      client.fails(call, () -> memfd.makeInaccessible(0, memfd.size()));
      assertArrayEquals(before, counts(first, last));
      assertTrue(memfd.isAccessible(0) && memfd.isAccessible(PAGE));
    }
    assertQuiet(memfd);
  }

  private long[] counts(int... pfns) {
    long[] counts = new long[pfns.length];
    for (int i = 0; i < pfns.length; i++) {
      counts[i] = frames().counts(pfns[i]);
    }
    return counts;
  }

  // ---- a failed preparation leaves the change of the direct map behind ----

  @ParameterizedTest
  @MethodSource("failures")
  void aFailedPreparationLeavesTheDirectMapAsItWas(ConversionProtocol protocol, String how)
      throws Exception {
    GuestMemfd memfd = file(1, protocol, how);
    int pfn = write(memfd, 0, SECRET);
    client.fails("prepareInaccessible", () -> memfd.makeInaccessible(0, PAGE));
    assertEquals(List.of("begin", "prepareInaccessible", "end"), client.calls);
    assertTrue(host.directMap().contains(pfn));
    assertEquals(SECRET, readDirect(pfn));

    memfd.makeInaccessible(0, PAGE);
    client.fails("prepareAccessible", () -> memfd.makeAccessible(0, PAGE));
    assertEquals(List.of("begin", "prepareAccessible", "end"), client.calls);
    assertFalse(host.directMap().contains(pfn));
    assertEquals(SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }

  /** At first use too: what is inaccessible from the start has left the direct map for that. */
  @ParameterizedTest
  @MethodSource("failures")
  void aFailedFirstUseLeavesTheDirectMapAsItWas(ConversionProtocol protocol, String how)
      throws Exception {
    GuestMemfd memfd = file(1, protocol, how);
    memfd.makeInaccessible(0, PAGE);
    client.fails("prepareInaccessible", () -> memfd.grab(0));
    assertTrue(host.directMap().contains(1), "the first frame of the host");
    int pfn = write(memfd, 0, SECRET);
    assertEquals(1, pfn, "that it is");
    assertFalse(host.directMap().contains(pfn));
    assertQuiet(memfd);
  }

  // ---- a failed fresh grab leaks ----

  @ParameterizedTest
  @MethodSource("failures")
  void aFailedFirstUseHoldsNothing(ConversionProtocol protocol, String how) throws Exception {
    GuestMemfd memfd = file(1, protocol, how);
    for (HolderKind kind : HolderKind.values()) {
      client.fails("prepareAccessible", () -> memfd.grab(0, kind));
      assertCounts(1, 0, 1);
      assertFalse(frames().isLocked(1));
      assertEquals(PAGE, host.used(), "the folio stays in the file");
    }
    memfd.punchHole(0, PAGE);
    assertEquals(0, host.used());
    assertEquals(0, read(memfd, 0));
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @MethodSource(ALL)
  void aFirstUseWithoutMemoryHoldsNothing(ConversionProtocol protocol) throws Exception {
    long frames = host.size() / PAGE;
    GuestMemfd hog = file((int) frames, protocol);
    hog.allocate(0, (frames - 1) * PAGE);
    GuestMemfd memfd = file(2, protocol);
    write(memfd, 0, SECRET);
    for (HolderKind kind : HolderKind.values()) {
      assertEquals(-Errno.ENOMEM.code(), memfd.tryGrab(PAGE, kind));
    }
    assertEquals(1, memfd.cachedPages());
    assertEquals(host.size(), host.used());
    hog.punchHole(0, PAGE);
    assertEquals(0, read(memfd, PAGE));
    assertEquals(SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }
}
