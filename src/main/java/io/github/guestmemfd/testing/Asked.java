package io.github.guestmemfd.testing;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;

/** A protocol that remembers the last question about a conversion and its answer. */
final class Asked extends ForwardingProtocol {

  /** Written by the converting thread, read when that thread is done. */
  private volatile String last = "it was not asked";

  Asked(ConversionProtocol protocol) {
    super(protocol);
  }

  /** The last question and its answer, for a message. */
  String last() {
    return last;
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    boolean answer = super.mayTurnInaccessible(refs, safe);
    last = "mayTurnInaccessible(refs=" + refs + ", safe=" + safe + ") said " + answer;
    return answer;
  }
}
