package io.github.guestmemfd.explore;

/** What a thread of a scenario asks of the run that it is part of. */
interface Turns {
  /**
   * A thread has stopped before its next step, or finished: hands over to the one that goes on.
   *
   * @param number of the thread
   * @return whether it goes on itself
   */
  boolean arrive(int number);

  /** Whether there are no more runs. */
  boolean isOver();

  /** Whether the places of steps are wanted. */
  boolean isRecording();

  /** Whether the results of calls are wanted. */
  boolean isHistoryWanted();

  /** The word that stands for which calls are over. */
  int historyWord();

  /** How many steps have been taken. */
  int steps();

  /** Whether what may fail in a thread is a step. */
  boolean isFailureOf(int number);

  /** Has the thread of the pool run a task after a delay, and after what a clock says. */
  void execute(Runnable task, long nanos, int[] clock);

  /** The number of a word or lock in this run. */
  int word(Object owner, long index);

  /** The virtual time. */
  long nanoTime();

  /** The virtual time in so many nanoseconds. */
  long after(long nanos);

  /** Lets a thread return from its park, or its next one. */
  void unpark(Thread thread);
}
