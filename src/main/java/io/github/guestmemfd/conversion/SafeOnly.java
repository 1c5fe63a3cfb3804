package io.github.guestmemfd.conversion;

import java.util.List;

/**
 * {@code safe-only}: way (b) of the mail thread. A safe holder raises the safe count and nothing
 * else; gmem's own reference keeps the folio for it.
 *
 * <p><b>Assumptions.</b> gmem's reference does not go away while the safe count is above 0: a punch
 * is refused. (At the end of the file, which cannot be refused, the safe count alone keeps the
 * folio, which lives on as an orphan.)
 *
 * <p><b>Guarantees.</b> Sound: an unsafe holder has a reference, and any reference but gmem's is
 * refused. Safe holders are never in the way of a conversion, at no moment of their coming and
 * going.
 *
 * <p><b>Progress.</b> One volatile read. A client that keeps safe references keeps the page from
 * being punched.
 */
public final class SafeOnly extends Shipped {
  static final SafeOnly INSTANCE = new SafeOnly();

  private SafeOnly() {
    super(
        "safe-only",
        "if vCPUs are to leave the reference count alone; a punch is refused while one"
            + " holds a page.");
  }

  @Override
  public List<Step> guestTakes() {
    return List.of(Step.SAFE);
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    return refs == 1;
  }

  @Override
  public boolean mayPunch(int refs, int safe) {
    return safe == 0;
  }
}
