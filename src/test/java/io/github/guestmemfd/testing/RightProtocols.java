package io.github.guestmemfd.testing;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.testing.WrongProtocols.TwoCounters;
import java.time.Duration;
import java.util.List;

/** Protocols that are unusual and right, and the contract run on them. */
final class RightProtocols {
  private RightProtocols() {}

  /** Refuses a punch for a safe holder, so that the guest never keeps an orphan. */
  static class LeavesTheGuestNoOrphans extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public boolean mayPunch(int refs, int safe) {
          return safe == 0;
        }
      };
    }
  }

  /** Refuses at once, and leaves it to the caller to try again. */
  static class NeverWaits extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public boolean isWorthWaiting(int refs, int safe, int accessible) {
          return false;
        }

        @Override
        public RetryPolicy retryPolicy() {
          return RetryPolicy.failAtOnce();
        }
      };
    }
  }

  /** One reference and nothing else: any holder is in the way. */
  private static class References extends TwoCounters {
    @Override
    public List<Step> guestTakes() {
      return List.of(Step.REF);
    }

    @Override
    public boolean mayTurnInaccessible(int refs, int safe) {
      return refs == 1;
    }
  }

  /** Counts references alone. */
  static class CountsReferencesOnly extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new References();
    }
  }

  /** The same, and freezes. */
  static class FreezesReferences extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new References() {
        @Override
        public boolean freezes() {
          return true;
        }
      };
    }
  }

  /** Both counts in one step, in a file that converts one range at a time. */
  static class LocksTheWholeFile extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public List<Step> guestTakes() {
          return List.of(Step.REF_AND_SAFE);
        }

        @Override
        public boolean locksWholeFile() {
          return true;
        }
      };
    }
  }

  /** Both counts, taken under the folio lock. */
  private static class UnderTheLock extends TwoCounters {
    @Override
    public List<Step> guestTakes() {
      return List.of(Step.LOCK, Step.REF, Step.SAFE, Step.UNLOCK);
    }
  }

  /** Takes both counts under the folio lock. */
  static class CountsUnderTheLock extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new UnderTheLock();
    }
  }

  /** The same, with conversions that wait with the folio locked. */
  static class WaitsUnderTheLock extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new UnderTheLock() {
        @Override
        public boolean waitsWithFolioLock() {
          return true;
        }

        @Override
        public RetryPolicy retryPolicy() {
          return RetryPolicy.spinThenWait(0, Duration.ofMillis(20));
        }
      };
    }
  }

  /** Holds the folio lock instead of a reference. */
  static class HoldsTheLock extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new References() {
        @Override
        public List<Step> guestTakes() {
          return List.of(Step.LOCK);
        }
      };
    }
  }

  /** Safe holders have no reference, and keep the page from being punched. */
  static class BorrowsTheCachesReference extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new References() {
        @Override
        public List<Step> guestTakes() {
          return List.of(Step.SAFE);
        }

        @Override
        public boolean mayPunch(int refs, int safe) {
          return safe == 0;
        }
      };
    }
  }

  /** Answers from a table, made beforehand, and beyond it by comparing. */
  static class HasATable extends ConversionProtocolContract {
    private static final boolean[] TABLE = new boolean[64];

    static {
      TABLE[1] = true;
    }

    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public boolean mayTurnInaccessible(int refs, int safe) {
          return refs - safe < TABLE.length && refs >= safe && TABLE[refs - safe];
        }
      };
    }
  }

  /** Waits for long where a holder is slow. */
  static class IsPatient extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public RetryPolicy retryPolicy() {
          return RetryPolicy.spinThenWait(100_000, Duration.ofSeconds(5));
        }
      };
    }
  }

  /** Completes later what is refused now. */
  static class CompletesLater extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return new TwoCounters() {
        @Override
        public RetryPolicy retryPolicy() {
          return RetryPolicy.completeLater();
        }
      };
    }
  }
}
