package io.github.guestmemfd.lab.kernel;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.lab.kernel.SlotCalls.Region;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Random changes of memslots on the real kernel and on the model, with flags and user addresses: no
 * answer differs. {@code -Dslot.calls=N} makes N calls, {@code -Dseed=S} the same as before.
 */
class SlotDifferentialTest {
  private static final int CALLS_A_MACHINE = 1000;
  private static final long PAGE = 4096;
  private static final long USER = 0x1_0000_0000L;

  private enum Call {
    SET,
    DIRTY_LOG,
    CLEAR_DIRTY_LOG,
    CREATE,
    CLOSE
  }

  @BeforeEach
  void kernel() {
    RealKernel.required();
  }

  /** What is drawn, mostly near what is there already. */
  private static final class Calls {
    private final Random random;
    private final Map<Integer, Region> made = new HashMap<>();

    Calls(long seed) {
      random = new Random(seed);
    }

    private long oneOf(long... numbers) {
      return numbers[random.nextInt(numbers.length)];
    }

    private boolean oneIn(int n) {
      return random.nextInt(n) == 0;
    }

    private int slot() {
      return oneIn(20)
          ? (int) oneOf(32763, 32764, 32767, 32768, 40000, 65536, 65537, 1 << 31, -1)
          : random.nextInt(6);
    }

    private int flags() {
      return oneIn(12) ? random.nextInt(32) : (int) oneOf(0, 0, 1, 2, 3, 4, 4, 4, 4);
    }

    private long pages(int most) {
      return PAGE * random.nextInt(most);
    }

    private long gpa() {
      return oneIn(15)
          ? oneOf(
              1, 100, -PAGE, 1L << 51, (1L << 52) - PAGE, (1L << 52) - 2 * PAGE, 1L << 52, 1L << 63)
          : pages(40);
    }

    /** The kernel allocates 8 bytes and more for each page of a memslot: 16 GiB for the largest. */
    private static final long BIG = 1L << 32;

    private long size() {
      if (oneIn(6)) {
        return 0;
      }
      return oneIn(25)
          ? oneOf(1, 4095, -PAGE, BIG, 1L << 43, 1L << 63)
          : PAGE * (1 + random.nextInt(6));
    }

    private long user() {
      return oneIn(10)
          ? oneOf(
              1,
              USER + 8,
              0x7fff_ffff_e000L,
              0x7fff_ffff_f000L,
              0x7fff_ffff_d000L,
              1L << 47,
              0xffff_8000_0000_0000L,
              -PAGE)
          : oneOf(0, USER, USER, USER + PAGE);
    }

    private long offset() {
      return oneIn(12)
          ? oneOf(1, -PAGE, 1L << 63, 0x7fff_ffff_ffff_f000L, 63 * PAGE, 64 * PAGE, 65 * PAGE)
          : pages(16);
    }

    private int file() {
      return oneIn(15) ? -1 : random.nextInt(3);
    }

    Region region() {
      Region old = made.get(random.nextInt(6));
      if (old != null && oneIn(3)) { // a change of one that is there, in one or two ways
        Region r = old;
        for (int i = random.nextInt(2); i >= 0; i--) {
          r = changed(r);
        }
        return r;
      }
      return new Region(slot(), flags(), gpa(), size(), user(), file(), offset());
    }

    private Region changed(Region r) {
      return switch (random.nextInt(7)) {
        case 0 -> r;
        case 1 -> new Region(r.slot(), flags(), r.gpa(), r.size(), r.user(), r.file(), r.offset());
        case 2 ->
            new Region(r.slot(), r.flags() ^ 1, r.gpa(), r.size(), r.user(), r.file(), r.offset());
        case 3 -> new Region(r.slot(), r.flags(), gpa(), r.size(), r.user(), r.file(), r.offset());
        case 4 -> new Region(r.slot(), r.flags(), r.gpa(), size(), r.user(), r.file(), r.offset());
        case 5 -> new Region(r.slot(), r.flags(), r.gpa(), r.size(), user(), r.file(), r.offset());
        default -> new Region(r.slot(), r.flags(), r.gpa(), r.size(), r.user(), file(), offset());
      };
    }

    void answered(Region r, String answer) {
      if (answer.equals("ok")) {
        if (r.size() == 0) {
          made.remove(r.slot());
        } else {
          made.put(r.slot(), r);
        }
      }
    }

    /** Pages of a memslot that can be cleared at once. */
    int pagesOf(int slot) {
      Region r = made.get(slot);
      return r == null || r.size() > 1000 * PAGE ? 1 : (int) (r.size() / PAGE);
    }

