package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.concurrent.locks.LockSupport;

/**
 * Looks for secrets where there must be none, in every run, whatever the workload: repeatedly reads
 * all pages through a mapping and all frames through the direct map. Threads that hold references
 * check those themselves ({@link Holdings}), and the host's threads check what their workload
 * names.
 */
final class Checker implements Runnable {
  private static final int AT_A_TIME = 64;
  private static final long PAUSE_NANOS = 200_000;
  private static final String MAPPING = "through a mapping";

  private final Machine m;
  private final ByteBuffer bytes =
      ByteBuffer.allocate(HostMemory.PAGE_SIZE).order(ByteOrder.LITTLE_ENDIAN);

  Checker(Machine m) {
    this.m = m;
  }

  @Override
  public void run() {
    int frames = (int) (m.host().size() / HostMemory.PAGE_SIZE);
    int page = 0;
    int pfn = 0;
    while (!m.stop().isSet()) {
      for (int i = 0; i < AT_A_TIME; i++) {
        mapping(page);
        page = (page + 1) % m.pages();
        direct(1 + pfn);
        pfn = (pfn + 1) % frames;
      }
      LockSupport.parkNanos(PAUSE_NANOS);
    }
  }

  /** Looks at everything once, at the end of a run. */
  void lookAtAll() {
    if (m.ram() != null) {
      mapPrivateMemory();
    }
    for (int page = 0; page < m.pages(); page++) {
      mapping(page);
    }
    for (int pfn = 1; pfn <= m.host().size() / HostMemory.PAGE_SIZE; pfn++) {
      direct(pfn);
    }
  }

  /** With two memories no program of the host may map the file at all. */
  private void mapPrivateMemory() {
    try (HostMapping all = m.memfd().mmap(0, m.memfd().size(), Protection.READ)) {
      m.secrets().leak("the host could map the file: " + all, 0);
    } catch (GuestMemfdException refused) {
      // ENODEV
    }
  }

  /** Looks at a page. */
  void mapping(int page) {
    long offset = Machine.offset(page);
    m.secrets().check(m.hostRead(offset + Secrets.READ_AT), MAPPING, page);
    m.secrets().check(m.hostRead(offset + Secrets.WRITE_AT), MAPPING, page);
  }

  /** Looks at a frame, if the direct map has it. */
  void direct(int pfn) {
    if (!m.host().directMap().contains(pfn)) {
      return;
    }
    try {
      bytes.clear();
      m.host().directMap().read(pfn, 0, bytes);
      m.secrets().check(bytes, "through the direct map, by frame", pfn);
    } catch (GuestMemfdException gone) {
      // EFAULT: it has been taken out of the direct map, or freed, since.
    }
  }
}
