package io.github.guestmemfd.testing;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.policy.ConversionPolicy;
import io.github.guestmemfd.policy.GpaRange;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.IntPredicate;
import org.junit.jupiter.api.Test;

/**
 * The rules for a {@link ConversionPolicy}, as tests for JUnit Jupiter. Extend this class, return
 * your policy, and run it.
 *
 * <pre>{@code
 * class MyPolicyTest extends ConversionPolicyContract {
 *   @Override
 *   protected ConversionPolicy policy() {
 *     return new MyPolicy();
 *   }
 * }
 * }</pre>
 *
 * <p>A guest without vCPUs asks for attributes by hypercall and uses pages, and what the policy
 * answers is done to a model of its memory, as {@link
 * io.github.guestmemfd.policy.ConversionHandler} does it: conversions may be refused, and are then
 * asked for again. The memory begins at an address that is no multiple of 2 MiB, far above 4 GiB,
 * all shared or all private. The rules:
 *
 * <ul>
 *   <li>MEMORY_ONLY: the policy converts memory of the guest, and for a fault at least the pages
 *       that were used.
 *   <li>LAST_WORD: a page is converted neither against what the guest has asked for or used last,
 *       nor kept from it: a policy converts on memory faults, or does what hypercalls ask for, and
 *       does so each time, also after a refusal. So a guest that uses each page with one view comes
 *       to rest, and no page is converted to and fro.
 *   <li>EXPOSES_NOTHING: to shared it converts only what the guest has asked for or used so.
 *   <li>BOUNDED: what the policy keeps does not grow with the number of requests.
 *   <li>AT_ONCE: any thread gets an answer, without waiting.
 * </ul>
 *
 * <p>Needs junit-jupiter-api on the class path; the library does not depend on it.
 */
public abstract class ConversionPolicyContract {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int BLOCK = 512;

  /** Two whole blocks of 2 MiB and parts of two. */
  private static final GpaRange MEMORY =
      new GpaRange((5L << 32) + 37L * PAGE, (3L * BLOCK + 100) * PAGE);

  private static final int PAGES = (int) (MEMORY.size() / PAGE);

  /** For subclasses. */
  protected ConversionPolicyContract() {}

  /**
   * The policy under test.
   *
   * @return a new policy, or one without state
   */
  protected abstract ConversionPolicy policy();

  /**
   * The seed of what the guest does at random, which a failure names.
   *
   * @return a new seed each time by default; override this to reproduce a failure
   */
  protected long seed() {
    return ThreadLocalRandom.current().nextLong();
  }

  /** What a test does, on a thread of its own: it calls the last argument now and then. */
  @FunctionalInterface
  private interface Body {
    void run(Runnable goesOn);
  }

  /** Runs a test that may hang, or wait, in the policy. */
  private static void run(ConversionPolicy watched, Body body) {
    try (Stage stage = new Stage()) {
      Party party = stage.enter("a vCPU", Set.of(), self -> body.run(stage::progressed));
      Pauses.joinAll(stage, List.of(party), watched, Rule.AT_ONCE);
    }
  }

  private ModelGuest guest(MemoryAttribute atFirst, SplittableRandom random, Runnable goesOn) {
    ModelGuest guest = new ModelGuest(policy(), MEMORY, atFirst, random, goesOn);
    guest.start();
    return guest;
  }

  private static MemoryAttribute either(SplittableRandom random) {
    return random.nextBoolean() ? MemoryAttribute.SHARED : MemoryAttribute.PRIVATE;
  }

  /** Its name is one that a command line can have, and no shipped policy's. */
  @Test
  public final void itsNameIsItsOwn() {
    ConversionPolicy policy = policy();
    Rule.AT_ONCE.checkName(policy.id(), policy, ConversionPolicy.byId(policy.id()));
  }

