package io.github.guestmemfd.lab.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assumptions.assumeThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.lab.kernel.Differential.Difference;
import io.github.guestmemfd.trace.ModelExecutor;
import io.github.guestmemfd.trace.Replay;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.TraceExecutor;
import io.github.guestmemfd.verification.Results;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Random calls on the real kernel and on the model: no answer differs. {@code -Dcalls=N} makes N
 * calls, {@code -Dseed=S} the same as before.
 */
class DifferentialTest {
  private static final int CALLS_A_RUN = 2000;

  /** So many seeds find a wrong answer, of which the first few do. */
  private static final long MOST_SEEDS = 200;

  @BeforeEach
  void kernel() {
    RealKernel.required();
  }

  /**
   * In the build the calls are the same each time, so that what fails there is what has changed.
   */
  private static final long BUILD_SEED = 500;

  private static TraceExecutor model() {
    return new ModelExecutor(ConversionProtocol.atomicPair(), RealKernel.profile());
  }

  @Test
  @Timeout(value = 1, unit = TimeUnit.DAYS) // as long as it is told to
  void theModelAnswersAsTheKernel() throws Exception {
    long calls = Long.getLong("calls", 100_000);
    assertThat(calls).as("calls").isPositive();
    boolean isBuild = System.getProperty("calls") == null;
    long seed = Long.getLong("seed", isBuild ? BUILD_SEED : System.nanoTime() & 0xffff_ffffL);
    System.out.printf(
        Locale.ROOT, "-Dcalls=%d -Dseed=%d on %s%n", calls, seed, KernelExecutor.kernel());
    Differential differential = new Differential(KernelExecutor::new, DifferentialTest::model);
    for (long run = seed, left = calls; left > 0; run++, left -= CALLS_A_RUN) {
      Difference difference = differential.random(run, (int) Math.min(left, CALLS_A_RUN));
      if (difference != null) {
        throw new AssertionError(Differential.describe(differential.shrink(difference), run));
      }
    }
    if (System.getProperty("calls") != null) { // a short run says less than the document does
      Results.add("differential", KernelExecutor.kernel() + ", " + seed, calls, 0);
    }
  }

  /** A model that is wrong in one answer is found out, and by as few calls as it takes. */
  @ParameterizedTest
  @CsvSource({
    // call that is wrong, what it answers, what it answers instead, how many calls show that at
    // most
    "fallocate, EFBIG, EINVAL, 3",
    "fallocate, EOPNOTSUPP, EINVAL, 3",
    "mmap, EOVERFLOW, EINVAL, 3",
    "store, SIGBUS, SIGSEGV, 4",
    "madvise, EFAULT, ENOMEM, 4",
    "gup, EFAULT, EINVAL, 5",
    "mbind, EFAULT, EINVAL, 4",
    "get_mempolicy, mode=BIND nodes=0x1, mode=DEFAULT nodes=0x0, 5",
    "bind, EEXIST, EINVAL, 6",
    "unbind, EINVAL, ok, 6",
    "memslot, EEXIST, EINVAL, 6",
    "memslot, EBADF, EINVAL, 3",
    "dirty_log, ENOENT, EINVAL, 2",
    "clear_dirty_log, EINVAL, ENOENT, 5",
    "anon, ENOMEM, EINVAL, 2",
    "guest_load, MEMORY_FAULT, EFAULT, 5",
    "guest_store, EFAULT, MMIO, 4",
    "guest_store, MMIO, ok, 3",
    "close, EBADF, ok, 4",
  })
  void aWrongAnswerIsFoundAndShrunk(String verb, String right, String wrong, int most)
      throws Exception {
    Differential differential =
        new Differential(
            KernelExecutor::new,
            () -> new Wrong(model(), call -> call.verb().word().equals(verb), right, wrong));
    Difference found = null;
    long seed = 1;
    while (found == null && seed <= MOST_SEEDS) {
      found = differential.random(seed++, CALLS_A_RUN);
    }
    assertThat(found).isNotNull();
    Difference least = differential.shrink(found);
    assertThat(least.last()).startsWith(verb + " ").endsWith(" = " + right);
    assertThat(least.model()).isEqualTo(wrong);
    assertThat(least.trace().size()).isLessThanOrEqualTo(most);
    Trace trace = Trace.parse("least", Differential.describe(least, seed - 1).lines().toList());
    assertThat(trace.size()).isEqualTo(least.trace().size());
    assertThat(Replay.run(trace, ConversionProtocol.atomicPair()).differences()).isEmpty();
  }

