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

  private static long mapped(long old, int pfn, MemoryAttribute attribute, boolean keeps) {
    return TdpEntry.mapped(old, TdpEntry.ofFile(pfn, attribute, keeps), true);
  }

  @Test
  void anEntryMapsAFrameForOneView() {
    for (MemoryAttribute attribute : MemoryAttribute.values()) {
      for (boolean keeps : new boolean[] {false, true}) {
        long entry = mapped(0, LARGEST, attribute, keeps);
        assertEquals(LARGEST, TdpEntry.pfn(entry));
        assertEquals(attribute == SHARED, TdpEntry.maps(entry, SHARED, false));
        assertEquals(attribute == PRIVATE, TdpEntry.maps(entry, PRIVATE, false));
        assertEquals(keeps, TdpEntry.keepsReference(entry));
        assertFalse(TdpEntry.isZapped(entry));
      }
    }
  }

  @Test
  void anEmptyEntryMapsNothing() {
    assertEquals(0, TdpEntry.pfn(0));
    assertFalse(TdpEntry.maps(0, PRIVATE, false));
    assertFalse(TdpEntry.maps(0, SHARED, false));
  }

  /** The frame and its reference stay until the entry is removed. */
  @Test
  void aZappedEntryMapsNothingAndKeepsItsFrame() {
    long entry = TdpEntry.zapped(mapped(0, 5, PRIVATE, true));
    assertTrue(TdpEntry.isZapped(entry));
    assertFalse(TdpEntry.maps(entry, PRIVATE, false));
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
    long first = mapped(0, 5, PRIVATE, true);
    long again = mapped(TdpEntry.removed(TdpEntry.zapped(first)), 5, PRIVATE, true);
    assertNotEquals(first, again);
    assertEquals(5, TdpEntry.pfn(again));
    assertEquals(3, (again - first) >>> 35);
    assertEquals(1, (mapped(first, 5, PRIVATE, true) - first) >>> 35);
    assertEquals(1, (TdpEntry.zapped(first) - first) >>> 35);
  }

  /** A page that is mapped again keeps the reference that the entry has, and takes no other. */
  @Test
  void aZappedEntryThatIsMappedAgainKeepsItsReference() {
    for (boolean kept : new boolean[] {false, true}) {
      long zapped = TdpEntry.zapped(mapped(0, 5, PRIVATE, kept));
      assertEquals(kept, TdpEntry.keepsReference(mapped(zapped, 5, PRIVATE, !kept)));
      assertFalse(TdpEntry.isZapped(mapped(zapped, 5, PRIVATE, !kept)));
    }
  }

  @Test
  void aWriteNeedsAnEntryThatMayBeWritten() {
    long page = TdpEntry.ofHost(7);
    for (boolean writable : new boolean[] {false, true}) {
      long entry = TdpEntry.mapped(0, page, writable);
      assertTrue(TdpEntry.isHost(entry));
      assertEquals(writable, TdpEntry.isWritable(entry));
      assertTrue(TdpEntry.maps(entry, SHARED, false));
      assertEquals(writable, TdpEntry.maps(entry, SHARED, true));
      assertFalse(TdpEntry.maps(entry, PRIVATE, false));
    }
    long writable = TdpEntry.mapped(0, page, true);
    long less = TdpEntry.writeProtected(writable);
    assertFalse(TdpEntry.maps(less, SHARED, true));
    assertTrue(TdpEntry.maps(less, SHARED, false));
    assertEquals(7, TdpEntry.pfn(less));
    assertEquals(1, (less - writable + (1L << 34)) >>> 35);
    assertFalse(TdpEntry.isHost(TdpEntry.mapped(0, TdpEntry.ofFile(7, SHARED, false), true)));
  }
}
