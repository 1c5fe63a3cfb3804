package io.github.guestmemfd.explore;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.testing.Interleavings;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** Conversions that complete later, in every order: none is lost, and none is made twice. */
class LaterConversionsTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long MOST = Long.getLong("explore.orders", 2_000);

  /** A page that is held, and a conversion of it that has to wait for the holder. */
  private static final class Pending {
    final HostMemory host = HostMemory.ofBytes(4L * PAGE);
    final GuestMemfd memfd =
        GuestMemfd.builder(host)
            .size(2 * PAGE)
            .protocol(ConversionProtocol.byId("last-put").orElseThrow())
            .flags(MMAP, INIT_SHARED)
            .build();
    final Folio held = memfd.grab(0, HolderKind.UNSAFE);
    final Folio other = memfd.grab(PAGE, HolderKind.SAFE);
    @Nullable CompletableFuture<Void> future;

    void close() {
      other.close();
      memfd.close();
      if (host.used() != 0) {
        throw new AssertionError(host.used() + " bytes in use after everything was closed");
      }
      host.close();
    }
  }

  private static void requireConverted(Pending w) {
    CompletableFuture<Void> future = w.future;
    if (future == null || !future.isDone() || future.isCompletedExceptionally()) {
      throw new AssertionError("expected a conversion that is complete, actual " + future);
    }
    if (w.memfd.isAccessible(0)) {
      throw new AssertionError("the conversion is complete, and the page accessible");
    }
    w.close();
  }

  private static void requireCompletion(Interleavings.Act<Pending> holder) {
    Interleavings.Report report =
        Interleavings.of(Pending::new)
            .thread("holder", holder)
            .thread("vmm", w -> w.future = w.memfd.makeInaccessibleLater(0, PAGE))
            .atEnd(LaterConversionsTest::requireConverted)
            .maxOrders(MOST)
            .explore();
    assertThat(report.orders()).isPositive();
  }

  @Test
  void theLastPutCompletesIt() {
    requireCompletion(w -> w.held.close());
  }

  /** The holder keeps the folio lock of another page, so that an executor has to try. */
  @Test
  void theExecutorCompletesItIfTheHolderCannot() {
    requireCompletion(
        w -> {
          w.other.lock();
          w.held.close();
          w.other.unlock();
        });
  }

  /** Cancelled or complete, and the page is what that says. */
  @Test
  void aCancellingAndTheLastPutAgree() {
    Interleavings.Report report =
        Interleavings.of(
                () -> {
                  Pending w = new Pending();
                  w.future = w.memfd.makeInaccessibleLater(0, PAGE);
                  return w;
                })
            .thread("holder", w -> w.held.close())
            .thread("vmm", w -> future(w).cancel(false))
            .atEnd(
                w -> {
                  CompletableFuture<Void> future = future(w);
                  if (future.isCancelled() != w.memfd.isAccessible(0)) {
                    throw new AssertionError(
                        future + ", and the page accessible: " + w.memfd.isAccessible(0));
                  }
                  w.close();
                })
            .maxOrders(MOST)
            .explore();
    assertThat(report.orders()).isPositive();
  }

  private static CompletableFuture<Void> future(Pending w) {
    CompletableFuture<Void> future = w.future;
    if (future == null) {
      throw new IllegalStateException("expected a conversion");
    }
    return future;
  }
}
