package io.github.guestmemfd.testing;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.Step;
import java.util.List;

/** Protocols with one mistake each, and the contract run on them. */
final class WrongProtocols {
  private WrongProtocols() {}

  /** The base of the mistakes: two counters, one after the other, as they should be. */
  private static class TwoCounters implements ConversionProtocol {
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
}
