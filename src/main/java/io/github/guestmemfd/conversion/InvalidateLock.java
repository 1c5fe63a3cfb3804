package io.github.guestmemfd.conversion;

import java.util.List;

/**
 * {@code invalidate-lock}: in-place conversion as it was applied, version 13 of September 2026. A
 * conversion takes the file's invalidate lock, unmaps the range from the host, and looks at each
 * folio: one that may be pinned is refused, whatever else there is and though it is locked; else
 * its LRU batches are drained, and its count is compared with the expected one. A vCPU's fault
 * takes the lock shared and keeps nothing afterwards.
 *
 * <p><b>Assumptions.</b> A thread begins to use a page only under the lock. References last as long
 * as a lookup does; the guest's own page table is told by {@code invalidateBegin}.
 *
 * <p><b>Guarantees.</b> Sound: any reference but gmem's is refused, at once, with EAGAIN and the
 * offset of the first busy page. Nothing is converted then, but the host's page table entries are
 * gone already; they come back by faults. No folio of the range is mapped by the host when the
 * counts are looked at, which the kernel asks once more: here an entry that is being moved would be
 * seen by its reference.
 *
 * <p><b>Progress.</b> One conversion at a time, and no fault anywhere in the file meanwhile. One
 * pinned page refuses the whole range, before any CPU is asked to drain its batch. "May be pinned"
 * has false alarms, which the count would refuse anyway.
 *
 * <p>{@code invalidate-lock-v8}, {@link #V8}, is the rule of version 8, of June 2026, which looked
 * at the count alone: it drains the batches of folios that are pinned, too, and with a policy that
 * waits, it waits for a pin to end.
 */
public final class InvalidateLock extends Shipped {
  static final InvalidateLock INSTANCE =
      new InvalidateLock(
          "invalidate-lock",
          "to study in-place conversion as applied: faults of the whole file wait for a conversion.",
          true);

  static final InvalidateLock V8 =
      new InvalidateLock(
          "invalidate-lock-v8",
          "to compare: in-place conversion as it was proposed in June 2026.",
          false);

  private final boolean refusesPinnedFirst;

  private InvalidateLock(String id, String chooseIt, boolean refusesPinnedFirst) {
    super(id, chooseIt);
    this.refusesPinnedFirst = refusesPinnedFirst;
  }

  @Override
  public List<Step> guestTakes() {
    return List.of(Step.REF);
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    return refs == 1;
  }

  @Override
  public boolean refusesOutright(int refs, int safe) {
    return refusesPinnedFirst && refs >= PinCheck.PIN_BIAS;
  }

  @Override
  public boolean locksWholeFile() {
    return true;
  }

  @Override
  public RetryPolicy retryPolicy() {
    return RetryPolicy.failAtOnce();
  }
}
