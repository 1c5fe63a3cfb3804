package io.github.guestmemfd.conversion;

import java.util.List;

/**
 * A protocol that forwards to another one what a subclass does not override: for variations of a
 * shipped protocol, and to observe the calls to one.
 *
 * <p>Every method forwards, those with a default too. So a subclass that overrides {@link
 * #guestTakes} must override {@link #guestDrops} as well. As thread-safe as the protocol behind it.
 */
public abstract class ForwardingProtocol implements ConversionProtocol {
  private final ConversionProtocol original;

  /**
   * Forwards to a protocol.
   *
   * @param original the protocol
   */
  protected ForwardingProtocol(ConversionProtocol original) {
    this.original = original;
  }

  @Override
  public String id() {
    return original.id();
  }

  @Override
  public String chooseIt() {
    return original.chooseIt();
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    return original.mayTurnInaccessible(refs, safe);
  }

  @Override
  public List<Step> guestTakes() {
    return original.guestTakes();
  }

  @Override
  public List<Step> guestDrops() {
    return original.guestDrops();
  }

  @Override
  public boolean mayPunch(int refs, int safe) {
    return original.mayPunch(refs, safe);
  }

  @Override
  public boolean isWorthWaiting(int refs, int safe, int accessible) {
    return original.isWorthWaiting(refs, safe, accessible);
  }

  @Override
  public boolean refusesOutright(int refs, int safe) {
    return original.refusesOutright(refs, safe);
  }

  @Override
  public boolean freezes() {
    return original.freezes();
  }

  @Override
  public boolean waitsWithFolioLock() {
    return original.waitsWithFolioLock();
  }

  @Override
  public boolean locksWholeFile() {
    return original.locksWholeFile();
  }

  @Override
  public RetryPolicy retryPolicy() {
    return original.retryPolicy();
  }

  @Override
  public boolean isSound() {
    return original.isSound();
  }
}
