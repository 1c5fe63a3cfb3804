package io.github.guestmemfd.bench;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.HolderKind;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
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
import org.openjdk.jmh.annotations.Threads;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Eight bytes of a page from the guest's side: under a reference, and without one; by one thread,
 * and by two on the same page.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Fork(2)
@State(Scope.Benchmark)
public class ReadBenchmark {

  /** How many pages: one, or 64, which stay in the cache of a core. */
  @Param({"1", "64"})
  public int pages;

  private HostMemory host;
  private GuestMemfd memfd;

  /** Where the bytes go. */
  @State(Scope.Thread)
  public static class Into {
    private final ByteBuffer bytes = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
  }

  @Setup
  public void open() {
    host = HostMemory.ofBytes((long) pages << 12);
    memfd =
        GuestMemfd.builder(host)
            .size((long) pages << 12)
            .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
            .build();
    for (int i = 0; i < pages; i++) {
      memfd.grab((long) i << 12).close();
    }
  }

  @TearDown
  public void close() {
    memfd.close();
    host.close();
  }

  private long grabReadPut(Pages random, Into into) {
    long offset = random.nextOffset(pages);
    int pfn = memfd.tryGrab(offset, HolderKind.SAFE);
    into.bytes.put(0, memfd.buffer(pfn), (int) offset & 0xfff, 8);
    memfd.put(pfn, HolderKind.SAFE);
    return into.bytes.getLong(0);
  }

  private long tryRead(Pages random, Into into) {
    into.bytes.clear();
    memfd.tryRead(random.nextOffset(pages), into.bytes);
    return into.bytes.getLong(0);
  }

  @Benchmark
  @Threads(1)
  public long underAReference(Pages random, Into into) {
    return grabReadPut(random, into);
  }

  @Benchmark
  @Threads(1)
  public long withoutReference(Pages random, Into into) {
    return tryRead(random, into);
  }

  @Benchmark
  @Threads(2)
  public long underAReferenceByTwo(Pages random, Into into) {
    return grabReadPut(random, into);
  }

  @Benchmark
  @Threads(2)
  public long withoutReferenceByTwo(Pages random, Into into) {
    return tryRead(random, into);
  }
}
