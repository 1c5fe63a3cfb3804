package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Worker;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A chain of pending conversions: what depends on one drops the last reference of the next. None of
 * them waits for another. However long the chain, each completes, also by an executor that runs its
 * tasks on the calling thread.
 */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class WayOutTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int LINKS = 2000;

  @SuppressWarnings("FutureReturnValueIgnored") // the stages are not used
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void completesToItsEnd(boolean direct) throws Exception {
    HostMemory.Builder builder = HostMemory.builder((long) LINKS * PAGE);
    HostMemory host = (direct ? builder.completionExecutor(Runnable::run) : builder).build();
    GuestMemfd memfd =
        GuestMemfd.builder(host)
            .size((long) LINKS * PAGE)
            .flags(MMAP, INIT_SHARED)
            .retryPolicy(RetryPolicy.completeLater())
            .build();
    List<Folio> held = new ArrayList<>();
    List<CompletableFuture<Void>> all = new ArrayList<>();
    for (long at = 0; at < memfd.size(); at += PAGE) {
      held.add(memfd.grab(at, HolderKind.UNSAFE));
      all.add(memfd.makeInaccessibleLater(at, PAGE));
    }
    CountDownLatch left = new CountDownLatch(LINKS);
    for (int i = 0; i < LINKS; i++) {
      int next = i + 1;
      all.get(i)
          .thenRun(
              () -> {
                left.countDown();
                if (next < LINKS) {
                  held.get(next).close();
                }
              });
    }
    Worker.start(
            () -> {
              held.get(0).close();
              return null;
            })
        .result();
    boolean done = left.await(Worker.LIMIT_SECONDS, TimeUnit.SECONDS);
    int first = LINKS - (int) left.getCount();
    assertTrue(
        done,
        () ->
            "link "
                + first
                + " of "
                + LINKS
                + " never completes: "
                + all.get(first)
                + ", counts of its frame "
                + Long.toHexString(Insides.frames(host).counts(held.get(first).pfn())));
    memfd.close();
    assertEquals(0, host.used());
    host.close();
  }
}