    boolean isHuge(int slot) {
      Region r = made.get(slot);
      return r != null && r.size() > 1000 * PAGE; // its bitmap would not fit
    }
  }

  /** Makes calls on both; the lines up to the first that differs, or null. */
  private static List<String> difference(
      long seed, int calls, UnaryOperator<String> model, Map<Call, Map<String, Integer>> answers) {
    Calls random = new Calls(seed);
    List<String> lines = new ArrayList<>();
    try (SlotCalls k = new KernelSlots();
        SlotCalls m = new ModelSlots(RealKernel.profile())) {
      for (int file = 0; file < 3; file++) {
        k.create(file, 64 * PAGE, file == 0 ? 3 : file == 1 ? 0 : 1);
        m.create(file, 64 * PAGE, file == 0 ? 3 : file == 1 ? 0 : 1);
      }
      for (int i = 0; i < calls; i++) {
        int kind = random.random.nextInt(100);
        Call call;
        String line;
        String expected;
        String actual;
        if (kind < 86) {
          call = Call.SET;
          Region r = random.region();
          line = r.toString();
          expected = k.set(r);
          actual = m.set(r);
          random.answered(r, expected);
        } else if (kind < 96) {
          int slot = random.slot();
          if (random.isHuge(slot)) {
            continue;
          }
          call = kind < 92 ? Call.DIRTY_LOG : Call.CLEAR_DIRTY_LOG;
          int pages = random.pagesOf(slot);
          line = call + " " + slot + " " + pages;
          expected = kind < 92 ? k.dirtyLog(slot) : k.clearDirtyLog(slot, pages);
          actual = kind < 92 ? m.dirtyLog(slot) : m.clearDirtyLog(slot, pages);
        } else {
          int file = random.random.nextInt(3);
          long flags = random.random.nextInt(5);
          call = kind < 98 ? Call.CREATE : Call.CLOSE;
          line = call + " " + file + " " + flags;
          if (kind < 98) {
            expected = k.create(file, 64 * PAGE, flags);
            actual = m.create(file, 64 * PAGE, flags);
          } else {
            k.close(file);
            m.close(file);
            expected = "ok";
            actual = "ok";
          }
        }
        lines.add(line + " = " + expected);
        answers.computeIfAbsent(call, c -> new TreeMap<>()).merge(expected, 1, Integer::sum);
        if (!model.apply(actual).equals(expected)) {
          lines.add("the model answers " + actual);
          return lines;
        }
      }
    }
    return null;
  }

  @Test
  @Timeout(value = 1, unit = TimeUnit.DAYS) // as long as it is told to
  void theModelAnswersAsTheKernel() {
    int calls = Integer.getInteger("slot.calls", 5_000);
    assertThat(calls).as("slot.calls").isPositive();
    long seed = Long.getLong("seed", System.nanoTime() & 0xffff_ffffL);
    System.out.printf(
        Locale.ROOT, "-Dslot.calls=%d -Dseed=%d on %s%n", calls, seed, KernelExecutor.kernel());
    Map<Call, Map<String, Integer>> answers = new EnumMap<>(Call.class);
    for (long run = seed, left = calls; left > 0; run++, left -= CALLS_A_MACHINE) {
      List<String> lines =
          difference(run, (int) Math.min(left, CALLS_A_MACHINE), answer -> answer, answers);
      if (lines != null) {
        throw new AssertionError("-Dseed=" + run + "\n" + String.join("\n", lines));
      }
    }
    System.out.println("0 differences: " + answers);
  }

  /** Every answer that a memslot call can give is asked for, often. */
  @Test
  void everyAnswerIsAskedFor() {
    Map<Call, Map<String, Integer>> answers = new EnumMap<>(Call.class);
    assertThat(difference(1, 5000, answer -> answer, answers)).isNull();
    assertThat(answers.get(Call.SET)).containsKeys("ok", "EINVAL", "EEXIST", "EBADF");
    assertThat(answers.get(Call.SET).values()).allMatch(n -> n >= 20);
    assertThat(answers.get(Call.DIRTY_LOG)).containsKeys("ok", "EINVAL", "ENOENT");
    assertThat(answers.get(Call.CLEAR_DIRTY_LOG)).containsKeys("ok", "EINVAL", "ENOENT");
    assertThat(answers.get(Call.CREATE)).containsKeys("ok", "EINVAL");
  }

  /** A model that is wrong in one answer is found out. */
  @Test
  void aWrongAnswerIsFound() {
    List<String> lines =
        difference(1, 1000, answer -> answer.equals("EEXIST") ? "EINVAL" : answer, new HashMap<>());
    assertThat(lines).isNotNull();
    assertThat(lines.get(lines.size() - 2)).endsWith(" = EEXIST");
  }
}
