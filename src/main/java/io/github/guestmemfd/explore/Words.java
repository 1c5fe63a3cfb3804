package io.github.guestmemfd.explore;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * The words and locks that one run has met, numbered in the order of their first use, and what is
 * known of the accesses to each: when each thread has last read and written it, and what had
 * happened before the accesses.
 *
 * <p>An order in which threads happen to be scheduled is stricter than it has to be: steps on
 * different words commute. The clocks keep only the order that matters. A clock has a component for
 * each thread: the step of that thread that is known to have happened before, counted from 1.
 */
final class Words {
  private static final int NEVER = 0;

  private final int threads;

  // An open-addressed table from (owner, index) to number.
  private Object[] owners = new Object[64];
  private long[] indexes = new long[64];
  private int[] numbers = new int[64];

  private final List<Object> ownerOf = new ArrayList<>();

  /** By word and thread: the step of the last access, counted from 1; {@link #NEVER} for none. */
  private int[] lastRead = new int[0];

  private int[] lastWrite = new int[0];

  /** By word: the clock of everything before the accesses. */
  private int[] readClock = new int[0];

  private int[] writeClock = new int[0];

  /** By word: the thread that holds it as a lock, from 1; 0 for none. */
  private int[] holder = new int[0];

  Words(int threads) {
    this.threads = threads;
  }

  void clear() {
    Arrays.fill(owners, null);
    int used = ownerOf.size();
    Arrays.fill(lastRead, 0, used * threads, NEVER);
    Arrays.fill(lastWrite, 0, used * threads, NEVER);
    Arrays.fill(readClock, 0, used * threads, NEVER);
    Arrays.fill(writeClock, 0, used * threads, NEVER);
    Arrays.fill(holder, 0, used, 0);
    ownerOf.clear();
  }

  /** The number of a word, the next one if it is new. */
  int number(Object owner, long index) {
    int at = find(owner, index);
    if (owners[at] == null) {
      if (ownerOf.size() * 2 >= owners.length) {
        grow();
        at = find(owner, index);
      }
      owners[at] = owner;
      indexes[at] = index;
      numbers[at] = ownerOf.size();
      ownerOf.add(owner);
      if (ownerOf.size() > holder.length) {
        int room = Math.max(64, 2 * ownerOf.size());
        lastRead = Arrays.copyOf(lastRead, room * threads);
        lastWrite = Arrays.copyOf(lastWrite, room * threads);
        readClock = Arrays.copyOf(readClock, room * threads);
        writeClock = Arrays.copyOf(writeClock, room * threads);
        holder = Arrays.copyOf(holder, room);
      }
    }
    return numbers[at];
  }

  private int find(Object owner, long index) {
    int mask = owners.length - 1;
    int hash = (System.identityHashCode(owner) * 31 + Long.hashCode(index)) * 0x9E3779B9;
    int at = (hash >>> 7) & mask;
    while (owners[at] != null && (owners[at] != owner || indexes[at] != index)) {
      at = (at + 1) & mask;
    }
    return at;
  }

  private void grow() {
    Object[] oldOwners = owners;
    long[] oldIndexes = indexes;
    int[] oldNumbers = numbers;
    owners = new Object[2 * oldOwners.length];
    indexes = new long[owners.length];
    numbers = new int[owners.length];
    for (int i = 0; i < oldOwners.length; i++) {
      if (oldOwners[i] != null) {
        int at = find(oldOwners[i], oldIndexes[i]);
        owners[at] = oldOwners[i];
        indexes[at] = oldIndexes[i];
        numbers[at] = oldNumbers[i];
      }
    }
  }

  /** The object that a word belongs to. */
  Object owner(int word) {
    return ownerOf.get(word);
  }

  int lastWrite(int word, int thread) {
    return lastWrite[word * threads + thread];
  }

  int lastAccess(int word, int thread) {
    int at = word * threads + thread;
    return Math.max(lastRead[at], lastWrite[at]);
  }

  /** Adds to a clock what an access depends on. */
  void join(int word, boolean write, int[] clock) {
    join(clock, writeClock, word);
    if (write) {
      join(clock, readClock, word);
    }
  }

  /** A thread whose step has this number reads: what was written is before it. */
  void read(int word, int thread, int step, int[] clock) {
    join(word, false, clock);
    clock[thread] = step;
    lastRead[word * threads + thread] = step;
    for (int i = 0; i < threads; i++) {
      int at = word * threads + i;
      readClock[at] = Math.max(readClock[at], clock[i]);
    }
  }

  /** A thread whose step has this number writes: every access so far is before it. */
  void write(int word, int thread, int step, int[] clock) {
    join(word, true, clock);
    clock[thread] = step;
    lastWrite[word * threads + thread] = step;
    System.arraycopy(clock, 0, writeClock, word * threads, threads);
  }

  /** A thread takes a lock: what its last holder did is before it. */
  void acquire(int word, int thread, int step, int[] clock) {
    join(clock, writeClock, word);
    clock[thread] = step;
    lastWrite[word * threads + thread] = step;
    holder[word] = thread + 1;
  }

  void release(int word, int thread, int step, int[] clock) {
    clock[thread] = step;
    System.arraycopy(clock, 0, writeClock, word * threads, threads);
    holder[word] = 0;
  }

  boolean isFree(int word) {
    return holder[word] == 0;
  }

  private void join(int[] clock, int[] clocks, int word) {
    for (int i = 0; i < threads; i++) {
      clock[i] = Math.max(clock[i], clocks[word * threads + i]);
    }
  }
}
