package io.github.guestmemfd.testing;

import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.Wait;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Something that a thread of its own does, and what came of it: a use of a page, an operation. */
final class ClientTurn {
  /** A thread that has made no progress for so long waits for another. */
  private static final long STILL_NANOS = TimeUnit.MILLISECONDS.toNanos(3);

  /** A thread that spins for so long waits for another. */
  private static final long SPIN_NANOS = TimeUnit.MILLISECONDS.toNanos(300);

  private static final long NAP_NANOS = 100_000;

  /** From this round on the strategy parks. */
  private static final int PARKS = 100;

  private static final IdleStrategy IDLE = IdleStrategy.spinThenPark();

  /** What a turn does. */
  @FunctionalInterface
  interface Act {
    /** Does it, and says whether it was done. */
    boolean run(Party self) throws Exception;
  }

  private final Stage stage;
  final String story;
  private final Party party;
  private volatile boolean done;
  private volatile @Nullable Throwable thrown;

  ClientTurn(Stage stage, String story, Set<Integer> stops, Act act) {
    this.stage = stage;
    this.story = story;
    this.party = stage.enter(story, stops, self -> run(self, act));
  }

  private void run(Party self, Act act) {
    try {
      done = act.run(self);
    } catch (Throwable e) {
      thrown = e;
    }
  }

  /**
   * Waits until it is over or waits for something.
   *
   * @return whether it is over
   */
  boolean rests() {
    long begun = System.nanoTime();
    long moved = begun;
    for (int round = PARKS; !party.isDone(); round++) {
      long now = System.nanoTime();
      if (!party.isStill() && party.thread().getState() == Thread.State.RUNNABLE) {
        moved = now;
      }
      if (now - moved >= STILL_NANOS || now - begun >= SPIN_NANOS) {
        return false;
      }
      if (!Wait.pause(IDLE, round, NAP_NANOS)) {
        throw new AssertionError("interrupted");
      }
    }
    return true;
  }

  /** Waits until it stands at one of its stops, or is over. */
  ClientTurn awaitStill() {
    party.awaitStill();
    return this;
  }

  /** Lets it run on, past all its stops. */
  void goOn() {
    party.goAway();
  }

  void interrupt() {
    party.interrupt();
  }

  boolean isOver() {
    return party.isDone();
  }

  /** Waits for its end; if it hangs that is broken. */
  void join(String why) {
    party.goAway();
    try {
      party.join();
    } catch (AssertionError e) {
      stage.abandon(party);
      throw Rule.SERVES.broken(story + " does not come to its end, " + why, e);
    }
  }

  /** Whether it has done what it was for; not if it has thrown. */
  boolean isDone() {
    return done;
  }

  /** The names of its steps, when it is over. */
  List<String> steps() {
    return party.steps();
  }

  /** What it threw, if the client may not throw that: no refusal. */
  @Nullable Throwable mistake() {
    Throwable e = thrown;
    return e instanceof GuestMemfdException ? null : e;
  }

  /** What it threw. */
  @Nullable Throwable thrown() {
    return thrown;
  }
}
