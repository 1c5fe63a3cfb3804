package io.github.guestmemfd;

import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAnyPackage;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.methods;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaCodeUnit;
import com.tngtech.archunit.core.domain.JavaCodeUnitAccess;
import com.tngtech.archunit.core.domain.JavaMethod;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.Location;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.junit.LocationProvider;
import com.tngtech.archunit.lang.ArchCondition;
import com.tngtech.archunit.lang.ArchRule;
import com.tngtech.archunit.lang.ConditionEvents;
import com.tngtech.archunit.lang.SimpleConditionEvent;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Mutex;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The rules of docs/architecture.md that can be read off the classes. */
@AnalyzeClasses(locations = ArchitectureTest.LibraryAndLab.class)
class ArchitectureTest {

  /** Where the build compiles both: on the class path the lab is between the tests. */
  static class LibraryAndLab implements LocationProvider {
    @Override
    public Set<Location> get(Class<?> testClass) {
      return Set.of(LIBRARY, LAB);
    }
  }

  private static final Location LIBRARY = Location.of(Path.of("target", "classes"));
  private static final Location LAB = Location.of(Path.of("target", "lab-classes"));
  private static final String ROOT = "io.github.guestmemfd";
  private static final Set<String> INTERNAL =
      Set.of(
          ROOT + ".explore", ROOT + ".memory", ROOT + ".cache", ROOT + ".observe", ROOT + ".file");

  /** From the lowest package to the highest; a package may use those before it. */
  private static final List<String> LAYERS =
      List.of(
          ROOT + ".abi",
          ROOT + ".spi",
          ROOT + ".explore",
          ROOT + ".memory",
          ROOT + ".cache",
          ROOT + ".conversion",
          ROOT + ".observe",
          ROOT + ".file",
          ROOT,
          ROOT + ".gunyah",
          ROOT + ".kvm",
          ROOT + ".platform",
          ROOT + ".policy",
          ROOT + ".trace",
          ROOT + ".testing",
          ROOT + ".lab.report",
          ROOT + ".lab.workload",
          ROOT + ".lab.kernel",
          ROOT + ".lab");

  @ArchTest
  static void packagesDependDownwardsOnly(JavaClasses all) {
    List<String> seen = new ArrayList<>();
    for (String layer : LAYERS) {
      seen.add(layer);
      List<String> above = new ArrayList<>(LAYERS);
      above.removeAll(seen);
      if (!above.isEmpty()) {
        noClasses()
            .that()
            .resideInAPackage(layer)
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage(above.toArray(new String[0]))
            .check(all);
      }
    }
  }

