package io.github.guestmemfd.abi;

/**
 * What a reference means to a conversion. Each kind is counted by itself, so a reference is dropped
 * as the kind that it was taken as: see {@link io.github.guestmemfd.GuestMemfd#put}.
 */
public enum HolderKind {
  /**
   * The guest's side. The file's {@link io.github.guestmemfd.conversion.ConversionProtocol} says
   * how it holds the folio, and whether it is in the way of a conversion; with the default one it
   * survives conversion both ways.
   */
  SAFE,
  /** Stands in the way of becoming inaccessible: anything on the host's side. */
  UNSAFE,
  /**
   * As {@link #UNSAFE}, and named apart: a user on the host's side that asked for the page to be
   * accessible. Several may share a page, each with a reference of its own; a conversion that is
   * refused says how many there are. The accessible count of RFC v2.
   */
  ACCESSIBLE
}
