package io.github.guestmemfd.conversion;

/** A shipped protocol: it has a name, says when to choose it, and has one instance. */
abstract class Shipped implements ConversionProtocol {
  private final String id;
  private final String chooseIt;

  Shipped(String id, String chooseIt) {
    this.id = id;
    this.chooseIt = chooseIt;
  }

  @Override
  public final String id() {
    return id;
  }

  @Override
  public final String chooseIt() {
    return chooseIt;
  }

  @Override
  public final String toString() {
    return id;
  }
}
