package io.github.guestmemfd.explore;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.IdleStrategy;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.jetbrains.kotlinx.lincheck.Actor;
import org.jetbrains.kotlinx.lincheck.execution.ExecutionResult;
import org.jetbrains.kotlinx.lincheck.execution.ExecutionScenario;
import org.jetbrains.lincheck.datastructures.ModelCheckingOptions;
import org.jetbrains.lincheck.datastructures.Operation;
import org.jetbrains.lincheck.datastructures.verifier.Verifier;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The explorer and Lincheck's model checker find the same ends of the same programs: what each call
 * answers, and the state that is left. Lincheck switches threads at each access that it sees in the
 * bytecode, and knows nothing of announcements.
 */
@Tag("lincheck")
class SameEndsLincheckTest {
  /** How many orders Lincheck tries. */
  private static final int RUNS = 10 * Integer.getInteger("lincheck.runs", 100);

  /** A frame in a page cache: its counts and its lock. */
  public static class Frame {
    private final FrameTable frames = new FrameTable(64, IdleStrategy.spinThenPark());
    private final int pfn;
    private boolean frozen;
    private boolean locked;

    public Frame() {
      assertThat(frames.reserve(1)).isTrue();
      pfn = frames.allocate(frames.newOwner(p -> {}));
      frames.thaw(pfn, Counts.CACHE_REF);
    }

    @Operation
    public boolean get() {
      return frames.tryGet(pfn, Counts.REF);
    }

    @Operation
    public boolean getAndPut() {
      boolean got = get();
      if (got) {
        frames.put(pfn, Counts.REF);
      }
      return got;
    }

    @Operation
    public boolean getAndMarkSafe() {
      boolean got = get();
      if (got) {
        frames.markSafe(pfn);
      }
      return got;
    }

    @Operation
    public boolean freeze() {
      frozen = frames.freeze(pfn, counts -> true);
      return frozen;
    }

    @Operation
    public boolean unfreeze() {
      if (frozen) {
        frames.unfreeze(pfn);
      }
      return frozen;
    }

    @Operation
    public boolean leaveCache() {
      frames.put(pfn, Counts.CACHE_REF);
      return true;
    }

    @Operation
    public boolean tryLock() {
      locked = frames.tryLock(pfn);
      return locked;
    }

    @Operation
    public boolean unlock() {
      if (locked) {
        frames.unlock(pfn);
      }
      return locked;
    }

    @Operation
    public boolean leaveToLock() {
      return frames.leaveToLock(pfn);
    }

    @Operation
    public String state() {
      return Long.toHexString(frames.counts(pfn)) + (frames.isLocked(pfn) ? " locked" : "");
    }
  }

  /** A page table entry. */
  public static class Entry {
    private final PageTable table = new PageTable(1, new Accesses());
    private long one;
    private long other;

    @Operation
    public boolean installOne() {
      one = table.install(0, 1);
      return one != 0;
    }

    @Operation
    public boolean confirmOne() {
      table.confirm(0, one);
      return one != 0;
    }

    @Operation
    public boolean installOther() {
      other = table.install(0, 2);
      return other != 0;
    }

    @Operation
    public boolean removeOther() {
      return table.tryRemove(0, other);
    }

    @Operation
    public boolean revoke() {
      table.revoke(0);
      return true;
    }

    @Operation
    public int remove() {
      return table.remove(0);
    }

    @Operation
    public String state() {
      long entry = table.entry(0);
      return PageTable.held(entry) + (PageTable.isPending(entry) ? " pending" : "");
    }
  }

  /** Operations by thread. */
  record Program(Class<?> type, List<List<String>> threads) {
    static Program of(Class<?> type, String... threads) {
      return new Program(
          type, Arrays.stream(threads).map(calls -> List.of(calls.split(", "))).toList());
    }

