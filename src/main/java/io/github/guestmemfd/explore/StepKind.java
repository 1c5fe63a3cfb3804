package io.github.guestmemfd.explore;

/** What a thread does in a step. */
public enum StepKind {
  /** It begins. */
  START,
  /** It reads a word. */
  READ,
  /** It writes a word, or reads and writes it in one. */
  WRITE,
  /** It takes a lock. */
  ACQUIRE,
  /** It gives a lock back. */
  RELEASE,
  /** It looks again after another thread has changed what it waits for. */
  POLL,
  /** It looks again after another thread has unparked it. */
  PARK,
  /** It tries again, whatever other threads have done. */
  RETRY,
  /** It comes to something that may fail. */
  MAY_FAIL,
  /** It begins a call. */
  CALL,
  /** It has finished a call. */
  RETURN,
  /** Time passes, since no thread can go on. */
  TIME,
  /** It is interrupted while it waits. */
  INTERRUPT,
  /** The time of its wait is up. */
  TIMEOUT,
  /** What it has come to fails. */
  FAILURE;

  /** Whether a thread waits here until something happens. */
  boolean isBlocking() {
    return this == POLL || this == PARK;
  }

  /** Whether a thread goes on only if it has not been interrupted. */
  boolean isWait() {
    return isBlocking() || this == RETRY;
  }
}
