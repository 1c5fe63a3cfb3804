package io.github.guestmemfd.observe;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.spi.RacePoint;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import jdk.jfr.Recording;
import jdk.jfr.ValueDescriptor;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.api.parallel.Isolated;

/** The events of the flight recorder: each appears, with the right fields. */
@Isolated // JFR records the events of every test that runs meanwhile
class EventsTest extends HostFixture {
  private static final String NAMES = "io.github.guestmemfd.";

  @TempDir Path folder;

  /** What is recorded while something runs, as lines of the name and all fields but the times. */
  private List<String> recorded(Executable body) throws Throwable {
    Path file = folder.resolve("events.jfr");
    try (Recording recording = new Recording()) {
      for (String name : List.of("Conversion", "Refusal", "Retry", "Punch", "Fault")) {
        recording.enable(NAMES + name).withoutThreshold();
      }
      recording.start();
      body.execute();
      recording.stop();
      recording.dump(file);
    }
    return RecordingFile.readAllEvents(file).stream()
        .filter(e -> e.getEventType().getName().startsWith(NAMES))
        .sorted(Comparator.comparing(RecordedEvent::getEndTime))
        .map(EventsTest::line)
        .toList();
  }

  private static String line(RecordedEvent e) {
    assertThat(e.getEventType().getCategoryNames()).containsExactly("guest_memfd");
    assertThat(e.getEventType().getLabel()).isNotBlank();
    assertThat(e.getEventType().getDescription()).isNotBlank();
    assertThat(e.getDuration().isNegative()).isFalse();
    StringBuilder text = new StringBuilder(e.getEventType().getName().substring(NAMES.length()));
    for (ValueDescriptor field : e.getFields()) {
      if (!List.of("startTime", "duration", "eventThread", "stackTrace")
          .contains(field.getName())) {
        assertThat(field.getLabel()).isNotBlank();
        text.append(' ')
            .append(field.getName())
            .append('=')
            .append(e.<Object>getValue(field.getName()));
      }
    }
    return text.toString();
  }

  private static String conversion(int page, int pages, boolean to, String result, int retries) {
    return "Conversion file=1 offset="
        + page * PAGE
        + " length="
        + pages * PAGE
        + " inaccessible="
        + to
        + " result="
        + result
        + " retries="
        + retries;
  }

  @Test
  void conversionsAndPunches() throws Throwable {
    GuestMemfd memfd = file(4);
    assertThat(
            recorded(
                () -> {
                  memfd.makeInaccessible(PAGE, 2L * PAGE);
                  memfd.makeAccessible(2L * PAGE, PAGE);
                  memfd.punchHole(0, 2L * PAGE);
                }))
        .containsExactly(
            conversion(1, 2, true, "OK", 0),
            conversion(2, 1, false, "OK", 0),
            "Punch file=1 offset=0 length=8192 result=OK");
  }

  @Test
  void aRefusalSaysWhoHolds() throws Throwable {
    GuestMemfd memfd = file(4, b -> b.retryPolicy(RetryPolicy.spin(3)));
    HostMapping window = map(memfd);
    try (HostReference plain = window.getUserPages(PAGE, PAGE);
        HostReference pin = window.pin(PAGE, PAGE);
        Folio user = memfd.grab(PAGE, HolderKind.ACCESSIBLE);
        Folio safe = memfd.grab(PAGE);
        Folio alsoSafe = memfd.grab(PAGE)) {
      assertThat(
              recorded(() -> assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 4L * PAGE))))
          .containsExactly(
              "Retry file=1 offset=4096 looks=3 passed=false",
              "Refusal file=1 offset=4096 punch=false unsafe=1 pinned=1 accessible=1 safe=2",
              conversion(0, 4, true, "EAGAIN", 3));
      assertThat(List.of(plain.pfn(0), pin.pfn(0), user.pfn(), safe.pfn()))
          .containsOnly(alsoSafe.pfn());
    }
  }

  /** Looks are of each folio, and the first passes once it is let go. */
  @Test
  void aRetryThatPasses() throws Throwable {
    GuestMemfd memfd = file(2, b -> b.retryPolicy(RetryPolicy.spin(3)));
    Folio first = memfd.grab(0, HolderKind.UNSAFE);
    try (Folio second = memfd.grab(PAGE, HolderKind.UNSAFE)) {
      races.at(RacePoint.ON_MISMATCH, 0, first::close);
      assertThat(recorded(() -> memfd.tryMakeInaccessible(0, 2L * PAGE)))
          .containsExactly(
              "Retry file=1 offset=0 looks=1 passed=true",
              "Retry file=1 offset=4096 looks=3 passed=false",
              "Refusal file=1 offset=4096 punch=false unsafe=1 pinned=0 accessible=0 safe=0",
              conversion(0, 2, true, "EAGAIN", 4));
      assertEquals(PAGE, second.offset());
    }
  }

  @Test
  void aPunchThatIsRefused() throws Throwable {
    GuestMemfd memfd = file(2, b -> b.protocol(ConversionProtocol.safeOnly()));
    try (Folio safe = memfd.grab(PAGE)) {
      assertThat(
              recorded(
                  () ->
                      assertThrows(GuestMemfdException.class, () -> memfd.punchHole(0, 2L * PAGE))))
          .containsExactly(
              "Retry file=1 offset=4096 looks=0 passed=false",
              "Refusal file=1 offset=4096 punch=true unsafe=0 pinned=0 accessible=0 safe=1",
              "Punch file=1 offset=0 length=8192 result=EBUSY");
      assertEquals(PAGE, safe.offset());
    }
  }

  @Test
  void faults() throws Throwable {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    memfd.makeInaccessible(PAGE, PAGE);
    assertThat(
            recorded(
                () -> {
                  window.putLong(0, 1);
                  window.getLong(8); // mapped by now
                  assertThrows(SigBusException.class, () -> window.getLong(PAGE));
                }))
        .containsExactly(
            "Fault file=1 offset=0 write=true result=OK",
            "Fault file=1 offset=4096 write=false result=SIGBUS");
  }

  @Test
  void aPendingConversionIsTwoEvents() throws Throwable {
    GuestMemfd memfd = later(1);
    HostReference reference = map(memfd).getUserPages(0, PAGE);
    assertThat(
            recorded(
                () -> {
                  CompletableFuture<Void> later = memfd.makeInaccessibleLater(0, PAGE);
                  reference.close();
                  later.join();
                }))
        .containsExactly(
            "Retry file=1 offset=0 looks=0 passed=false",
            "Refusal file=1 offset=0 punch=false unsafe=1 pinned=0 accessible=0 safe=0",
            conversion(0, 1, true, "PENDING", 0),
            conversion(0, 1, true, "OK", 0));
  }

  @Test
  void aCallbackThatThrows() throws Throwable {
    GuestMemfdOps throwing =
        new GuestMemfdOps() {
          @Override
          public Errno invalidateBegin(long offset, long length) {
            throw new IllegalStateException("on purpose");
          }
        };
    GuestMemfd memfd = file(1, throwing);
    assertThat(
            recorded(
                () -> {
                  assertThrows(IllegalStateException.class, () -> memfd.makeInaccessible(0, PAGE));
                  assertThrows(IllegalStateException.class, () -> memfd.punchHole(0, PAGE));
                }))
        .containsExactly(
            conversion(0, 1, true, "exception", 0),
            "Punch file=1 offset=0 length=4096 result=exception");
  }
}
