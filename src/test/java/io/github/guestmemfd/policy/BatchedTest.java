package io.github.guestmemfd.policy;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.kvm.MemoryAttribute;
import java.util.BitSet;
import java.util.List;
import java.util.Optional;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.Tuple;
import net.jqwik.api.statistics.Statistics;
import org.junit.jupiter.api.Test;

/** What {@code batched} decides. */
class BatchedTest {
  private static final int PAGE = 4096;
  private static final int BLOCK = 512;

  private final ConversionPolicy policy = ConversionPolicy.batched();

  private static GpaRange pages(long from, long to) {
    return new GpaRange(from * PAGE, (to - from) * PAGE);
  }

  /** A fault whose conversion is done; returns what is converted. */
  private GpaRange fault(long page, MemoryAttribute attribute) {
    GpaRange answer = policy.onMemoryFault(pages(page, page + 1), attribute).orElseThrow();
    policy.converted(answer, attribute);
    return answer;
  }

  private void assertSingles(int expected, long firstPage) {
    for (long page = firstPage; page < firstPage + expected; page++) {
      assertEquals(pages(page, page + 1), fault(page, PRIVATE), "single pages at first");
    }
  }

  // ---- to private ----

  /** Half of the guest addresses there are: what is said of them stands, block by block or not. */
  @Test
  void hypercallsOfAnySizeAreRemembered() {
    long last = (1L << 50) - BLOCK; // the first page of the last whole block
    fault(3 * BLOCK + 7, PRIVATE);
    policy.onHypercall(pages(5, 1L << 50), SHARED);
    policy.onHypercall(pages(2 * BLOCK - 2, 10 * BLOCK + 2), PRIVATE);
    policy.onHypercall(pages(8 * BLOCK, 9 * BLOCK), SHARED);
    assertNeighbourhood(0, 5, 0);
    assertNeighbourhood(BLOCK + 500, BLOCK + 501, BLOCK + 500); // but for its last two pages
    assertNeighbourhood(2 * BLOCK - 2, 2 * BLOCK, 2 * BLOCK - 1);
    assertNeighbourhood(2 * BLOCK, 3 * BLOCK, 2 * BLOCK);
    assertNeighbourhood(3 * BLOCK, 4 * BLOCK, 3 * BLOCK); // the one that was made before
    assertNeighbourhood(8 * BLOCK + 9, 8 * BLOCK + 10, 8 * BLOCK + 9);
    assertNeighbourhood(9 * BLOCK, 10 * BLOCK, 9 * BLOCK);
    assertNeighbourhood(10 * BLOCK, 10 * BLOCK + 2, 10 * BLOCK);
    assertNeighbourhood(11 * BLOCK + 1, 11 * BLOCK + 2, 11 * BLOCK + 1);
    assertNeighbourhood(last + 4, last + 5, last + 4);
    assertNeighbourhood(1L << 50, (1L << 50) + BLOCK, 1L << 50);
  }

  /** After enough private faults on one page of a block, what of it is converted. */
  private void assertNeighbourhood(long from, long to, long page) {
    GpaRange answer = pages(page, page + 1);
    for (int i = 0; i < 3 && answer.size() == PAGE; i++) {
      answer = policy.onMemoryFault(pages(page, page + 1), PRIVATE).orElseThrow();
    }
    assertEquals(pages(from, to), answer);
  }

  @Test
  void afterTwoSinglePagesTheBlockIsConverted() {
    assertSingles(2, 600);
    assertEquals(pages(512, 1024), fault(602, PRIVATE));
    assertSingles(2, 100); // another block
    assertEquals(pages(0, 512), fault(511, PRIVATE));
  }

  @Test
  void whatWasSharedIsLeftOut() {
    fault(110, SHARED);
    policy.onHypercall(pages(120, 122), SHARED);
    assertSingles(2, 112);
    assertEquals(pages(111, 120), fault(115, PRIVATE));
    assertEquals(pages(0, 110), fault(0, PRIVATE), "the next piece at once");
    assertEquals(pages(122, 512), fault(300, PRIVATE));
  }

