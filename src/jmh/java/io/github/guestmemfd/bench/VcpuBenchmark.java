package io.github.guestmemfd.bench;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.kvm.Access;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * A vCPU that reads 8 bytes of a random page that it has mapped, beside the same on a raw buffer;
 * and one that faults on present pages.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Fork(value = 2, jvmArgsAppend = "-XX:MaxDirectMemorySize=3g")
@State(Scope.Benchmark)
public class VcpuBenchmark {
  private static final int FAULTS = 512;

  /** How many pages: 64 stay in the cache of a core, 131,072 are 512 MiB. */
  @Param({"64", "131072"})
  public int pages;

  private ByteBuffer raw;
  private HostMemory host;
  private VirtualMachine vm;
  private GuestMemfd memfd;
  private GuestMemfd other;
  private Vcpu vcpu;

  @Setup
  public void open() {
    int size = pages << 12;
    raw = ByteBuffer.allocateDirect(size).order(ByteOrder.LITTLE_ENDIAN);
    host = HostMemory.ofBytes(size + FAULTS * 4096L);
    vm = new VirtualMachine();
    memfd = file(size);
    other = file(FAULTS * 4096L);
    vm.bind(0, 0, size, memfd, 0);
    vcpu = vm.createVcpu();
    for (int page = 0; page < pages; page++) {
      vcpu.write((long) page << 12, 8, page, MemoryAttribute.SHARED);
      raw.putLong(page << 12, page);
    }
    faults(); // first use of the pages
  }

  private GuestMemfd file(long size) {
    return vm.createGuestMemfd(
        GuestMemfd.builder(host).size(size).flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED));
  }

  @TearDown
  public void close() {
    vm.unbind(0);
    memfd.close();
    other.close();
    host.close();
  }

  @Benchmark
  public long readRaw(Pages random) {
    return raw.getLong((int) random.nextOffset(pages));
  }

  @Benchmark
  public long readMapped(Pages random) {
    return vcpu.read(random.nextOffset(pages), 8, MemoryAttribute.SHARED);
  }

  /** Binds a memslot, faults on its present pages and unbinds it; counted for each page. */
  @Benchmark
  @OperationsPerInvocation(FAULTS)
  public void faults() {
    vm.bind(1, 1L << 40, FAULTS * 4096L, other, 0);
    for (long page = 0; page < FAULTS; page++) {
      vcpu.tryTouch((1L << 40) + (page << 12), Access.READ, MemoryAttribute.SHARED);
    }
    vm.unbind(1);
  }
}
