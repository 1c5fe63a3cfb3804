package io.github.guestmemfd.spi;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Worker;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The two strategies, and that the library waits by the one it is given. */
@Timeout(300)
class IdleStrategyTest {

  private static final int PARKS = 1000; // a round at which the default is sure to park

  @Test
  void thereIsOneOfEach() {
    assertSame(IdleStrategy.spinThenPark(), IdleStrategy.spinThenPark());
    assertSame(IdleStrategy.busySpin(), IdleStrategy.busySpin());
  }

  /** Early rounds and busy spinning never park: a permit that is there would be used up. */
  @Test
  void spinsBeforeItParks() throws Exception {
    Worker.start(
            () -> {
              LockSupport.unpark(Thread.currentThread());
              for (int round = 0; round < 64; round++) {
                IdleStrategy.spinThenPark().idle(round, Long.MAX_VALUE);
              }
              for (int round = 0; round < 10_000; round++) {
                IdleStrategy.busySpin().idle(round, Long.MAX_VALUE);
              }
              IdleStrategy.spinThenPark().idle(PARKS, Long.MAX_VALUE); // the permit is still there
              return null;
            })
        .result();
  }

  @Test
  void returnsWhenTheTimeIsUp() throws Exception {
    Worker.start(
            () -> {
              for (int i = 0; i < 10; i++) {
                IdleStrategy.spinThenPark().idle(PARKS, 1_000);
              }
              return null;
            })
        .result();
  }

  @Test
  void returnsWhenUnparked() throws Exception {
    CountDownLatch about = new CountDownLatch(1);
    AtomicBoolean over = new AtomicBoolean();
    Worker<?> worker =
        Worker.start(
            () -> {
              about.countDown();
              while (!over.get()) {
                IdleStrategy.spinThenPark().idle(PARKS, Long.MAX_VALUE);
              }
              return null;
            });
    assertTrue(about.await(30, TimeUnit.SECONDS));
    over.set(true);
    LockSupport.unpark(worker.thread());
    worker.result();
  }

  @Test
  void leavesTheInterruptStatusAlone() throws Exception {
    Worker.start(
            () -> {
              Thread.currentThread().interrupt();
              for (IdleStrategy strategy :
                  new IdleStrategy[] {IdleStrategy.spinThenPark(), IdleStrategy.busySpin()}) {
                for (int round = 0; round < 100; round++) {
                  strategy.idle(round, Long.MAX_VALUE);
                  assertTrue(Thread.currentThread().isInterrupted(), "round " + round);
                }
              }
              return null;
            })
        .result();
  }

  /** A wait that ends only because the strategy does something about it. */
  @Test
  void isWhatTheLibraryWaitsBy() {
    AtomicInteger rounds = new AtomicInteger();
    Folio[] held = new Folio[1];
    HostMemory host =
        HostMemory.builder(HostMemory.PAGE_SIZE)
            .idleStrategy(
                (round, maxNanos) -> {
                  assertTrue(maxNanos > 0);
                  if (rounds.getAndIncrement() == 5) {
                    held[0].close();
                  }
                })
            .build();
    GuestMemfd memfd =
        GuestMemfd.builder(host)
            .size(HostMemory.PAGE_SIZE)
            .flags(MMAP, INIT_SHARED)
            .retryPolicy(RetryPolicy.spin(10))
            .build();
    held[0] = memfd.grab(0, HolderKind.UNSAFE);
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, HostMemory.PAGE_SIZE));
    assertEquals(6, rounds.get(), "it looks again after each round");
    memfd.close();
    host.close();
  }

  /** The library works with threads that never sleep. */
  @Test
  void busySpinningWorks() throws Exception {
    HostMemory host =
        HostMemory.builder(4L * HostMemory.PAGE_SIZE).idleStrategy(IdleStrategy.busySpin()).build();
    GuestMemfd memfd =
        GuestMemfd.builder(host).size(HostMemory.PAGE_SIZE).flags(MMAP, INIT_SHARED).build();
    Worker<?> other =
        Worker.start(
            () -> {
              for (int i = 0; i < 2000; i++) {
                memfd.grab(0).close();
              }
              return null;
            });
    for (int i = 0; i < 2000; i++) {
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, HostMemory.PAGE_SIZE));
      assertEquals(Errno.OK, memfd.tryMakeAccessible(0, HostMemory.PAGE_SIZE));
    }
    other.result();
    memfd.close();
    host.close();
  }
}
