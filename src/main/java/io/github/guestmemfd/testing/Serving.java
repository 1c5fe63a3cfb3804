package io.github.guestmemfd.testing;

/**
 * Of which attribute a page must be for the guest to access it, if nothing is in the way.
 *
 * @param accessible whether accessible pages are served
 * @param inaccessible whether inaccessible ones are
 */
record Serving(boolean accessible, boolean inaccessible) {
  static final Serving NONE = new Serving(false, false);

  boolean serves(boolean isAccessible) {
    return isAccessible ? accessible : inaccessible;
  }

  boolean isNone() {
    return !accessible && !inaccessible;
  }
}