  /** What a punch leaves behind if it does nothing. */
  @Test
  void aCallThatHasNoEffectIsFoundAndShrunk() throws Exception {
    Differential differential =
        new Differential(
            KernelExecutor::new,
            () ->
                new Wrong(model(), call -> false, "", "") {
                  @Override
                  public String execute(Trace.Call call) {
                    boolean punch = call.text().startsWith("fallocate") && call.mode(1) == 3;
                    return punch && call.number(3) == 4096 ? "ok" : super.execute(call);
                  }
                });
    Difference found = null;
    for (long seed = 1; seed <= MOST_SEEDS; seed++) {
      found = differential.random(seed, CALLS_A_RUN);
      if (found != null && found.last().startsWith("cached")) {
        break;
      }
    }
    assertThat(found).isNotNull();
    assertThat(found.last()).startsWith("cached");
    Difference least = differential.shrink(found);
    assertThat(least.trace().size()).isLessThan(10);
  }

  /** An executor with one wrong answer. */
  private static class Wrong implements TraceExecutor {
    private final TraceExecutor executor;
    private final Predicate<Trace.Call> calls;
    private final String right;
    private final String wrong;

    Wrong(TraceExecutor executor, Predicate<Trace.Call> calls, String right, String wrong) {
      this.executor = executor;
      this.calls = calls;
      this.right = right;
      this.wrong = wrong;
    }

    @Override
    public String execute(Trace.Call call) {
      String result = executor.execute(call);
      return calls.test(call) && result.equals(right) ? wrong : result;
    }

    @Override
    public void close() {
      executor.close();
    }
  }

  /** The recordings of this kernel's release are answered as recorded: the oracle is the same. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "random-1.trace",
        "random-2.trace",
        "random-3.trace",
        "random-7-long.trace",
        "random-10-long.trace"
      })
  void theKernelAnswersAsItWasRecorded(String name) throws Exception {
    assumeThat(System.getProperty("os.version"))
        .as("no guest_memfd of the release that was recorded")
        .startsWith("6.18");
    Path file = Path.of("src/test/resources/kernel-traces", name);
    Trace trace = Trace.parse(name, Files.readAllLines(file));
    try (KernelExecutor kernel = new KernelExecutor()) {
      assertThat(Replay.run(trace, kernel).differences()).isEmpty();
    }
  }

  /** However a run ends, it leaves nothing open and nothing mapped. */
  @Test
  void nothingIsLeftOpen() throws Exception {
    long before = open();
    try (KernelExecutor kernel = new KernelExecutor()) {
      RandomCalls random = new RandomCalls(7);
      for (int i = 0; i < CALLS_A_RUN; i++) {
        random.ended(kernel.execute(random.next()));
      }
      assertThat(open()).isGreaterThan(before);
    }
    assertThat(open()).isEqualTo(before);
  }

  /** Descriptors of the kernel's virtual machines, and mappings of its files. */
  private static long open() throws IOException {
    long maps =
        Files.readAllLines(Path.of("/proc/self/maps")).stream()
            .filter(DifferentialTest::isGuestMemfd)
            .count();
    try (Stream<Path> fds = Files.list(Path.of("/proc/self/fd"))) {
      return maps
          + fds.map(DifferentialTest::target)
              .filter(t -> t.contains("kvm") || t.contains("gmem") || t.contains("pipe:"))
              .count();
    }
  }

