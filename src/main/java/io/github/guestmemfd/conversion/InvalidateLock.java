package io.github.guestmemfd.conversion;

import java.util.List;

/**
 * {@code invalidate-lock}: the in-place conversion series, version 8 of June 2026. A conversion
 * takes the file's invalidate lock, unmaps the range from the host, and compares every folio's
 * count with the expected one; a vCPU's fault takes the lock shared and keeps nothing afterwards.
 *
 * <p><b>Assumptions.</b> A thread begins to use a page only under the lock. References last as long
 * as a fault does; the guest's own page table is told by {@code invalidateBegin}.
 *
 * <p><b>Guarantees.</b> Sound: any reference but gmem's is refused, at once, with EAGAIN and the
 * offset of the first busy page. Nothing is converted then, but the host's page table entries are
 * gone already.
 *
 * <p><b>Progress.</b> One conversion at a time, and no fault anywhere in the file meanwhile. One
 * pinned page refuses the whole range.
 */
public final class InvalidateLock extends Shipped {
  static final InvalidateLock INSTANCE = new InvalidateLock();

  private InvalidateLock() {
    super(
        "invalidate-lock",
        "to study the in-place series: faults of the whole file wait for a conversion.");
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
  public boolean locksWholeFile() {
    return true;
  }

  @Override
  public RetryPolicy retryPolicy() {
    return RetryPolicy.failAtOnce();
  }
}
