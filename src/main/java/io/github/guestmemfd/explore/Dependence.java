package io.github.guestmemfd.explore;

import java.util.BitSet;

/**
 * Which steps of a run depend on each other, and what had to happen before each: enters every step
 * in the clocks, and tells the search where a step could have come before an earlier one.
 */
final class Dependence {
  private final Search search;
  private final Strand[] strands;

  private final PossibleEvents events;
  private final Words words;

  private final Trail trail;

  /** How many threads and events there are, with time. */
  private final int all;

  /** Words that the invariant reads. Writes of any two of them do not commute. */
  private final BitSet invariantWords = new BitSet();

  /** Whether every word counts as one of them. */
  private final boolean allOfInvariant;

  private boolean isInvariantLate;

  /** What stands for all of them together. */
  private int invariantWord;

  Dependence(
      Search search, Strand[] strands, PossibleEvents events, Words words, boolean allOfInvariant) {
    this.allOfInvariant = allOfInvariant;
    this.search = search;
    this.strands = strands;
    this.events = events;
    this.words = words;
    this.all = events.time() + 1;
    this.trail = new Trail(all);
  }

  /** Begins a run. */
  void begin() {
    trail.clear();
    invariantWords.clear();
    invariantWord = words.number(invariantWords, 0);
  }

  /**
   * Says that the invariant reads a word.
   *
   * @param step how many steps have been taken: if any, it may be late for this word
   */
  void noteInvariant(int word, int step) {
    isInvariantLate |= step > 0 && !invariantWords.get(word);
    invariantWords.set(word);
  }

  /** Whether the invariant has read a word that it did not read at the start of its run. */
  boolean isInvariantLate() {
    return isInvariantLate;
  }

  private boolean isOfInvariant(int word) {
    return allOfInvariant || invariantWords.get(word);
  }

  /** Of threads that sleep, those that go on sleeping when another takes a step. */
  int stillSleeping(int sleepers, int chosen) {
    int still = 0;
    for (int rest = sleepers & ~(1 << chosen); rest != 0; rest &= rest - 1) {
      int other = Integer.numberOfTrailingZeros(rest);
      if (!dependent(other, chosen)) {
        still |= 1 << other;
      }
    }
    return still;
  }

  /** Enters an event, which comes after what its thread has done. */
  void event(int chosen, int number) {
    Strand target = events.target(chosen);
    int[] clock = target.clock.clone();
    access(chosen, eventWord(target), true, number, clock);
    trail.add(chosen, clock);
  }

  /** Enters that time passes, which no thread does. */
  void time(int number) {
    int[] clock = new int[all];
    clock[events.time()] = number;
    trail.add(events.time(), clock);
  }

  /** Enters a step of a thread, before it is taken; steps are numbered from 1. */
  void take(Strand strand, int number) {
    enter(strand, number);
    trail.add(strand.number, strand.clock);
  }

  private void enter(Strand strand, int number) {
    switch (strand.kind) {
      case READ -> {
        strand.reads.set(strand.word);
        access(strand.number, strand.word, false, number, strand.clock);
      }
      case WRITE -> {
        if (isOfInvariant(strand.word)) {
          access(strand.number, invariantWord, true, number, strand.clock);
        }
        access(strand.number, strand.word, true, number, strand.clock);
        strand.reads.set(strand.word); // it may be a compare-and-set, whose loser waits
        wake(strand);
      }
      case ACQUIRE -> {
        strand.reads.set(strand.word); // for what it guards
        races(strand.number, strand.word, true, strand.clock);
        words.acquire(strand.word, strand.number, number, strand.clock);
      }
      case RELEASE -> {
        words.release(strand.word, strand.number, number, strand.clock);
        wake(strand);
      }
      default -> {
        strand.clock[strand.number] = number;
        if (strand.word >= 0) { // a call begins or returns, or a permit is taken
          access(strand.number, strand.word, !isReading(strand), number, strand.clock);
        }
        if (events.concern(strand)) {
          search.want(number - 1, events.of(events.enabled(), strand));
          access(strand.number, eventWord(strand), true, number, strand.clock);
        }
        if (strand.kind.isBlocking()) {
          strand.reads.clear();
          strand.changed = false;
          strand.permit &= strand.kind != StepKind.PARK;
          strand.expired = false;
        }
      }
    }
  }

  /** Lets threads look again that have read the word of a step. */
  private void wake(Strand strand) {
    for (Strand other : strands) {
      if (other != strand && other.reads.get(strand.word)) {
        other.changed = true;
      }
    }
  }

  /** What stands for all that may happen to a thread. */
  private int eventWord(Strand strand) {
    return words.number(events, strand.number);
  }

  private void access(int thread, int word, boolean write, int number, int[] clock) {
    races(thread, word, write, clock);
    if (write) {
      words.write(word, thread, number, clock);
    } else {
      words.read(word, thread, number, clock);
    }
  }

  /** Finds the earlier steps that a step could have come before. */
  private void races(int thread, int word, boolean write, int[] clock) {
    if (search.isRedundant()) {
      return;
    }
    int[] after = null; // most steps have no race
    for (int other = 0; other < all; other++) {
      if (other != thread) {
        int last = write ? words.lastAccess(word, other) : words.lastWrite(word, other);
        if (last != 0 && clock[other] < last) {
          if (after == null) {
            after = clock.clone();
            words.join(word, write, after);
          }
          search.race(last - 1, trail.firsts(last, other, thread, after));
        }
      }
    }
  }

  /** In a deadlock: the steps that threads would take if they could. */
  void raceOfThoseLeft() {
    for (Strand strand : strands) {
      if (!strand.finished && strand.word >= 0) {
        races(strand.number, strand.word, !isReading(strand), strand.clock);
      }
    }
  }

  private static boolean isReading(Strand strand) {
    return strand.kind == StepKind.READ || strand.kind == StepKind.CALL;
  }

  /** Whether the next steps of two threads depend on each other. */
  private boolean dependent(int one, int other) {
    if (one == events.time() || other == events.time()) {
      return true;
    }
    if (events.isEvent(one) || events.isEvent(other)) {
      return isEventOf(one, other) || isEventOf(other, one);
    }
    Strand a = strands[one];
    Strand b = strands[other];
    if (a.word < 0 || b.word < 0) {
      return false;
    }
    if (a.word == b.word) {
      return !isReading(a) || !isReading(b);
    }
    return a.kind == StepKind.WRITE
        && b.kind == StepKind.WRITE
        && isOfInvariant(a.word)
        && isOfInvariant(b.word);
  }

  /** Whether one is an event of the other, or both are events of one thread. */
  private boolean isEventOf(int event, int other) {
    if (!events.isEvent(event)) {
      return false;
    }
    Strand target = events.target(event);
    return events.isEvent(other)
        ? events.target(other) == target
        : target.number == other && events.concern(target);
  }
}
