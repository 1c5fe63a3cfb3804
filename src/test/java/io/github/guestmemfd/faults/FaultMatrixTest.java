package io.github.guestmemfd.faults;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaMethod;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import io.github.guestmemfd.DirectMap;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.PfnWalker;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.faults.Fault.Kind;
import io.github.guestmemfd.gunyah.MemoryParcels;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.verification.Results;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Whatever fails, at whatever point: all or nothing, nothing leaks, and it can be tried again. */
@Execution(ExecutionMode.CONCURRENT) // a scenario is one thread, with a host of its own
class FaultMatrixTest {

  /** Fewer faults than this would mean that scenarios do not reach what they did. */
  private static final int LEAST = 70_000;

  /** Lines of a report that make sense to read. */
  private static final int REPORTED = 5;

  private static final List<Class<?>> OPERATIONS =
      List.of(
          HostMemory.class,
          GuestMemfd.class,
          HostMapping.class,
          HostReference.class,
          Folio.class,
          DirectMap.class,
          PfnWalker.class,
          VirtualMachine.class,
          Vcpu.class,
          MemoryParcels.class);

  private static final Map<Kind, Integer> TOTAL = new ConcurrentSkipListMap<>();
  private static final AtomicInteger PLAYED = new AtomicInteger();

  /** Only those of one protocol, if {@code -Dfaults.protocol} says so. */
  private static final String PROTOCOL = System.getProperty("faults.protocol", "");

  static Stream<Arguments> scenarios() {
    return Scenarios.all().stream()
        .flatMap(
            kind ->
                ConversionProtocol.all().stream()
                    .filter(kind::suits)
                    .filter(protocol -> PROTOCOL.isEmpty() || PROTOCOL.equals(protocol.id()))
                    .map(protocol -> Arguments.of(kind, protocol.id())));
  }

  @ParameterizedTest
  @MethodSource("scenarios")
  @Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
  void everyFaultLeavesEverythingInOrder(ScenarioKind kind, String protocol) {
    Matrix matrix = new Matrix(kind, ConversionProtocol.byId(protocol).orElseThrow());
    List<String> failures = matrix.play();
    assertTrue(
        failures.isEmpty(),
        () ->
            failures.size()
                + " failures, first:\n"
                + String.join("\n", failures.subList(0, Math.min(REPORTED, failures.size()))));
    Set<Kind> missing = EnumSet.allOf(Kind.class);
    missing.removeAll(matrix.played.keySet());
    assertEquals(kind.lacks, missing, "kinds of faults for which there was no occasion");
    PLAYED.incrementAndGet();
    matrix.played.forEach((k, n) -> TOTAL.merge(k, n, Integer::sum));
  }

  /** Operations that only tell something, and those that need more than one thread. */
  private static final Set<String> NOT_PLAYED =
      Set.of(
          "toString",
          "metrics",
          "memoryAttributes",
          "id",
          "vm",
          "isOpen",
          "why",
          "length",
          "isPinned",
          "poisoned",
          "hasContents",
          "frameAccess",
          "fileKey",
          "convertedUpTo",
          "bindTo",
          "boundTo",
          "sameOpenFile",
          "link", // of a machine
          "atLastClose", // of a link
          "traits",
          "kernelProfile",
          "supportedMemoryAttributes",
          "supportedFileAttributes",
          "start");

  @Test
  void everyOperationIsPlayed() {
    JavaClasses all = new ClassFileImporter().importPackages("io.github.guestmemfd");
    Set<String> used = new HashSet<>();
    for (JavaClass c : all) {
      if (c.getPackageName().equals(FaultMatrixTest.class.getPackageName())) {
        c.getCodeUnitAccessesFromSelf().forEach(a -> used.add(a.getTarget().getName()));
      }
    }
    Set<String> missing = new TreeSet<>();
    for (Class<?> type : OPERATIONS) {
      for (JavaMethod method : all.get(type).getMethods()) {
        String name = method.getName();
        if (method.getModifiers().contains(JavaModifier.PUBLIC)
            && !method.getModifiers().contains(JavaModifier.STATIC)
            && !used.contains(name)
            && !NOT_PLAYED.contains(name)) {
          missing.add(type.getSimpleName() + "." + name);
        }
      }
    }
    assertEquals(Set.of(), missing);
  }

  @AfterAll
  static void size() {
    List<String> lines = new ArrayList<>();
    TOTAL.forEach((kind, n) -> lines.add(kind + " " + n));
    int total = TOTAL.values().stream().mapToInt(n -> n).sum();
    int scenarios = PLAYED.get();
    System.out.println("fault matrix: " + scenarios + " scenarios, " + total + " faults: " + lines);
    if (PROTOCOL.isEmpty() && scenarios == scenarios().count()) { // and none has failed
      assertTrue(total >= LEAST, () -> "faults played: " + total);
      TOTAL.forEach((kind, n) -> Results.add("faults", kind.text(), n));
      Results.add("faults", "all", total);
      Results.add("faults", "pairs of a scenario and a protocol", scenarios);
    }
  }
}
