package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Files, and what they hear of their frames. */
@Timeout(300)
class FrameOwnersTest extends FrameFixture {

  /** An orphan belongs to its file to the end, also when the file is closed and another is made. */
  @Test
  void anOrphanIsReportedToItsOwnFile() {
    FrameTable frames = table(40);
    AtomicInteger other = new AtomicInteger();
    FrameOwners.Owner first = owner(frames);
    int orphan = live(frames, first, Counts.SAFE_REF);
    first.close();
    for (int i = 0; i < 30; i++) {
      FrameOwners.Owner next = frames.newOwner(pfn -> other.incrementAndGet());
      int pfn = live(frames, next, Counts.REF);
      frames.put(pfn, Counts.REF);
      if (i % 2 == 0) {
        next.close();
      }
    }
    assertEquals(0, freed.get());
    assertEquals(30, other.get());
    frames.put(orphan, Counts.SAFE_REF);
    assertEquals(1, freed.get());
    assertEquals(30, other.get());
    assertEquals(0, frames.used());
  }

  @Test
  void aFrameIsFreedAlthoughItsFileThrows() {
    FrameTable frames = table(1);
    FrameOwners.Owner owner =
        frames.newOwner(
            pfn -> {
              throw new IllegalStateException("planned");
            });
    int pfn = live(frames, owner, Counts.REF);
    assertThrows(IllegalStateException.class, () -> frames.put(pfn, Counts.REF));
    assertEquals(0, frames.used());
    assertEquals(pfn, live(frames, owner, Counts.REF));
  }

  /** The number of a file of which nothing is left is another's. */
  @Test
  void numbersComeAgain() {
    FrameTable frames = table(1);
    FrameOwners.Owner first = owner(frames);
    FrameOwners.Owner second = owner(frames);
    assertNotEquals(first.number, second.number);
    first.close();
    assertEquals(first.number, owner(frames).number);
  }
}
