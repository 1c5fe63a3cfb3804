package io.github.guestmemfd;

/** What a reference means to a conversion. */
public enum HolderKind {
  /**
   * The guest's side. How it holds the folio, and whether it is in the way of a conversion, says
   * the file's {@link io.github.guestmemfd.conversion.ConversionProtocol}; with the default one it
   * survives conversion both ways.
   */
  SAFE,
  /** Stands in the way of becoming inaccessible: anything on the host's side. */
  UNSAFE
}
