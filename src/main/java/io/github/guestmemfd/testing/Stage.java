package io.github.guestmemfd.testing;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

/** A host memory, and the parties that meet on it. */
final class Stage implements RaceHook, IdleStrategy, AutoCloseable {
  /** Nobody's wait is so long that a party which is let go is noticed late. */
  private static final long NAP_NANOS = 100_000;

  private static final IdleStrategy IDLE = IdleStrategy.spinThenPark();

  private final ReentrantLock lock = new ReentrantLock();
  private final Condition change = lock.newCondition();
  private final Map<Thread, Party> parties = new ConcurrentHashMap<>();

  final HostMemory host =
      HostMemory.builder(64L * HostMemory.PAGE_SIZE).raceHook(this).idleStrategy(this).build();

  /** Brings on a party that stands still at the steps with the given numbers. */
  Party enter(String name, Set<Integer> stops, Party.Act act) {
    return enter(name, stops, act, () -> {});
  }

  /**
   * Brings on a party that stands still at the steps with the given numbers, and does something
   * whenever it has to wait in the library.
   */
  Party enter(String name, Set<Integer> stops, Party.Act act, Runnable whenItWaits) {
    Party party = new Party(this, name, stops, act, whenItWaits);
    parties.put(party.thread(), party);
    return party.start();
  }

  /** Runs something that may hang when it is wrong. */
  void run(String name, Party.Act act) {
    enter(name, Set.of(), act).join();
  }

  /** The steps of an act, by a run in which nobody else takes part. */
  List<String> steps(Party.Act act) {
    Party party = enter("dry run", Set.of(), act);
    party.join();
    return party.steps();
  }

  @Override
  public void at(RacePoint point, long index) {
    Party party = parties.get(Thread.currentThread());
    if (party != null) {
      party.passes(point);
    }
  }

  @Override
  public void idle(int round, long maxNanos) {
    Party party = parties.get(Thread.currentThread());
    if (party != null) {
      party.idles();
    }
    IDLE.idle(round, Math.min(maxNanos, NAP_NANOS));
  }

  /** A party has come to a stop, begun to wait, or ended. */
  void changed() {
    lock.lock();
    try {
      change.signalAll();
    } finally {
      lock.unlock();
    }
  }

  /** Waits for parties; fails if they hang. */
  void await(BooleanSupplier condition, Supplier<String> problem) {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(Party.LIMIT_SECONDS);
    lock.lock();
    try {
      while (!condition.getAsBoolean()) {
        long left = end - System.nanoTime();
        if (left <= 0) {
          throw new AssertionError(problem.get());
        }
        change.awaitNanos(Math.min(left, TimeUnit.MILLISECONDS.toNanos(10)));
      }
    } catch (InterruptedException e) {
      Wait.restore(e);
      throw new AssertionError("interrupted", e);
    } finally {
      lock.unlock();
    }
  }

  /** Sends everybody away, and waits for their end; fails with what one of them threw. */
  void clear() {
    List<Party> all = List.copyOf(parties.values());
    all.forEach(Party::goAway);
    for (Party party : all) {
      parties.remove(party.thread());
      party.join();
    }
  }

  @Override
  public void close() {
    clear();
    host.close();
  }
}
