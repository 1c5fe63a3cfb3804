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
import java.util.function.UnaryOperator;

/** A host memory, and the parties that race on it. */
final class Stage implements RaceHook, IdleStrategy, AutoCloseable {
  /** The longest nap of a waiting party, so that it soon notices when it may go on. */
  private static final long NAP_NANOS = 100_000;

  private static final IdleStrategy IDLE = IdleStrategy.spinThenPark();

  private final ReentrantLock lock = new ReentrantLock();
  private final Condition change = lock.newCondition();
  private final Map<Thread, Party> parties = new ConcurrentHashMap<>();

  final HostMemory host;

  /** A stage whose host has 64 frames. */
  Stage() {
    this(host -> host);
  }

  /** A stage with a host that is built with more than a stage needs. */
  Stage(UnaryOperator<HostMemory.Builder> more) {
    HostMemory.Builder builder = HostMemory.builder(64L * HostMemory.PAGE_SIZE);
    host = more.apply(builder).raceHook(this).idleStrategy(this).build();
  }

  /** Starts a party that stops at the steps with the given numbers. */
  Party enter(String name, Set<Integer> stops, Party.Act act) {
    return enter(name, stops, act, () -> {});
  }

  /**
   * Starts a party that stops at the steps with the given numbers, and runs an action whenever it
   * has to wait in the library.
   */
  Party enter(String name, Set<Integer> stops, Party.Act act, Runnable whenItWaits) {
    Party party = new Party(this, name, stops, act, whenItWaits);
    parties.put(party.thread(), party);
    return party.start();
  }

  /** Runs an act that may hang if there is a bug. */
  void run(String name, Party.Act act) {
    enter(name, Set.of(), act).join();
  }

  /** Returns the steps of an act, from a run without other parties. */
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

  /** The calling thread has come to a step that is none of the library's. */
  void reach(String step) {
    Party party = parties.get(Thread.currentThread());
    if (party != null) {
      party.reach(step);
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

  /** Called when a party has come to a stop, begun to wait, or ended. */
  void changed() {
    lock.lock();
    try {
      change.signalAll();
    } finally {
      lock.unlock();
    }
  }

  /** Waits until a condition on the parties holds; fails if they hang. */
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

  /** Lets the parties race for a time. */
  void letRace(long millis) throws InterruptedException {
    Wait.upTo(IDLE, TimeUnit.MILLISECONDS.toNanos(millis)).until(() -> false);
  }

  /** Gives up a party that hangs, and does not wait for it any more. */
  void abandon(Party party) {
    party.goAway();
    parties.remove(party.thread());
    party.interrupt();
  }

  /** Makes all parties run to their end and waits for them; throws what one of them threw. */
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