    Method method(String name) {
      try {
        return type.getMethod(name);
      } catch (NoSuchMethodException e) {
        throw new IllegalArgumentException(e);
      }
    }

    @Override
    public String toString() {
      return type.getSimpleName() + threads;
    }
  }

  static Stream<Program> programs() {
    return Stream.of(
        Program.of(Frame.class, "getAndPut", "freeze, unfreeze"),
        Program.of(Frame.class, "getAndPut", "leaveCache"),
        Program.of(Frame.class, "getAndMarkSafe", "freeze"),
        Program.of(Frame.class, "get", "get", "leaveCache"),
        Program.of(Frame.class, "getAndPut", "getAndPut", "freeze"),
        Program.of(Frame.class, "tryLock, unlock", "leaveToLock"),
        Program.of(Frame.class, "tryLock, unlock", "leaveToLock", "getAndPut"),
        Program.of(Entry.class, "installOne, confirmOne", "revoke, remove"),
        Program.of(Entry.class, "installOne, confirmOne", "installOther, removeOther", "remove"));
  }

  @ParameterizedTest
  @MethodSource("programs")
  void theExplorerAndLincheckFindTheSameEnds(Program program) throws Exception {
    Set<String> explored = explored(program);
    assertThat(explored).hasSizeGreaterThan(1).isEqualTo(ofLincheck(program));
  }

  // ---- the explorer ----

  private record World(Object state, List<List<Object>> answers) {
    static World of(Program program) throws ReflectiveOperationException {
      List<List<Object>> answers = new ArrayList<>();
      program.threads().forEach(calls -> answers.add(new ArrayList<>()));
      return new World(program.type().getConstructor().newInstance(), answers);
    }
  }

  private static Set<String> explored(Program program) {
    Set<String> ends = new TreeSet<>();
    List<Scenario.Actor<World>> actors = new ArrayList<>();
    for (int i = 0; i < program.threads().size(); i++) {
      int thread = i;
      actors.add(
          new Scenario.Actor<>(
              "t" + i,
              world -> {
                for (String call : program.threads().get(thread)) {
                  world.answers().get(thread).add(program.method(call).invoke(world.state()));
                }
              }));
    }
    Scenario<World> scenario =
        new Scenario<>(
            () -> World.of(program),
            actors,
            List.of(),
            null,
            world ->
                ends.add(world.answers() + " " + program.method("state").invoke(world.state())),
            null,
            null);
    Explorer.Result result = Explorer.explore(scenario, Options.ALL, orders -> {});
    assertThat(result.failure()).isNull();
    assertThat(result.complete()).isTrue();
    return ends;
  }

  // ---- Lincheck ----

  /** Accepts all, and writes it down. Lincheck makes it, so what it has found is static. */
  public static class Recorder implements Verifier {
    private static final Set<String> ENDS = new TreeSet<>();

    public Recorder(Class<?> specification) {}

    @Override
    public boolean verifyResults(ExecutionScenario scenario, ExecutionResult result) {
      List<List<String>> answers =
          result.getParallelResultsWithClock().stream()
              .map(calls -> calls.stream().map(call -> call.getResult().toString()).toList())
              .toList();
      ENDS.add(answers + " " + result.getPostResults().get(0));
      return true;
    }
  }

  private static Set<String> ofLincheck(Program program) {
    List<List<Actor>> threads = new ArrayList<>();
    for (List<String> calls : program.threads()) {
      threads.add(calls.stream().map(call -> new Actor(program.method(call), List.of())).toList());
    }
    List<Actor> state = List.of(new Actor(program.method("state"), List.of()));
    Recorder.ENDS.clear();
    new ModelCheckingOptions()
        .addCustomScenario(new ExecutionScenario(List.of(), threads, state, null))
        .iterations(0)
        .invocationsPerIteration(RUNS)
        .verifier(Recorder.class)
        .check(program.type());
    return new TreeSet<>(Recorder.ENDS);
  }
}
