package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.MemoryAttributeRange;
import io.github.guestmemfd.policy.GpaRange;
import io.github.guestmemfd.policy.PinnedSharedMemory;
import io.github.guestmemfd.policy.SharedMemoryListener;
import java.nio.ByteBuffer;
import java.util.SplittableRandom;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A device that is passed through to a guest with two memories: it pins what is shared, refuses
 * what it may not pin, lets go of what turns private, and does DMA to what it has pinned all the
 * time, whatever the guest is doing.
 */
final class Passthrough implements SharedMemoryListener, Runnable, AutoCloseable {
  private static final int AT_A_TIME = 16;
  private static final long PAUSE_NANOS = 50_000;

  private final Machine m;
  private final PinnedSharedMemory pins;
  private final SplittableRandom random;

  /** What it has mapped for DMA: the frame of each page, 0 for none. */
  private final int[] frames;

  /** As an IOMMU's: who unmaps a page waits for the DMA that is under way. */
  private final ReentrantLock mapped = new ReentrantLock();

  private long done;

  Passthrough(Machine m, long pinnable, SplittableRandom random) {
    this.m = m;
    this.pins = new PinnedSharedMemory(m.vm(), pinnable);
    this.random = random;
    this.frames = new int[m.pages()];
  }

  /** How many transfers were done. Read when it has ended. */
  long done() {
    return done;
  }

  // ---- what the monitor tells it ----

  @Override
  public Errno populated(GpaRange range) {
    mapped.lock();
    try {
      Errno errno = pins.populated(range);
      for (int page = first(range); errno == Errno.OK && page < end(range); page++) {
        frames[page] = frameOf(page);
      }
      return errno;
    } finally {
      mapped.unlock();
    }
  }

  @Override
  public void discarded(GpaRange range) {
    mapped.lock();
    try {
      for (int page = first(range); page < end(range); page++) {
        frames[page] = 0;
      }
      pins.discarded(range);
    } finally {
      mapped.unlock();
    }
  }

  private static int first(GpaRange range) {
    return (int) (range.gpa() / HostMemory.PAGE_SIZE);
  }

  private static int end(GpaRange range) {
    return (int) (range.end() / HostMemory.PAGE_SIZE);
  }

  private int frameOf(int page) {
    try (HostReference now = m.window().getUserPages(Machine.offset(page), HostMemory.PAGE_SIZE)) {
      return now.pfn(0);
    }
  }

  // ---- what it does ----

  @Override
  public void run() {
    while (!m.stop().isSet()) {
      for (int i = 0; i < AT_A_TIME; i++) {
        transfer(random.nextInt(frames.length));
      }
      LockSupport.parkNanos(PAUSE_NANOS);
    }
  }

  /** DMA to a page, if it has mapped it. */
  void transfer(int page) {
    mapped.lock();
    try {
      if (frames[page] != 0) {
        dma(page);
        done++;
      }
    } finally {
      mapped.unlock();
    }
  }

  /** Reads and writes a page that it has mapped; it must still be the one that the guest uses. */
  private void dma(int page) {
    try (HostReference now = m.window().getUserPages(Machine.offset(page), HostMemory.PAGE_SIZE)) {
      if (now.pfn(0) != frames[page]) {
        m.secrets().corrupted(); // it goes to a page that the guest does not see
      }
      ByteBuffer bytes = now.buffer(0);
      m.secrets().check(bytes, "by DMA of a device that is passed through", page);
      bytes.putLong(Secrets.WRITE_AT, Secrets.data(random.nextLong()));
    }
  }

  /** Looks whether it has pinned what is shared and nothing else, when nothing is being changed. */
  void check() {
    long shared = 0;
    for (MemoryAttributeRange part : m.vm().memoryAttributes(0, Machine.offset(m.pages()))) {
      shared += part.attribute() == MemoryAttribute.SHARED ? part.size() : 0;
    }
    if (pins.pinned() != shared) {
      m.secrets().corrupted();
    }
  }

  /** It is taken away. */
  @Override
  public void close() {
    pins.close();
  }
}
