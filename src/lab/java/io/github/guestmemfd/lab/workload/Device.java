package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostMemory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;

/**
 * A device that reads by DMA what guests give it: pins the pages, keeps a few transfers in flight,
 * and lets go. One transfer in four takes plain references, as O_DIRECT does.
 */
final class Device implements Runnable {
  private static final int IN_FLIGHT = 4;

  private final Machine m;
  private final SplittableRandom random;
  private final Holdings holdings;
  private final ArrayDeque<Transfer> inFlight = new ArrayDeque<>();
  private final ByteBuffer buffer =
      ByteBuffer.allocateDirect(HostMemory.PAGE_SIZE).order(ByteOrder.LITTLE_ENDIAN);
  private long done;

  Device(Machine m, SplittableRandom random) {
    this.m = m;
    this.random = random;
    this.holdings = new Holdings(m, "the device");
  }

  /** How many transfers were done. Read when it has ended. */
  long done() {
    return done;
  }

  @Override
  public void run() {
    try (holdings) {
      while (!m.stop().isSet()) {
        Transfer transfer = m.device().poll();
        if (transfer == null) {
          while (!inFlight.isEmpty()) {
            finishOldest();
          }
          transfer = m.device().poll(1, TimeUnit.MILLISECONDS);
        }
        if (transfer != null) {
          begin(transfer);
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void begin(Transfer transfer) {
    holdings.use(random.nextLong());
    if (inFlight.size() == IN_FLIGHT) {
      finishOldest();
    }
    boolean pin = random.nextInt(4) != 0;
    if (!holdings.take(transfer.page(), transfer.pages(), pin)) {
      transfer.outstanding().getAndDecrement(); // an error of the device: the page is private
      return;
    }
    holdings.copyNewest(buffer);
    if (transfer.early()) {
      transfer.outstanding().getAndDecrement();
    }
    inFlight.add(transfer);
  }

  private void finishOldest() {
    Transfer transfer = inFlight.remove();
    holdings.release(random.nextLong());
    if (!transfer.early()) {
      transfer.outstanding().getAndDecrement();
    }
    done++;
  }
}
