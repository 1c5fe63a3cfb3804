package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A host is closed in one step, and only when nothing is left in it. */
@Timeout(300)
class HostCloseTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private static GuestMemfd file(HostMemory host) {
    return GuestMemfd.builder(host).size(PAGE).build();
  }

  private static Errno close(HostMemory host) {
    try {
      host.close();
      return Errno.OK;
    } catch (GuestMemfdException e) {
      return e.errno();
    }
  }

  @Test
  void isRefusedWhileAFileIsOpenOrAFrameInUse() {
    HostMemory host = HostMemory.metadataOnly(4L * PAGE);
    GuestMemfd memfd = file(host);
    GuestMemfdException e = assertThrows(GuestMemfdException.class, host::close);
    assertEquals(Errno.EBUSY, e.errno());
    assertTrue(e.getMessage().contains("1 files open and 0 frames in use"), e::getMessage);
    Folio orphan = memfd.grab(0);
    memfd.close();
    e = assertThrows(GuestMemfdException.class, host::close);
    assertTrue(e.getMessage().contains("0 files open and 1 frames in use"), e::getMessage);
    file(host).close();
    orphan.close();
    host.close();
    host.close(); // nothing more
    assertEquals(Errno.EBADF, assertThrows(GuestMemfdException.class, () -> file(host)).errno());
  }

  // ---- in the middle of a close ----

  private final RacePoints races = new RacePoints();

  private HostMemory hostWithRaces() {
    return HostMemory.builder(4L * PAGE).metadataOnly().raceHook(races).build();
  }

  /** It has looked, and is to refuse: neither another close nor a creation takes it for closed. */
  @Test
  void aCloseThatIsBeingRefusedClosesForNobody() throws Exception {
    HostMemory host = hostWithRaces();
    GuestMemfd open = file(host);
    RacePoints.Gate looked = races.hold(RacePoint.BEFORE_HOST_CLOSE);
    Worker<Errno> first = Worker.start(() -> close(host));
    looked.awaitReached();
    assertEquals(Errno.EBUSY, close(host));
    file(host).close();
    looked.release();
    assertEquals(Errno.EBUSY, first.result());
    open.close();
    host.close();
  }

  /** A file that is created after the look is not closed over: the close looks again. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aFileThatIsCreatedAfterTheLookIsSeen(boolean staysOpen) throws Exception {
    HostMemory host = hostWithRaces();
    RacePoints.Gate looked = races.hold(RacePoint.BEFORE_HOST_CLOSE);
    Worker<Errno> closing = Worker.start(() -> close(host));
    looked.awaitReached();
    GuestMemfd created = file(host);
    created.allocate(0, PAGE);
    if (!staysOpen) {
      created.close();
    }
    looked.release();
    assertEquals(staysOpen ? Errno.EBUSY : Errno.OK, closing.result());
    if (staysOpen) {
      created.close();
      host.close();
    }
    assertEquals(Errno.EBADF, assertThrows(GuestMemfdException.class, () -> file(host)).errno());
  }

  /** Its frame keeps the host open, though the file has come and gone after the look. */
  @Test
  void anOrphanOfAFileThatCameAfterTheLookIsSeen() throws Exception {
    HostMemory host = hostWithRaces();
    RacePoints.Gate looked = races.hold(RacePoint.BEFORE_HOST_CLOSE);
    Worker<Errno> closing = Worker.start(() -> close(host));
    looked.awaitReached();
    GuestMemfd created = file(host);
    Folio orphan = created.grab(0);
    created.close();
    looked.release();
    assertEquals(Errno.EBUSY, closing.result());
    orphan.close();
    host.close();
  }

  /** Of two closes each does it or finds it done; both succeed. */
  @Test
  void twoClosesBothSucceed() throws Exception {
    HostMemory host = hostWithRaces();
    RacePoints.Gate looked = races.hold(RacePoint.BEFORE_HOST_CLOSE);
    Worker<Errno> first = Worker.start(() -> close(host));
    looked.awaitReached();
    assertEquals(Errno.OK, close(host));
    looked.release();
    assertEquals(Errno.OK, first.result());
  }

  // ---- at any moment ----

  /**
   * While one file is open no close succeeds, and the creation of another file does not notice
   * them.
   */
  @Test
  @Tag("duel")
  void aRefusedCloseIsSeenByNobody() throws Exception {
    HostMemory host = HostMemory.metadataOnly(4L * PAGE);
    GuestMemfd open = file(host);
    Duel.race(
        round -> {
          assertEquals(Errno.EBUSY, close(host));
          return true;
        },
        round -> {
          assertEquals(Errno.EBUSY, close(host));
          file(host).close();
          return true;
        });
    open.close();
    host.close();
  }

  /** Of a close and the creation of a file one succeeds. */
  @Test
  @Tag("duel")
  void aCloseAgainstACreation() throws Exception {
    AtomicReference<HostMemory> host = new AtomicReference<>();
    AtomicReference<Errno> closed = new AtomicReference<>();
    AtomicLong created = new AtomicLong();
    Duel.rounds(
        () -> {
          host.set(HostMemory.metadataOnly(4L * PAGE));
          created.set(0);
        },
        round -> {
          closed.set(close(host.get()));
          return true;
        },
        round -> {
          try (GuestMemfd memfd = file(host.get())) {
            memfd.allocate(0, PAGE);
            created.set(memfd.size());
          } catch (GuestMemfdException e) {
            assertEquals(Errno.EBADF, e.errno());
          }
          return true;
        },
        () -> {
          assertTrue(closed.get() == Errno.OK || created.get() != 0, "neither closed nor created");
          assertEquals(0, host.get().used());
          host.get().close();
        });
  }
}
