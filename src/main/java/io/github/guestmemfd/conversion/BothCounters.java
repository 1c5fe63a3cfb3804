package io.github.guestmemfd.conversion;

import java.util.List;

/**
 * {@code both-counters}: way (a) of the mail thread. A safe holder raises the reference count and
 * the safe count, one after the other, and lowers them in the reverse order.
 *
 * <p><b>Assumptions.</b> (1) The safe count is never raised before, nor lowered after, the
 * reference that it stands for. (2) gmem's own reference is not dropped before the safe ones: a
 * punch is refused while any remains.
 *
 * <p><b>Guarantees.</b> Sound: at every moment {@code refs - safe - 1} is at least the number of
 * unsafe references. No more than that: between its two increments, or its two decrements, a safe
 * holder looks like an unsafe one, and a conversion that compares just then is refused needlessly;
 * a punch that looks just then does not see it at all, and leaves it an orphan, kept by its
 * reference.
 *
 * <p><b>Progress.</b> A conversion has to look again: the more vCPUs come and go, the more often.
 */
public final class BothCounters extends Shipped {
  static final BothCounters INSTANCE = new BothCounters();

  private BothCounters() {
    super(
        "both-counters",
        "if the two counts are apart: a vCPU that has raised one looks unsafe for a moment.");
  }

  @Override
  public List<Step> guestTakes() {
    return List.of(Step.REF, Step.SAFE);
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    return refs == safe + 1;
  }

  @Override
  public boolean mayPunch(int refs, int safe) {
    return safe == 0;
  }
}
