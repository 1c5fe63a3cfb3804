package io.github.guestmemfd.bench;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import java.util.ArrayList;
import java.util.List;
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
 * The conversion of a range of present pages there and back, with no mapping, with mappings that
 * have none of its pages, and with mappings that fault each page in again; and of an untouched
 * tebibyte.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Fork(2)
@State(Scope.Benchmark)
public class ConvertBenchmark {
  private static final long PAGE = 4096;
  private static final long UNTOUCHED = 1L << 40;

  /** How many pages are converted: 512 are 2 MiB, 262,144 are 1 GiB. */
  @Param({"1", "512", "262144"})
  public int pages;

  /** How many mappings the file has. */
  @Param("0")
  public int mappings;

  private final List<HostMapping> maps = new ArrayList<>();
  private HostMemory host;
  private GuestMemfd memfd;
  private long range;

  @Setup
  public void open() {
    range = pages * PAGE;
    host = HostMemory.metadataOnly(2L << 30);
    memfd =
        GuestMemfd.builder(host)
            .size(2 * UNTOUCHED)
            .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
            .build();
    memfd.allocate(0, range);
    for (long page = 0; page < range; page += PAGE) {
      memfd.grab(page).close();
    }
    for (int i = 0; i < mappings; i++) {
      maps.add(memfd.mmap(0, range, Protection.READ, Protection.WRITE));
    }
  }

  @TearDown
  public void close() {
    maps.forEach(HostMapping::close);
    maps.clear();
    memfd.close();
    host.close();
  }

  private Errno thereAndBack(long offset, long length) {
    Errno there = memfd.tryMakeInaccessible(offset, length);
    return there == Errno.OK ? memfd.tryMakeAccessible(offset, length) : there;
  }

  @Benchmark
  public Errno presentPages() {
    return thereAndBack(0, range);
  }

  /** Each mapping faults each page in, and the conversion unmaps it. */
  @Benchmark
  public Errno mappedPages() {
    populate();
    return thereAndBack(0, range);
  }

  /** What the faults of {@link #mappedPages} cost alone: they are dropped without a conversion. */
  @Benchmark
  public void populateAndDrop() {
    populate();
    for (HostMapping map : maps) {
      map.madvise(0, range, Advice.DONTNEED);
    }
  }

  private void populate() {
    for (HostMapping map : maps) {
      map.madvise(0, range, Advice.POPULATE_READ);
    }
  }

  @Benchmark
  public Errno untouchedTebibyte() {
    return thereAndBack(UNTOUCHED, UNTOUCHED);
  }
}
