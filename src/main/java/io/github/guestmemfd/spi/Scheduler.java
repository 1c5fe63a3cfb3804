package io.github.guestmemfd.spi;

/**
 * Decides which thread takes the next {@linkplain Announce step}: the explorer's side of {@link
 * Announce} and {@link Wait}. A thread that has a scheduler calls it before each step, and goes on
 * when the call returns. All methods are called by the thread that is about to take the step.
 */
public interface Scheduler {

  /**
   * Before an access to a word that other threads change or read.
   *
   * @param owner the object that has the word
   * @param index which of its words
   * @param write whether the access may change the word; a compare-and-set that fails counts as a
   *     write too
   */
  void access(Object owner, long index, boolean write);

  /**
   * Before a lock is taken: returns when it is free.
   *
   * @param lock the lock
   */
  void acquire(Object lock);

  /**
   * Before a lock is given back.
   *
   * @param lock the lock
   */
  void release(Object lock);

  /**
   * Instead of a round of idling between two looks. Returns when there is reason to look again:
   * another thread has changed a word that this thread has read since it last returned from here,
   * or the time is up.
   *
   * @param nanos the longest time to wait, in nanoseconds of virtual time; {@link Long#MAX_VALUE}
   *     for no limit
   */
  void poll(long nanos);

  /**
   * Instead of parking. Returns when another thread has called {@link #unpark} since this thread
   * last returned from here, or the time is up.
   *
   * @param nanos as for {@link #poll}
   */
  void park(long nanos);

  /**
   * Lets a thread return from {@link #park}, now or the next time.
   *
   * @param thread the thread, with this scheduler or without one
   */
  void unpark(Thread thread);

  /** A step without an access, after which the thread goes on: a round of a limited retry. */
  void retry();

  /**
   * Before something that may fail: whether it is to fail now.
   *
   * @return true if what is explored is the failure
   */
  boolean mayFail();

  /**
   * Instead of handing a task to a pool of threads.
   *
   * @param task what to run, by another thread that is scheduled
   * @param nanos the delay, in nanoseconds of virtual time; 0 for none
   */
  void execute(Runnable task, long nanos);

  /**
   * The virtual time. It stands still as long as any thread can take a step.
   *
   * @return nanoseconds, as {@link System#nanoTime}
   */
  long nanoTime();

  /**
   * Which of the scheduled threads this is.
   *
   * @return its number, from 0; the same in each run
   */
  int threadNumber();
}
