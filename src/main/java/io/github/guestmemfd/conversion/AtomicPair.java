package io.github.guestmemfd.conversion;

/**
 * {@code atomic-pair}: this library's own, and the default. Both counters stand in one word, and a
 * safe holder raises and lowers them in one atomic step.
 *
 * <p><b>Assumptions.</b> (1) The page is made busy before the counts are read, and a lookup reads
 * the page's slot again after it has taken its reference. (2) A safe holder changes both counters
 * at once.
 *
 * <p><b>Guarantees.</b> Sound: if this says yes, every reference there is either belongs to the
 * page cache, is safe, or will be dropped without its holder touching the content. A folio held by
 * safe and speculative references only is refused at most for as long as the speculative ones last.
 *
 * <p><b>Progress.</b> One volatile read.
 */
public final class AtomicPair extends Shipped {
  static final AtomicPair INSTANCE = new AtomicPair();

  private AtomicPair() {
    super(
        "atomic-pair",
        "if in doubt: both counts rise in one step, so no vCPU is taken for a host user.");
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    return refs == safe + 1;
  }
}
