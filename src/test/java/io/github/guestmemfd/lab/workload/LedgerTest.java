package io.github.guestmemfd.lab.workload;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/** The lab's account of who holds what. */
class LedgerTest {
  private final Ledger ledger = new Ledger(8);

  @Test
  void whatNobodyHasHeldWasNotHeld() {
    long now = System.nanoTime();
    ledger.hold(3, 2);
    assertThat(ledger.wasHeldSince(2, now)).isFalse();
    assertThat(ledger.wasHeldSince(5, now)).isFalse();
    assertThat(ledger.isHeld(5)).isFalse();
  }

  @Test
  void aHoldShowsWhileItLastsAndForWhoBeganBeforeItsEnd() {
    long before = System.nanoTime();
    ledger.hold(3, 2);
    assertThat(ledger.isHeld(4)).isTrue();
    assertThat(ledger.wasHeldSince(4, System.nanoTime())).isTrue();
    ledger.release(3, 2);
    assertThat(ledger.isHeld(4)).isFalse();
    assertThat(ledger.wasHeldSince(4, before)).isTrue();
    assertThat(ledger.wasHeldSince(4, System.nanoTime() + 1)).isFalse();
  }

  @Test
  void holdsAreCounted() {
    ledger.hold(0, 8);
    ledger.hold(7, 1);
    ledger.release(0, 8);
    assertThat(ledger.isHeld(7)).isTrue();
    assertThat(ledger.isHeld(0)).isFalse();
  }
}
