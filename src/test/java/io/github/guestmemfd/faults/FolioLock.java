package io.github.guestmemfd.faults;

import static io.github.guestmemfd.abi.HolderKind.SAFE;

import io.github.guestmemfd.Folio;

/** The folio lock, and what it keeps away. */
final class FolioLock extends Scenarios.OneFile {
  private Folio folio;

  FolioLock(Bench bench) {
    super(bench);
    some(
        "grab",
        () -> {
          folio = bench.grabbed(f.grab(0), SAFE);
          return OK;
        });
    some(
        "lock",
        () -> {
          folio.lock();
          bench.locked.add(folio);
          return OK;
        });
    some(
        "zero",
        () -> {
          folio.zero();
          return OK;
        });
    inaccessible(1, 2);
    some(
        "unlock",
        () -> {
          if (bench.locked.remove(folio)) {
            folio.unlock();
          }
          return OK;
        });
    close("let go", () -> folio);
    inaccessible(0, 4);
  }
}
