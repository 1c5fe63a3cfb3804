package io.github.guestmemfd.file;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdListener;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.RacePoint;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Programs and clients that take the locks of a file in the wrong order are told so at once. */
class LocksInOrderTest extends HostFixture {
  private final Mutex leaf = new Mutex(LockClass.MMU_LOCK);

  private static String reported(Executable wrong) {
    AssertionError report = assertThrows(AssertionError.class, wrong);
    assertSame(report, LockOrder.takeReport());
    return report.getMessage();
  }

  private String underLeaf(Executable wrong) {
    leaf.lock();
    try {
      return reported(wrong);
    } finally {
      leaf.unlock();
    }
  }

  // ---- locks ----

  /** Another thread that has the page busy waits for the folio lock. */
  @Test
  void theInvalidateLockComesBeforeTheFolioLock() {
    GuestMemfd memfd = file(2);
    int pfn = write(memfd, 0, SECRET);
    assertTrue(frames().tryLock(pfn));
    assertThat(reported(() -> memfd.makeInaccessible(PAGE, PAGE)))
        .contains("the invalidate lock is waited for", "holds folio lock of frame " + pfn);
    frames().unlock(pfn);
    memfd.makeInaccessible(PAGE, PAGE);
  }

  @Test
  void aConversionWithinAnAccessIsReported() {
    GuestMemfd memfd = file(2);
    int pfn = write(memfd, 0, SECRET);
    FrameAccess accesses = memfd.frameAccess();
    long access = accesses.begin(pfn);
    assertThat(reported(() -> memfd.makeInaccessible(PAGE, PAGE)))
        .contains("the invalidate lock is waited for", "holds announced access");
    accesses.end(access);
    memfd.makeInaccessible(PAGE, PAGE);
  }

  @Test
  void keptFolioLocksAreTakenInAscendingOrder() throws Exception {
    GuestMemfd memfd = file(2);
    try (Folio first = memfd.grab(0);
        Folio second = memfd.grab(PAGE)) {
      second.lock();
      assertThat(reported(first::lock))
          .contains("the kept folio lock is waited for", "holds kept folio lock of page 1");
      Worker.start(
              () -> {
                second.unlock(); // any thread may
                return null;
              })
          .result();
      first.lock();
      second.lock();
      first.unlock();
      second.unlock();
    }
  }

  // ---- callbacks ----

  @Test
  void aCallbackUnderALeafIsReported() {
    GuestMemfdOps ops = new GuestMemfdOps() {};
    GuestMemfd memfd = file(2, ops);
    Folio folio = memfd.grab(0);
    memfd.punchHole(0, PAGE);
    assertThat(underLeaf(folio::close))
        .contains("the caller of FREE_FOLIO", "actual: it holds mmu_lock");
    assertEquals(0, host.used(), "it is freed even so");
  }

  @Test
  void aListenerUnderALeafIsReported() {
    GuestMemfdListener listener =
        new GuestMemfdListener() {
          @Override
          public void stat(
              GuestMemfd memfd, @Nullable FileStat stat, @Nullable RuntimeException failure) {
            throw new IllegalStateException("not told");
          }
        };
    GuestMemfd memfd = file(1, b -> b.listener(listener));
    assertThat(underLeaf(memfd::stat))
        .contains("the caller of LISTENER", "actual: it holds mmu_lock");
  }

  @Test
  void aRaceHookUnderALeafIsReported() {
    GuestMemfd memfd = file(1);
    write(memfd, 0, SECRET);
    assertThat(underLeaf(() -> memfd.grab(0)))
        .contains("the caller of RACE_HOOK", "actual: it holds mmu_lock");
  }

  /** The put does not throw: what comes after it is no part of it. So the report is kept. */
  @Test
  void aPendingConversionThatIsTriedUnderALeafIsReported() throws Exception {
    GuestMemfd memfd = later(1);
    HostReference holder = map(memfd).getUserPages(0, PAGE);
    CompletableFuture<Void> future = memfd.makeInaccessibleLater(0, PAGE);
    assertFalse(future.isDone());
    leaf.lock();
    holder.close();
    leaf.unlock();
    assertThat(LockOrder.takeReport())
        .hasMessageContaining("the invalidate lock is waited for")
        .hasMessageContaining("holds mmu_lock");
    future.get(30, TimeUnit.SECONDS); // it is tried again
  }

  /** A hook holds what the thread holds that it stops. */
  @Test
  void aHookThatConvertsWhereItsThreadHoldsTheRangeIsReported() {
    GuestMemfd memfd = file(2);
    String[] message = new String[1];
    races.at(
        RacePoint.RANGE_BUSY,
        () -> message[0] = reported(() -> memfd.tryMakeInaccessible(PAGE, PAGE)));
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
    assertThat(message[0])
        .contains("the invalidate lock is waited for", "holds invalidate lock of pages 0 to 0");
  }
}
