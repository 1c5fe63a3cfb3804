package io.github.guestmemfd.conversion;

import java.util.List;

/**
 * {@code pin-check}: RFC v1 of August 2024, whose patch 4 refuses a folio that {@code
 * folio_maybe_dma_pinned} says may be pinned, and looks no further. Kept to show its flaw.
 *
 * <p><b>Assumptions.</b> A holder that reads or writes guest memory through a host reference has
 * pinned it. The mail thread shows this to be wrong: vmsplice, /proc/pid/mem and some direct I/O
 * take plain references, and a reference outlives the mapping it came from.
 *
 * <p><b>Guarantees.</b> No pinned folio turns inaccessible. <b>Unsound</b>: a plain reference taken
 * before the conversion reads and writes the content after it. There are false alarms too: a pin
 * counts 1024, so that many plain references look like one.
 *
 * <p><b>Progress.</b> One volatile read; speculative and guest-side references are never in the
 * way, unless there are 1023 of them.
 */
public final class PinCheck extends Shipped {
  static final PinCheck INSTANCE = new PinCheck();

  /** The kernel's {@code GUP_PIN_COUNTING_BIAS}. */
  static final int PIN_BIAS = 1024;

  private PinCheck() {
    super(
        "pin-check",
        "never: it shows what goes wrong when only pins count, a plain reference goes on reading.");
  }

  @Override
  public List<Step> guestTakes() {
    return List.of(Step.REF);
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    return refs < PIN_BIAS;
  }

  @Override
  public RetryPolicy retryPolicy() {
    return RetryPolicy.failAtOnce();
  }

  @Override
  public boolean isSound() {
    return false;
  }
}