  /** A page alone, and a few at once, at the ends of the memory and of blocks, either way. */
  @Test
  public final void whatIsUsedIsConverted() {
    int first = BLOCK - 37; // of the first whole block
    int[] pages = {
      0, 1, 2, first - 2, first - 1, first, first + 1, first + BLOCK - 1, first + BLOCK, PAGES - 3
    };
    run(
        policy(),
        goesOn -> {
          for (MemoryAttribute atFirst : MemoryAttribute.values()) {
            for (int page : pages) {
              for (int count = 1; count <= 3; count++) {
                useInTurn(guest(atFirst, new SplittableRandom(1), goesOn), page, count);
              }
            }
          }
        });
  }

  private static void useInTurn(ModelGuest guest, int page, int pages) {
    for (MemoryAttribute one : MemoryAttribute.values()) {
      for (MemoryAttribute next : MemoryAttribute.values()) {
        guest.use(page, pages, one);
        guest.hypercall(page, pages, next);
        guest.use(page, pages, next);
        guest.use(page, pages, one);
      }
    }
  }

  /**
   * A guest asks and uses at random, in ranges of all sizes, and some conversions are refused: what
   * it has said last holds for each page.
   */
  @Test
  public final void theGuestHasTheLastWord() {
    long seed = seed();
    SplittableRandom seeds = new SplittableRandom(seed);
    try {
      run(
          policy(),
          goesOn -> {
            for (int run = 0; run < 40; run++) {
              SplittableRandom random = seeds.split();
              ModelGuest guest = guest(either(random), random, goesOn);
              guest.refuseOneIn(run % 4 == 3 ? 3 : 0);
              useAtRandom(guest, random);
            }
          });
    } catch (AssertionError | RuntimeException e) {
      throw new AssertionError("seed " + seed + "L: " + e.getMessage(), e);
    }
  }

  private static void useAtRandom(ModelGuest guest, SplittableRandom random) {
    for (int i = 0; i < 400; i++) {
      int page = random.nextInt(PAGES);
      int most = Math.min(PAGES - page, 1 << random.nextInt(11));
      if (random.nextInt(3) == 0) {
        guest.hypercall(page, 1 + random.nextInt(most), either(random));
      } else {
        guest.use(page, 1 + random.nextInt(Math.min(most, 4)), either(random));
      }
    }
  }

  /** A conversion that is refused again and again is answered again and again. */
  @Test
  public final void aRefusalIsNoAnswer() {
    for (MemoryAttribute attribute : MemoryAttribute.values()) {
      ConversionPolicy policy = policy();
      run(policy, goesOn -> refuseAlways(policy, attribute, goesOn));
    }
  }

  private static void refuseAlways(
      ConversionPolicy policy, MemoryAttribute attribute, Runnable goesOn) {
    GpaRange used = new GpaRange(MEMORY.gpa() + 700L * PAGE, PAGE);
    boolean faultsConvert = policy.onMemoryFault(used, attribute).isPresent();
    boolean callsConvert = policy.onHypercall(used, attribute).isPresent();
    for (int i = 1; i <= 2000; i++) {
      goesOn.run();
      Optional<GpaRange> fault = policy.onMemoryFault(used, attribute);
      Rule.LAST_WORD.check(
          fault.isPresent() == faultsConvert && fault.map(r -> r.contains(used)).orElse(true),
          "a memory fault whose conversion was refused "
              + i
              + " times was answered "
              + fault.map(GpaRange::toString).orElse("by nothing"));
      Optional<GpaRange> call = policy.onHypercall(used, attribute);
      Rule.LAST_WORD.check(
          call.isPresent() == callsConvert,
          "a hypercall whose conversion was refused "
              + i
              + " times was answered "
              + call.map(GpaRange::toString).orElse("by nothing"));
    }
  }

