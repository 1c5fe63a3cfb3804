package io.github.guestmemfd.cache;

import io.github.guestmemfd.fixtures.Linearizable;
import io.github.guestmemfd.memory.Accesses;
import org.jetbrains.lincheck.datastructures.IntGen;
import org.jetbrains.lincheck.datastructures.Operation;
import org.jetbrains.lincheck.datastructures.Param;
import org.jetbrains.lincheck.datastructures.ThreadIdGen;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** A page table entry: faults, revocations and removals are linearizable. */
@Tag("lincheck")
class PageTableLincheckTest {

  /** A table of one page; each thread confirms or removes the entry that it has installed. */
  @Param(name = "thread", gen = ThreadIdGen.class)
  @Param(name = "pfn", gen = IntGen.class, conf = "1:3")
  public static class OneEntry {
    private final Accesses accesses = new Accesses();
    private final PageTable table = new PageTable(1, accesses);
    private final long[] pending = new long[8];

    @Operation
    public boolean install(@Param(name = "thread") int thread, @Param(name = "pfn") int pfn) {
      pending[thread] = table.install(0, pfn);
      return pending[thread] != 0;
    }

    @Operation
    public void confirm(@Param(name = "thread") int thread) {
      if (pending[thread] != 0) {
        table.confirm(0, pending[thread]);
      }
    }

    @Operation
    public boolean tryRemove(@Param(name = "thread") int thread) {
      return pending[thread] != 0 && table.tryRemove(0, pending[thread]);
    }

    @Operation
    public void revoke() {
      table.revoke(0);
    }

    @Operation
    public int remove() {
      return table.remove(0);
    }

    @Operation
    public int held() {
      return PageTable.held(table.entry(0));
    }

    @Operation
    public int mapped() {
      return PageTable.pfn(table.entry(0));
    }

    /** Whether an access may begin; it ends at once. */
    @Operation
    public boolean access() {
      long access = table.begin(0, 1);
      if (access != 0) {
        accesses.end(access);
      }
      return access != 0;
    }
  }

  @Test
  void oneEntryByOrders() {
    Linearizable.checkByOrders(OneEntry.class);
  }

  @Test
  void oneEntryByStress() {
    Linearizable.checkByStress(OneEntry.class);
  }
}
