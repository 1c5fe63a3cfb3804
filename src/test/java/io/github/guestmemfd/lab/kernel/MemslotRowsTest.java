package io.github.guestmemfd.lab.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.trace.ModelExecutor;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.TraceExecutor;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * What Linux 6.18 has answered to calls on memslots, one after the other: the model gives these
 * answers, and so does such a kernel where there is one.
 */
class MemslotRowsTest {
  /**
   * Slot, flags (1 LOG_DIRTY_PAGES, 2 READONLY, 4 GUEST_MEMFD), guest address, size, user address,
   * file, offset: the answer. P is a page, U a user address. File 0 has 64 pages and can be mapped,
   * file 1 cannot, file -1 is a bad descriptor. A line with # begins another topic, in the same
   * machine.
   */
  private static final String ROWS =
      """
      # flags that a memslot with a file cannot have
      1, 5, 0, P, U, 0, 0: EINVAL
      1, 6, 0, P, U, 0, 0: EINVAL
      1, 7, 0, P, U, 0, 0: EINVAL
      1, 12, 0, P, U, 0, 0: EINVAL
      1, 8, 0, P, U, 0, 0: EINVAL
      1, 5, 0, P, U, 1, 0: EINVAL
      1, 6, 0, P, U, 1, 0: EINVAL
      # errors of flags against others
      1, 5, 1, P, U, 0, 0: EINVAL
      1, 5, 0, P, U, -1, 0: EINVAL
      40000, 4, 0, P, U, 0, 0: EINVAL
      # user addresses
      1, 4, 0, P, U+1, 0, 0: EINVAL
      1, 4, 0, P, 0, 0, 0: ok
      1, 0, 0, 0, 0, 0, 0: ok
      1, 4, 0, P, 0xffff800000000000, 0, 0: EINVAL
      1, 4, 0, P, 0x7ffffffff000, 0, 0: EINVAL
      1, 4, 0, P, 0x7fffffffe000, 0, 0: ok
      1, 0, 0, 0, 0, 0, 0: ok
      1, 4, 0, P, 0xfffffffffffff000, 0, 0: EINVAL
      1, 4, 0, P, 0x1000, 0, 0: ok
      1, 0, 0, 0, 0, 0, 0: ok
      # descriptors
      1, 4, 0, P, U, -1, 0: EBADF
      # without the flag file and offset are ignored
      1, 0, 0, P, U, -1, 1: ok
      1, 0, 0, 0, 0, 0, 0: ok
      1, 0, 0, P, U, -1, P: ok
      1, 0, 0, 0, 0, 0, 0: ok
      # offsets in the file
      1, 4, 0, P, U, 0, 64P: EINVAL
      1, 4, 0, P, U, 0, 63P: ok
      1, 0, 0, 0, 0, 0, 0: ok
      1, 4, 0, P, U, 0, 1: EINVAL
      1, 4, 0, P, U, 0, 0x7ffffffffffff000: ok
      1, 0, 0, 0, 0, 0, 0: ok
      1, 4, 0, P, U, 0, 0x8000000000000000: EINVAL
      1, 4, 0, P, U, 0, 0xfffffffffffff000: EINVAL
      1, 4, 0, 2P, U, 0, 0xfffffffffffff000: EINVAL
      # a memslot with a file: the same again, other flags, moved, offset, user address, size, no file
      1, 4, 0x100000, 4P, U, 0, 0: ok
      1, 4, 0x100000, 4P, U, 0, 0: EINVAL
      1, 5, 0x100000, 4P, U, 0, 0: EINVAL
      1, 4, 0x200000, 4P, U, 0, 0: EINVAL
      1, 4, 0x100000, 4P, U, 0, P: EINVAL
      1, 4, 0x100000, 4P, U+P, 0, 0: EINVAL
      1, 4, 0x100000, 8P, U, 0, 0: EINVAL
      1, 0, 0x100000, 4P, U, 0, 0: EINVAL
      1, 1, 0x100000, 4P, U, 0, 0: EINVAL
      1, 2, 0x100000, 4P, U, 0, 0: EINVAL
      1, 0, 0x200000, 4P, U, 0, 0: EINVAL
      # one without: given a file, moved, logged, read-only
      2, 0, 0x300000, 4P, U, 0, 0: ok
      2, 4, 0x300000, 4P, U, 0, 8P: EINVAL
      2, 0, 0x400000, 4P, U, 0, 0: ok
      2, 1, 0x400000, 4P, U, 0, 0: ok
      2, 2, 0x400000, 4P, U, 0, 0: EINVAL
      2, 0, 0, 0, 0, 0, 0: ok
      # deletion, with flags and garbage
      1, 4, 0, 0, 0, 0, 0: ok
      1, 4, 0x123000, 0, U, -1, 0: EINVAL
      1, 0, 0, 0, 0, 0, 0: EINVAL
      1, 4, 0x100000, 4P, U, 0, 0: ok
      1, 5, 0, 0, 0, 0, 0: EINVAL
      1, 8, 0, 0, 0, 0, 0: EINVAL
      1, 0, 1, 0, 0, 0, 0: EINVAL
      1, 0, 0, 0, 1, 0, 0: EINVAL
      1, 0, 0, 0, 0, 0, 1: ok
      1, 3, 0, 0, 0, 0, 0: EINVAL
      1, 2, 0, 0, 0, 0, 0: EINVAL
      # which overlap comes first
      1, 4, 0x100000, 4P, U, 0, 0: ok
      2, 4, 0x100000, P, U, -1, 0: EEXIST
      2, 4, 0x101000, P, U, 0, 0: EEXIST
      2, 4, 0x200000, P, U, 0, P: EINVAL
      2, 4, 0x200000, P, U, 0, 100P: EINVAL
      2, 4, 0x200000, P, U, -1, 100P: EBADF
      2, 0, 0x101000, P, U, 0, 0: EEXIST
      2, 4, 0x200000, P, U, 0, 4P: ok
      2, 0, 0, 0, 0, 0, 0: ok
      2, 5, 0x100000, P, U, 0, 0: EINVAL
      # another address space
      65537, 4, 0x900000, P, U, 0, 8P: EINVAL
      # moved onto another, onto itself in part, and away
      3, 0, 0x500000, 2P, U, 0, 0: ok
      3, 0, 0x103000, 2P, U, 0, 0: EEXIST
      3, 0, 0x501000, 2P, U, 0, 0: ok
      3, 1, 0x600000, 2P, U, 0, 0: ok
      3, 1, 0x600000, 2P, U, 0, 0: ok
      3, 1, 0x600000, 2P, U+P, 0, 0: EINVAL
      3, 1, 0x600000, 3P, U, 0, 0: EINVAL
      3, 3, 0x600000, 2P, U, 0, 0: EINVAL
      3, 0, 0x600000, 2P, U, 0, 0: ok
      3, 0, 0x10000000000000, 2P, U, 0, 0: EINVAL
      3, 0, 0, 0, 0, 0, 0: ok
      3, 3, 0x600000, 2P, U, 0, 0: ok
      3, 2, 0x600000, 2P, U, 0, 0: ok
      3, 0, 0x600000, 2P, U, 0, 0: EINVAL
      3, 0, 0, 0, 0, 0, 0: ok
      1, 0, 0, 0, 0, 0, 0: ok
      # a file in a memslot that has the user address of another's
      1, 4, 0, 4P, U, 0, 0: ok
      2, 4, 0x100000, 4P, U, 1, 0: ok
      3, 0, 0x200000, 4P, U, 0, 0: ok
      # the last guest address
      9, 4, 0xffffffffff000, P, U, 0, 32P: ok
      9, 0, 0, 0, 0, 0, 0: ok
      9, 4, 0x10000000000000, P, U, 0, 32P: EINVAL
      9, 4, 0xfffffffffffff000, P, U, 0, 32P: EINVAL
      9, 4, 0x1000000000000, P, U, 0, 32P: ok
      9, 0, 0, 0, 0, 0, 0: ok
      """;

