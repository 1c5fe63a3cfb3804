package io.github.guestmemfd.lab.workload;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.lab.report.Condition;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.platform.PlatformGuest;
import java.util.List;
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
  static boolean isStuck(Platform platform, ConversionProtocol protocol, Monitor.Memory memory)
      throws InterruptedException {
    Platform.Hardware hardware = platform.make(Condition.WORKS);
    if (hardware == null) {
      return false;
    }
    PlatformGuest guest = hardware.guest();
    try (HostMemory host = HostMemory.ofBytes(4L * PAGE);
        Machine m = Machine.create(host, protocol, memory, PAGE, platform, guest)) {
      convert(m, PRIVATE);
      Runnable use = () -> guest.use(m.memfd(), 0);
      List<Runnable> steps =
          List.of(
              use,
              use, // of a vCPU that faulted too, and comes late
              () -> convert(m, SHARED),
              () -> convert(m, PRIVATE),
              use,
              () -> m.memfd().punchHole(0, PAGE));
      for (Runnable step : steps) {
        if (isStuck(step)) {
          return true;
        }
      }
      return false;
    }
  }

  private static void convert(Machine m, MemoryAttribute attribute) {
    m.vm().setMemoryAttributes(0, PAGE, attribute);
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
