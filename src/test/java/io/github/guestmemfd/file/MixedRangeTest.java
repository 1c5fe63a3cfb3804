package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Conversions of ranges of which a part is as wanted already. */
class MixedRangeTest extends ProtocolFixture {
  private final IllegalStateException thrown = new IllegalStateException("client");

  /** Writes down what it is told, and refuses or throws at one of the calls. */
  private final class Client implements GuestMemfdOps {
    final List<String> calls = new ArrayList<>();
    String refusesAt = "";
    String throwsAt = "";
    Runnable onThrow = () -> {};

    private Errno hear(String call) {
      calls.add(call);
      if (call.equals(throwsAt)) {
        onThrow.run();
        throw thrown;
      }
      return call.equals(refusesAt) ? Errno.EPERM : Errno.OK;
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      return hear("begin " + offset / PAGE + "+" + length / PAGE);
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      hear("end " + offset / PAGE + "+" + length / PAGE);
    }

    @Override
    public Errno prepareAccessible(Folio folio) {
      return hear("share " + folio.offset() / PAGE);
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      return hear("hide " + folio.offset() / PAGE);
    }
  }

  private final Client client = new Client();
  private boolean throwsAfterCommit;

  @Override
  protected void passes(RacePoint point, long index) {
    super.passes(point, index);
    if (point == RacePoint.AFTER_COMMIT && throwsAfterCommit) {
      throw thrown;
    }
  }

  /** Eight pages in use: S P S S P P S P, where a letter says whose the page is. */
  private GuestMemfd mixed(ConversionProtocol protocol) {
    GuestMemfd memfd = file(8, b -> b.protocol(protocol).ops(client));
    for (long page : new long[] {1, 4, 5, 7}) {
      memfd.makeInaccessible(page * PAGE, PAGE);
    }
    for (long page = 0; page < 8; page++) {
      write(memfd, page * PAGE, page);
    }
    client.calls.clear();
    return memfd;
  }

  private static String attributes(GuestMemfd memfd) {
    StringBuilder attributes = new StringBuilder();
    for (long at = 0; at < memfd.size(); at += PAGE) {
      attributes.append(memfd.isAccessible(at) ? 'S' : 'P');
    }
    return attributes.toString();
  }

  // ---- what is told ----

  @ParameterizedTest
  @MethodSource(ALL)
  void onlyWhatChangesIsTouched(ConversionProtocol protocol) {
    GuestMemfd memfd = mixed(protocol);
    memfd.makeInaccessible(0, 8L * PAGE);
    assertEquals(
        List.of(
            "begin 0+1",
            "begin 2+2",
            "begin 6+1", //
            "hide 0",
            "hide 2",
            "hide 3",
            "hide 6", //
            "end 0+1",
            "end 2+2",
            "end 6+1"),
        client.calls);
    assertEquals("PPPPPPPP", attributes(memfd));
    client.calls.clear();

    memfd.makeInaccessible(0, 8L * PAGE);
    assertEquals(List.of(), client.calls, "all of it is as wanted");

    memfd.makeAccessible(2L * PAGE, 2L * PAGE);
    client.calls.clear();
    memfd.makeAccessible(PAGE, 4L * PAGE);
    assertEquals(
        List.of("begin 1+1", "begin 4+1", "share 1", "share 4", "end 1+1", "end 4+1"),
        client.calls);
    assertEquals("PSSSSPPP", attributes(memfd));
    for (long page = 0; page < 8; page++) {
      assertEquals(page, read(memfd, page * PAGE), "contents stay");
    }
  }

  /** A page that a conversion passes over keeps its host mapping; one that it changes does not. */
  @Test
  void whatIsSharedAlreadyStaysMapped() {
    GuestMemfd memfd = mixed(ConversionProtocol.byId("atomic-pair").orElseThrow());
    HostMapping window = map(memfd);
    assertEquals(0, window.getLong(0));
    long faults = memfd.metrics().faults();
    memfd.makeAccessible(0, 8L * PAGE);
    assertEquals(0, window.getLong(0));
    assertEquals(faults, memfd.metrics().faults());
  }

