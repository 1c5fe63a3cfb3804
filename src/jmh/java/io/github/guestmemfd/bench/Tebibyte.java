package io.github.guestmemfd.bench;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.HolderKind;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * A guest of 1 TiB, metadata only, through its life: each page populated, the whole converted there
 * and back, punched, and the file closed. Each phase takes seconds and is measured once, so this is
 * a program and no JMH benchmark.
 *
 * <pre>java -Xmx10g -cp target/guest-memfd-jmh.jar io.github.guestmemfd.bench.Tebibyte [THREADS]
 * </pre>
 */
public final class Tebibyte {
  private static final long SIZE = 1L << 40;
  private static final long PAGE = 4096;

  private Tebibyte() {}

  /**
   * Runs the phases and prints what each took.
   *
   * @param args how many threads populate, 1 by default
   * @throws InterruptedException if the thread is interrupted while it waits for those threads
   */
  public static void main(String[] args) throws InterruptedException {
    int threads = args.length == 0 ? 1 : Integer.parseInt(args[0]);
    HostMemory host = HostMemory.metadataOnly(SIZE);
    GuestMemfd memfd =
        GuestMemfd.builder(host).size(SIZE).flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED).build();
    long start = System.nanoTime();
    populate(memfd, threads);
    long all = phase("populate, threads: " + threads, start);
    System.gc();
    long bytes = ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
    System.out.printf(
        Locale.ROOT, "heap %.2f GiB, %.1f bytes a page%n", bytes / 0x1p30, bytes * 0x1p-28);
    start = System.nanoTime();
    memfd.makeInaccessible(0, SIZE);
    all += phase("make inaccessible", start);
    start = System.nanoTime();
    memfd.makeAccessible(0, SIZE);
    all += phase("make accessible", start);
    start = System.nanoTime();
    memfd.punchHole(0, SIZE);
    all += phase("punch", start);
    start = System.nanoTime();
    memfd.close();
    host.close();
    all += phase("close", start);
    System.out.printf(Locale.ROOT, "%-24s %6.2f s%n", "all", all / 1e9);
  }

  /** Each page is allocated and used once, by threads with a part of the file each. */
  private static void populate(GuestMemfd memfd, int threads) throws InterruptedException {
    List<Thread> all = new ArrayList<>();
    for (int i = 0; i < threads; i++) {
      long from = SIZE / PAGE * i / threads;
      long to = SIZE / PAGE * (i + 1) / threads;
      Thread thread =
          new Thread(
              () -> {
                for (long page = from; page < to; page++) {
                  memfd.put(memfd.tryGrab(page * PAGE, HolderKind.SAFE), HolderKind.SAFE);
                }
              });
      thread.start();
      all.add(thread);
    }
    for (Thread thread : all) {
      thread.join();
    }
  }

  private static long phase(String what, long start) {
    long nanos = System.nanoTime() - start;
    System.out.printf(Locale.ROOT, "%-24s %6.2f s%n", what, nanos / 1e9);
    return nanos;
  }
}
