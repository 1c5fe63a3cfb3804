package io.github.guestmemfd.cache;

import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.memory.Frames;
import io.github.guestmemfd.spi.IdleStrategy;

/** A page table of one page, and where accesses to it are announced, for a state. */
final class Tables {
  /** The frame that the page is mapped to. */
  static final int PFN = 7;

  private static final IdleStrategy IDLE = IdleStrategy.spinThenPark();

  final Accesses accesses = new Accesses();
  final PageTable table = new PageTable(1, accesses);

  static Tables empty() {
    return new Tables();
  }

  static Tables mapped() {
    Tables tables = new Tables();
    tables.table.confirm(0, tables.table.install(0, PFN));
    return tables;
  }

  /** Unmaps the page; the frame whose reference is now the caller's, or 0. */
  int zap() {
    table.revoke(0);
    await();
    return table.remove(0);
  }

  /** Waits for accesses to the frame. */
  void await() {
    Accesses.UnderWay underWay = accesses.underWay();
    if (underWay != null) {
      underWay.include(PFN);
      Frames.run(() -> underWay.await(IDLE));
    }
  }
}