  /** A guest goes on using a page that is its own: its access is not waited for. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void anAccessToWhatIsTheGuestsAlready(boolean mapped) throws Exception {
    GuestMemfd memfd = mixed(ConversionProtocol.byId("atomic-pair").orElseThrow());
    if (mapped) {
      HostMapping window = map(memfd);
      assertEquals(2, window.getLong(2L * PAGE));
    }
    int pfn = memfd.tryGrab(PAGE, HolderKind.SAFE);
    FrameAccess frames = memfd.frameAccess();
    long access = frames.begin(pfn);
    assertEquals(Errno.OK, Worker.start(() -> memfd.tryMakeInaccessible(0, 8L * PAGE)).result());
    assertEquals("PPPPPPPP", attributes(memfd));
    frames.end(access);
    memfd.put(pfn, HolderKind.SAFE);
  }

  /** Holders of pages that are the guest's already are in no one's way. */
  @ParameterizedTest
  @MethodSource(ALL)
  void theFolioInTheWayIsOneThatWouldChange(ConversionProtocol protocol) {
    GuestMemfd memfd = mixed(protocol);
    HostMapping window = map(memfd);
    try (HostReference pin = window.pin(3L * PAGE, PAGE)) {
      assertTrue(pin.isPinned());
      BusyFolio busy = new BusyFolio();
      assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 8L * PAGE, busy));
      assertEquals(3L * PAGE, busy.offset());
      assertEquals("SPSSPPSP", attributes(memfd));
      assertEquals(List.of(), client.calls, "nothing begins before the counts are right");
    }
    memfd.makeInaccessible(0, 8L * PAGE);
  }

  // ---- refusals ----

  @ParameterizedTest
  @MethodSource(ALL)
  void aRunThatIsRefusedUndoesAll(ConversionProtocol protocol) {
    GuestMemfd memfd = mixed(protocol);
    client.refusesAt = "begin 2+2";
    refused(Errno.EPERM, () -> memfd.makeInaccessible(0, 8L * PAGE));
    assertEquals(List.of("begin 0+1", "begin 2+2", "end 0+1"), client.calls);
    assertEquals("SPSSPPSP", attributes(memfd));

    client.calls.clear();
    client.refusesAt = "begin 7+1";
    refused(Errno.EPERM, () -> memfd.makeAccessible(0, 8L * PAGE));
    assertEquals(
        List.of("begin 1+1", "begin 4+2", "begin 7+1", "end 1+1", "end 4+2"), client.calls);
    assertEquals("SPSSPPSP", attributes(memfd));
  }

  @ParameterizedTest
  @MethodSource(ALL)
  void aRunThatThrowsUndoesAll(ConversionProtocol protocol) {
    GuestMemfd memfd = mixed(protocol);
    client.throwsAt = "begin 2+2";
    assertSame(
        thrown, assertThrows(RuntimeException.class, () -> memfd.makeInaccessible(0, 8L * PAGE)));
    assertEquals(List.of("begin 0+1", "begin 2+2", "end 0+1"), client.calls);
    assertEquals("SPSSPPSP", attributes(memfd));
    client.throwsAt = "";
    memfd.makeInaccessible(0, 8L * PAGE);
    assertEquals("PPPPPPPP", attributes(memfd));
  }

  @ParameterizedTest
  @MethodSource(ALL)
  void anEndThatThrowsUndoesAllAndTheOthersCome(ConversionProtocol protocol) {
    GuestMemfd memfd = mixed(protocol);
    client.throwsAt = "end 2+2";
    assertSame(
        thrown, assertThrows(RuntimeException.class, () -> memfd.makeInaccessible(0, 8L * PAGE)));
    assertEquals(
        List.of(
            "begin 0+1",
            "begin 2+2",
            "begin 6+1", //
            "hide 0",
            "hide 2",
            "hide 3",
            "hide 6", //
            "end 0+1",
            "end 2+2",
            "end 6+1", //
            "begin 0+1",
            "share 0",
            "end 0+1",
            "begin 2+2",
            "share 2",
            "share 3",
            "end 2+2", // throws once more
            "begin 6+1",
            "share 6",
            "end 6+1"),
        client.calls);
    assertEquals("SPSSPPSP", attributes(memfd));
  }

  @ParameterizedTest
  @MethodSource(ALL)
  void aFolioThatIsRefusedUndoesAll(ConversionProtocol protocol) {
    GuestMemfd memfd = mixed(protocol);
    client.refusesAt = "hide 3";
    refused(Errno.EPERM, () -> memfd.makeInaccessible(0, 8L * PAGE));
    assertEquals(
        List.of(
            "begin 0+1",
            "begin 2+2",
            "begin 6+1", //
            "hide 0",
            "hide 2",
            "hide 3",
            "share 0",
            "share 2", //
            "end 0+1",
            "end 2+2",
            "end 6+1"),
        client.calls);
    assertEquals("SPSSPPSP", attributes(memfd));
  }

  /** After the attributes have changed the runs are found by what they were. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void eachRunEndsAfterTheCommit(boolean inaccessible) {
    GuestMemfd memfd = mixed(protocol("atomic-pair"));
    throwsAfterCommit = true;
    assertSame(
        thrown,
        assertThrows(
            RuntimeException.class,
            () -> {
              if (inaccessible) {
                memfd.makeInaccessible(0, 8L * PAGE);
              } else {
                memfd.makeAccessible(0, 8L * PAGE);
              }
            }));
    List<String> ends = client.calls.stream().filter(c -> c.startsWith("end")).toList();
    List<String> each =
        inaccessible
            ? List.of("end 0+1", "end 2+2", "end 6+1")
            : List.of("end 1+1", "end 4+2", "end 7+1");
    assertEquals(Stream.concat(each.stream(), each.stream()).toList(), ends, "and after the undo");
    assertEquals("SPSSPPSP", attributes(memfd));
  }

  /**
   * A client that maps each page again as soon as the invalidation is over, as a vCPU does that
   * touches it then: it keeps nothing that goes by an attribute which has been undone, whichever of
   * the ends threw.
   */
  @ParameterizedTest
  @CsvSource({"true,0", "true,2", "true,6", "false,1", "false,4", "false,7"})
  void noClientKeepsWhatGoesByAnUndoneAttribute(boolean inaccessible, long throwsAt) {
    Boolean[] mapped = new Boolean[8]; // as accessible, or not
    GuestMemfd[] file = new GuestMemfd[1];
    boolean[] fails = {false};
    GuestMemfdOps eager =
        new GuestMemfdOps() {
          @Override
          public Errno invalidateBegin(long offset, long length) {
            for (long at = offset; at < offset + length; at += PAGE) {
              mapped[(int) (at / PAGE)] = null;
            }
            return Errno.OK;
          }

          @Override
          public void invalidateEnd(long offset, long length) {
            for (long at = offset; at < offset + length; at += PAGE) {
              mapped[(int) (at / PAGE)] = file[0].isAccessible(at);
            }
            if (fails[0] && offset == throwsAt * PAGE) {
              throw thrown;
            }
          }
        };
    GuestMemfd memfd = file(8, b -> b.ops(eager));
    file[0] = memfd;
    for (long page : new long[] {1, 4, 5, 7}) {
      memfd.makeInaccessible(page * PAGE, PAGE);
    }
    fails[0] = true;
    assertSame(
        thrown,
        assertThrows(
            RuntimeException.class,
            () -> {
              if (inaccessible) {
                memfd.makeInaccessible(0, 8L * PAGE);
              } else {
                memfd.makeAccessible(0, 8L * PAGE);
              }
            }));
    assertEquals("SPSSPPSP", attributes(memfd));
    for (int page = 0; page < 8; page++) {
      if (mapped[page] != null) {
        assertEquals(memfd.isAccessible((long) page * PAGE), mapped[page], "page " + page);
      }
    }
  }

  /** The invalidation after an undo is refused, or throws: it is over all the same. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void anUndoGoesOnWhateverClientsSay(boolean refuses) {
    GuestMemfd memfd = mixed(protocol("atomic-pair"));
    client.throwsAt = "end 6+1";
    client.onThrow =
        () -> {
          client.refusesAt = refuses ? "begin 2+2" : "";
          client.throwsAt = refuses ? "" : "begin 2+2";
        };
    assertSame(
        thrown, assertThrows(RuntimeException.class, () -> memfd.makeInaccessible(0, 8L * PAGE)));
    assertEquals(
        List.of(
            "begin 0+1",
            "share 0",
            "end 0+1",
            "begin 2+2",
            "share 2",
            "share 3",
            "begin 6+1",
            "share 6",
            "end 6+1"),
        client.calls.subList(client.calls.indexOf("end 6+1") + 1, client.calls.size()));
    assertEquals("SPSSPPSP", attributes(memfd));
    client.refusesAt = "";
    client.throwsAt = "";
    memfd.makeInaccessible(0, 8L * PAGE);
  }

  // ---- later ----

  /** What was the guest's before is not touched when a pending conversion completes. */
  @Test
  void aPendingConversionCompletesWhatChanges() throws Exception {
    GuestMemfd memfd = file(4, b -> b.ops(client).retryPolicy(RetryPolicy.completeLater()));
    memfd.makeInaccessible(2L * PAGE, PAGE);
    HostMapping window = map(memfd);
    HostReference pin = window.pin(0, PAGE);
    client.calls.clear();
    CompletableFuture<Void> later = memfd.makeInaccessibleLater(0, 4L * PAGE);
    assertFalse(later.isDone());
    assertEquals(
        4L * PAGE, memfd.firstAccessible(0, 4L * PAGE), "neither side's is not the host's");
    assertEquals(0, memfd.firstInaccessible(0, 4L * PAGE));
    pin.close();
    run(later::join);
    assertEquals(List.of("begin 0+2", "begin 3+1", "hide 0", "end 0+2", "end 3+1"), client.calls);
  }

  // ---- by node ----

  /** Eight TiB with a page here and there: by node, or this would take minutes. */
  @Test
  void terabytesOfNothingTakeNoTime() {
    Client told = new Client();
    long size = 1L << 43;
    long middle = size / 2 + 5L * PAGE;
    try (HostMemory large = HostMemory.metadataOnly(1L << 20);
        GuestMemfd memfd =
            GuestMemfd.builder(large)
                .size(size)
                .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                .ops(told)
                .build()) {
      for (int round = 0; round < 20; round++) {
        memfd.makeInaccessible(0, size);
        memfd.makeAccessible(middle, PAGE);
        assertEquals(middle, memfd.firstAccessible(0, size));
        assertEquals(middle + PAGE, memfd.firstInaccessible(middle, size - middle));
        told.calls.clear();
        memfd.makeAccessible(0, size);
        long page = middle / PAGE;
        String after = (page + 1) + "+" + (size / PAGE - page - 1);
        assertEquals(
            List.of("begin 0+" + page, "begin " + after, "end 0+" + page, "end " + after),
            told.calls);
        assertEquals(size, memfd.firstInaccessible(0, size));
      }
    }
  }

  // ---- where the attributes change ----

  @Test
  void theFirstPageOfAnAttributeIsFound() {
    SplittableRandom random = new SplittableRandom(1);
    GuestMemfd memfd = file(2048);
    for (int round = 0; round < 500; round++) {
      long from = random.nextInt(2048);
      long to = from + 1 + random.nextInt(random.nextBoolean() ? 4 : (int) (2048 - from));
      long length = (Math.min(to, 2048) - from) * PAGE;
      if (random.nextBoolean()) {
        memfd.makeInaccessible(from * PAGE, length);
      } else {
        memfd.makeAccessible(from * PAGE, length);
      }
      long start = (long) random.nextInt(2048) * PAGE;
      long size = (1L + random.nextInt((int) ((memfd.size() - start) / PAGE))) * PAGE;
      assertEquals(first(memfd, start, size, true), memfd.firstAccessible(start, size));
      assertEquals(first(memfd, start, size, false), memfd.firstInaccessible(start, size));
    }
  }

  /** Page by page. */
  private static long first(GuestMemfd memfd, long offset, long length, boolean accessible) {
    long at = offset;
    while (at < offset + length && memfd.isAccessible(at) != accessible) {
      at += PAGE;
    }
    return at;
  }

  @Test
  void noQuestionOutsideTheFile() {
    GuestMemfd memfd = file(2);
    refused(Errno.EINVAL, () -> memfd.firstAccessible(0, 3L * PAGE));
    refused(Errno.EINVAL, () -> memfd.firstAccessible(-PAGE, PAGE));
    refused(Errno.EINVAL, () -> memfd.firstInaccessible(0, 0));
    refused(Errno.EINVAL, () -> memfd.firstInaccessible(1, PAGE));
    memfd.close();
    refused(Errno.EBADF, () -> memfd.firstAccessible(0, PAGE));
  }
}