  private static String target(Path fd) {
    try {
      return Files.readSymbolicLink(fd).toString();
    } catch (IOException e) {
      return ""; // closed since
    }
  }

  @Test
  void closedIsClosed() throws Exception {
    KernelExecutor kernel = new KernelExecutor();
    call(kernel, "create m0 size=4096 flags=0x3 = ok");
    kernel.close();
    long left = open();
    try (KernelExecutor other = new KernelExecutor()) {
      kernel.close(); // does not close what has the descriptors' numbers now
      call(other, "create m0 size=4096 flags=0x3 = ok");
    }
    assertThat(open()).isEqualTo(left);
    assertThatThrownBy(() -> call(kernel, "stat m0 = ok"))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("closed");
  }

  /** Also what lies in the gap next to a mapping is passed by. */
  @Test
  void aMappingLiesAlone() throws Exception {
    int flags =
        Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE | Libc.MAP_FIXED_NOREPLACE;
    try (KernelExecutor kernel = new KernelExecutor()) {
      call(kernel, "create m0 size=4096 flags=0x3 = ok");
      call(kernel, "mmap a0 m0 offset=0 length=4096 prot=rw flags=SHARED = ok");
      long taken = mapped() + 3 * KernelExecutor.GAP; // the next place
      long neighbour = taken + KernelExecutor.GAP / 2;
      assertThat(Libc.mmap(neighbour, 4096, Libc.PROT_NONE, flags, -1, 0)).isEqualTo(neighbour);
      try {
        call(kernel, "munmap a0 = ok");
        call(kernel, "mmap a1 m0 offset=0 length=4096 prot=rw flags=SHARED = ok");
        assertThat(mapped()).isNotEqualTo(taken);
      } finally {
        Libc.munmap(neighbour, 4096);
      }
    }
  }

  /** Where the only mapping of a guest_memfd is. */
  private static long mapped() throws IOException {
    List<String> lines =
        Files.readAllLines(Path.of("/proc/self/maps")).stream()
            .filter(DifferentialTest::isGuestMemfd)
            .toList();
    assertThat(lines).hasSize(1);
    return Long.parseLong(lines.get(0).substring(0, lines.get(0).indexOf('-')), 16);
  }

  private static boolean isGuestMemfd(String line) {
    return line.contains("guest_memfd") || line.contains("kvm-gmem");
  }

  @Test
  void answersAreTheSameInEveryLanguage() throws Exception {
    Locale before = Locale.getDefault();
    Locale.setDefault(Locale.forLanguageTag("ar-EG"));
    try (KernelExecutor kernel = new KernelExecutor()) {
      call(kernel, "create m0 size=4096 flags=0x3 = ok");
      call(kernel, "mmap a0 m0 offset=0 length=4096 prot=rw flags=SHARED = ok");
      call(kernel, "gup g0 a0 0 4096 = ok");
      call(kernel, "gup_release g0 = bytes=4096 first=0x00 sum31=0x000000");
    } finally {
      Locale.setDefault(before);
    }
  }

  @Test
  void whatWouldReachOtherMemoryIsNotCalled() throws Exception {
    try (KernelExecutor kernel = new KernelExecutor()) {
      call(kernel, "create m0 size=4096 flags=0x3 = ok");
      call(kernel, "mmap a0 m0 offset=0 length=4096 prot=rw flags=SHARED = ok");
      for (String far :
          new String[] {
            "madvise a0 0 0x40000000 DONTNEED = ok",
            "madvise a0 0 -9223372036854775808 DONTNEED = ok",
            "madvise a0 0x40000000 4096 DONTNEED = ok",
            "load a0 0x40000000 = ok",
            "store a0 -0x40000000 1 = ok",
          }) {
        assertThatThrownBy(() -> call(kernel, far)).isInstanceOf(IllegalArgumentException.class);
      }
    }
  }

  private static void call(TraceExecutor executor, String line) {
    Trace.Call call = Rival.call(line.substring(0, line.indexOf(" = ")));
    assertThat(call.line(executor.execute(call))).isEqualTo(line);
  }
}
