package io.github.guestmemfd.conformance;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdListener;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conformance.BadInputWorld.State;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.VcpuExitException;
import io.github.guestmemfd.trace.TraceFormatException;
import io.github.guestmemfd.verification.Results;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Constructor;
import java.lang.reflect.Executable;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.assertj.core.api.ThrowableAssert;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every public method of the exported packages, called with invalid arguments: numbers at and
 * around every boundary, null, buffers of all kinds, closed objects. Only exceptions come out that
 * say what was wrong and that the documentation names, and after a refusal everything is as it was.
 *
 * <p>Classes and methods are found by reflection. A new method is called without anything to be
 * done here; a new class or parameter type fails until {@link BadInputWorld} knows how to make one.
 */
@Timeout(value = 600, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class BadInputTest {
  private static final String ROOT = "io.github.guestmemfd";
  private static final Path SOURCES = Path.of("src/main/java");

  /** So many calls of a method get every combination of values; more are a sample. */
  private static final int ALL_COMBINATIONS = 2500;

  /** What is not called, and why. */
  private static final Map<String, String> NOT_CALLED =
      new TreeMap<>(
          Map.of(
              "ConversionProtocolContract", "is itself a test",
              "GuestMemfdOpsContract", "is itself a test",
              "ConversionPolicyContract", "is itself a test",
              "GuestMemfdExtension", "JUnit calls it: GuestMemfdExtensionTest",
              "RacePoints.Gate.awaitReached", "waits for another thread; so it is for",
              "RacePoints.check", "fails the test, by an AssertionError, on purpose",
              "RacePoints.close", "the same",
              "Folio.lock", "waits for the folio's lock, as long as another holds it",
              "LockOrder", "is told what the thread holds, and would believe it: LockOrderTest",
              "FrameAccess.begin",
                  "announces an access, for which all others wait: FrameAccessTest"));

  /**
   * Calls of which a part may have been done when they are refused, as their documentation says:
   * what is known of the state afterwards is that it is sound.
   */
  static final Set<String> IN_PARTS =
      Set.of(
          "HostMapping.madvise", // the populated prefix; the mapped part
          "HostMapping.window", // the pieces before
          "HostRam.madvise", // the same
          "HostMapping.put", // what lies before the page that faults
          "HostMapping.get", // the same, and it has been faulted in
          "HostMapping.getShort", // a number in two pages, of which the first has been faulted in
          "HostMapping.getInt",
          "HostMapping.getLong",
          "HostMapping.putShort",
          "HostMapping.putInt",
          "HostMapping.putLong",
          "HostMapping.pinFully", // the pages that were allocated on the way
          "VirtualMachine.pin",
          "VirtualMachine.punchHole", // the memslots before
          "Vcpu.read", // what lies before the page that exits
          "Vcpu.write",
          "VirtualMachine.setMemoryAttributes", // the memslots before
          "VirtualMachine.trySetMemoryAttributes",
          "ConversionHandler.start",
          "ConversionHandler.handle");

  private static final Pattern NULL = Pattern.compile("(\\w+)|.* because \"(\\w+)\" is null");

  private static final Map<String, Integer> CALLS = new TreeMap<>();

  @AfterAll
  static void tell() {
    int calls = CALLS.values().stream().mapToInt(Integer::intValue).sum();
    System.out.println(
        "bad input: " + CALLS.size() + " methods and constructors, " + calls + " calls");
    Results.add("bad-input", "methods and constructors", CALLS.size());
    Results.add("bad-input", "calls", calls);
  }

  // ---- what there is ----

  static List<Class<?>> publicClasses() throws IOException {
    List<String> exported =
        Pattern.compile("exports ([\\w.]+);")
            .matcher(Files.readString(SOURCES.resolve("module-info.java")))
            .results()
            .map(m -> m.group(1))
            .toList();
    assertThat(exported).hasSizeGreaterThan(5);
    List<Class<?>> classes = new ArrayList<>();
    for (String name : exported) {
      try (Stream<Path> files = Files.list(SOURCES.resolve(name.replace('.', '/')))) {
        for (Path file : files.sorted().toList()) {
          String simple = file.getFileName().toString();
          if (simple.endsWith(".java") && !simple.equals("package-info.java")) {
            addPublic(load(name + "." + simple.replace(".java", "")), classes);
          }
        }
      }
    }
    return classes;
  }

  private static Class<?> load(String name) {
    try {
      return Class.forName(name);
    } catch (ClassNotFoundException e) {
      throw new AssertionError(e);
    }
  }

  private static void addPublic(Class<?> type, List<Class<?>> classes) {
    if (Modifier.isPublic(type.getModifiers())) {
      classes.add(type);
      for (Class<?> inner : type.getDeclaredClasses()) {
        addPublic(inner, classes);
      }
    }
  }

  /** What a program can call of a class, other than what every object or constant has. */
  static List<Executable> callable(Class<?> type) {
    List<Executable> all = new ArrayList<>();
    if (!Modifier.isAbstract(type.getModifiers())) {
      all.addAll(List.of(type.getConstructors()));
    }
    for (Method method : type.getMethods()) {
      boolean ours = method.getDeclaringClass().getName().startsWith(ROOT);
      boolean fromObject =
          Arrays.stream(Object.class.getMethods())
              .anyMatch(
                  m ->
                      m.getName().equals(method.getName())
                          && Arrays.equals(m.getParameterTypes(), method.getParameterTypes()));
      boolean ourCode = !Modifier.isAbstract(method.getModifiers()) || type.isInterface();
      boolean mine =
          !Modifier.isStatic(method.getModifiers()) || method.getDeclaringClass() == type;
      boolean ofEveryEnum =
          type.isEnum() && List.of("values", "valueOf").contains(method.getName());
      if (ours
          && !ofEveryEnum
          && ourCode
          && mine
          && !fromObject
          && !method.isBridge()
          && !method.isSynthetic()) {
        all.add(method);
      }
    }
    all.removeIf(e -> type.isInterface() && Modifier.isAbstract(e.getModifiers()));
    all.sort(Comparator.comparing(Executable::toString));
    return all;
  }

  static String name(Class<?> type, Executable method) {
    String simple = type.getCanonicalName().substring(type.getPackageName().length() + 1);
    return method instanceof Constructor ? simple + ".new" : simple + "." + method.getName();
  }

  private static boolean isNotCalled(String name) {
    return NOT_CALLED.keySet().stream().anyMatch(n -> name.equals(n) || name.startsWith(n + "."));
  }

  @Test
  void whatIsNotCalledExists() throws IOException {
    Set<String> names = new TreeSet<>();
    for (Class<?> type : publicClasses()) {
      names.add(type.getSimpleName());
      for (Method method : type.getMethods()) {
        names.add(name(type, method));
      }
    }
    assertThat(names).containsAll(NOT_CALLED.keySet()).containsAll(IN_PARTS);
  }

  // ---- calling it ----

  @ParameterizedTest(name = "{0}")
  @MethodSource("publicClasses")
  void everyMethodRefusesWhatItMust(Class<?> type) throws Exception {
    List<String> wrong = new ArrayList<>();
    for (Executable method : callable(type)) {
      if (!isNotCalled(name(type, method))) {
        method.setAccessible(true); // a public method may be inherited from a class that is not
        new Fuzz(type, method, wrong).run();
      }
    }
    assertThat(wrong.stream().limit(40).collect(Collectors.joining("\n"))).isEmpty();
  }

  /** All calls of one method. */
  private static final class Fuzz {
    private final Class<?> type;
    private final Executable method;
    private final List<String> wrong;
    private final String name;
    private final Set<String> seen = new TreeSet<>();
    private final List<List<Function<BadInputWorld, Object>>> values = new ArrayList<>();
    private final Random random = new Random(1);
    private BadInputWorld world = new BadInputWorld();
    private int calls;
    private String documentation; // looked up at the first exception

    Fuzz(Class<?> type, Executable method, List<String> wrong) {
      this.type = type;
      this.method = method;
      this.wrong = wrong;
      this.name = name(type, method);
      boolean needsNone = method instanceof Constructor || Modifier.isStatic(method.getModifiers());
      values.add(needsNone ? List.of(w -> null) : BadInputWorld.subjects(type));
      for (Class<?> parameter : method.getParameterTypes()) {
        values.add(BadInputWorld.values(parameter));
      }
    }

    void run() throws Exception {
      try {
        long combinations = 1;
        for (List<?> list : values) {
          combinations *= list.size();
        }
        int[] choice = new int[values.size()];
        if (combinations <= ALL_COMBINATIONS) {
          for (long n = 0; n < combinations; n++) {
            long rest = n;
            for (int i = 0; i < choice.length; i++) {
              choice[i] = (int) (rest % values.get(i).size());
              rest /= values.get(i).size();
            }
            call(choice);
          }
        } else {
          for (int n = 0; n < ALL_COMBINATIONS; n++) {
            for (int i = 0; i < choice.length; i++) {
              choice[i] = random.nextInt(values.get(i).size());
            }
            call(choice);
          }
        }
      } finally {
        world.close();
      }
      CALLS.merge(name + Arrays.toString(method.getParameterTypes()), calls, Integer::sum);
    }

    private void call(int[] choice) throws Exception {
      calls++;
      Object[] arguments = new Object[choice.length - 1];
      Object subject = values.get(0).get(choice[0]).apply(world);
      boolean withNull = false;
      for (int i = 1; i < choice.length; i++) {
        arguments[i - 1] = values.get(i).get(choice[i]).apply(world);
        withNull |= isNullInside(arguments[i - 1]);
      }
      State before = world.state();
      Throwable thrown = null;
      Object result = null;
      try {
        result = invoke(subject, arguments);
        thrown = failure(result);
      } catch (InvocationTargetException e) {
        thrown = e.getCause();
        if (promisesFuture() && !(thrown instanceof NullPointerException)) {
          wrong(thrown, subject, arguments, "threw and did not fail a future: " + thrown);
        }
      }
      if (thrown != null && !isWellMeant(thrown, withNull)) {
        wrong(thrown, subject, arguments, "threw " + describe(thrown));
      }
      if (thrown != null && !isDocumented(thrown)) {
        wrong(thrown, subject, arguments, "is not documented to throw " + thrown);
      }
      if (thrown instanceof NullPointerException && !namesAParameter(thrown)) {
        wrong(thrown, subject, arguments, "does not say what was null: " + describe(thrown));
      }
      boolean refused = thrown != null || isRefusal(result);
      State after = world.state();
      boolean changed = !after.equals(before);
      if (refused && changed && !IN_PARTS.contains(name)) {
        wrong(
            null,
            subject,
            arguments,
            "was refused and changed "
                + before.difference(after)
                + (thrown == null ? "" : " " + thrown));
      }
      if (!refused && nullWhereItIsNotAllowed(arguments)) {
        wrong(null, subject, arguments, "took a null");
      }
      world.release(result);
      if (changed || !world.isWhole()) {
        world.close();
        world = new BadInputWorld();
      }
    }

    /**
     * Whether an exception names a parameter as the documentation does: by {@code requireNonNull},
     * or in the words of the JVM.
     */
    private boolean namesAParameter(Throwable thrown) {
      Matcher named = NULL.matcher(String.valueOf(thrown.getMessage()));
      return named.matches()
          && documentation().contains("@param " + named.group(named.start(1) < 0 ? 2 : 1) + " ");
    }

    private boolean promisesFuture() {
      return method instanceof Method m && m.getReturnType() == CompletableFuture.class;
    }

    private boolean nullWhereItIsNotAllowed(Object[] arguments) {
      boolean forTheLibraryToCall =
          method instanceof Method m && (m.isDefault() || isOf(GuestMemfdListener.class));
      for (int i = 0; i < arguments.length && !forTheLibraryToCall; i++) {
        if (isNullInside(arguments[i])
            && !method.getAnnotatedParameterTypes()[i].isAnnotationPresent(Nullable.class)) {
          return true;
        }
      }
      return false;
    }

    private boolean isOf(Class<?> other) {
      return other.isAssignableFrom(type)
          && Arrays.stream(other.getMethods())
              .anyMatch(
                  m ->
                      m.getName().equals(method.getName())
                          && Arrays.equals(m.getParameterTypes(), method.getParameterTypes()));
    }

    private Object invoke(Object subject, Object[] arguments) throws Exception {
      try {
        Object result =
            method instanceof Constructor<?> constructor
                ? constructor.newInstance(arguments)
                : ((Method) method).invoke(subject, arguments);
        boolean described = result != null && result.getClass().getSimpleName().equals("Builder");
        return described ? result.getClass().getMethod("build").invoke(result) : result;
      } catch (IllegalArgumentException e) {
        throw new AssertionError(method + " with " + Arrays.toString(arguments), e);
      }
    }

    private void wrong(Throwable key, Object subject, Object[] arguments, String what) {
      if (seen.add(key == null ? what.substring(0, 8) : what.substring(0, 10) + key.getClass())) {
        wrong.add(
            method.toString().replaceAll("io\\.github\\.guestmemfd\\.|java\\.\\w+\\.", "")
                + " on "
                + subject
                + " with "
                + Arrays.deepToString(arguments)
                + " "
                + what);
      }
    }

    private String documentation() {
      if (documentation == null) {
        documentation = Documentation.of(type, method);
        if (method instanceof Method m && m.getReturnType().getSimpleName().equals("Builder")) {
          try {
            documentation +=
                Documentation.of(m.getReturnType(), m.getReturnType().getMethod("build"));
          } catch (NoSuchMethodException e) {
            throw new AssertionError(e);
          }
        }
      }
      return documentation;
    }

    private boolean isDocumented(Throwable thrown) {
      String text = documentation();
      for (Class<?> c = thrown.getClass();
          c != RuntimeException.class && c != Exception.class && c != Object.class;
          c = c.getSuperclass()) {
        if (text.contains(c.getSimpleName())) {
          return true;
        }
      }
      return false;
    }
  }

  private static String describe(Throwable thrown) {
    return thrown
        + Arrays.stream(thrown.getStackTrace())
            .limit(4)
            .map(e -> "\n      " + e)
            .collect(Collectors.joining());
  }

  static boolean isNullInside(Object argument) {
    return argument == null
        || (argument instanceof Object[] array && Arrays.asList(array).contains(null))
        || (argument instanceof List<?> list && list.stream().anyMatch(Objects::isNull));
  }

  /** An exception of a kind that says what the caller did wrong. */
  static boolean isWellMeant(Throwable thrown, boolean withNull) {
    if (thrown instanceof NullPointerException) {
      return withNull;
    }
    return thrown instanceof GuestMemfdException
        || thrown instanceof VcpuExitException
        || thrown instanceof TraceFormatException
        || thrown instanceof IOException
        || thrown instanceof UncheckedIOException
        || thrown instanceof UnsupportedOperationException
        || thrown.getClass() == IllegalArgumentException.class
        || thrown.getClass() == IllegalStateException.class
        || thrown.getClass() == IndexOutOfBoundsException.class;
  }

  /** What a future has failed with, if that is what a call returned; null for anything else. */
  static @Nullable Throwable failure(Object result) {
    return result instanceof CompletableFuture<?> later && later.isCompletedExceptionally()
        ? later.handle((done, e) -> e).join()
        : null;
  }

  static boolean isRefusal(Object result) {
    return (result instanceof Errno errno && errno != Errno.OK)
        || (result instanceof Integer number && number < 0); // a pfn, or a negated errno
  }

  // ---- what it found ----

  /**
   * A wait that a long of nanoseconds cannot hold is the longest one, not an ArithmeticException.
   */
  @Test
  void aWaitOfAgesIsTheLongestOne() {
    assertThat(RetryPolicy.spinThenWait(0, Duration.ofSeconds(Long.MAX_VALUE)).waitNanos())
        .isEqualTo(Long.MAX_VALUE);
    assertThatThrownBy(() -> RetryPolicy.spinThenWait(0, Duration.ofSeconds(Long.MIN_VALUE)))
        .isInstanceOf(IllegalArgumentException.class);
  }

  /** Each of these was taken, and meant something else or failed much later. */
  @Test
  void nullIsRefusedWhereItIsPassed() throws Exception {
    BadInputWorld w = new BadInputWorld();
    State before = w.state();
    for (ThrowableAssert.ThrowingCallable call :
        List.<ThrowableAssert.ThrowingCallable>of(
            () -> w.memfd.tryGrab(0, null),
            () -> w.memfd.put(1, null),
            () -> w.vm.setMemoryAttributes(BadInputWorld.GPA, 4096, null),
            () -> w.vm.ops(null),
            () -> GuestMemfd.builder(w.host).ops(null))) {
      assertThatThrownBy(call).isInstanceOf(NullPointerException.class);
      assertThat(w.state()).isEqualTo(before);
    }
    w.close();
  }

  /** Batches of more memory than there is are refused, before there is an OutOfMemoryError. */
  @Test
  void batchesBeyondMeasureAreRefused() {
    assertThatThrownBy(() -> HostMemory.builder(4096).lruBatches(Integer.MAX_VALUE, 31))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> HostMemory.builder(4096).lruBatches(4096, 1 << 20))
        .isInstanceOf(IllegalArgumentException.class);
  }

  /** What the documentation of a method says, with that of its class and package. */
  private static final class Documentation {
    private static final Map<String, String> TEXTS = new TreeMap<>();

    static String of(Class<?> type, Executable method) {
      Class<?> declaring = method.getDeclaringClass();
      String text = text(declaring, method);
      for (Class<?> i : allInterfaces(type)) {
        text += i.getName().startsWith(ROOT) ? text(i, method) : "";
      }
      return text + packageText(declaring);
    }

    private static Set<Class<?>> allInterfaces(Class<?> type) {
      Set<Class<?>> all = new java.util.LinkedHashSet<>();
      for (Class<?> c = type; c != null; c = c.getSuperclass()) {
        for (Class<?> i : c.getInterfaces()) {
          all.add(i);
          all.addAll(allInterfaces(i));
        }
      }
      return all;
    }

    private static String packageText(Class<?> type) {
      return read(
          SOURCES.resolve(type.getPackageName().replace('.', '/')).resolve("package-info.java"));
    }

    private static String text(Class<?> type, Executable method) {
      Class<?> top = type;
      while (top.getEnclosingClass() != null) {
        top = top.getEnclosingClass();
      }
      String source = read(SOURCES.resolve(top.getName().replace('.', '/') + ".java"));
      String wanted = method instanceof Constructor ? type.getSimpleName() : method.getName();
      Pattern documented =
          Pattern.compile(
              "/\\*\\*((?:(?!\\*/).)*)\\*/\\s*(?:@\\w+(?:\\([^)]*\\))?\\s*)*(?:(?://[^\\n]*\\s*)?)([^;{]*)[;{]",
              Pattern.DOTALL);
      StringBuilder text = new StringBuilder();
      documented
          .matcher(source)
          .results()
          .filter(
              m ->
                  Pattern.compile("\\b" + Pattern.quote(wanted) + "\\s*(\\(|$)")
                          .matcher(m.group(2))
                          .find()
                      || Pattern.compile(
                              "\\b(class|interface|enum|record)\\s+" + type.getSimpleName() + "\\b")
                          .matcher(m.group(2))
                          .find())
          .forEach(m -> text.append(m.group(1)));
      return text.toString();
    }

    private static String read(Path file) {
      return TEXTS.computeIfAbsent(
          file.toString(),
          f -> {
            try {
              return Files.exists(file) ? Files.readString(file) : "";
            } catch (IOException e) {
              throw new UncheckedIOException(e);
            }
          });
    }
  }
}
