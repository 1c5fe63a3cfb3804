package io.github.guestmemfd.model;

/**
 * One call of a client's method.
 *
 * @param file the number of the file
 * @param method the name of the method
 * @param offset where the range or the folio begins; -1 for none
 * @param length the length of the range; 4096 for a folio, 0 for neither
 * @param inDirectMap whether the folio is in the direct map; null if there is none, or if that is
 *     not promised
 * @param hash of the content of the folio; null if there is none
 */
record Callback(
    int file, String method, long offset, long length, Boolean inDirectMap, Integer hash) {

  /** Whether this, which happened, is what was expected. */
  boolean isAsExpected(Callback expected) {
    Boolean compared = expected.inDirectMap == null ? null : inDirectMap;
    return expected.equals(new Callback(file, method, offset, length, compared, hash));
  }

  @Override
  public String toString() {
    return "file"
        + file
        + "."
        + method
        + "("
        + offset
        + ", "
        + length
        + ")"
        + (inDirectMap == null ? "" : inDirectMap ? " in" : " out of")
        + (inDirectMap == null ? "" : " the direct map")
        + (hash == null ? "" : ", hash " + Integer.toHexString(hash));
  }
}
