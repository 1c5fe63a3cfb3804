package io.github.guestmemfd;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.file.Inode;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** {@link HostMemory#violations}: what is in order is no violation, and what is not is one. */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ViolationsTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  @AutoClose final RacePoints races = new RacePoints();

  private final HostMemory host =
      HostMemory.builder(16L * PAGE).trackHolders().raceHook(races).build();

  private GuestMemfd.Builder file() {
    return GuestMemfd.builder(host)
        .size(2L * PAGE)
        .flags(MMAP, INIT_SHARED)
        .retryPolicy(RetryPolicy.failAtOnce());
  }

  static List<ConversionProtocol> protocols() {
    return ConversionProtocol.all();
  }

  private void assertAllIsWell() {
    assertEquals(List.of(), host.violations(), host::dump);
  }

  /** A folio whose file has gone may be held still, also with its lock. */
  @ParameterizedTest
  @MethodSource("protocols")
  void anOrphanOfAFileThatIsGoneIsInOrder(ConversionProtocol protocol) {
    GuestMemfd memfd = file().protocol(protocol).build();
    Folio guests = memfd.grab(0);
    Folio locked = memfd.grab(PAGE, HolderKind.UNSAFE);
    locked.lock();
    assertAllIsWell();
    memfd.close();
    assertAllIsWell();
    locked.unlock();
    assertAllIsWell();
    locked.close();
    guests.close();
    assertAllIsWell();
    host.close();
  }

  @Test
  void aPageOfNeitherSideForWhichNoConversionIsPendingIsFound() {
    GuestMemfd memfd = file().retryPolicy(RetryPolicy.completeLater()).build();
    memfd.allocate(PAGE, PAGE);
    Folio holder = memfd.grab(0, HolderKind.UNSAFE);
    CompletableFuture<Void> later = memfd.makeInaccessibleLater(0, PAGE);
    assertAllIsWell();
    Inode inode = (Inode) memfd.fileKey();
    inode.cache.setPending(1, 2, true);
    assertEquals(
        List.of(
            "page at offset 0x1000 of "
                + memfd
                + " is neither side's, and no conversion is pending"),
        host.violations());
    inode.cache.setPending(1, 2, false);
    holder.close();
    later.join();
    memfd.close();
    host.close();
  }

  /** A conversion that the library's executor completes is no call of the program's. */
  @Test
  void aCompletionUnderWayIsWaitedFor() throws Exception {
    GuestMemfd memfd = file().retryPolicy(RetryPolicy.completeLater()).build();
    Folio holder = memfd.grab(0, HolderKind.UNSAFE);
    Folio locked = memfd.grab(PAGE);
    CompletableFuture<Void> later = memfd.makeInaccessibleLater(0, PAGE);
    RacePoints.Gate completion = races.hold(RacePoint.BEFORE_COMMIT);
    locked.lock();
    holder.close(); // by a thread that keeps a lock: the executor completes
    locked.unlock();
    completion.awaitReached();
    Worker<List<String>> audit = Worker.start(host::violations);
    Thread.sleep(20);
    assertFalse(audit.isDone());
    completion.release();
    assertEquals(List.of(), audit.result());
    later.join();
    locked.close();
    memfd.close();
    host.close();
  }
}
