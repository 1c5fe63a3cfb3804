package io.github.guestmemfd.conversion;

import java.util.List;

/**
 * {@code lock-only}: from the mail thread. A vCPU takes no reference, only the folio lock, for as
 * long as it works with the folio.
 *
 * <p><b>Assumptions.</b> A thread that frees or converts a folio waits for its lock first; gmem's
 * reference cannot go away meanwhile.
 *
 * <p><b>Guarantees.</b> Sound: any reference but gmem's is refused, and a vCPU never has one. No
 * false alarms from vCPUs.
 *
 * <p><b>Progress.</b> vCPUs that use one folio do so one after the other, and conversions and
 * punches wait until the lock is free, however long that takes. A thread that holds the folio and
 * converts it is refused with EDEADLK; two threads that hold a folio each, and convert the other's,
 * wait for each other. Not suited to references that are kept.
 */
public final class LockOnly extends Shipped {
  static final LockOnly INSTANCE = new LockOnly();

  private LockOnly() {
    super("lock-only", "if one vCPU at a time uses a page, and only for a moment.");
  }

  @Override
  public List<Step> guestTakes() {
    return List.of(Step.LOCK);
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    return refs == 1;
  }
}