  /**
   * Neighbours, halves of 2 MiB, and pages at random are used with one view each, over and over:
   * the pages do not turn to and fro.
   */
  @Test
  public final void pagesDoNotTurnToAndFro() {
    SplittableRandom random = new SplittableRandom(7);
    boolean[] atRandom = new boolean[PAGES];
    for (int i = 0; i < PAGES; i++) {
      atRandom[i] = random.nextInt(8) == 0;
    }
    run(
        policy(),
        goesOn -> {
          use(goesOn, i -> i % 2 == 0);
          use(goesOn, i -> i % 100 == 0);
          use(goesOn, i -> (i + 37) % BLOCK < BLOCK / 2);
          use(goesOn, i -> atRandom[i]);
        });
  }

  /** Uses some pages as shared, the others as private. */
  private void use(Runnable goesOn, IntPredicate shared) {
    for (MemoryAttribute atFirst : MemoryAttribute.values()) {
      ModelGuest guest = guest(atFirst, new SplittableRandom(1), goesOn);
      for (int round = 0; round < 12; round++) {
        for (int i = 0; i < PAGES; i++) {
          guest.use(i, 1, shared.test(i) ? MemoryAttribute.SHARED : MemoryAttribute.PRIVATE);
        }
      }
    }
  }

  /** Requests for the same memory, over and over, leave nothing behind. */
  @Test
  public final void whatItKeepsIsBounded() {
    ConversionPolicy policy = policy();
    SplittableRandom random = new SplittableRandom(3);
    run(
        policy,
        goesOn -> {
          request(policy, random, 100_000, goesOn);
          long before = heap();
          request(policy, random, 1_000_000, goesOn);
          long grown = heap() - before;
          Rule.BOUNDED.check(
              grown < 8 << 20,
              "after a million requests for the same memory it keeps " + grown + " bytes more");
          request(policy, random, 1, goesOn); // so that it is in use until here
        });
  }

  private static void request(
      ConversionPolicy policy, SplittableRandom random, int requests, Runnable goesOn) {
    for (int i = 0; i < requests; i++) {
      goesOn.run();
      GpaRange range =
          new GpaRange(MEMORY.gpa() + (long) random.nextInt(PAGES - 4) * PAGE, (i % 4 + 1L) * PAGE);
      MemoryAttribute attribute = either(random);
      Optional<GpaRange> answer =
          i % 2 == 0
              ? policy.onMemoryFault(range, attribute)
              : policy.onHypercall(range, attribute);
      if (answer.isPresent() && i % 3 != 0) {
        policy.converted(range, attribute);
      }
    }
  }

  /** Bytes of the heap in use after a collection. */
  private static long heap() {
    long least = Long.MAX_VALUE;
    for (int i = 0; i < 3; i++) {
      System.gc();
      Runtime runtime = Runtime.getRuntime();
      least = Math.min(least, runtime.totalMemory() - runtime.freeMemory());
    }
    return least;
  }

  /** Four threads ask about memory of their own: each is answered as if it were alone. */
  @Test
  public final void threadsAreAnsweredAtOnce() {
    long seed = seed();
    try (Stage stage = new Stage()) {
      for (int round = 0; round < 20; round++) {
        ConversionPolicy policy = policy();
        SplittableRandom seeds = new SplittableRandom(seed + round);
        List<Party> vcpus = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
          GpaRange own = new GpaRange((9L << 32) + ((long) i * BLOCK * PAGE), (long) BLOCK * PAGE);
          SplittableRandom random = seeds.split();
          ModelGuest guest = new ModelGuest(policy, own, either(random), random, stage::progressed);
          vcpus.add(stage.enter("vCPU " + i, Set.of(), self -> ask(guest, random)));
        }
        Pauses.joinAll(stage, vcpus, policy, Rule.AT_ONCE);
      }
    } catch (AssertionError | RuntimeException e) {
      throw new AssertionError("seed " + seed + "L: " + e.getMessage(), e);
    }
  }

  private static void ask(ModelGuest guest, SplittableRandom random) {
    for (int i = 0; i < 300; i++) {
      int page = random.nextInt(guest.pages() - 4);
      if (random.nextInt(3) == 0) {
        guest.hypercall(page, 1 + random.nextInt(4), either(random));
      } else {
        guest.use(page, 1, either(random));
      }
    }
  }
}
