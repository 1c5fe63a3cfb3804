package io.github.guestmemfd.lab.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.lab.kernel.SlotCalls.Region;
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

  private record Row(Region region, String answer) {}

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
    return new Row(
        new Region((int) n[0], (int) n[1], n[2], n[3], n[4], (int) n[5], n[6]), parts[1]);
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

  private static void createFiles(SlotCalls calls) {
    assertThat(calls.create(0, 64 * PAGE, 3)).isEqualTo("ok");
    assertThat(calls.create(1, 64 * PAGE, 0)).isEqualTo("ok");
  }

  private static List<String> lines(SlotCalls calls, int rows) {
    createFiles(calls);
    List<String> lines = new ArrayList<>();
    for (Row row : PARSED.subList(0, rows)) {
      lines.add(row.region + " = " + calls.set(row.region));
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
    try (SlotCalls model = new ModelSlots(KernelProfile.LINUX_6_18)) {
      List<String> lines = lines(model, number + 1);
      assertThat(lines.get(number)).isEqualTo(row.region + " = " + row.answer);
    }
  }

  @Test
  void theKernelAnswersAsItHas() {
    RealKernel.required();
    assumeThat(System.getProperty("os.version"))
        .as("no guest_memfd of the release that was asked")
        .startsWith("6.18");
    try (SlotCalls kernel = new KernelSlots()) {
      assertThat(lines(kernel, PARSED.size()))
          .isEqualTo(PARSED.stream().map(row -> row.region + " = " + row.answer).toList());
    }
  }

  /** A memslot with a file has no dirty log, nor has one whose pages are not logged. */
  private static void dirtyLogs(SlotCalls calls) {
    createFiles(calls);
    calls.set(new Region(1, 4, 0, PAGE, 0, 0, 0));
    calls.set(new Region(2, 0, 0x10000, PAGE, USER, -1, 0));
    calls.set(new Region(3, 1, 0x20000, PAGE, USER, -1, 0));
    for (int slot : new int[] {1, 2, 5}) {
      assertThat(calls.dirtyLog(slot)).as("slot %d", slot).isEqualTo("ENOENT");
      assertThat(calls.clearDirtyLog(slot, 1)).as("slot %d", slot).isEqualTo("ENOENT");
    }
    assertThat(calls.dirtyLog(3)).isEqualTo("ok");
    assertThat(calls.clearDirtyLog(3, 1)).isEqualTo("ok");
    assertThat(calls.clearDirtyLog(3, 64)).isEqualTo("EINVAL");
    assertThat(calls.dirtyLog(32764)).isEqualTo("EINVAL");
    assertThat(calls.dirtyLog(65537)).isEqualTo("EINVAL");
    calls.set(new Region(3, 0, 0x20000, PAGE, USER, -1, 0));
    assertThat(calls.dirtyLog(3)).isEqualTo("ENOENT");
  }

  @Test
  void dirtyLogsOfTheModel() {
    try (SlotCalls model = new ModelSlots(KernelProfile.LINUX_6_18)) {
      dirtyLogs(model);
    }
  }

  @Test
  void dirtyLogsOfTheKernel() {
    RealKernel.required();
    try (SlotCalls kernel = new KernelSlots()) {
      dirtyLogs(kernel);
    }
  }
}