  private static final long PAGE = 4096;
  private static final long USER = 0x1_0000_0000L;

  private record Row(Trace.Call call, String answer) {}

  private static final List<Row> PARSED =
      ROWS.lines().filter(MemslotRowsTest::isRow).map(MemslotRowsTest::row).toList();

  private static boolean isRow(String line) {
    return !line.startsWith("#");
  }

  private static Row row(String line) {
    String[] parts = line.split(": ", -1);
    String[] words = parts[0].split(", ", -1);
    long[] n = new long[words.length];
    for (int i = 0; i < n.length; i++) {
      for (String term : words[i].split("\\+", -1)) {
        n[i] += number(term);
      }
    }
    String region =
        "memslot v0 slot=%d flags=%d gpa=0x%x size=0x%x user=0x%x file=%s offset=0x%x"
            .formatted(n[0], n[1], n[2], n[3], n[4], n[5] < 0 ? "none" : "m" + n[5], n[6]);
    return new Row(Rival.call(region), parts[1]);
  }

  private static long number(String term) {
    if (term.equals("U")) {
      return USER;
    }
    if (term.endsWith("P")) {
      String count = term.substring(0, term.length() - 1);
      return PAGE * (count.isEmpty() ? 1 : Long.parseLong(count));
    }
    return term.startsWith("0x")
        ? Long.parseUnsignedLong(term.substring(2), 16)
        : Long.parseLong(term);
  }

