package io.github.guestmemfd.bench;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
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
 * What it costs that a host tracks its holders, and that it could: taking and dropping references
 * on one page.
 *
 * <p>Compare the rows of one run with each other only.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(3)
@State(Scope.Thread)
public class TrackHoldersBenchmark {
  /** Whether the host tracks its holders. */
  @Param({"false", "true"})
  public boolean tracked;

  private HostMemory host;
  private GuestMemfd memfd;
  private HostMapping window;

  /** A page that is there. */
  @Setup
  public void setUp() {
    HostMemory.Builder builder = HostMemory.builder(1 << 20);
    host = (tracked ? builder.trackHolders() : builder).build();
    memfd =
        GuestMemfd.builder(host).size(4096).flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED).build();
    window = memfd.mmap(0, 4096, Protection.READ, Protection.WRITE);
    window.putByte(0, (byte) 1);
  }

  /** Everything must have come home. */
  @TearDown
  public void tearDown() {
    window.close();
    memfd.close();
    host.close();
  }

  /** By frame number. */
  @Benchmark
  public int tryGrabPut() {
    int pfn = memfd.tryGrab(0, HolderKind.SAFE);
    memfd.put(pfn, HolderKind.SAFE);
    return pfn;
  }

  /** As an object. */
  @Benchmark
  public void grabClose() {
    memfd.grab(0).close();
  }

  /** A reference of the host's. */
  @Benchmark
  public void pinClose() {
    window.pin(0, 1).close();
  }
}
