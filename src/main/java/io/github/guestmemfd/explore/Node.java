package io.github.guestmemfd.explore;

/**
 * A decision on the path of the depth-first search: which thread takes the step of this number.
 * Sets of threads are bit masks.
 */
final class Node {
  /** Threads that can take a step here. */
  final int enabled;

  /** Threads whose step here leads to nothing new: it commutes with all that was done since. */
  final int sleeping;

  /** The thread that took the step before; -1 at the start. */
  final int before;

  /** How often a thread that could go on was replaced by another before this step. */
  final int preemptions;

  /** Threads to be tried here. */
  int wanted;

  /** Threads that have been tried. */
  int done;

  /** The thread that is being tried. */
  int chosen;

  Node(int enabled, int sleeping, int before, int preemptions) {
    this.enabled = enabled;
    this.sleeping = sleeping;
    this.before = before;
    this.preemptions = preemptions;
  }
}
