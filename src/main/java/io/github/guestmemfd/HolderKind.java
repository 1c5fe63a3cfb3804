package io.github.guestmemfd;

import io.github.guestmemfd.memory.Counts;

/** What a reference means to a conversion. */
public enum HolderKind {
  /** Survives conversion both ways: the guest's side. */
  SAFE(Counts.SAFE_REF),
  /** Stands in the way of becoming inaccessible: anything on the host's side. */
  UNSAFE(Counts.REF);

  final long unit;

  HolderKind(long unit) {
    this.unit = unit;
  }
}
