package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

/** The layout of an entry, and what each step makes of it. */
class TdpEntryTest {
  private static final int LARGEST = (1 << 30) - 1;

  @Test
  void anEntryMapsAFrameForOneView() {
    for (MemoryAttribute attribute : MemoryAttribute.values()) {
      for (boolean keeps : new boolean[] {false, true}) {
        long entry = TdpEntry.mapped(0, LARGEST, attribute, keeps);
        assertEquals(LARGEST, TdpEntry.pfn(entry));
        assertEquals(attribute == SHARED, TdpEntry.maps(entry, SHARED));
        assertEquals(attribute == PRIVATE, TdpEntry.maps(entry, PRIVATE));
        assertEquals(keeps, TdpEntry.keepsReference(entry));
        assertFalse(TdpEntry.isZapped(entry));
      }
    }
  }

  @Test
  void anEmptyEntryMapsNothing() {
    assertEquals(0, TdpEntry.pfn(0));
    assertFalse(TdpEntry.maps(0, PRIVATE));
    assertFalse(TdpEntry.maps(0, SHARED));
  }

  /** The frame and its reference stay until the entry is removed. */
  @Test
  void aZappedEntryMapsNothingAndKeepsItsFrame() {
    long entry = TdpEntry.zapped(TdpEntry.mapped(0, 5, PRIVATE, true));
    assertTrue(TdpEntry.isZapped(entry));
    assertFalse(TdpEntry.maps(entry, PRIVATE));
    assertEquals(5, TdpEntry.pfn(entry));
    assertTrue(TdpEntry.keepsReference(entry));
    long removed = TdpEntry.removed(entry);
    assertEquals(0, TdpEntry.pfn(removed));
    assertFalse(TdpEntry.isZapped(removed));
    assertFalse(TdpEntry.keepsReference(removed));
  }

  /** Each step makes an entry that was never there before, and leaves nothing of the old frame. */
  @Test
  void everyStepRaisesTheVersion() {
    long first = TdpEntry.mapped(0, 5, PRIVATE, true);
    long again = TdpEntry.mapped(TdpEntry.removed(TdpEntry.zapped(first)), 5, PRIVATE, true);
    assertNotEquals(first, again);
    assertEquals(5, TdpEntry.pfn(again));
    assertEquals(3, (again - first) >>> 33);
    assertEquals(6, TdpEntry.pfn(TdpEntry.mapped(first, 6, SHARED, false)));
    assertFalse(TdpEntry.keepsReference(TdpEntry.mapped(first, 6, SHARED, false)));
    assertEquals(1, (TdpEntry.mapped(first, 5, PRIVATE, true) - first) >>> 33);
    assertEquals(1, (TdpEntry.zapped(first) - first) >>> 33);
  }
}
