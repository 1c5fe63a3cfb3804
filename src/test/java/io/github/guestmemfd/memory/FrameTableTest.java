package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The lives of a frame. */
@Timeout(120)
class FrameTableTest extends FrameFixture {

  /** Whatever a life did to a frame, the next one starts afresh. */
  @Test
  void aNewLifeKnowsNothingOfTheOldOne() throws Exception {
    FrameTable frames = table(1);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, Counts.REF);
    frames.setUptodate(pfn);
    assertTrue(frames.isUptodate(pfn));
    assertFalse(frames.isPrepared(pfn));
    frames.setPrepared(pfn);
    assertTrue(frames.isPrepared(pfn));
    frames.removeFromDirectMap(pfn);
    assertFalse(frames.isDirectMapped(pfn));
    assertEquals(0, frames.beginDirectAccess(pfn));
    frames.put(pfn, Counts.REF);
    FrameOwners.Owner next = owner(frames);
    assertEquals(pfn, live(frames, next, Counts.REF));
    assertFalse(frames.isUptodate(pfn));
    assertFalse(frames.isPrepared(pfn));
    assertTrue(frames.isDirectMapped(pfn));
    frames.put(pfn, Counts.REF);
  }
}
