package io.github.guestmemfd.conversion;

/**
 * A way to tell whether somebody on the host can still reach a folio that is to become
 * inaccessible.
 *
 * <p>The library calls a protocol when the folio's page is busy (no lookup can succeed), its folio
 * lock is free, and no mapping of the file maps it. Implementations must be stateless or
 * thread-safe, and quick.
 *
 * @see <a href="https://lore.kernel.org/all/?q=guest_memfd+mmap">the mail thread that names
 *     them</a>
 */
public interface ConversionProtocol {

  /**
   * The name of the protocol on a command line and in reports.
   *
   * @return lower-case words joined by hyphens
   */
  String id();

  /**
   * Whether a folio with these counts may turn inaccessible. Both counts come from one atomic read.
   *
   * @param refs all references on the folio; the page cache's is one, each safe one counts, a pin
   *     counts 1024
   * @param safe the safe references among them
   * @return true if nobody unsafe can hold the folio
   */
  boolean mayTurnInaccessible(int refs, int safe);

  /**
   * The default protocol: both counters in one word, raised and lowered together.
   *
   * <p><b>Assumptions.</b> (1) The page is made busy before the counts are read, and a lookup reads
   * the page's slot again after it has taken its reference. (2) A safe holder raises and lowers
   * both counters in one atomic step.
   *
   * <p><b>Guarantees.</b> If this says yes, every reference there is either belongs to the page
   * cache, is safe, or will be dropped without its holder touching the content. A folio held by
   * safe and speculative references only is refused at most for as long as the speculative ones
   * last.
   *
   * <p><b>Progress.</b> One volatile read.
   *
   * @return the protocol {@code atomic-pair}
   */
  static ConversionProtocol atomicPair() {
    return AtomicPair.INSTANCE;
  }
}

/** Both counters in one word. */
final class AtomicPair implements ConversionProtocol {
  static final AtomicPair INSTANCE = new AtomicPair();

  @Override
  public String id() {
    return "atomic-pair";
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    return refs == safe + 1;
  }

  @Override
  public String toString() {
    return id();
  }
}