  @Test
  void aHypercallForPrivateEndsTheWishForShared() {
    policy.onHypercall(pages(0, 1024), SHARED);
    policy.onHypercall(pages(100, 900), PRIVATE);
    assertSingles(2, 110);
    assertEquals(pages(100, 512), fault(112, PRIVATE));
  }

  /** The guest has asked for shared, and goes on using the page as private. */
  @Test
  void useAsPrivateEndsTheWishForShared() {
    policy.onHypercall(pages(100, 110), SHARED);
    assertSingles(2, 100);
    assertEquals(pages(0, 103), fault(102, PRIVATE), "up to the next that is wished shared");
  }

  /** The policy is asked by a handler for one page; by others perhaps for more. */
  @Test
  void aFaultOfTwoBlocksIsConvertedAsItIs() {
    assertSingles(2, 510);
    GpaRange used = pages(511, 514);
    assertEquals(Optional.of(used), policy.onMemoryFault(used, PRIVATE));
  }

  @Test
  void aFaultOfSeveralPagesIsContained() {
    policy.onHypercall(pages(0, 512), SHARED);
    assertSingles(2, 100);
    GpaRange used = pages(200, 203);
    assertEquals(Optional.of(used), policy.onMemoryFault(used, PRIVATE));
  }

  /** A handler that is refused the neighbourhood converts the page alone. */
  @Test
  void aNeighbourhoodThatIsRefusedIsTriedAgainAfterSinglePages() {
    assertSingles(2, 0);
    assertEquals(pages(0, 512), policy.onMemoryFault(pages(2, 3), PRIVATE).orElseThrow());
    policy.converted(pages(2, 3), PRIVATE);
    assertSingles(2, 3);
    assertEquals(pages(0, 512), fault(5, PRIVATE));
  }

  // ---- to shared ----

  @Test
  void toSharedItConvertsWhatWasUsed() {
    assertSingles(2, 0);
    assertEquals(pages(0, 512), fault(2, PRIVATE));
    for (long page = 10; page < 20; page++) {
      assertEquals(pages(page, page + 1), fault(page, SHARED));
    }
  }

  @Test
  void hypercallsConvertNothing() {
    assertEquals(Optional.empty(), policy.onHypercall(pages(0, 8), SHARED));
    assertEquals(Optional.empty(), policy.onHypercall(pages(0, 8), PRIVATE));
    assertEquals(List.of(), policy.beforeFirstRun(pages(0, 1024)));
  }

  @Test
  void aConversionToSharedInABatchedBlockDoublesTheThreshold() {
    int threshold = 2;
    for (int round = 0; round < 12; round++) {
      assertSingles(Math.min(threshold, 512), 0);
      assertEquals(pages(0, 512), fault(511, PRIVATE), "after " + threshold);
      fault(7, SHARED);
      fault(8, SHARED); // no longer a batched block: doubles nothing
      threshold = Math.min(2 * threshold, 512);
      fault(8, PRIVATE); // both private again, so that the pieces are the block
      fault(7, PRIVATE);
      fault(300, SHARED); // starts the row again
      policy.onHypercall(pages(300, 301), PRIVATE);
    }
  }

  @Test
  void aConversionToSharedEndsARow() {
    for (long page = 0; page < 100; page += 2) {
      assertSingles(1, page);
      fault(400, SHARED);
    }
    assertSingles(2, 200);
    assertEquals(pages(0, 400), fault(202, PRIVATE));
  }

  // ---- whatever happens ----

  enum What {
    FAULT,
    FAULT_REFUSED,
    FAULT_ALONE,
    HYPERCALL
  }

  /** Something that happens to a range of pages; a fault is of the first. */
  record Event(What what, MemoryAttribute attribute, int page, int count) {}

