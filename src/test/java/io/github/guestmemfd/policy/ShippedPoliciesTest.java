package io.github.guestmemfd.policy;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.kvm.MemoryAttribute;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What the shipped policies decide; {@code batched} has a test of its own. */
class ShippedPoliciesTest {
  private static final GpaRange MEMORY = new GpaRange(0, 1 << 24);
  private static final GpaRange PAGE = new GpaRange(0x5000, 0x1000);
  private static final GpaRange BUFFER = new GpaRange(0x40_0000, 0x8000);

  @ParameterizedTest
  @EnumSource
  void eager(MemoryAttribute attribute) {
    ConversionPolicy policy = ConversionPolicy.eager();
    assertEquals(List.of(MEMORY), policy.beforeFirstRun(MEMORY));
    assertEquals(Optional.of(BUFFER), policy.onHypercall(BUFFER, attribute));
    assertEquals(Optional.empty(), policy.onMemoryFault(PAGE, attribute));
  }

  @ParameterizedTest
  @EnumSource
  void onFault(MemoryAttribute attribute) {
    ConversionPolicy policy = ConversionPolicy.onFault();
    assertEquals(List.of(), policy.beforeFirstRun(MEMORY));
    assertEquals(Optional.empty(), policy.onHypercall(BUFFER, attribute));
    assertEquals(Optional.of(PAGE), policy.onMemoryFault(PAGE, attribute));
  }

  @ParameterizedTest
  @EnumSource
  void hypercallOnly(MemoryAttribute attribute) {
    ConversionPolicy policy = ConversionPolicy.hypercallOnly();
    assertEquals(List.of(), policy.beforeFirstRun(MEMORY));
    assertEquals(Optional.of(BUFFER), policy.onHypercall(BUFFER, attribute));
    assertEquals(Optional.empty(), policy.onMemoryFault(PAGE, attribute));
  }

  // ---- names ----

  @Test
  void eachIsFoundByItsName() {
    List<String> shipped = List.of("eager", "on-fault", "batched", "hypercall");
    assertEquals(shipped, ConversionPolicy.ids().subList(0, 4));
    for (String id : shipped) {
      assertEquals(Optional.of(id), ConversionPolicy.byId(id).map(ConversionPolicy::id));
    }
    assertEquals(Optional.empty(), ConversionPolicy.byId("none-such"));
  }

  @Test
  void aPolicyWithStateIsNewEachTime() {
    ConversionPolicy one = ConversionPolicy.byId("batched").orElseThrow();
    ConversionPolicy other = ConversionPolicy.byId("batched").orElseThrow();
    assertNotSame(one, other);
    for (int i = 0; i < 2; i++) {
      assertEquals(Optional.of(PAGE), one.onMemoryFault(PAGE, PRIVATE));
    }
    assertNotSame(PAGE, one.onMemoryFault(PAGE, PRIVATE).orElseThrow(), "it counts");
    assertEquals(Optional.of(PAGE), other.onMemoryFault(PAGE, PRIVATE), "the other does not");
  }

  // ---- ranges ----

  @Test
  void aRangeIsOfWholePages() {
    assertEquals(0x6000, PAGE.end());
    assertEquals(Long.MAX_VALUE & -4096, new GpaRange(0, Long.MAX_VALUE & -4096).end());
    for (long[] wrong :
        new long[][] {{1, 4096}, {0, 1}, {0, 0}, {0, -4096}, {-4096, 4096}, {1L << 62, 1L << 62}}) {
      assertThrows(IllegalArgumentException.class, () -> new GpaRange(wrong[0], wrong[1]));
    }
  }

  @Test
  void rangesContainAndOverlap() {
    GpaRange three = new GpaRange(0x4000, 0x3000);
    GpaRange before = new GpaRange(0x3000, 0x1000);
    GpaRange after = new GpaRange(0x7000, 0x1000);
    GpaRange edge = new GpaRange(0x6000, 0x2000);
    assertEquals(
        List.of(true, true, false, false, false),
        List.of(three, PAGE, before, after, edge).stream().map(three::contains).toList());
    assertEquals(
        List.of(true, true, false, false, true),
        List.of(three, PAGE, before, after, edge).stream().map(three::overlaps).toList());
    assertEquals("gpa 0x4000 size 12288", three.toString());
  }

  /** Of a policy that does not care. */
  @Test
  void byDefaultAPolicyConvertsNothingAtTheStartAndDoesNotListen() {
    ConversionPolicy policy = new OwnPolicy();
    assertEquals(List.of(), policy.beforeFirstRun(MEMORY));
    policy.converted(PAGE, SHARED);
  }
}
