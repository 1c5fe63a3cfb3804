package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.ACCESSIBLE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import java.time.Duration;
import org.junit.jupiter.api.Test;

/** Users that asked for a page to be accessible are counted apart: RFC v2. */
class AccessibleUsersTest extends HostFixture {

  @Test
  void areNamedByARefusedConversion() throws Exception {
    GuestMemfd memfd = file(2, b -> b);
    Folio one = memfd.grab(PAGE, ACCESSIBLE);
    Folio two = memfd.grab(PAGE, ACCESSIBLE);
    Folio plain = memfd.grab(PAGE, UNSAFE);
    Folio safe = memfd.grab(PAGE);
    ConversionBlockedException e =
        assertThrows(ConversionBlockedException.class, () -> memfd.makeInaccessible(0, 2L * PAGE));
    assertEquals(PAGE, e.busyFolio().offset());
    assertEquals(2, e.busyFolio().accessibleUsers());
    assertEquals(1, e.busyFolio().unsafeHolders());
    assertEquals(0, e.busyFolio().pinnedHolders());
    assertEquals(1, e.busyFolio().safeHolders());
    assertThat(e).hasMessageContaining("1 unsafe, 0 pinned, 2 accessible, 1 safe");
    one.close();
    two.close();
    plain.close();
    safe.close();
    assertQuiet(memfd);
  }

  @Test
  void doNotGetAPageThatIsNot() throws Exception {
    GuestMemfd memfd = file(1, b -> b);
    memfd.makeInaccessible(0, PAGE);
    assertEquals(-Errno.EFAULT.code(), memfd.tryGrab(0, ACCESSIBLE));
    assertQuiet(memfd);
  }

  @Test
  void cannotBeDroppedAsWhatTheyAreNot() throws Exception {
    GuestMemfd memfd = file(1, b -> b);
    int pfn = memfd.tryGrab(0, UNSAFE);
    assertThrows(IllegalStateException.class, () -> memfd.put(pfn, ACCESSIBLE));
    memfd.put(pfn, UNSAFE);
    assertQuiet(memfd);
  }

  /** RFC v2 refuses at once while a user still wants the folio accessible. */
  @Test
  void areNotWaitedForByTheTimedWait() throws Exception {
    GuestMemfd memfd =
        file(
            1,
            b ->
                b.protocol(ConversionProtocol.timedWait())
                    .retryPolicy(RetryPolicy.spinThenWait(0, Duration.ofDays(1))));
    Folio user = memfd.grab(0, ACCESSIBLE);
    BusyFolio busy = new BusyFolio();
    assertEquals(
        Errno.EAGAIN, Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE, busy)).result());
    assertEquals(1, busy.accessibleUsers());
    user.close();

    Folio unsafe = memfd.grab(0, UNSAFE);
    Worker<Errno> waiting = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE, busy));
    probe.awaitWaiting(waiting);
    assertFalse(waiting.isDone(), "an unsafe holder is waited for");
    unsafe.close();
    assertEquals(Errno.OK, waiting.result());
    assertQuiet(memfd);
  }
}
