package io.github.guestmemfd.lab.kernel;

import static io.github.guestmemfd.lab.kernel.Rival.Whose.FORBIDDEN;
import static io.github.guestmemfd.lab.kernel.Rival.Whose.FORBIDDEN_IN_THE_KERNEL;
import static io.github.guestmemfd.lab.kernel.Rival.Whose.FORBIDDEN_IN_THE_MODEL;
import static io.github.guestmemfd.lab.kernel.Rival.Whose.OF_THE_KERNEL_ALONE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.trace.ModelExecutor;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.TraceExecutor;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Two threads at once, on the real kernel and on the model. What the kernel shows must be possible
 * in the model, and what is forbidden must not be seen in either. {@code -Drounds=N} makes N rounds
 * on the kernel for each pair.
 *
 * <p>The outcomes that are possible in the model are those of every schedule with one preemption at
 * a race point, and of as many random rounds as it takes: a kernel's outcome that is missing then
 * is a failure, however long it took.
 */
class ConcurrentDifferentialTest {
  private static final int ROUNDS = Integer.getInteger("rounds", 2000);
  private static final int MOST_MODEL_ROUNDS = 200_000;

  private static final String FILE = "create m0 size=16384 flags=0x3;";
  private static final String WINDOW =
      FILE + "mmap a0 m0 offset=0 length=16384 prot=rw flags=SHARED;";
  private static final String SEVEN = WINDOW + "store a0 0 0x07;";
  private static final String ALL_SEVEN =
      SEVEN + "store a0 4096 0x07; store a0 8192 0x07; store a0 12288 0x07;";
  private static final String TWICE =
      "the kernel's punch looks at the range more than once, and discards what came in between";
  private static final String PAGES =
      "the kernel's punch takes page after page, while others use those that are left or back";
  private static final String BYTES = "bytes=4096 first=0xXX sum31=0x000000";
  private static final String REFERENCE = "ok, ok, 0x09, " + BYTES;
  private static final String SIXTEEN = "ok, bytes=16384 first=0x07 sum31=0x000000";
  private static final String END = "munmap a0; close m0";

