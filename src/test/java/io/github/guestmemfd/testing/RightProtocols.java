package io.github.guestmemfd.testing;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.conversion.Step;
import java.time.Duration;
import java.util.List;
import java.util.function.UnaryOperator;

/** Protocols that are unusual and right, and the contract run on them. */
final class RightProtocols {
  private RightProtocols() {}

  /** A protocol in parts. */
  private record Parts(
      List<Step> takes,
      Decision convert,
      Decision punch,
      boolean worthWaiting,
      boolean freezes,
      boolean waitsWithFolioLock,
      boolean locksWholeFile,
      RetryPolicy policy)
      implements ConversionProtocol {

    /** Two counters, raised one after the other. */
    static final Parts TWO_COUNTERS =
        new Parts(
            List.of(Step.REF, Step.SAFE),
            (refs, safe) -> refs == safe + 1,
            (refs, safe) -> true,
            true,
            false,
            false,
            false,
            RetryPolicy.spinThenWait(256, Duration.ofMillis(100)));

    Parts takes(Step... steps) {
      return new Parts(
          List.of(steps),
          convert,
          punch,
          worthWaiting,
          freezes,
          waitsWithFolioLock,
          locksWholeFile,
          policy);
    }

    Parts converts(Decision decision) {
      return new Parts(
          takes,
          decision,
          punch,
          worthWaiting,
          freezes,
          waitsWithFolioLock,
          locksWholeFile,
          policy);
    }

    Parts punches(Decision decision) {
      return new Parts(
          takes,
          convert,
          decision,
          worthWaiting,
          freezes,
          waitsWithFolioLock,
          locksWholeFile,
          policy);
    }

    Parts neverWaits() {
      return new Parts(
          takes,
          convert,
          punch,
          false,
          freezes,
          waitsWithFolioLock,
          locksWholeFile,
          RetryPolicy.failAtOnce());
    }

    Parts freezing() {
      return new Parts(
          takes, convert, punch, worthWaiting, true, waitsWithFolioLock, locksWholeFile, policy);
    }

    Parts waitingWithFolioLock() {
      return new Parts(takes, convert, punch, worthWaiting, freezes, true, locksWholeFile, policy);
    }

    Parts lockingWholeFile() {
      return new Parts(
          takes, convert, punch, worthWaiting, freezes, waitsWithFolioLock, true, policy);
    }

    Parts withPolicy(RetryPolicy other) {
      return new Parts(
          takes, convert, punch, worthWaiting, freezes, waitsWithFolioLock, locksWholeFile, other);
    }

    @Override
    public String id() {
      return "of-parts";
    }

    @Override
    public List<Step> guestTakes() {
      return takes;
    }

    @Override
    public boolean mayTurnInaccessible(int refs, int safe) {
      return convert.may(refs, safe);
    }

    @Override
    public boolean mayPunch(int refs, int safe) {
      return punch.may(refs, safe);
    }

    @Override
    public boolean isWorthWaiting(int refs, int safe, int accessible) {
      return worthWaiting;
    }

    @Override
    public RetryPolicy retryPolicy() {
      return policy;
    }
  }

  /** Decides by counts. */
  @FunctionalInterface
  private interface Decision {
    boolean may(int refs, int safe);
  }

  /** A contract of such a protocol. */
  abstract static class Right extends ConversionProtocolContract {
    private final Parts parts;

    private Right(UnaryOperator<Parts> change) {
      this.parts = change.apply(Parts.TWO_COUNTERS);
    }

    @Override
    protected ConversionProtocol protocol() {
      return parts;
    }
  }

  /** Refuses a punch for a safe holder, so that the guest never keeps an orphan. */
  static class LeavesTheGuestNoOrphans extends Right {
    LeavesTheGuestNoOrphans() {
      super(parts -> parts.punches((refs, safe) -> safe == 0));
    }
  }

  /** Refuses at once, and leaves it to the caller to try again. */
  static class NeverWaits extends Right {
    NeverWaits() {
      super(Parts::neverWaits);
    }
  }

  /** One reference and nothing else: any holder is in the way. */
  static class CountsReferencesOnly extends Right {
    CountsReferencesOnly() {
      super(parts -> parts.takes(Step.REF).converts((refs, safe) -> refs == 1));
    }
  }

  /** The same, and freezes. */
  static class FreezesReferences extends Right {
    FreezesReferences() {
      super(parts -> parts.takes(Step.REF).converts((refs, safe) -> refs == 1).freezing());
    }
  }

  /** Both counts in one step, in a file that converts one range at a time. */
  static class LocksTheWholeFile extends Right {
    LocksTheWholeFile() {
      super(parts -> parts.takes(Step.REF_AND_SAFE).lockingWholeFile());
    }
  }

  /** Takes both counts under the folio lock. */
  static class CountsUnderTheLock extends Right {
    CountsUnderTheLock() {
      super(parts -> parts.takes(Step.LOCK, Step.REF, Step.SAFE, Step.UNLOCK));
    }
  }

  /** The same, with conversions that wait with the folio locked. */
  static class WaitsUnderTheLock extends Right {
    WaitsUnderTheLock() {
      super(
          parts ->
              parts
                  .takes(Step.LOCK, Step.REF, Step.SAFE, Step.UNLOCK)
                  .waitingWithFolioLock()
                  .withPolicy(RetryPolicy.spinThenWait(0, Duration.ofMillis(20))));
    }
  }

  /** Holds the folio lock instead of a reference. */
  static class HoldsTheLock extends Right {
    HoldsTheLock() {
      super(parts -> parts.takes(Step.LOCK).converts((refs, safe) -> refs == 1));
    }
  }

  /** Safe holders have no reference, and keep the page from being punched. */
  static class BorrowsTheCachesReference extends Right {
    BorrowsTheCachesReference() {
      super(
          parts ->
              parts
                  .takes(Step.SAFE)
                  .converts((refs, safe) -> refs == 1)
                  .punches((refs, safe) -> safe == 0));
    }
  }

  /** Answers from a table, made beforehand, and beyond it by comparing. */
  static class HasATable extends Right {
    private static final boolean[] TABLE = new boolean[64];

    static {
      TABLE[1] = true;
    }

    HasATable() {
      super(
          parts ->
              parts.converts(
                  (refs, safe) ->
                      refs - safe < TABLE.length && refs >= safe && TABLE[refs - safe]));
    }
  }

  /** Waits for long where a holder is slow. */
  static class IsPatient extends Right {
    IsPatient() {
      super(parts -> parts.withPolicy(RetryPolicy.spinThenWait(100_000, Duration.ofSeconds(5))));
    }
  }

  /** Completes later what is refused now. */
  static class CompletesLater extends Right {
    CompletesLater() {
      super(parts -> parts.withPolicy(RetryPolicy.completeLater()));
    }
  }
}
