package io.github.guestmemfd.explore;

import java.util.BitSet;

/**
 * Which steps of a run depend on each other, and what had to happen before each: enters every step
 * in the clocks, and tells the search where a step could have come before an earlier one.
 */
final class Dependence {
  private final Search search;
  private final Strand[] strands;

  /** By number, from the number of threads on: the thread that an interrupt is for. */
  private final int[] targets;

  private final Words words;

  /** Words that the invariant reads. Writes of any two of them do not commute. */
  private final BitSet invariantWords = new BitSet();

  /** What stands for all of them together. */
  private int invariantWord;

  Dependence(Search search, Strand[] strands, int[] targets, Words words) {
    this.search = search;
    this.strands = strands;
    this.targets = targets;
    this.words = words;
  }

  /** Begins a run. */
  void begin() {
    invariantWords.clear();
    invariantWord = words.number(invariantWords, 0);
  }

  private int all() {
    return strands.length + targets.length;
  }

  /** Says that the invariant reads a word. */
  void noteInvariant(int word) {
    invariantWords.set(word);
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

  /** Enters an interrupt. */
  void interrupt(int chosen, Strand target, int number) {
    access(chosen, interruptWord(target.number), true, number, new int[all()]);
    target.interrupted = true;
  }

  /** Enters a step of a thread, before it is taken; steps are numbered from 1. */
  void take(Strand strand, int number) {
    switch (strand.kind) {
      case READ -> {
        strand.reads.set(strand.word);
        access(strand.number, strand.word, false, number, strand.clock);
      }
      case WRITE -> {
        if (invariantWords.get(strand.word)) {
          access(strand.number, invariantWord, true, number, strand.clock);
        }
        access(strand.number, strand.word, true, number, strand.clock);
        strand.reads.set(strand.word); // it may be a compare-and-set, whose loser waits
        for (Strand other : strands) {
          if (other != strand && other.reads.get(strand.word)) {
            other.changed = true;
          }
        }
      }
      case ACQUIRE -> {
        races(strand.number, strand.word, true, strand.clock);
        words.acquire(strand.word, strand.number, number, strand.clock);
      }
      case RELEASE -> words.release(strand.word, strand.number, number, strand.clock);
      default -> {
        strand.clock[strand.number] = number;
        if (strand.kind.isWait()) {
          if (isInterruptible(strand)) {
            access(strand.number, interruptWord(strand.number), true, number, strand.clock);
          }
          strand.reads.clear();
          strand.changed = false;
          strand.permit &= strand.kind != StepKind.PARK;
          strand.expired = false;
        }
      }
    }
  }

  private boolean isInterruptible(Strand strand) {
    for (int target : targets) {
      if (target == strand.number) {
        return true;
      }
    }
    return false;
  }

  private int interruptWord(int thread) {
    return words.number(targets, thread);
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
    for (int other = 0; other < all(); other++) {
      if (other != thread) {
        int last = write ? words.lastAccess(word, other) : words.lastWrite(word, other);
        if (last != 0 && clock[other] < last) {
          search.race(last - 1, thread, led(last, thread, clock));
        }
      }
    }
  }

  /** The threads of steps after one that happened before a step of a thread, and itself. */
  private static int led(int since, int thread, int[] clock) {
    int led = 1 << thread;
    for (int i = 0; i < clock.length; i++) {
      if (clock[i] > since) {
        led |= 1 << i;
      }
    }
    return led;
  }

  /** In a deadlock: the steps that threads would take if they could. */
  void raceOfThoseLeft() {
    for (Strand strand : strands) {
      if (!strand.finished && strand.word >= 0) {
        races(strand.number, strand.word, strand.kind != StepKind.READ, strand.clock);
      }
    }
  }

  /** Whether the next steps of two threads depend on each other. */
  private boolean dependent(int one, int other) {
    if (one >= strands.length || other >= strands.length) {
      return isInterruptOf(one, other) || isInterruptOf(other, one);
    }
    Strand a = strands[one];
    Strand b = strands[other];
    if (a.word < 0 || b.word < 0) {
      return false;
    }
    if (a.word == b.word) {
      return a.kind != StepKind.READ || b.kind != StepKind.READ;
    }
    return a.kind == StepKind.WRITE
        && b.kind == StepKind.WRITE
        && invariantWords.get(a.word)
        && invariantWords.get(b.word);
  }

  private boolean isInterruptOf(int interrupt, int thread) {
    return interrupt >= strands.length
        && thread < strands.length
        && targets[interrupt - strands.length] == thread
        && strands[thread].kind.isWait();
  }
}
