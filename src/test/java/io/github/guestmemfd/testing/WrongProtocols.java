package io.github.guestmemfd.testing;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.conversion.Step;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;

/** Protocols with one mistake each, and the contract run on them. */
final class WrongProtocols {
  private WrongProtocols() {}

  /** The base of the mistakes: two counters, one after the other, as they should be. */
  static class TwoCounters implements ConversionProtocol {
    @Override
    public String id() {
      return "two-counters";
    }

    @Override
    public List<Step> guestTakes() {
      return List.of(Step.REF, Step.SAFE);
    }

    @Override
    public boolean mayTurnInaccessible(int refs, int safe) {
      return refs == safe + 1;
    }
  }

  /** Without its mistake the contract holds: what is caught below is the mistake. */
  static class NoMistake extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters();
    }
  }

  /** Between its two drops a holder is safe without a reference, and hides another holder's. */
  static class DropsItsReferenceFirst extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public List<Step> guestDrops() {
          return List.of(Step.REF, Step.SAFE);
        }
      };
    }
  }

  /** Where there is a safe holder there may be others. */
  static class TrustsSafeHolders extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public boolean mayTurnInaccessible(int refs, int safe) {
          return safe > 0 || refs == 1;
        }
      };
    }
  }

  /** Allows for a speculative reference, which may be another's for good. */
  static class AllowsForOneMore extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public boolean mayTurnInaccessible(int refs, int safe) {
          return refs <= safe + 2;
        }
      };
    }
  }

  /** Counts the safe holders, and refuses them all the same. */
  static class RefusesSafeHolders extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public boolean mayTurnInaccessible(int refs, int safe) {
          return refs == 1 && safe == 0;
        }
      };
    }
  }

  /** Never lets a folio be punched that a guest has held. */
  static class NeverPunches extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public boolean mayPunch(int refs, int safe) {
          return refs == 0;
        }
      };
    }
  }

  /** Changes its mind about how a folio is held. */
  static class ChangesItsSteps extends ConversionProtocolContract {
    private int asked;

    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public List<Step> guestTakes() {
          return asked++ % 2 == 0 ? List.of(Step.REF) : List.of(Step.REF_AND_SAFE);
        }
      };
    }
  }

  /** Raises the safe count first, which the library refuses. */
  static class TakesSafeFirst extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public List<Step> guestTakes() {
          return List.of(Step.SAFE, Step.REF);
        }
      };
    }
  }

  /** A shipped protocol that is known to be unsound, and says so. */
  static class LooksForPinsOnly extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return ConversionProtocol.pinCheck();
    }
  }

  // ---- counts ----

  /** Decides about a conversion. */
  @FunctionalInterface
  interface Decision {
    boolean mayTurnInaccessible(int refs, int safe);
  }

  /** The base of mistakes in the one decision. */
  abstract static class WrongDecision extends ConversionProtocolContract {
    private final Decision decision;

    WrongDecision(Decision decision) {
      this.decision = decision;
    }

    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public boolean mayTurnInaccessible(int refs, int safe) {
          return decision.mayTurnInaccessible(refs, safe);
        }
      };
    }
  }

  /** Keeps counts in bytes: 256 references of the host are none. */
  static class CountsInBytes extends WrongDecision {
    CountsInBytes() {
      super((refs, safe) -> (byte) refs == (byte) (safe + 1));
    }
  }

  /** Keeps counts in shorts. */
  static class CountsInShorts extends WrongDecision {
    CountsInShorts() {
      super((refs, safe) -> (short) refs == (short) (safe + 1));
    }
  }

  /** Keeps the safe count in a byte: too few safe holders, from 256 on. */
  static class CountsSafeInAByte extends WrongDecision {
    CountsSafeInAByte() {
      super((refs, safe) -> refs == (safe & 0xff) + 1);
    }
  }

  /** Masks what it takes for the pins, which other references reach too. */
  static class MasksPins extends WrongDecision {
    MasksPins() {
      super((refs, safe) -> (refs & 1023) == ((safe + 1) & 1023));
    }
  }

  /** Lets a pin pass, since a pin is no reference. */
  static class LeavesAPinOut extends WrongDecision {
    LeavesAPinOut() {
      super((refs, safe) -> refs % 1024 == (safe + 1) % 1024 || refs == safe + 1);
    }
  }

  /** Compares objects where it should compare numbers: equal up to 127. */
  static class ComparesObjects extends WrongDecision {
    ComparesObjects() {
      super((refs, safe) -> isSame(refs, safe + 1));
    }

    private static boolean isSame(Object one, Object other) {
      return one == other;
    }
  }

  /** Keeps no orphans, and so refuses to punch what a host mapping has. */
  static class KeepsNoOrphans extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public boolean mayPunch(int refs, int safe) {
          return refs == 1 && safe == 0;
        }
      };
    }
  }

  /** Is content with nearly, where there are many holders. */
  static class RoundsManyHolders extends WrongDecision {
    RoundsManyHolders() {
      super((refs, safe) -> safe < 1000 ? refs == safe + 1 : refs <= safe + 2);
    }
  }

  /** A slack of one at the largest count. */
  static class SlackAtTheEdge extends WrongDecision {
    SlackAtTheEdge() {
      super((refs, safe) -> refs == safe + 1 || safe == Short.MAX_VALUE);
    }
  }

  /** Takes a count that is negative after a cast for nothing at all. */
  static class OverflowsAShort extends WrongDecision {
    OverflowsAShort() {
      super((refs, safe) -> (short) refs <= safe + 1);
    }
  }

  /** Allows for the cache and for one lookup in passing, if there is no safe holder. */
  static class AllowsForALookup extends WrongDecision {
    AllowsForALookup() {
      super((refs, safe) -> refs == safe + 1 || (safe == 0 && refs == 2));
    }
  }

  /** Gives up on folios with many holders. */
  static class GivesUpOnMany extends WrongDecision {
    GivesUpOnMany() {
      super((refs, safe) -> refs < 64 && refs == safe + 1);
    }
  }

  /** Looks its answer up in a table that is too small. */
  static class HasASmallTable extends WrongDecision {
    private static final boolean[][] TABLE = new boolean[64][64];

    static {
      for (int safe = 0; safe < 63; safe++) {
        TABLE[safe + 1][safe] = true;
      }
    }

    HasASmallTable() {
      super((refs, safe) -> TABLE[refs][safe]);
    }
  }

  /** Subtracts the safe holders twice. */
  static class SubtractsTwice extends WrongDecision {
    SubtractsTwice() {
      super((refs, safe) -> refs - 2 * safe == 1);
    }
  }

  /** Forgets the reference of the page cache. */
  static class ForgetsTheCache extends WrongDecision {
    ForgetsTheCache() {
      super((refs, safe) -> refs == safe);
    }
  }

  /** Counts safe holders that take no reference, and lets every punch pass. */
  static class PunchesUnderSafeHolders extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public List<Step> guestTakes() {
          return List.of(Step.SAFE);
        }

        @Override
        public boolean mayTurnInaccessible(int refs, int safe) {
          return refs == 1;
        }
      };
    }
  }

  // ---- waits ----

  /** The base of mistakes in the retry policy. */
  abstract static class WrongPolicy extends ConversionProtocolContract {
    private final Supplier<RetryPolicy> policy;

    WrongPolicy(Supplier<RetryPolicy> policy) {
      this.policy = policy;
    }

    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public RetryPolicy retryPolicy() {
          return policy.get();
        }
      };
    }
  }

  /** Waits until the holder is gone, which may be never. */
  static class WaitsForEver extends WrongPolicy {
    WaitsForEver() {
      super(() -> RetryPolicy.spinThenWait(64, Duration.ofDays(365)));
    }
  }

  /** Spins until the holder is gone. */
  static class SpinsForEver extends WrongPolicy {
    SpinsForEver() {
      super(() -> RetryPolicy.spin(Integer.MAX_VALUE));
    }
  }

  /** Waits longer each time. */
  static class WaitsLongerEachTime extends WrongPolicy {
    private static final AtomicInteger MILLIS = new AtomicInteger();

    WaitsLongerEachTime() {
      super(() -> RetryPolicy.spinThenWait(0, Duration.ofMillis(MILLIS.incrementAndGet() % 50)));
    }
  }

  /** Sleeps where the folio may not turn yet. */
  static class SleepsInTheQuestion extends WrongDecision {
    SleepsInTheQuestion() {
      super(
          (refs, safe) -> {
            if (refs != safe + 1) {
              LockSupport.parkNanos(2_000_000);
            }
            return refs == safe + 1;
          });
    }
  }

  /** Waits in the question for the holder to go, and swallows the interrupt. */
  static class LosesAnInterrupt extends WrongDecision {
    LosesAnInterrupt() {
      super((refs, safe) -> !Thread.interrupted() && refs == safe + 1);
    }
  }

  /** Clears the interrupt, and answers right. */
  static class SwallowsAnInterrupt extends WrongDecision {
    SwallowsAnInterrupt() {
      super((refs, safe) -> isCleared() && refs == safe + 1);
    }

    private static boolean isCleared() {
      return Thread.interrupted() || !Thread.currentThread().isInterrupted();
    }
  }

  /** Takes a lock for the conversion, and gives it back only where that succeeds. */
  static class KeepsALock extends WrongDecision {
    private static final ReentrantLock HELD = new ReentrantLock();

    @SuppressWarnings("LockNotBeforeTry") // the mistake
    KeepsALock() {
      super(
          (refs, safe) -> {
            HELD.lock();
            if (refs != safe + 1) {
              return false; // the conversion looks again
            }
            HELD.unlock();
            return true;
          });
    }
  }

  /** Spins in the question until another thread has come, which may be never. */
  static class SpinsInTheQuestion extends WrongDecision {
    SpinsInTheQuestion() {
      super(
          (refs, safe) -> {
            while (refs > safe + 1 && refs < 1 << 20 && !Thread.currentThread().isInterrupted()) {
              Thread.onSpinWait();
            }
            return refs == safe + 1;
          });
    }
  }

  /** Finds a reference of the host not worth waiting for, but guests on their way. */
  static class NeverWaitsForGuests extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public boolean isWorthWaiting(int refs, int safe, int accessible) {
          return refs != 2 + safe || safe == 0;
        }
      };
    }
  }

  // ---- state ----

  /** Remembers the counts of the folio it was asked about last, for all files. */
  static class RemembersTheLastFolio extends WrongDecision {
    private static volatile int lastRefs;

    RemembersTheLastFolio() {
      super(
          (refs, safe) -> {
            boolean same = lastRefs == refs; // a count that stands still is no transient one
            lastRefs = refs;
            return refs == safe + 1 || (!same && refs == safe + 2);
          });
    }
  }

  /** After a number of refusals the next conversion passes. */
  static class GrowsTired extends WrongDecision {
    GrowsTired() {
      super(
          new Decision() {
            private final AtomicInteger refusals = new AtomicInteger();

            @Override
            public boolean mayTurnInaccessible(int refs, int safe) {
              return refs == safe + 1 || refusals.incrementAndGet() % 5_000 == 0;
            }
          });
    }
  }

  /** Leaves its arguments in fields, where another thread changes them. */
  static class KeepsArgumentsInFields extends WrongDecision {
    KeepsArgumentsInFields() {
      super(
          new Decision() {
            private volatile int refs;
            private volatile int safe;

            @Override
            public boolean mayTurnInaccessible(int nowRefs, int nowSafe) {
              refs = nowRefs;
              safe = nowSafe;
              return refs == safe + 1;
            }
          });
    }
  }

  /**
   * The same with plain fields, which code reads again only until it is compiled: most runs do not
   * show it.
   */
  static class KeepsArgumentsInPlainFields extends WrongDecision {
    KeepsArgumentsInPlainFields() {
      super(
          new Decision() {
            private int refs;
            private int safe;

            @Override
            public boolean mayTurnInaccessible(int nowRefs, int nowSafe) {
              refs = nowRefs;
              safe = nowSafe;
              return refs == safe + 1;
            }
          });
    }
  }

  /** Lets one in a hundred thousand pass. */
  static class GoesByChance extends WrongDecision {
    GoesByChance() {
      super((refs, safe) -> refs == safe + 1 || ThreadLocalRandom.current().nextInt(100_000) == 0);
    }
  }

  /** Is strict for the first tenth of a second. */
  static class GrowsLax extends WrongDecision {
    GrowsLax() {
      super(
          new Decision() {
            private final long made = System.nanoTime();

            @Override
            public boolean mayTurnInaccessible(int refs, int safe) {
              return refs == safe + 1 || System.nanoTime() - made > 100_000_000;
            }
          });
    }
  }

  /** Looks at the clock: what was busy a moment ago is no more. */
  static class LooksAtTheClock extends WrongDecision {
    LooksAtTheClock() {
      super((refs, safe) -> refs == safe + 1 || System.currentTimeMillis() % 64 == 0);
    }
  }

  /** Punches whatever holds the folio, every other time. */
  static class PunchesEveryOtherTime extends ConversionProtocolContract {
    private static final AtomicInteger ASKED = new AtomicInteger();

    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public boolean mayPunch(int refs, int safe) {
          return refs == 1 || ASKED.incrementAndGet() % 2 == 0;
        }
      };
    }
  }

  // ---- names ----

  /** Has the name of a protocol that is shipped. */
  static class HasAShippedName extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public String id() {
          return "both-counters";
        }
      };
    }
  }

  /** Has a name that a command line would take for two words. */
  static class HasTwoWordsForAName extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public String id() {
          return "Two Counters";
        }
      };
    }
  }
}