  /** The clients prove that what is exported suffices for others. */
  @ArchTest
  static final ArchRule clientsUseThePublicApiAlone =
      noClasses()
          .that()
          .resideInAnyPackage(
              ROOT + ".kvm",
              ROOT + ".gunyah",
              ROOT + ".platform",
              ROOT + ".policy",
              ROOT + ".lab..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(INTERNAL.toArray(new String[0]));

  @ArchTest
  static final ArchRule everyPackageHasItsLayer =
      classes().should().resideInAnyPackage(LAYERS.toArray(new String[0]));

  @ArchTest
  static final ArchRule noCircles = slices().matching(ROOT + ".(**)").should().beFreeOfCycles();

  /**
   * Classes of one package that need each other, as they may: facades that make each other, a
   * process and its mappings, and an interface with the implementations that it offers. Every other
   * class depends in one direction.
   */
  private static final Set<Set<String>> KNOTS =
      Set.of(
          Set.of(
              "AddressSpace",
              "GuestMemfd",
              "GuestMemfdListener",
              "HostMapping",
              "HostMemory",
              "RecordedMapping",
              "RecordedMemfd",
              "RecordedReference"),
          Set.of("spi.IdleStrategy", "spi.SpinThenPark"),
          Set.of(
              "conversion.AtomicPair",
              "conversion.BothCounters",
              "conversion.ConversionProtocol",
              "conversion.InvalidateLock",
              "conversion.LastPut",
              "conversion.LockOnly",
              "conversion.PinCheck",
              "conversion.SafeOnly",
              "conversion.Shipped",
              "conversion.TimedWait"),
          Set.of("kvm.BoundSlot", "kvm.Gmem", "kvm.Mmu", "kvm.SlotPages"),
          Set.of("kvm.ExitHandler", "kvm.GuestProgram", "kvm.Vcpu", "kvm.VirtualMachine"),
          Set.of(
              "policy.Batched",
              "policy.ConversionPolicy",
              "policy.Eager",
              "policy.HypercallOnly",
              "policy.OnFault"),
          Set.of("file.Mapping", "file.Mm"),
          Set.of("lab.kernel.ForkedProcess", "lab.kernel.UserSpace"),
          Set.of("lab.workload.LabRun", "lab.workload.RunConfig"),
          Set.of("testing.Party", "testing.Stage"));

  @ArchTest
  static void classesOfAPackageDependInOneDirection(JavaClasses all) {
    assertThat(Knots.of(all, ROOT)).isEqualTo(KNOTS);
  }

  /** The packages in which one topic is one class. */
  private static final Set<String> ENGINE =
      Set.of("abi", "spi", "explore", "memory", "cache", "conversion", "observe", "file");

  /** The packages above it: what they offer is a facade, which has a method for every call. */
  private static final Set<String> FACADES =
      Set.of("", "gunyah", "kvm", "platform", "policy", "trace", "testing");

  @Test
  void everyPackageOfTheLibraryIsEngineOrFacade() {
    Set<String> packages =
        Stream.concat(ENGINE.stream(), FACADES.stream())
            .map(p -> p.isEmpty() ? ROOT : ROOT + "." + p)
            .collect(Collectors.toSet());
    assertThat(LAYERS)
        .filteredOn(l -> !l.startsWith(ROOT + ".lab"))
        .containsExactlyInAnyOrderElementsOf(packages);
  }

  @Test
  void aClassOfTheEngineIsNotLong() throws IOException {
    requireNotLongerThan(350, ENGINE);
  }

  @Test
  void aFacadeIsNotLong() throws IOException {
    requireNotLongerThan(400, FACADES);
  }

  /** A contract is a test, which has no topics to part. */
  private static void requireNotLongerThan(int max, Set<String> packages) throws IOException {
    Path main = Path.of("src", "main", "java", "io", "github", "guestmemfd");
    for (String name : packages) {
      try (Stream<Path> files = Files.list(main.resolve(name))) {
        for (Path file :
            files.filter(f -> f.toString().matches(".*(?<!Contract)\\.java")).toList()) {
          assertThat(linesOfCode(file)).as(file.toString()).isLessThanOrEqualTo(max);
        }
      }
    }
  }

  private static long linesOfCode(Path file) throws IOException {
    String code = Files.readString(file).replaceAll("(?s)/\\*.*?\\*/", "");
    return code.lines()
        .map(String::strip)
        .filter(l -> !l.isEmpty() && !l.matches("(//|import |package ).*"))
        .count();
  }

  private static final Path TESTS = Path.of("src", "test", "java");

  /** Packages that only tests have. Every other test is in the package of what it tests. */
  private static final Set<String> OF_TESTS_ALONE =
      Set.of(
          "conformance", // what user space sees, whichever class answers
          "faults", // faults at every step of every operation
          "fixtures", // what tests of several packages share
          "model", // a second, sequential implementation to compare with
          "verification"); // writes the result tables of docs/verification.md

  @Test
  void aTestIsInThePackageOfWhatItTests() throws IOException {
    Path root = Path.of(ROOT.replace('.', '/'));
    List<Path> allowed = new ArrayList<>();
    OF_TESTS_ALONE.forEach(name -> allowed.add(root.resolve(name)));
    for (Path sources : List.of(Path.of("src", "main", "java"), Path.of("src", "lab", "java"))) {
      sourcesIn(sources).forEach(file -> allowed.add(sources.relativize(file.getParent())));
    }
    List<Path> elsewhere = new ArrayList<>(sourcesIn(TESTS));
    elsewhere.removeIf(file -> allowed.contains(TESTS.relativize(file.getParent())));
    assertThat(elsewhere).isEmpty();
  }

  private static final int MAX_LINES_OF_A_TEST = 900;

  /** Tests that are longer, each of one thing that cannot be told in parts. */
  private static final Set<String> LONG_TESTS =
      Set.of(
          "ConversionHandlerTest.java", // one guest with its exits, which every test begins with
          "MessagesTest.java"); // a list of messages

  @Test
  void aTestIsNotLong() throws IOException {
    for (Path file : sourcesIn(TESTS)) {
      if (!LONG_TESTS.contains(file.getFileName().toString())) {
        assertThat(linesOfCode(file)).as(file.toString()).isLessThan(MAX_LINES_OF_A_TEST);
      }
    }
  }

  private static List<Path> sourcesIn(Path root) throws IOException {
    try (Stream<Path> files = Files.walk(root)) {
      return files.filter(file -> file.toString().endsWith(".java")).toList();
    }
  }

  /** What is asked in words answers, and waits for nothing: its name would say so. */
  @ArchTest
  static final ArchRule aPredicateDoesNotWait =
      methods()
          .that()
          .haveNameMatching("(is|has|may|can|contains|needs|keeps)[A-Z].*")
          .and()
          .areDeclaredInClassesThat()
          .resideInAnyPackage(ENGINE.stream().map(e -> ROOT + "." + e).toArray(String[]::new))
          .should(
              new ArchCondition<JavaMethod>("not wait") {
                @Override
                public void check(JavaMethod method, ConditionEvents events) {
                  if (method.getThrowsClause().containsType(InterruptedException.class)) {
                    events.add(SimpleConditionEvent.violated(method, method.getFullName()));
                  }
                }
              });

  /** Methods of the JDK that idle: they spin, yield, sleep or park. */
  private static final DescribedPredicate<JavaCodeUnitAccess<?>> IDLES =
      DescribedPredicate.describe(
          "idles",
          access -> {
            String owner = access.getTargetOwner().getName();
            String name = access.getName();
            return switch (owner) {
              case "java.lang.Thread" -> Set.of("onSpinWait", "yield", "sleep").contains(name);
              case "java.util.concurrent.TimeUnit" -> name.equals("sleep");
              case "java.util.concurrent.locks.LockSupport" -> name.startsWith("park");
              default -> name.equals("wait"); // of any object
            };
          });

  /** Methods of the JDK that block until another thread has done something. */
  private static final DescribedPredicate<JavaCodeUnitAccess<?>> BLOCKS =
      DescribedPredicate.describe(
          "blocks",
          access -> {
            JavaClass owner = access.getTargetOwner();
            String name = access.getName();
            if (owner.isAssignableTo(Thread.class) || owner.isAssignableTo(Future.class)) {
              return name.equals("join") || name.equals("get"); // a thread has no get
            }
            return owner.getPackageName().matches("java\\.util\\.concurrent(\\.locks)?")
                && name.matches("await.*|acquire.*|tryAcquire|take|lock.*|exchange");
          });

  private static final DescribedPredicate<JavaCodeUnitAccess<?>> CALLS_A_STRATEGY =
      DescribedPredicate.describe(
          "calls an idle strategy",
          access ->
              access.getName().equals("idle")
                  && access.getTargetOwner().isAssignableTo(IdleStrategy.class));

  private static final DescribedPredicate<JavaCodeUnitAccess<?>> INTERRUPTS =
      DescribedPredicate.describe(
          "sets the interrupt status",
          access ->
              access.getTargetOwner().isEquivalentTo(Thread.class)
                  && access.getName().equals("interrupt"));

  /** The classes of the library that use a method, nested ones as the class that they are in. */
  private static Set<String> users(
      Iterable<JavaClass> all, DescribedPredicate<JavaCodeUnitAccess<?>> what) {
    Set<String> users = new TreeSet<>();
    for (JavaClass c : all) {
      if (!c.getPackageName().startsWith(ROOT + ".lab")
          && c.getCodeUnitAccessesFromSelf().stream().anyMatch(what)) {
        users.add(c.getName().replace(ROOT + ".", "").replaceAll("\\$.*", ""));
      }
    }
    return users;
  }

  /**
   * The waits of the library go through {@code spi.Wait}, but for these classes, which
   * docs/synchronization.md lists. The lab is a program, and waits as it likes.
   */
  @ArchTest
  static void waitsGoThroughWait(JavaClasses all) {
    assertThat(users(all, CALLS_A_STRATEGY))
        .containsExactlyInAnyOrder(
            "spi.Wait", //
            "testing.Stage"); // a strategy that tells who waits, and passes the call on
    assertThat(users(all, INTERRUPTS))
        .containsExactlyInAnyOrder(
            "spi.Wait", //
            "explore.Strand", // an interrupt is a step of a scenario
            "testing.Answers", // whether a protocol loses an interrupt
            "testing.Party"); // contracts interrupt what waits
    assertThat(users(all, IDLES))
        .containsExactlyInAnyOrder(
            "spi.SpinThenPark", // the strategies that Wait calls
            "explore.Execution", // below Wait: it hands turns to the threads that it explores
            "explore.Strand", // the other end of that
            "memory.FrameCounts", // a hint to the processor between two compare-and-sets
            "testing.Stress"); // spends time at random, and waits for nothing
    assertThat(users(all, BLOCKS))
        .containsExactlyInAnyOrder(
            "spi.Mutex", // for sections whose holder waits for nothing
            "file.PendingConversion", // a user waits for a future
            "kvm.MemoryAttributes", // of a future that is done
            "testing.Party", // stands at a step until the test lets it go
            "testing.RacePoints", // so do the threads at a gate
            "testing.Stage");
  }

  /** What the rule finds in a class that is not on its lists. */
  @Test
  void aClassThatWaitsByItselfIsFound() {
    JavaClasses wrong = new ClassFileImporter().importClasses(WaitsByItself.class);
    String name = ArchitectureTest.class.getSimpleName();
    for (DescribedPredicate<JavaCodeUnitAccess<?>> what :
        List.of(IDLES, BLOCKS, CALLS_A_STRATEGY, INTERRUPTS)) {
      assertThat(users(wrong, what)).as(what.getDescription()).containsExactly(name);
    }
    assertThatThrownBy(() -> waitsGoThroughWait(wrong)).isInstanceOf(AssertionError.class);
  }

  /** Not run: it idles in a lambda, and by a reference to a method. */
  static final class WaitsByItself {
    final Runnable lambda = () -> LockSupport.parkNanos(1);
    final Runnable reference = Thread.currentThread()::interrupt;

    void blocks(CountDownLatch latch, IdleStrategy idle) throws InterruptedException {
      latch.await();
      idle.idle(0, 1);
    }
  }

  @ArchTest
  static void theLibrarysJarHasNoLabAndTheLabsAllOfIt(JavaClasses all) {
    for (JavaClass c : all) {
      String from = c.getSource().orElseThrow().getUri().toString();
      assertThat(from.contains("/target/lab-classes/"))
          .as(from)
          .isEqualTo(c.getPackageName().matches(Pattern.quote(ROOT + ".lab") + "(\\..*)?"));
    }
  }

  private static final String[] OF_THE_LIBRARY = {
    ROOT + "..",
    "java..",
    "jdk.jfr..",
    "org.jctools..",
    "org.jspecify..",
    "org.junit..",
    "org.slf4j"
  };

  @ArchTest
  static final ArchRule theLibraryUsesWhatItsDescriptorRequires =
      classes()
          .that()
          .resideOutsideOfPackage(ROOT + ".lab..")
          .should()
          .onlyDependOnClassesThat()
          .resideInAnyPackage(OF_THE_LIBRARY);

  /** It is compiled against all that tests use; its jar has these alone. */
  @ArchTest
  static final ArchRule theLabUsesWhatItsJarHas =
      classes()
          .that()
          .resideInAPackage(ROOT + ".lab..")
          .should()
          .onlyDependOnClassesThat()
          .resideInAnyPackage(
              ROOT + "..",
              "java..",
              "org.jspecify..",
              "com.fasterxml.jackson.core..",
              "com.sun.jna..",
              "org.HdrHistogram..",
              "picocli..");

  /** What of the testing package is for JUnit Jupiter alone; the rest needs no JUnit. */
  private static final DescribedPredicate<JavaClass> FOR_JUNIT =
      DescribedPredicate.describe(
          "are for JUnit",
          c ->
              c.getName()
                  .matches(
                      ROOT.replace(".", "\\.")
                          + "\\.testing\\.(\\w+Contract|GuestMemfdExtension|ConversionProtocols)(\\$.*)?"));

  @ArchTest
  static final ArchRule onlyContractsAndExtensionUseJUnit =
      noClasses()
          .that(DescribedPredicate.not(FOR_JUNIT))
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage("org.junit..");

  @ArchTest
  static final ArchRule noUnsafeAndNoReflection =
      noClasses()
          .that(DescribedPredicate.not(FOR_JUNIT)) // which shows methods and parameters
          .should()
          .dependOnClassesThat(
              resideInAnyPackage("sun.misc..", "jdk.internal..", "java.lang.reflect.."));

  @ArchTest
  static final ArchRule nothingIsSynchronized =
      classes()
          .should(
              new ArchCondition<JavaClass>("have no synchronized method") {
                @Override
                public void check(JavaClass c, ConditionEvents events) {
                  c.getMethods().stream()
                      .filter(m -> m.getModifiers().contains(JavaModifier.SYNCHRONIZED))
                      .forEach(m -> events.add(SimpleConditionEvent.violated(m, m.getFullName())));
                }
              });

  /** Else {@link LockOrder} would not check it. */
  @ArchTest
  static final ArchRule everyMutexHasItsClass = noClasses().should().callConstructor(Mutex.class);

  /** A user of the module must be able to name every type that the exported packages show. */
  @ArchTest
  static final ArchRule exportedPackagesShowNoInternalType =
      classes()
          .that(
              DescribedPredicate.describe(
                  "are exported",
                  c ->
                      c.getModifiers().contains(JavaModifier.PUBLIC)
                          && !INTERNAL.contains(c.getPackageName())
                          && !c.getPackageName().startsWith(ROOT + ".lab")))
          .should(
              new ArchCondition<JavaClass>("show no internal type") {
                @Override
                public void check(JavaClass c, ConditionEvents events) {
                  c.getFields().stream()
                      .filter(f -> isShown(f.getModifiers()))
                      .filter(f -> INTERNAL.contains(f.getRawType().getPackageName()))
                      .forEach(f -> events.add(SimpleConditionEvent.violated(f, f.getFullName())));
                  c.getCodeUnits().stream()
                      .filter(u -> isShown(u.getModifiers()))
                      .filter(u -> types(u).stream().anyMatch(INTERNAL::contains))
                      .forEach(u -> events.add(SimpleConditionEvent.violated(u, u.getFullName())));
                }
              });

  private static boolean isShown(Set<JavaModifier> modifiers) {
    return modifiers.contains(JavaModifier.PUBLIC) || modifiers.contains(JavaModifier.PROTECTED);
  }

  private static List<String> types(JavaCodeUnit unit) {
    List<String> packages = new ArrayList<>();
    packages.add(unit.getRawReturnType().getPackageName());
    unit.getRawParameterTypes().forEach(t -> packages.add(t.getPackageName()));
    return packages;
  }
}
