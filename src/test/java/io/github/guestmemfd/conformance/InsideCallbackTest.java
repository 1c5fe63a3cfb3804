package io.github.guestmemfd.conformance;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conformance.BadInputWorld.State;
import io.github.guestmemfd.fixtures.InCallback;
import io.github.guestmemfd.fixtures.InCallback.Where;
import io.github.guestmemfd.gunyah.MemoryParcels;
import io.github.guestmemfd.kvm.Vcpu;
import java.io.IOException;
import java.lang.reflect.Constructor;
import java.lang.reflect.Executable;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.function.Function;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every public method of the exported packages, called from inside every callback: it works, or
 * answers EDEADLK before anything is taken. Nothing hangs, what is refused leaves everything as it
 * was, and afterwards nothing keeps a file open.
 */
@Timeout(value = 600, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class InsideCallbackTest {
  private static final long PAGE = BadInputWorld.PAGE;

  /** How often a method is called in one callback, with other values each time. */
  private static final int CHOICES = 6;

  /** What is not called, and why. */
  private static final Map<String, String> NOT_CALLED =
      new TreeMap<>(
          Map.of(
              "ConversionProtocolContract", "is itself a test",
              "GuestMemfdOpsContract", "is itself a test",
              "GuestVersusConversion", "is itself a test, with threads and a host of its own",
              "ReferenceVersusConversion", "the same",
              "PunchVersusGrab", "the same",
              "RacePoints.Gate.awaitReached", "waits for another thread; so it is for",
              "RacePoints.check", "fails the test, by an AssertionError, on purpose",
              "RacePoints.close", "the same",
              "GuestMemfd.put", "called for each tryGrab; else it drops what others hold",
              "FrameAccess.begin", "announces an access, for which the operation waits"));

  static {
    NOT_CALLED.put("ConversionPolicyContract", "is itself a test");
    NOT_CALLED.put("GuestMemfdExtension", "JUnit calls it, outside any callback");
    NOT_CALLED.put("LockOrder", "is told what the thread holds, and would believe it");
  }

  private static final Map<String, Integer> ANSWERS = new TreeMap<>();

  /** The calls are real ones: most of them work, and many have to be refused for where they are. */
  @AfterAll
  static void everyAnswerIsThere() {
    assertThat(ANSWERS).containsOnlyKeys("done", "refused", "EDEADLK");
  }

  static List<Class<?>> publicClasses() throws IOException {
    List<Class<?>> classes = new ArrayList<>(BadInputTest.publicClasses());
    classes.removeIf(c -> NOT_CALLED.containsKey(c.getSimpleName()));
    return classes;
  }

  /** The callbacks of another file of the same host. */
  @ParameterizedTest(name = "{0}")
  @MethodSource("publicClasses")
  void worksOrIsRefusedInACallbackOfAnotherFile(Class<?> type) throws Exception {
    for (Where where : Where.values()) {
      new Round(type, where, false).run();
    }
  }

  /** The callbacks of the file itself, whose pages the callback's operation has. */
  @ParameterizedTest(name = "{0}")
  @MethodSource("publicClasses")
  void worksOrIsRefusedInACallbackOfTheFileItself(Class<?> type) throws Exception {
    for (Where where : Where.values()) {
      if (where != Where.RELEASE) { // after that there is no file to call
        new Round(type, where, true).run();
      }
    }
  }

  /** A call that has been prepared, with its subject and arguments. */
  private record Call(Executable method, String name, Object subject, List<Object> arguments) {
    Object make() throws ReflectiveOperationException {
      Object result =
          method instanceof Constructor<?> constructor
              ? constructor.newInstance(arguments.toArray())
              : ((Method) method).invoke(subject, arguments.toArray());
      boolean described = result != null && result.getClass().getSimpleName().equals("Builder");
      return described ? result.getClass().getMethod("build").invoke(result) : result;
    }

    String text() {
      return name + " on " + subject + " with " + Arrays.deepToString(arguments.toArray());
    }
  }

  /** All calls of a class from one callback. */
  private static final class Round {
    private final Class<?> type;
    private final Where where;
    private final InCallback client;
    private final BadInputWorld world;
    private final GuestMemfd ours;
    private final Random random = new Random(1);
    private final List<Call> calls = new ArrayList<>();
    private final List<Object> results = new ArrayList<>();
    private final List<String> wrong = new ArrayList<>();
    private volatile String current = "nothing";

    Round(Class<?> type, Where where, boolean itself) {
      this.type = type;
      this.where = where;
      this.client = new InCallback(where);
      this.world = itself ? new BadInputWorld(client) : new BadInputWorld();
      this.ours =
          itself
              ? world.opened(world.memfd.dup())
              : world.opened(world.describe().size(4 * PAGE).ops(client).build());
    }

    void run() throws Exception {
      Thread thread = new Thread(this::runHere, "inside " + where + " " + type.getSimpleName());
      thread.setDaemon(true);
      thread.start();
      thread.join(60_000);
      if (thread.isAlive()) {
        throw new AssertionError(
            current + " hangs in " + where + "\n  " + Arrays.toString(thread.getStackTrace()));
      }
      assertThat(String.join("\n", wrong)).isEmpty();
    }

    private void runHere() {
      try {
        prepare();
        ours.allocate(0, 4 * PAGE);
        ours.makeInaccessible(2 * PAGE, PAGE); // pages 0 and 1 are held by what has been prepared
        ours.makeAccessible(3 * PAGE, PAGE);
        ours.grab(2 * PAGE).close();
        ours.grab(3 * PAGE).close();
        client.once(() -> calls.forEach(this::call));
        operate();
        if (client.isArmed()) {
          wrong.add("the callback did not come: " + where);
        }
        for (Object result : results) {
          world.release(result instanceof MemoryParcels parcels ? parcels.memfd() : result);
        }
        ours.close();
        world.close();
        if (world.host.used() != 0) {
          wrong.add("memory is in use: " + world.host);
        }
        world.host.close();
      } catch (Throwable e) {
        wrong.add(where + ": " + e + Arrays.toString(e.getStackTrace()));
      }
    }

    private void operate() {
      switch (where) {
        case INVALIDATE_BEGIN, INVALIDATE_END, PREPARE_INACCESSIBLE ->
            ours.makeInaccessible(3 * PAGE, PAGE);
        case MAKE_PRIVATE -> ours.tryGetPfn(2 * PAGE);
        case PREPARE_ACCESSIBLE, MAKE_SHARED -> ours.makeAccessible(2 * PAGE, PAGE);
        case FREE_FOLIO -> ours.punchHole(3 * PAGE, PAGE);
        case RELEASE -> ours.close();
      }
    }

    /** Makes subjects and arguments, for which a callback would be too late. */
    private void prepare() {
      for (Executable method : BadInputTest.callable(type)) {
        String name = BadInputTest.name(type, method);
        if (NOT_CALLED.containsKey(name)) {
          continue;
        }
        method.setAccessible(true); // a public method may be inherited from a class that is not
        boolean needsNone =
            method instanceof Constructor || Modifier.isStatic(method.getModifiers());
        List<Function<BadInputWorld, Object>> subjects =
            needsNone ? List.of(w -> null) : BadInputWorld.subjects(type);
        for (int choice = 0; choice < CHOICES; choice++) {
          Object subject = subjects.get(choice % subjects.size()).apply(world);
          List<Object> arguments = new ArrayList<>(); // some are null
          for (Class<?> parameter : method.getParameterTypes()) {
            arguments.add(argument(parameter));
          }
          calls.add(new Call(method, name, subject, arguments));
        }
      }
      calls.sort((a, b) -> Boolean.compare(isLast(a), isLast(b)));
    }

    /** Whether a call leaves less to be called. */
    private static boolean isLast(Call call) {
      return call.name.endsWith(".close") || call.name.contains("nbind");
    }

    private Object argument(Class<?> parameter) {
      if (parameter == long.class) {
        long[] good = {0, PAGE, 2 * PAGE, 4 * PAGE, BadInputWorld.GPA, BadInputWorld.GPA + PAGE};
        return good[random.nextInt(good.length)];
      }
      if (parameter == int.class) {
        return random.nextInt(4);
      }
      List<Function<BadInputWorld, Object>> values = BadInputWorld.values(parameter);
      boolean mayBeNull = values.size() > 1 && !parameter.isPrimitive();
      return values.get(random.nextInt(values.size() - (mayBeNull ? 1 : 0))).apply(world);
    }

    /** Whether a vCPU's handler, which it may have been given by an earlier call, ends the run. */
    private static boolean isStop(Throwable thrown) {
      return thrown.getClass().getName().equals(Vcpu.class.getName() + "$Stop");
    }

    private void call(Call call) {
      current = call.text();
      State before = world.state();
      Throwable thrown = null;
      Object result = null;
      try {
        result = call.make();
        thrown = BadInputTest.failure(result);
        if (call.name.equals("GuestMemfd.tryGrab") && (int) result > 0) {
          ((GuestMemfd) call.subject).put((int) result, (HolderKind) call.arguments.get(1));
        } else {
          results.add(result);
        }
      } catch (InvocationTargetException e) {
        thrown = e.getCause();
      } catch (ReflectiveOperationException | RuntimeException e) {
        wrong.add(call.text() + " cannot be called: " + e);
        return;
      }
      if (!GuestMemfd.isInsideCallback()) {
        wrong.add(call.text() + " has left the callback");
      }
      boolean withNull = call.arguments.stream().anyMatch(BadInputTest::isNullInside);
      boolean wellMeant =
          thrown == null || isStop(thrown) || BadInputTest.isWellMeant(thrown, withNull);
      if (!wellMeant) {
        wrong.add(call.text() + " threw " + thrown + Arrays.toString(thrown.getStackTrace()));
      }
      boolean refused = thrown != null || BadInputTest.isRefusal(result);
      State after = world.state();
      if (refused && !after.equals(before) && !BadInputTest.IN_PARTS.contains(call.name)) {
        wrong.add(call.text() + " was refused and changed " + before.difference(after));
      }
      boolean deadlock =
          result == Errno.EDEADLK
              || (result instanceof Integer number && number == -Errno.EDEADLK.code())
              || (thrown instanceof GuestMemfdException e && e.errno() == Errno.EDEADLK);
      ANSWERS.merge(deadlock ? "EDEADLK" : refused ? "refused" : "done", 1, Integer::sum);
    }
  }
}