  static Stream<Rival> rivals() {
    return Stream.of(
        Rival.of(
                "touch and punch",
                SEVEN,
                "load a0 0; load a0 0",
                "fallocate m0 PUNCH_HOLE|KEEP_SIZE 0 4096; load a0 0",
                "load a0 0; cached m0",
                END)
            .wrong("fallocate m0 PUNCH", "ok")
            .forbid(
                ".* \\| ok, 0x07 \\| .*",
                "a load after the punch sees the old byte",
                "0x00, 0x00 | ok, 0x07 | 0x00, 1")
            .forbid(
                ".* \\| .* \\| 0x07, .*",
                "a load after both sees the old byte",
                "0x07, 0x07 | ok, 0x00 | 0x07, 1")
            .forbid(
                "0x00, 0x07 \\| .*", "the old byte comes back", "0x00, 0x07 | ok, 0x00 | 0x00, 1")
            .forbid(
                ".* \\| .* \\| .*, 0",
                "a page that was touched is not in the file",
                "0x07, 0x00 | ok, 0x00 | 0x00, 0"),
        Rival.of(
                "store and punch",
                SEVEN,
                "store a0 0 0x09; load a0 0",
                "fallocate m0 PUNCH_HOLE|KEEP_SIZE 0 4096",
                "load a0 0; cached m0",
                END)
            .wrong("store a0 0 0x09", "ok")
            .forbid(
                "ok, 0x07 \\| .*",
                "a load does not see the store before it",
                "ok, 0x07 | ok | 0x00, 1")
            .forbid(
                ".* \\| .* \\| 0x07, .*",
                "a load after the punch sees the old byte",
                "ok, 0x09 | ok | 0x07, 1")
            .forbid(
                "ok, 0x00 \\| ok \\| 0x09, .*",
                "what the punch discarded comes back",
                "ok, 0x00 | ok | 0x09, 1"),
        Rival.of(
                "touch of a hole and punch",
                WINDOW,
                "store a0 0 0x09; store a0 4096 0x09",
                "fallocate m0 PUNCH_HOLE|KEEP_SIZE 0 8192",
                "cached m0; load a0 0; load a0 4096",
                END)
            .wrong("cached", "0")
            .forbid(
                ".*SIG.*",
                "a punch takes an accessible page away for good",
                "ok, SIGBUS | ok | 1, 0x09, 0x00")
            .forbid(
                ".* \\| .* \\| 0, .*0x09.*", "a byte without a page", "ok, ok | ok | 0, 0x09, 0x00")
            .forbid(
                ".* \\| .* \\| [01], 0x09, 0x09",
                "two bytes in one page",
                "ok, ok | ok | 1, 0x09, 0x09"),
        Rival.of(
                "GUP and punch",
                SEVEN,
                "gup g0 a0 0 4096; store a0 0 0x09; load a0 0; gup_release g0",
                "fallocate m0 PUNCH_HOLE|KEEP_SIZE 0 4096",
                "load a0 0; cached m0",
                END)
            .wrong("store a0 0 0x09", "ok")
            .forbid(
                ".*first=0x(?!0[079]).*",
                "a reference on a page that was never in the file",
                REFERENCE.replace("XX", "55") + " | ok | 0x09, 1")
            .rule(
                FORBIDDEN_IN_THE_MODEL,
                ".*first=0x00.*",
                "a reference on a new page that the punch discards again",
                REFERENCE.replace("XX", "00") + " | ok | 0x09, 1")
            .forbid(
                "ok, ok, 0x07.*",
                "a load does not see the store before it",
                "ok, ok, 0x07, " + BYTES.replace("XX", "07") + " | ok | 0x00, 1")
            .forbid(
                ".* \\| .* \\| 0x07, .*",
                "a load after the punch sees the old byte",
                REFERENCE.replace("XX", "07") + " | ok | 0x07, 1")
            .rule(
                OF_THE_KERNEL_ALONE,
                "ok, ok, 0x0[09], .*first=0x0[07].* \\| ok \\| 0x0[09], 1",
                TWICE,
                REFERENCE.replace("XX", "07") + " | ok | 0x00, 1")
            .forbid(
                ".*E[A-Z]+.*",
                "a reference blocks the punch, or the punch the reference",
                REFERENCE.replace("XX", "07") + " | EAGAIN | 0x09, 1"),
        Rival.of(
                "GUP of four pages and punch",
                ALL_SEVEN,
                "gup g0 a0 0 16384; gup_release g0",
                "fallocate m0 PUNCH_HOLE|KEEP_SIZE 0 16384",
                "cached m0; load a0 0",
                END)
            .wrong("fallocate m0 PUNCH", "ok")
            .rule(
                OF_THE_KERNEL_ALONE,
                "ok, bytes=16384 first=0x0[07].* \\| ok \\| [0-3], 0x00",
                PAGES,
                SIXTEEN + " | ok | 3, 0x00")
            .forbid(
                "ok, bytes=(?!16384).*",
                "a punch cuts a reference short",
                "ok, bytes=4096 first=0x07 sum31=0x000000 | ok | 0, 0x00")
            .forbid(
                ".* \\| .* \\| .*, 0x07",
                "a load after the punch sees the old byte",
                SIXTEEN + " | ok | 4, 0x07"),
        Rival.of(
                "allocate and punch",
                FILE,
                "fallocate m0 KEEP_SIZE 0 16384",
                "fallocate m0 PUNCH_HOLE|KEEP_SIZE 0 16384",
                "cached m0",
                "close m0")
            .wrong("cached", "2")
            .rule(
                FORBIDDEN_IN_THE_KERNEL,
                ".* \\| [123]",
                "a punch comes in the middle of an allocation",
                "ok | ok | 2"),
        Rival.of(
                "populate and punch",
                WINDOW,
                "madvise a0 0 16384 POPULATE_WRITE; store a0 12288 0x07",
                "fallocate m0 PUNCH_HOLE|KEEP_SIZE 0 16384; load a0 0",
                "cached m0; load a0 12288",
                END)
            .wrong("cached", "1")
            .forbid(
                ".*E[A-Z]+.*",
                "a punch makes it impossible to populate",
                "EFAULT, ok | ok, 0x00 | 1, 0x00")
            .forbid(
                ".* \\| .* \\| 1, 0x07",
                "one page, where two are touched after the punch",
                "ok, ok | ok, 0x00 | 1, 0x07"),
        Rival.of(
                "load, store and MADV_REMOVE",
                SEVEN + "mmap a1 m0 offset=0 length=4096 prot=r flags=SHARED; store a0 1 0x07",
                "store a0 0 0x09; load a1 0; load a1 1",
                "madvise a1 0 4096 REMOVE; load a1 1",
                "load a0 0; load a1 0; cached m0",
                "munmap a1;" + END)
            .wrong("madvise", "ok")
            .forbid(
                "ok, 0x07, .*",
                "the other mapping does not see the store",
                "ok, 0x07, 0x07 | ok, 0x00 | 0x00, 0x00, 1")
            .forbid(
                ".* \\| ok, 0x07 \\| .*",
                "a load after the punch sees the old byte",
                "ok, 0x09, 0x07 | ok, 0x07 | 0x00, 0x00, 1")
            .forbid(
                ".* \\| 0x09, 0x00, .*",
                "two mappings show two contents",
                "ok, 0x09, 0x07 | ok, 0x00 | 0x09, 0x00, 1")
            .forbid(
                ".* \\| 0x00, 0x09, .*",
                "two mappings show two contents",
                "ok, 0x09, 0x07 | ok, 0x00 | 0x00, 0x09, 1"),
        Rival.of(
                "mmap and close",
                WINDOW + "store a0 0 0x07; munmap a0",
                "mmap a0 m0 offset=0 length=4096 prot=rw flags=SHARED; load a0 0",
                "close m0",
                "load a0 0; stat m0",
                "munmap a0")
            .wrong("load", "0x00")
            .forbid("ok, (?!0x07).*", "a mapping without its file", "ok, 0x00 | ok | 0x00, EBADF")
            .forbid(
                "EBADF, 0x.*", "a refused mapping shows bytes", "EBADF, 0x07 | ok | 0x07, EBADF"),
        Rival.of(
                "bind and bind",
                FILE,
                "bind s0 m0 gpa=0x10000 size=8192 offset=0",
                "bind s1 m0 gpa=0x11000 size=8192 offset=8192",
                "",
                "unbind s0; unbind s1; close m0")
            .wrong("bind", "ok")
            .forbid("ok \\| ok \\| .*", "two slots have one guest address", "ok | ok | ")
            .forbid(
                "E.* \\| E.* \\| .*",
                "a slot is refused because of one that was refused",
                "EEXIST | EEXIST | "));
  }

