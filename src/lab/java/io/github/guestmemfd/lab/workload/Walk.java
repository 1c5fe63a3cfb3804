package io.github.guestmemfd.lab.workload;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.conversion.ConversionProtocol;
import java.util.concurrent.TimeUnit;

/**
 * One page, step by step and without any load: a guest of a platform uses it as private, the
 * monitor shares it, makes it private again and punches it. What waits for ever here would do so
 * under load too, where it is hard to tell from a machine that is slow.
 */
final class Walk {
  private static final long LIMIT_SECONDS = 2;
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private Walk() {}

  /** Whether a step of it does not end. */
  static boolean isStuck(Platform platform, ConversionProtocol protocol)
      throws InterruptedException {
    Platform.Hardware hardware = platform.make(Platform.Condition.WORKS);
    if (hardware == null) {
      return false;
    }
    try (HostMemory host = HostMemory.ofBytes(4L * PAGE);
        GuestMemfd memfd =
            GuestMemfd.builder(host)
                .size(PAGE)
                .flags(MMAP, INIT_SHARED)
                .protocol(protocol)
                .ops(hardware.guest())
                .build()) {
      memfd.makeInaccessible(0, PAGE);
      return isStuck(() -> hardware.guest().use(memfd, 0))
          || isStuck(() -> memfd.tryMakeAccessible(0, PAGE))
          || isStuck(() -> memfd.tryMakeInaccessible(0, PAGE))
          || isStuck(() -> hardware.guest().use(memfd, 0))
          || isStuck(() -> memfd.punchHole(0, PAGE));
    }
  }

  /** A vCPU and a monitor are threads of their own: a step is made by a new one. */
  private static boolean isStuck(Runnable step) throws InterruptedException {
    Thread thread = new Thread(step, "walk");
    thread.setDaemon(true);
    thread.setUncaughtExceptionHandler((t, e) -> {}); // refused, EBUSY for instance, or interrupted
    thread.start();
    TimeUnit.SECONDS.timedJoin(thread, LIMIT_SECONDS);
    boolean stuck = thread.isAlive();
    thread.interrupt();
    thread.join();
    return stuck;
  }
}