  private static TraceExecutor model() {
    return new ModelExecutor(ConversionProtocol.atomicPair(), KernelProfile.LINUX_6_18);
  }

  private static String answer(TraceExecutor executor, String call) {
    return executor.execute(Rival.call(call));
  }

  private static void createFiles(TraceExecutor executor) {
    assertThat(answer(executor, "create m0 size=0x40000 flags=3")).isEqualTo("ok");
    assertThat(answer(executor, "create m1 size=0x40000 flags=0")).isEqualTo("ok");
  }

  private static List<String> lines(TraceExecutor executor, int rows) {
    createFiles(executor);
    List<String> lines = new ArrayList<>();
    for (Row row : PARSED.subList(0, rows)) {
      lines.add(row.call.line(executor.execute(row.call)));
    }
    return lines;
  }

  static IntStream rows() {
    return IntStream.range(0, PARSED.size());
  }

  /** After those before it. */
  @ParameterizedTest
  @MethodSource("rows")
  void theModelAnswersAsTheKernelHas(int number) {
    Row row = PARSED.get(number);
    try (TraceExecutor model = model()) {
      assertThat(lines(model, number + 1).get(number)).isEqualTo(row.call.line(row.answer));
    }
  }

  @Test
  void theKernelAnswersAsItHas() throws NoGuestMemfdException {
    RealKernel.required();
    assumeThat(System.getProperty("os.version"))
        .as("no guest_memfd of the release that was asked")
        .startsWith("6.18");
    try (TraceExecutor kernel = new KernelExecutor()) {
      assertThat(lines(kernel, PARSED.size()))
          .isEqualTo(PARSED.stream().map(row -> row.call.line(row.answer)).toList());
    }
  }

  /** A memslot with a file has no dirty log, nor has one whose pages are not logged. */
  private static void dirtyLogs(TraceExecutor executor) {
    createFiles(executor);
    String logged = "memslot v0 slot=3 flags=%d gpa=0x20000 size=4096 user=0 file=none offset=0";
    answer(executor, "memslot v0 slot=1 flags=4 gpa=0 size=4096 user=0 file=m0 offset=0");
    answer(executor, "memslot v0 slot=2 flags=0 gpa=0x10000 size=4096 user=0 file=none offset=0");
    answer(executor, logged.formatted(1));
    for (int slot : new int[] {1, 2, 5}) {
      assertThat(answer(executor, "dirty_log v0 " + slot)).isEqualTo("ENOENT");
      assertThat(answer(executor, "clear_dirty_log v0 " + slot + " 0 1")).isEqualTo("ENOENT");
    }
    assertThat(answer(executor, "dirty_log v0 3")).isEqualTo("none");
    assertThat(answer(executor, "clear_dirty_log v0 3 0 1")).isEqualTo("ok");
    assertThat(answer(executor, "clear_dirty_log v0 3 0 64")).isEqualTo("EINVAL");
    assertThat(answer(executor, "dirty_log v0 32764")).isEqualTo("EINVAL");
    assertThat(answer(executor, "dirty_log v0 65537")).isEqualTo("EINVAL");
    answer(executor, logged.formatted(0));
    assertThat(answer(executor, "dirty_log v0 3")).isEqualTo("ENOENT");
  }

