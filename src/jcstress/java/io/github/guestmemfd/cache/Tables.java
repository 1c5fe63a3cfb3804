package io.github.guestmemfd.cache;

import io.github.guestmemfd.memory.Frames;
import io.github.guestmemfd.spi.IdleStrategy;

/** Page tables of one page for states. */
final class Tables {
  private Tables() {}

  static PageTable empty() {
    return new PageTable(1, IdleStrategy.spinThenPark());
  }

  /** A table whose page is mapped to frame 7. */
  static PageTable mapped() {
    PageTable table = empty();
    table.install(0, 7);
    table.settle(0, table.entry(0), true);
    return table;
  }

  static int zap(PageTable table) {
    int[] pfn = new int[1];
    Frames.run(() -> pfn[0] = table.zap(0));
    return pfn[0];
  }
}
