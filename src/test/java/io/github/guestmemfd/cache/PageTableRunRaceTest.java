package io.github.guestmemfd.cache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.spi.IdleStrategy;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * An access to as many pages as can be announced at once, against an unmapping of the first of
 * them: no race point lies between the look at an entry and the look at those behind it.
 */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class PageTableRunRaceTest {
  private static final int PFN = 7;

  @Test
  @Tag("duel")
  void announcesPagesThatAreMapped() throws Exception {
    Accesses accesses = new Accesses();
    PageTable table = new PageTable(2, accesses);
    table.confirm(1, table.install(1, PFN + 1));
    Duel.race(
        round -> {
          long access = table.begin(0, 2);
          if (access == 0) {
            return false;
          }
          assertTrue(accesses.isUnderWay(access), () -> "not announced: " + show(access));
          assertEquals(PFN, Accesses.pfn(access), () -> show(access));
          assertTrue(Accesses.frames(access) <= 2, () -> "not mapped: " + show(access));
          accesses.end(access);
          return true;
        },
        round -> {
          table.confirm(0, table.install(0, PFN));
          Thread.onSpinWait();
          table.revoke(0);
          Accesses.UnderWay underWay = accesses.underWay();
          if (underWay != null) {
            underWay.include(PFN);
            underWay.await(IdleStrategy.spinThenPark());
          }
          return table.remove(0) == PFN;
        });
    assertNull(accesses.underWay(), "an access is announced for ever");
  }

  private static String show(long access) {
    return "access 0x" + Long.toHexString(access) + " to " + Accesses.frames(access) + " frames";
  }
}
