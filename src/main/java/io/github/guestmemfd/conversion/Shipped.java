package io.github.guestmemfd.conversion;

/** What the shipped protocols have in common: a name, and one instance each. */
abstract class Shipped implements ConversionProtocol {
  private final String id;

  Shipped(String id) {
    this.id = id;
  }

  @Override
  public final String id() {
    return id;
  }

  @Override
  public final String toString() {
    return id;
  }
}
