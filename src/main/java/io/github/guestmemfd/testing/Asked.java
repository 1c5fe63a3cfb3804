package io.github.guestmemfd.testing;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.conversion.Step;
import java.util.List;

/** A protocol that remembers the last question about a conversion and its answer. */
record Asked(ConversionProtocol protocol, Last last) implements ConversionProtocol {

  /** The last question; written by the converting thread, read when that is done. */
  static final class Last {
    private volatile String question = "it was not asked";

    /** What was asked and answered, for a message. */
    @Override
    public String toString() {
      return question;
    }
  }

  Asked(ConversionProtocol protocol) {
    this(protocol, new Last());
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    boolean answer = protocol.mayTurnInaccessible(refs, safe);
    last.question = "mayTurnInaccessible(refs=" + refs + ", safe=" + safe + ") said " + answer;
    return answer;
  }

  @Override
  public String id() {
    return protocol.id();
  }

  @Override
  public List<Step> guestTakes() {
    return protocol.guestTakes();
  }

  @Override
  public List<Step> guestDrops() {
    return protocol.guestDrops();
  }

  @Override
  public boolean mayPunch(int refs, int safe) {
    return protocol.mayPunch(refs, safe);
  }

  @Override
  public boolean isWorthWaiting(int refs, int safe, int accessible) {
    return protocol.isWorthWaiting(refs, safe, accessible);
  }

  @Override
  public boolean freezes() {
    return protocol.freezes();
  }

  @Override
  public boolean waitsWithFolioLock() {
    return protocol.waitsWithFolioLock();
  }

  @Override
  public boolean locksWholeFile() {
    return protocol.locksWholeFile();
  }

  @Override
  public RetryPolicy retryPolicy() {
    return protocol.retryPolicy();
  }

  @Override
  public boolean isSound() {
    return protocol.isSound();
  }
}
