package io.github.guestmemfd.bench;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * As {@link ConvertBenchmark}, of the file of a virtual machine in which nothing is mapped: by
 * guest address, and of the file itself.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Fork(2)
@State(Scope.Benchmark)
public class ConvertMachineBenchmark {
  private static final long PAGE = 4096;
  private static final long SIZE = 1L << 30;

  /** How many pages are converted. */
  @Param({"1", "512"})
  public int pages;

  private final BusyGuestPage busy = new BusyGuestPage();
  private final VirtualMachine vm = VirtualMachine.builder().build();
  private HostMemory host;
  private GuestMemfd memfd;
  private long range;

  @Setup
  public void open() {
    range = pages * PAGE;
    host = HostMemory.metadataOnly(2 * SIZE);
    memfd =
        vm.createGuestMemfd(
            GuestMemfd.builder(host).size(SIZE).flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED));
    vm.setUserMemoryRegion2(new Memslot(0, 0, SIZE, memfd, 0));
    memfd.allocate(0, range);
    for (long page = 0; page < range; page += PAGE) {
      memfd.grab(page).close();
    }
  }

  @TearDown
  public void close() {
    memfd.close();
    host.close();
  }

  @Benchmark
  public Errno byGuestAddress() {
    Errno there = vm.trySetMemoryAttributes(0, range, MemoryAttribute.PRIVATE, busy);
    return there == Errno.OK
        ? vm.trySetMemoryAttributes(0, range, MemoryAttribute.SHARED, busy)
        : there;
  }

  @Benchmark
  public Errno ofFile() {
    Errno there = memfd.tryMakeInaccessible(0, range);
    return there == Errno.OK ? memfd.tryMakeAccessible(0, range) : there;
  }
}
