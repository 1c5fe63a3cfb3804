package io.github.guestmemfd.explore;

import java.util.Arrays;

/** The steps of a run that have been taken, each with the clock of what happened before it. */
final class Trail {
  private final int threads;
  private int[] takers = new int[256];
  private int[] clocks;
  private int steps;

  /** By thread: the number of the first step that counts, while {@link #firsts} looks for them. */
  private final int[] first;

  Trail(int threads) {
    this.threads = threads;
    this.clocks = new int[takers.length * threads];
    this.first = new int[threads];
  }

  void clear() {
    steps = 0;
  }

  /** Adds the next step, the first of which has the number 1. */
  void add(int thread, int[] clock) {
    if (steps == takers.length) {
      takers = Arrays.copyOf(takers, 2 * steps);
      clocks = Arrays.copyOf(clocks, 2 * steps * threads);
    }
    takers[steps] = thread;
    System.arraycopy(clock, 0, clocks, steps * threads, threads);
    steps++;
  }

  /**
   * The threads that can go first for a step to come before an earlier one: of all steps since that
   * do not depend on the earlier one, and the step itself, those that depend on no other of them.
   * These are the initials of Abdulla and others (POPL 2014).
   *
   * @param since the number of the earlier step
   * @param before its thread
   * @param thread the thread that is about to take the later one
   * @param clock what happened before that, with what it depends on
   */
  int firsts(int since, int before, int thread, int[] clock) {
    Arrays.fill(first, 0);
    int firsts = 0;
    for (int step = since + 1; step <= steps; step++) {
      int from = (step - 1) * threads;
      int taker = takers[step - 1];
      if (clocks[from + before] < since && first[taker] == 0) {
        first[taker] = step;
        firsts |= isFree(clocks, from, taker) ? 1 << taker : 0;
      }
    }
    boolean isFirst = first[thread] == 0 && isFree(clock, 0, thread);
    return isFirst ? firsts | 1 << thread : firsts;
  }

  /** Whether a clock is before the first steps of all other threads. */
  private boolean isFree(int[] clocks, int from, int thread) {
    for (int other = 0; other < threads; other++) {
      if (other != thread && first[other] != 0 && clocks[from + other] >= first[other]) {
        return false;
      }
    }
    return true;
  }
}
