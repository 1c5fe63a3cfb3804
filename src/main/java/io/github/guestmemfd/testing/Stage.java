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
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;

/** A host memory, and the parties that race on it. */
final class Stage implements RaceHook, IdleStrategy, AutoCloseable {
  /** The longest nap of a waiting party, so that it soon notices when it may go on. */
  private static final long NAP_NANOS = 100_000;

  /** How long to wait before looking again whether a party has made progress. */
  private static final long TICK_NANOS = TimeUnit.MILLISECONDS.toNanos(10);

  /** How long conversions wait where every holder goes on soon; less than until a hang. */
  static final long PATIENCE_MILLIS = 1_500;

  /** Without any progress for so many ticks, which is 2 seconds at least, the parties hang. */
  private static final int HANG_TICKS = 200;

  private static final IdleStrategy IDLE = IdleStrategy.spinThenPark();

  private final ReentrantLock lock = new ReentrantLock();
  private final Condition change = lock.newCondition();
  private final Map<Thread, Party> parties = new ConcurrentHashMap<>();

  /** Steps that parties have passed, and ends that they have come to. */
  private final AtomicLong progress = new AtomicLong();

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

  /** Called when a party has passed a step, come to a stop, or ended. */
  void progressed() {
    progress.incrementAndGet();
  }

  /** Waits until a condition on the parties holds; fails if they hang. */
  void await(BooleanSupplier condition) {
    lock.lock();
    try {
      long seen = progress.get();
      int still = 0;
      while (!condition.getAsBoolean()) {
        if (change.awaitNanos(TICK_NANOS) <= 0) {
          still++; // a whole tick, in which each thread has had its turn on a machine under load
          // too
        }
        long now = progress.get();
        if (now != seen) {
          seen = now;
          still = 0;
        } else if (still == HANG_TICKS) {
          throw new AssertionError(positions());
        }
      }
    } catch (InterruptedException e) {
      Wait.restore(e);
      throw new AssertionError("interrupted", e);
    } finally {
      lock.unlock();
    }
  }

  /** Where each party is that has not ended, for a message. */
  private String positions() {
    return parties.values().stream()
        .filter(party -> !party.isDone())
        .map(Party::where)
        .sorted()
        .collect(Collectors.joining("\n"));
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
