package io.github.guestmemfd.bench;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.lab.kernel.KernelExecutor;
import io.github.guestmemfd.lab.kernel.NoGuestMemfdException;
import io.github.guestmemfd.trace.ModelExecutor;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.TraceExecutor;
import io.github.guestmemfd.trace.Verb;
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
 * The same calls on the guest_memfd of the kernel that runs here and on the library, both made as
 * calls of a trace: the kernel's are system calls through JNA. Needs {@code /dev/kvm}.
 *
 * <p>Each row leaves the file as it found it, so a row is two calls: what comes, and the punch or
 * the close that takes it away. Pages touched for the first time are zeroed, by both.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Fork(2)
@State(Scope.Benchmark)
public class KernelBenchmark {
  private static final long MIB = 1 << 20;

  /** Who answers. */
  @Param({"kernel", "library"})
  public String by;

  /** How many pages each call is about. */
  @Param({"1", "512"})
  public int pages;

  private HostMemory host;
  private TraceExecutor executor;
  private Trace.Call create;
  private Trace.Call close;
  private Trace.Call allocate;
  private Trace.Call touch;
  private Trace.Call punch;

  @Setup
  public void open() throws NoGuestMemfdException {
    host = HostMemory.ofBytes(8 * MIB);
    executor =
        by.equals("kernel")
            ? new KernelExecutor()
            : new ModelExecutor(host, ConversionProtocol.atomicPair(), KernelProfile.LINUX_6_18);
    String length = Integer.toString(pages << 12);
    create = Trace.Call.of(Verb.CREATE, "m1", Long.toString(2 * MIB), "0x3");
    close = Trace.Call.of(Verb.CLOSE, "m1");
    allocate = Trace.Call.of(Verb.FALLOCATE, "m0", "0x1", "0", length);
    punch = Trace.Call.of(Verb.FALLOCATE, "m0", "0x3", "0", length);
    touch = Trace.Call.of(Verb.MADVISE, "a0", "0", length, "POPULATE_WRITE");
    call(Trace.Call.of(Verb.CREATE, "m0", Long.toString(2 * MIB), "0x3"));
    call(Trace.Call.of(Verb.MMAP, "a0", "m0", "0", Long.toString(2 * MIB), "rw", "SHARED"));
  }

  @TearDown
  public void close() {
    executor.close();
    host.close();
  }

  private String call(Trace.Call call) {
    String answer = executor.execute(call);
    if (!answer.equals("ok")) {
      throw new IllegalStateException(call + ": expected ok, actual " + answer);
    }
    return answer;
  }

  /** A file of 2 MiB, whatever the number of pages. */
  @Benchmark
  public String createAndClose() {
    call(create);
    return call(close);
  }

  @Benchmark
  public String allocateAndPunch() {
    call(allocate);
    return call(punch);
  }

  @Benchmark
  public String touchAndPunch() {
    call(touch);
    return call(punch);
  }
}
