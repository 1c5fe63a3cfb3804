package io.github.guestmemfd.file;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.memory.Counts;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/**
 * How guest-side holders hold folios: the steps of a protocol, checked and sorted. Immutable.
 *
 * <p>Whatever its steps, each holder is counted once in the safe count of its frame, and what it
 * has besides (a reference, the folio lock) is of the library's own kind, which no put names. So a
 * put without a get, or of another kind, is seen in that count. It is raised by the step that says
 * so (SAFE, REF_AND_SAFE); in one step with the reference where REF is the only step; and where no
 * step says so, after the last one, and lowered before the first drop. A protocol whose steps do
 * not raise that count is told that it is 0: {@link #safe}.
 */
public final class GuestSteps {
  /** What the lookup takes; 0 if the holder begins with the folio lock. */
  final long unit;

  /** Whether the protocol has its holders raise the safe count, and is told it. */
  final boolean countsSafe;

  /** Whether holders are counted after the last step, and until the first drop. */
  final boolean countsLast;

  /** The steps after the lookup. */
  final List<Step> more;

  /** Whether there are none: the lookup takes, and gives back, all there is. */
  final boolean oneStep;

  /** What is given back, in this order. */
  final List<Step> drops;

  /** Whether the first of them lowers the safe count, and so finds out if there is a holder. */
  final boolean dropsSafeFirst;

  /** Whether a holder has the folio lock for as long as it holds the folio. */
  public final boolean keepsLock;

  /** Whether holders have no reference of their own, and rely on the page cache's. */
  final boolean borrows;

  /**
   * Checks the steps of a protocol.
   *
   * @param protocol the protocol
   * @throws IllegalArgumentException if they make no sense
   */
  GuestSteps(ConversionProtocol protocol) {
    List<Step> takes = List.copyOf(protocol.guestTakes());
    drops = List.copyOf(protocol.guestDrops());
    check(protocol, takes, drops);
    Step first = takes.get(0);
    unit =
        switch (first) {
          case REF -> takes.size() == 1 ? Counts.SAFE_REF : Counts.REF;
          case SAFE -> Counts.SAFE;
          case REF_AND_SAFE -> Counts.SAFE_REF;
          case LOCK, UNLOCK -> 0;
        };
    more = unit == 0 ? takes : takes.subList(1, takes.size());
    keepsLock = drops.contains(Step.LOCK);
    oneStep = more.isEmpty();
    borrows = first == Step.SAFE;
    countsSafe = takes.contains(Step.SAFE) || takes.contains(Step.REF_AND_SAFE);
    countsLast = !countsSafe && !oneStep;
    dropsSafeFirst = drops.get(0) == Step.SAFE || drops.get(0) == Step.REF_AND_SAFE;
  }

  private static void check(ConversionProtocol protocol, List<Step> takes, List<Step> drops) {
    Set<Step> held = EnumSet.noneOf(Step.class);
    Set<Step> seen = EnumSet.noneOf(Step.class);
    String problem = takes.isEmpty() ? "at least one step to take" : "";
    for (int i = 0; i < takes.size() && problem.isEmpty(); i++) {
      Step step = takes.get(i);
      if (!seen.add(step) || (step == Step.UNLOCK && !held.remove(Step.LOCK))) {
        problem = "each step once, and UNLOCK after LOCK";
      } else if (step == Step.SAFE && !held.contains(Step.REF) && takes.size() > 1) {
        problem = "SAFE after REF, or alone";
      } else if (step == Step.REF_AND_SAFE && (held.contains(Step.REF) || i > 0)) {
        problem = "REF_AND_SAFE first, and without REF";
      } else if (step == Step.REF && held.contains(Step.REF_AND_SAFE)) {
        problem = "REF or REF_AND_SAFE, not both";
      } else if (step == Step.REF && i > 0 && !held.contains(Step.LOCK)) {
        problem = "REF first, or with the folio locked"; // else the frame may be another's by now
      } else if (step != Step.UNLOCK) {
        held.add(step);
      }
    }
    if (problem.isEmpty() && held.isEmpty()) {
      problem = "to hold something after the last step";
    }
    if (problem.isEmpty() && (drops.size() != held.size() || !held.containsAll(drops))) {
      problem = "to drop what is held: " + held;
    }
    if (problem.isEmpty() && protocol.freezes() && held.equals(EnumSet.of(Step.SAFE))) {
      // A frozen count can neither be raised nor lowered, and it would never be frozen under one.
      problem = "a protocol that freezes to have holders with a reference";
    }
    if (!problem.isEmpty()) {
      throw new IllegalArgumentException(
          "protocol "
              + protocol.id()
              + ": expected "
              + problem
              + ", actual takes "
              + takes
              + " and drops "
              + drops);
    }
  }

  /**
   * The safe count as the protocol is told it.
   *
   * @return the guest-side holders, or 0 if the protocol does not count them as safe
   */
  int safe(long counts) {
    return countsSafe ? Counts.safe(counts) : 0;
  }

  /** How many references each holder has, whether or not the protocol counts it as safe. */
  int refsOfOne() {
    return drops.contains(Step.REF) || drops.contains(Step.REF_AND_SAFE) ? 1 : 0;
  }

  /** How many of the references are safe holders'. */
  int safeRefs(long counts) {
    return borrows ? 0 : safe(counts);
  }
}
