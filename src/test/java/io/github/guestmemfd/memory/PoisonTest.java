package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.memory.FrameAllocator.Poisoning;
import io.github.guestmemfd.spi.IdleStrategy;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Frames that fail, free or in use, and the accounts of the free list. */
@Timeout(300)
class PoisonTest {
  private static FrameTable table(int frames) {
    return new FrameTable(frames, IdleStrategy.spinThenPark());
  }

  /** A free frame that is promised is left for the promise. */
  @Test
  void aFreeFrameThatIsPromised() {
    FrameTable frames = table(1);
    assertTrue(frames.reserve(1));
    assertEquals(Poisoning.PROMISED, frames.poison(1));
    assertFalse(frames.isPoisoned(1));
    frames.unreserve(1);
    assertEquals(Poisoning.DONE, frames.poison(1));
    assertFalse(frames.reserve(1));
  }

  @Test
  void aFrameInUseIsTakenOutAtItsEnd() {
    FrameTable frames = table(2);
    FrameOwners.Listener listener = pfn -> {};
    FrameOwners.Owner owner = frames.newOwner(listener);
    assertTrue(frames.reserve(2));
    int pfn = frames.allocate(owner);
    frames.thaw(pfn, Counts.REF);
    assertEquals(Poisoning.DONE, frames.poison(pfn));
    assertSame(listener, frames.listener(pfn));
    assertTrue(frames.isPoisoned(pfn));
    assertEquals(Poisoning.ALREADY, frames.poison(pfn));
    assertEquals(2, frames.used());
    assertTrue(frames.tryGetByNumber(pfn, Counts.REF));
    frames.put(pfn, Counts.REF);
    frames.put(pfn, Counts.REF);
    assertNull(frames.listener(pfn));
    assertFalse(frames.tryGetByNumber(pfn, Counts.REF));
    assertEquals(1, frames.used(), "the promise");
    assertTrue(frames.allocate(owner) != pfn);
    assertFalse(frames.reserve(1));
    assertEquals(1, frames.poisoned());
  }

  @Test
  void aFrameThatNeverCameToBeUsedHasNoFile() {
    FrameTable frames = table(1);
    FrameOwners.Owner owner = frames.newOwner(pfn -> {});
    assertTrue(frames.reserve(1));
    int pfn = frames.allocate(owner);
    frames.thaw(pfn, Counts.REF);
    assertTrue(frames.tryGetByNumber(pfn, Counts.REF)); // a walker
    frames.poison(pfn);
    frames.discard(pfn, owner, Counts.REF);
    assertNull(frames.listener(pfn));
    frames.put(pfn, Counts.REF);
    assertEquals(0, frames.used());
  }

  @Test
  void aNumberThatWasNeverUsedIsNoLivingFrame() {
    FrameTable frames = table(100_000);
    assertFalse(frames.tryGetByNumber(100_000, Counts.REF));
    assertEquals(Poisoning.DONE, frames.poison(100_000));
    assertFalse(frames.tryGetByNumber(100_000, Counts.REF));
    assertTrue(frames.reserve(99_999));
    assertFalse(frames.reserve(1));
  }

  @Test
  void aFreeFrameThatHasFailedIsNotHandedOut() {
    FrameTable frames = table(3);
    FrameOwners.Owner owner = frames.newOwner(pfn -> {});
    assertTrue(frames.reserve(2));
    int pfn = frames.allocate(owner);
    int other = frames.allocate(owner);
    frames.thaw(pfn, Counts.REF);
    frames.thaw(other, Counts.REF);
    frames.put(other, Counts.REF);
    frames.put(pfn, Counts.REF); // the first on the list
    assertEquals(Poisoning.DONE, frames.poison(pfn));
    assertEquals(0, frames.used());
    assertTrue(frames.reserve(2));
    assertEquals(other, frames.allocate(owner));
    assertEquals(3, frames.allocate(owner));
    assertFalse(frames.reserve(1));
  }

  /** A frame comes into use while a thread that found it free marks it. */
  @Test
  void aFrameThatIsAllocatedMeanwhileFailsInUse() {
    FrameTable frames = table(2);
    FrameOwners.Owner owner = frames.newOwner(pfn -> {});
    assertTrue(frames.reserve(1));
    int pfn = frames.allocate(owner);
    frames.thaw(pfn, Counts.REF);
    frames.put(pfn, Counts.REF);
    assertTrue(frames.reserve(1));
    Meanwhile.beforeWrite(
        2, // after the promise
        () -> assertEquals(pfn, frames.allocate(owner)),
        () -> assertEquals(Poisoning.DONE, frames.poison(pfn)));
    assertEquals(1, frames.used(), "the promise is given back, and the frame not out yet");
    assertTrue(frames.reserve(1));
    frames.unreserve(1);
    frames.discard(pfn, owner, 0);
    assertEquals(0, frames.used());
    assertTrue(frames.reserve(1));
    assertFalse(frames.reserve(1));
  }

  /**
   * Failures against allocations: a frame that has failed is not handed out afterwards, each
   * promise is kept, and in the end every frame is either free or out.
   */
  @Test
  @Tag("duel")
  void failuresAgainstAllocations() throws Exception {
    int size = 8;
    AtomicReference<FrameTable> table = new AtomicReference<>();
    AtomicReference<FrameOwners.Owner> owner = new AtomicReference<>();
    AtomicInteger failed = new AtomicInteger();
    Duel.rounds(
        () -> {
          table.set(table(size));
          owner.set(table.get().newOwner(pfn -> {}));
          failed.set(0);
        },
        round -> {
          FrameTable frames = table.get();
          for (int i = 0; i < 4; i++) {
            assertTrue(frames.reserve(2));
            int one = frames.allocate(owner.get());
            int two = frames.allocate(owner.get());
            frames.thaw(one, Counts.REF);
            frames.thaw(two, Counts.REF);
            frames.put(one, Counts.REF);
            frames.put(two, Counts.REF);
          }
          return true;
        },
        round -> {
          for (int pfn = 1; pfn <= 4; pfn++) {
            if (table.get().poison(pfn) == Poisoning.DONE) {
              failed.incrementAndGet();
            }
          }
          return true;
        },
        () -> {
          FrameTable frames = table.get();
          assertEquals(failed.get(), frames.poisoned());
          assertEquals(0, frames.used());
          int left = size - failed.get();
          assertTrue(frames.reserve(left));
          assertFalse(frames.reserve(1));
          for (int i = 0; i < left; i++) {
            assertFalse(frames.isPoisoned(frames.allocate(owner.get())));
          }
        });
  }
}
