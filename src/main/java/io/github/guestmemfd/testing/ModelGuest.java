package io.github.guestmemfd.testing;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.policy.ConversionPolicy;
import io.github.guestmemfd.policy.GpaRange;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/**
 * A guest without vCPUs, and the part of a monitor that does what a policy answers, as {@link
 * io.github.guestmemfd.policy.ConversionHandler} does: the attribute of each page, and which the
 * guest wants it to have, as far as a policy can know. For one thread.
 */
final class ModelGuest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  /** How often the guest tries a page again whose conversion is refused. */
  private static final int TRIES = 64;

  private final ConversionPolicy policy;
  private final GpaRange memory;
  private final MemoryAttribute[] is;
  private final @Nullable MemoryAttribute[] wanted;

  /** Whether the guest has asked for what it wants of a page by hypercall, which succeeded. */
  private final boolean[] asked;

  /** Refuses one conversion in so many; 0 for none. */
  private int refuseOneIn;

  private final SplittableRandom random;

  /** Called before each question. */
  private final Runnable goesOn;

  /** Whether a memory fault has ever been answered with a range: then they all must be. */
  private boolean faultsConvert;

  ModelGuest(
      ConversionPolicy policy,
      GpaRange memory,
      MemoryAttribute atFirst,
      SplittableRandom random,
      Runnable goesOn) {
    this.policy = policy;
    this.memory = memory;
    this.random = random;
    this.goesOn = goesOn;
    int pages = (int) (memory.size() / PAGE);
    this.is = new MemoryAttribute[pages];
    this.wanted = new MemoryAttribute[pages];
    this.asked = new boolean[pages];
    Arrays.fill(is, atFirst);
  }

  int pages() {
    return is.length;
  }

  GpaRange range(int page, int pages) {
    return new GpaRange(memory.gpa() + (long) page * PAGE, (long) pages * PAGE);
  }

  /** From now on refuses one conversion in so many, for a holder of the folio; 0 for none. */
  void refuseOneIn(int number) {
    refuseOneIn = number;
  }

  // ---- what the guest does ----

  /** Does what the policy wants done before the first vCPU runs. */
  void start() {
    List<GpaRange> ranges =
        answered(policy.beforeFirstRun(memory), "beforeFirstRun(" + memory + ")");
    for (GpaRange range : ranges) {
      Rule.MEMORY_ONLY.check(
          range != null && memory.contains(range),
          "beforeFirstRun(" + memory + ") answered " + range + ", expected ranges in that");
      convert(range, MemoryAttribute.PRIVATE, "beforeFirstRun", new GpaRange(0, PAGE));
    }
  }

  /** The guest asks for an attribute. */
  void hypercall(int page, int pages, MemoryAttribute attribute) {
    goesOn.run();
    GpaRange range = range(page, pages);
    String call = "onHypercall(" + range + ", " + attribute + ")";
    Optional<GpaRange> answer = answered(policy.onHypercall(range, attribute), call);
    for (int i = page; i < page + pages; i++) {
      wanted[i] = attribute;
      asked[i] = true;
    }
    if (answer.isEmpty()) {
      return;
    }
    Rule.MEMORY_ONLY.check(
        memory.contains(answer.get()),
        call + " answered " + answer.get() + ", expected a range in the memory " + memory);
    boolean done = isLucky() && convert(answer.get(), attribute, call, range);
    if (!done && answer.get().contains(range) && !answer.get().equals(range)) {
      done = isLucky() && convert(range, attribute, call, range);
    }
    if (!done) {
      Arrays.fill(asked, page, page + pages, false); // the guest was told so
    }
  }

  /**
   * The guest uses pages, which must have the attribute in the end. If they have it already there
   * is no fault, and the policy does not hear of it.
   */
  void use(int page, int pages, MemoryAttribute attribute) {
    for (int tries = 0; !has(page, pages, attribute); tries++) {
      goesOn.run();
      GpaRange used = range(page, pages);
      String call = "onMemoryFault(" + used + ", " + attribute + ")";
      boolean wasAsked = true;
      for (int i = page; i < page + pages; i++) {
        wasAsked &= asked[i] && wanted[i] == attribute;
        wanted[i] = attribute;
      }
      Optional<GpaRange> answer = answered(policy.onMemoryFault(used, attribute), call);
      if (answer.isEmpty()) {
        Rule.LAST_WORD.check(
            !faultsConvert,
            call + " answered nothing, where an earlier memory fault was answered by a conversion");
        Rule.LAST_WORD.check(
            !wasAsked,
            call
                + " answered nothing, so the guest ends; it has asked for that by hypercall before,"
                + " and was told that it was done");
        hypercallThatMustConvert(page, pages, attribute, call);
        continue;
      }
      faultsConvert = true;
      Rule.MEMORY_ONLY.check(
          answer.get().contains(used),
          call + " answered " + answer.get() + ", expected a range that contains the pages used");
      boolean done = tries >= TRIES || isLucky();
      done = done && convert(cut(answer.get()), attribute, call, used);
      if (!done && !answer.get().equals(used) && isLucky()) {
        convert(used, attribute, call, used); // the pages alone, as the handler tries them
      }
      Rule.LAST_WORD.check(
          tries < 2 * TRIES, call + " was answered " + tries + " times, and the pages do not turn");
    }
  }

  private void hypercallThatMustConvert(
      int page, int pages, MemoryAttribute attribute, String fault) {
    int before = refuseOneIn;
    refuseOneIn = 0;
    hypercall(page, pages, attribute);
    refuseOneIn = before;
    Rule.LAST_WORD.check(
        has(page, pages, attribute),
        fault
            + " answered nothing, and the hypercall for the same pages converts nothing either: the"
            + " guest has no way to convert them");
  }

  private boolean has(int page, int pages, MemoryAttribute attribute) {
    for (int i = page; i < page + pages; i++) {
      if (is[i] != attribute) {
        return false;
      }
    }
    return true;
  }

  // ---- what the monitor does ----

  private boolean isLucky() {
    return refuseOneIn == 0 || random.nextInt(refuseOneIn) != 0;
  }

  /** What of a range has memory: a handler converts no more. */
  private GpaRange cut(GpaRange range) {
    long start = Math.max(range.gpa(), memory.gpa());
    long end = Math.min(range.end(), memory.end());
    return new GpaRange(start, end - start);
  }

  /** Converts pages, and looks at each that the guest has not named just now. */
  private boolean convert(GpaRange range, MemoryAttribute attribute, String call, GpaRange named) {
    int from = (int) ((range.gpa() - memory.gpa()) / PAGE);
    int to = (int) ((range.end() - memory.gpa()) / PAGE);
    for (int i = from; i < to; i++) {
      if (named.contains(range(i, 1)) || is[i] == attribute) {
        continue;
      }
      Rule.LAST_WORD.check(
          wanted[i] == null || wanted[i] == attribute,
          call
              + " answered "
              + range
              + ", but of the page at "
              + range(i, 1)
              + " the guest has asked or used last as "
              + wanted[i]);
      Rule.EXPOSES_NOTHING.check(
          attribute == MemoryAttribute.PRIVATE || wanted[i] == MemoryAttribute.SHARED,
          call
              + " answered "
              + range
              + ", which shares the private page at "
              + range(i, 1)
              + " that the guest has not asked to be shared, nor used so");
    }
    Arrays.fill(is, from, to, attribute);
    policy.converted(range, attribute);
    return true;
  }

  private static <T> T answered(@Nullable T answer, String call) {
    if (answer == null) {
      throw Rule.MEMORY_ONLY.broken(call + " answered null");
    }
    return answer;
  }
}