  @Test
  void dirtyLogsOfTheModel() {
    try (TraceExecutor model = model()) {
      dirtyLogs(model);
    }
  }

  @Test
  void dirtyLogsOfTheKernel() throws NoGuestMemfdException {
    RealKernel.required();
    try (TraceExecutor kernel = new KernelExecutor()) {
      dirtyLogs(kernel);
    }
  }

  /** What a guest sees of a memslot that is moved, logged, read-only, and without memory. */
  private static final String GUEST =
      """
      vm v1 type=0 = ok
      guest_load v1 0 = MMIO
      anon a0 v1 length=8192 = ok
      store a0 4096 0x07 = ok
      memslot v1 slot=1 flags=1 gpa=0x20000 size=8192 user=a0 file=none offset=0 = ok
      guest_load v1 0x21000 = 0x07
      dirty_log v1 1 = none
      guest_store v1 0x21001 0x09 = ok
      load a0 4097 = 0x09
      dirty_log v1 1 = 1
      dirty_log v1 1 = none
      guest_store v1 0x21001 0x0a = ok
      store a0 0 0x01 = ok
      memslot v1 slot=1 flags=1 gpa=0x30000 size=8192 user=a0 file=none offset=0 = ok
      guest_load v1 0x21001 = MMIO
      guest_store v1 0x30000 0x02 = ok
      dirty_log v1 1 = 0,1
      guest_store v1 0x30000 0x03 = ok
      clear_dirty_log v1 1 1 1 = ok
      dirty_log v1 1 = 0
      memslot v1 slot=2 flags=2 gpa=0x40000 size=4096 user=a0 file=none offset=0 = ok
      guest_load v1 0x40000 = 0x03
      guest_store v1 0x40000 0x04 = MMIO
      load a0 0 = 0x03
      madvise a0 0 4096 DONTNEED = ok
      guest_load v1 0x40000 = 0x00
      create_in m0 v1 size=4096 flags=0x3 = ok
      create_in m1 v1 size=4096 flags=0x0 = ok
      memslot v1 slot=3 flags=4 gpa=0 size=4096 user=a0 file=m0 offset=0 = ok
      memslot v1 slot=4 flags=4 gpa=0x1000 size=4096 user=a0 file=m1 offset=0 = ok
      guest_store v1 0 0x05 = ok
      load a0 0 = 0x00
      guest_store v1 0x1000 0x06 = ok
      load a0 0 = 0x06
      cached m1 = 0
      munmap a0 = ok
      guest_load v1 0 = 0x05
      guest_load v1 0x1000 = EFAULT
      guest_load v1 0x30000 = EFAULT
      close m0 = ok
      guest_load v1 0 = MEMORY_FAULT
      """;

  private static void guest(TraceExecutor executor) {
    for (String line : GUEST.lines().toList()) {
      String call = line.substring(0, line.indexOf(" = "));
      assertThat(call + " = " + answer(executor, call)).isEqualTo(line);
    }
  }

  @Test
  void theGuestOfTheModel() {
    try (TraceExecutor model = model()) {
      guest(model);
    }
  }

  @Test
  void theGuestOfTheKernel() throws NoGuestMemfdException {
    RealKernel.required();
    assumeThat(KernelGuest.IS_POSSIBLE).as("no guest for this processor").isTrue();
    try (TraceExecutor kernel = new KernelExecutor()) {
      guest(kernel);
    }
  }
}
