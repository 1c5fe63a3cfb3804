package io.github.guestmemfd.explore;

/** What a thread does in a step. */
public enum StepKind {
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
  /** It goes on, without an access. */
  YIELD,
  /** It is interrupted while it waits. */
  INTERRUPT;

  boolean isWait() {
    return this == POLL || this == PARK;
  }
}
