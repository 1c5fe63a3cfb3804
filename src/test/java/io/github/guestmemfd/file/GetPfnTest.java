package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.spi.RacePoint;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** A frame that is got without a reference: what the client is told, and what comes meanwhile. */
class GetPfnTest extends ProtocolFixture {
  private final List<Long> told = new ArrayList<>();
  private Supplier<Errno> answer = () -> Errno.OK;

  private final GuestMemfdOps ops =
      new GuestMemfdOps() {
        @Override
        public Errno makePrivate(Folio folio) {
          told.add(folio.offset());
          return answer.get();
        }
      };

  private GuestMemfd file(ConversionProtocol protocol) {
    return inaccessible(2, b -> b.ops(ops).protocol(protocol));
  }

  private GuestMemfd file() {
    return file(ConversionProtocol.bothCounters());
  }

  private void assertNothingHeld(GuestMemfd memfd) {
    int pfn = memfd.holders(0).pfn();
    assertEquals(Counts.CACHE_REF, frames().counts(pfn));
    assertFalse(frames().isLocked(pfn));
  }

  @ParameterizedTest
  @MethodSource(ALL)
  void aPrivatePageIsMadePrivateEachTime(ConversionProtocol protocol) {
    GuestMemfd memfd = file(protocol);
    int pfn = memfd.tryGetPfn(0);
    assertEquals(pfn, memfd.tryGetPfn(0));
    assertEquals(pfn, memfd.holders(0).pfn());
    assertEquals(List.of(0L, 0L), told);
    memfd.makeAccessible(0, PAGE);
    assertEquals(pfn, memfd.tryGetPfn(0));
    assertEquals(2, told.size(), "not one that is shared");
  }

  @ParameterizedTest
  @MethodSource(ALL)
  void theClientRefuses(ConversionProtocol protocol) {
    GuestMemfd memfd = file(protocol);
    int pfn = memfd.tryGetPfn(0);
    long counts = frames().counts(pfn);
    answer = () -> Errno.EPERM;
    assertEquals(-Errno.EPERM.code(), memfd.tryGetPfn(0));
    assertEquals(counts, frames().counts(pfn));
    assertFalse(frames().isLocked(pfn));
  }

  @Test
  void aPageThatTurnsSharedMeanwhileIsNotMadePrivate() {
    GuestMemfd memfd = file();
    int pfn = write(memfd, 0, 42);
    races.at(RacePoint.BEFORE_FOLIO_LOCK, () -> memfd.makeAccessible(0, PAGE));
    assertEquals(pfn, memfd.tryGetPfn(0));
    assertEquals(List.of(), told);
    assertNothingHeld(memfd);
  }

  /** The page is where it was, and private; and not to be used. */
  @Test
  void aPageWhoseMemoryFailsMeanwhile() {
    GuestMemfd memfd = file();
    int pfn = write(memfd, 0, 42);
    races.at(
        RacePoint.BEFORE_FOLIO_LOCK,
        () -> assertEquals(Errno.OK, host.pfnWalker().memoryFailure(pfn)));
    assertEquals(-Errno.EHWPOISON.code(), memfd.tryGetPfn(0));
    assertEquals(List.of(), told);
    assertNothingHeld(memfd);
  }

  @Test
  void anInterruptEndsTheWaitForTheLock() throws Exception {
    GuestMemfd memfd = file();
    int pfn = write(memfd, 0, 42);
    frames().lock(pfn);
    Worker<Boolean> fault =
        Worker.start(
            () -> {
              assertEquals(-Errno.EINTR.code(), memfd.tryGetPfn(0));
              return Thread.interrupted();
            });
    probe.awaitWaiting(fault);
    fault.interrupt();
    assertEquals(true, fault.result());
    frames().unlock(pfn);
    assertNothingHeld(memfd);
  }
}