  @Provide
  Arbitrary<List<Event>> events() {
    Arbitrary<Integer> page = // some that come often, next to each other and to the blocks' ends
        Arbitraries.oneOf(
            Arbitraries.integers().between(0, 3 * BLOCK - 1),
            Arbitraries.of(0, 1, 2, 3, 510, 511, 512, 513, 515, 517, 600, 1023, 1024, 1535));
    return Combinators.combine(
            Arbitraries.frequency(
                Tuple.of(6, What.FAULT),
                Tuple.of(1, What.FAULT_REFUSED),
                Tuple.of(1, What.FAULT_ALONE),
                Tuple.of(2, What.HYPERCALL)),
            Arbitraries.frequency(Tuple.of(4, PRIVATE), Tuple.of(1, SHARED)),
            page,
            Arbitraries.oneOf(Arbitraries.just(1), Arbitraries.integers().between(1, 600)))
        .as(Event::new)
        .list()
        .ofMaxSize(60);
  }

  /** Of a range that is under way a vCPU wants a page shared: what it said stands. */
  @Test
  void whatIsAskedForWhileARangeIsConvertedStaysKnown() {
    ConversionPolicy batched = ConversionPolicy.batched();
    for (int page = 0; page < 2; page++) {
      batched.onMemoryFault(pages(page, page + 1), PRIVATE);
      batched.converted(pages(page, page + 1), PRIVATE);
    }
    GpaRange answer = batched.onMemoryFault(pages(2, 3), PRIVATE).orElseThrow();
    assertEquals(pages(0, BLOCK), answer);
    assertEquals(Optional.empty(), batched.onHypercall(pages(5, 6), SHARED));
    batched.converted(answer, PRIVATE);
    assertEquals(
        Optional.of(pages(0, 5)), batched.onMemoryFault(pages(3, 4), PRIVATE), "page 5 is wanted");
  }

  /**
   * Hypothesis: to shared it converts what was used; to private what was used and pages around it
   * in the same 2 MiB, none of which the guest wants shared, up to the next one of those.
   */
  @Property
  void neverMoreThanItMay(@ForAll("events") List<Event> events) {
    ConversionPolicy batched = ConversionPolicy.batched();
    BitSet wanted = new BitSet();
    int neighbourhoods = 0;
    for (Event event : events) {
      int page = event.page;
      boolean shared = event.attribute == SHARED;
      if (event.what == What.HYPERCALL) {
        assertEquals(
            Optional.empty(),
            batched.onHypercall(pages(page, page + event.count), event.attribute));
        wanted.set(page, page + event.count, shared);
        continue;
      }
      GpaRange used = pages(page, page + 1);
      GpaRange answer = batched.onMemoryFault(used, event.attribute).orElseThrow();
      if (!answer.equals(used)) {
        assertEquals(PRIVATE, event.attribute, "more than was used, to shared");
        int block = page / BLOCK;
        int from = Math.max(wanted.previousSetBit(page - 1) + 1, block * BLOCK);
        int next = wanted.nextSetBit(page + 1);
        int to = next < 0 ? (block + 1) * BLOCK : Math.min(next, (block + 1) * BLOCK);
        assertEquals(pages(from, to), answer);
        neighbourhoods++;
      }
      assertTrue(answer.contains(used));
      GpaRange done = event.what == What.FAULT ? answer : used;
      if (event.what != What.FAULT_REFUSED) {
        batched.converted(done, event.attribute);
        if (shared) {
          wanted.set((int) (done.gpa() / PAGE), (int) (done.end() / PAGE));
        }
      }
      if (!shared) {
        wanted.clear(page);
      }
    }
    Statistics.collect(neighbourhoods > 0 ? "with neighbourhoods" : "without");
    Statistics.coverage(coverage -> coverage.check("with neighbourhoods").percentage(p -> p > 20));
  }
}