  private final Rounds rounds = new Rounds();

  @AfterEach
  void close() {
    rounds.close();
  }

  private static TraceExecutor model(RaceHook hook) {
    return new ModelExecutor(
        HostMemory.builder(1 << 24).raceHook(hook).build(),
        ConversionProtocol.atomicPair(),
        RealKernel.profile());
  }

  @ParameterizedTest
  @MethodSource("rivals")
  @Timeout(value = 1, unit = TimeUnit.DAYS) // as long as it is told to
  void whatTheKernelShowsIsPossible(Rival rival) throws Exception {
    RealKernel.required();
    assertThat(ROUNDS).as("rounds").isPositive();
    Map<String, Integer> shown;
    try (TraceExecutor kernel = new KernelExecutor()) {
      shown = rounds.meet(kernel, rival, ROUNDS);
    }
    List<String> wanted = shown.keySet().stream().filter(o -> !rival.isKernels(o)).toList();
    Set<String> possible = new TreeSet<>();
    Rounds.Stop stop = new Rounds.Stop();
    try (TraceExecutor model = model(stop)) {
      possible.addAll(rounds.force(model, rival, stop).keySet());
      for (int i = 0; i < MOST_MODEL_ROUNDS && !possible.containsAll(wanted); i += 1000) {
        possible.addAll(rounds.meet(model, rival, 1000).keySet());
      }
    }
    System.out.println(rival.name() + ": kernel " + shown + ", model " + possible);
    assertThat(possible).containsAll(wanted);
    assertAllowed(rival, shown.keySet(), FORBIDDEN, FORBIDDEN_IN_THE_KERNEL);
    assertAllowed(rival, possible, FORBIDDEN, FORBIDDEN_IN_THE_MODEL);
  }

  private static void assertAllowed(Rival rival, Set<String> outcomes, Rival.Whose... whose) {
    for (Rival.Rule rule : rival.rules()) {
      if (List.of(whose).contains(rule.whose())) {
        assertThat(outcomes).as(rule.reason()).noneMatch(rule::matches);
      }
    }
  }

  /** No rule is dead: each has an outcome that it is about, with a result for every call. */
  @ParameterizedTest
  @MethodSource("rivals")
  void everyRuleMatchesAnOutcome(Rival rival) {
    for (Rival.Rule rule : rival.rules()) {
      assertThat(rule.sample()).as(rule.reason()).matches(rule.outcome());
      String[] parts = rule.sample().split(" \\| ", -1);
      assertThat(parts).hasSize(3);
      assertResults(parts[0], rival.left());
      assertResults(parts[1], rival.right());
      assertResults(parts[2], rival.after());
    }
  }

  private static void assertResults(String results, List<Trace.Call> calls) {
    assertThat(results.isEmpty() ? 0 : results.split(", ", -1).length)
        .as(results)
        .isEqualTo(calls.size());
  }

  /** In the kernel's place, a model with a call that does nothing: what is forbidden is seen. */
  @ParameterizedTest
  @MethodSource("rivals")
  void aWrongKernelIsCaught(Rival rival) throws Exception {
    Rounds.Stop stop = new Rounds.Stop();
    Set<String> shown;
    try (TraceExecutor wrong = new Idle(model(stop), rival.wrong())) {
      shown = rounds.force(wrong, rival, stop).keySet();
    }
    assertThatThrownBy(() -> assertAllowed(rival, shown, FORBIDDEN, FORBIDDEN_IN_THE_KERNEL))
        .isInstanceOf(AssertionError.class);
  }

  /** A model with a call that does nothing but answer. */
  private static final class Idle implements TraceExecutor {
    private final TraceExecutor model;
    private final String call;
    private final String answer;

    Idle(TraceExecutor model, List<String> wrong) {
      this.model = model;
      this.call = wrong.get(0);
      this.answer = wrong.get(1);
    }

    @Override
    public String execute(Trace.Call made) {
      return made.text().startsWith(call) ? answer : model.execute(made);
    }

    @Override
    public void close() {
      model.close();
    }
  }
}
