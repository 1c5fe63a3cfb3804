package io.github.guestmemfd.conversion;

import java.util.List;

/**
 * {@code last-put}: the pKVM series. A conversion freezes the count of the folio, which succeeds
 * only if gmem has the only reference. Otherwise the page belongs to neither side ({@code
 * NONE_SHARED}: neither side may fault) until the last outside put completes the conversion.
 *
 * <p><b>Assumptions.</b> Every holder lets go eventually.
 *
 * <p><b>Guarantees.</b> Sound: while a folio is frozen no thread can take a reference, not even a
 * speculative one. A vCPU's plain reference stands in the way like any other.
 *
 * <p><b>Progress.</b> A conversion never waits; it may stay pending for as long as any holder has a
 * folio. In the kernel the last put may come in atomic context, or after truncation, where little
 * can be done; here it is done by the thread of that put once that thread is out of every callback
 * and range operation.
 */
public final class LastPut extends Shipped {
  static final LastPut INSTANCE = new LastPut();

  private LastPut() {
    super("last-put", "if the caller need not wait: the last put completes the conversion.");
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
  public boolean freezes() {
    return true;
  }

  @Override
  public RetryPolicy retryPolicy() {
    return RetryPolicy.completeLater();
  }
}
