package io.github.guestmemfd.explore;

import io.github.guestmemfd.spi.Scheduler;

/** Runs an invariant: notes which words it reads, and refuses what an invariant must not do. */
final class InvariantReader implements Scheduler {
  private final Words words;
  private final Dependence dependence;
  private final Turns turns;

  InvariantReader(Words words, Dependence dependence, Turns turns) {
    this.words = words;
    this.dependence = dependence;
    this.turns = turns;
  }

  @Override
  public void access(Object owner, long index, boolean write) {
    if (write) {
      throw new IllegalStateException("an invariant may only read");
    }
    dependence.noteInvariant(words.number(owner, index), turns.steps());
  }

  @Override
  public void acquire(Object lock) {
    if (!words.isFree(words.number(lock, 0))) {
      throw new IllegalStateException("an invariant must not take locks");
    }
  }

  @Override
  public void release(Object lock) {}

  @Override
  public void poll(long nanos) {
    throw new IllegalStateException("an invariant must not wait");
  }

  @Override
  public void park(long nanos) {
    throw new IllegalStateException("an invariant must not wait");
  }

  @Override
  public void unpark(Thread thread) {
    throw new IllegalStateException("an invariant must not wake threads");
  }

  @Override
  public void retry() {
    throw new IllegalStateException("an invariant must not wait");
  }

  @Override
  public boolean mayFail() {
    return false;
  }

  @Override
  public void execute(Runnable task, long nanos) {
    throw new IllegalStateException("an invariant must not hand over tasks");
  }

  @Override
  public long nanoTime() {
    return turns.nanoTime();
  }

  @Override
  public int threadNumber() {
    return 0;
  }
}
