package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.fixtures.NoScheduler;
import io.github.guestmemfd.spi.Exploration;
import java.util.HashSet;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Promises, and the free list. */
@Timeout(300)
class FrameAllocatorTest extends FrameFixture {

  @Test
  void promisesAreExact() {
    FrameTable frames = table(5);
    FrameOwners.Owner owner = owner(frames);
    assertFalse(frames.reserve(6));
    assertEquals(0, frames.used());
    assertTrue(frames.reserve(5));
    assertFalse(frames.reserve(1));
    assertTrue(frames.reserve(0));
    assertEquals(5, frames.used());
    frames.unreserve(2);
    Set<Integer> pfns = new HashSet<>();
    for (int i = 0; i < 3; i++) {
      int pfn = frames.allocate(owner);
      assertTrue(pfn >= 1 && pfn <= 5);
      assertTrue(pfns.add(pfn), "frame " + pfn + " handed out twice");
      frames.thaw(pfn, Counts.REF);
    }
    assertFalse(frames.reserve(3));
    assertTrue(frames.reserve(2));
    for (int pfn : pfns) {
      frames.put(pfn, Counts.REF);
    }
    assertEquals(2, frames.used());
    frames.unreserve(2);
    assertEquals(0, frames.used());
  }

  @Test
  void allocationWithoutAPromiseIsLoud() {
    FrameTable frames = table(1);
    FrameOwners.Owner owner = owner(frames);
    live(frames, owner, Counts.REF);
    assertThrows(IllegalStateException.class, () -> frames.allocate(owner));
  }

  /** Frames that are given back come again, each once, and the last first. */
  @Test
  void whatIsGivenBackIsHandedOutAgain() {
    FrameTable frames = table(4);
    FrameOwners.Owner owner = owner(frames);
    int[] pfns = new int[4];
    for (int i = 0; i < pfns.length; i++) {
      pfns[i] = live(frames, owner, Counts.REF);
    }
    for (int pfn : pfns) {
      frames.put(pfn, Counts.REF);
    }
    for (int i = pfns.length - 1; i >= 0; i--) {
      assertEquals(pfns[i], live(frames, owner, Counts.REF));
    }
  }

  /** What a late thread has done to a frame's word stays while the frame is on the list. */
  @Test
  void aFrameOnTheListKeepsItsFlags() {
    FrameTable frames = table(2);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, Counts.REF);
    assertTrue(frames.tryLock(pfn));
    frames.put(pfn, Counts.REF);
    assertTrue(frames.isLocked(pfn));
    frames.unlock(pfn);
  }

  /** A pop that was delayed while its frame left and came back must not go by the old next one. */
  @Test
  void aPopIsNotDeceivedByAFrameThatIsBack() {
    FrameTable frames = table(3);
    FrameOwners.Owner owner = owner(frames);
    int c = live(frames, owner, Counts.REF);
    int b = live(frames, owner, Counts.REF);
    int a = live(frames, owner, Counts.REF);
    for (int pfn : new int[] {c, b, a}) {
      frames.put(pfn, Counts.REF); // the list is now a, b, c
    }
    assertTrue(frames.reserve(1));
    AtomicInteger taken = new AtomicInteger();
    Meanwhile.beforeWrite(
        1,
        () -> {
          assertEquals(a, live(frames, owner, Counts.REF));
          assertEquals(b, live(frames, owner, Counts.REF));
          frames.put(a, Counts.REF);
        },
        () -> taken.set(frames.allocate(owner)));
    assertEquals(a, taken.get());
    assertEquals(c, live(frames, owner, Counts.REF), "the other one that is free");
  }

  @Test
  void aPushIsNotLostToAnother() {
    FrameTable frames = table(2);
    FrameOwners.Owner owner = owner(frames);
    int one = live(frames, owner, Counts.REF);
    int two = live(frames, owner, Counts.REF);
    for (int write = 1; write <= 6; write++) { // counts, state, next, head, promises, file
      Meanwhile.beforeWrite(
          write, () -> frames.put(two, Counts.REF), () -> frames.put(one, Counts.REF));
      assertEquals(0, frames.used());
      int first = live(frames, owner, Counts.REF);
      int second = live(frames, owner, Counts.REF);
      assertEquals(Set.of(one, two), Set.of(first, second), "before write " + write);
    }
  }

  @Test
  void aPromiseCanBeMadeToFail() {
    FrameTable frames = table(1);
    Exploration.during(
        () -> {
          Exploration.by(
              new NoScheduler() {
                @Override
                public boolean mayFail() {
                  return true;
                }
              },
              () -> assertFalse(frames.reserve(1)));
          return null;
        });
    assertEquals(0, frames.used());
    assertTrue(frames.reserve(1));
  }

  /**
   * The free list under two threads, with so few frames that each pop meets a push: no frame has
   * two owners, and there never are more than the limit. A list that could not tell a frame that
   * left and came back (ABA) from one that stayed would break here.
   */
  @ParameterizedTest
  @Tag("duel")
  @ValueSource(ints = {2, 3, 5, 64})
  void noFrameIsHandedOutTwice(int limit) throws Exception {
    FrameTable frames = table(limit);
    FrameOwners.Owner owner = owner(frames);
    AtomicIntegerArray holders = new AtomicIntegerArray(limit + 1);
    AtomicInteger held = new AtomicInteger();
    Duel.race(
        new Churn(frames, owner, holders, held, 1), new Churn(frames, owner, holders, held, 2));
    assertEquals(0, frames.used());
    assertTrue(frames.reserve(limit));
    Set<Integer> pfns = new HashSet<>();
    for (int i = 0; i < limit; i++) {
      assertTrue(pfns.add(frames.allocate(owner)), "a frame is twice on the list");
    }
    assertFalse(frames.reserve(1));
  }

  /** Takes one or two frames, and gives them back in either order. */
  private static final class Churn implements Duel.Step {
    private final FrameTable frames;
    private final FrameOwners.Owner owner;
    private final AtomicIntegerArray holders;
    private final AtomicInteger held;
    private final SplittableRandom random;

    Churn(
        FrameTable frames,
        FrameOwners.Owner owner,
        AtomicIntegerArray holders,
        AtomicInteger held,
        int seed) {
      this.frames = frames;
      this.owner = owner;
      this.holders = holders;
      this.held = held;
      this.random = new SplittableRandom(seed);
    }

    @Override
    public boolean run(long round) {
      int n = 1 + random.nextInt(2);
      if (!frames.reserve(n)) {
        return false;
      }
      int first = take();
      if (n == 2) {
        int second = take();
        if (random.nextBoolean()) {
          give(first);
          give(second);
          return true;
        }
        give(second);
      }
      give(first);
      return true;
    }

    private int take() {
      int pfn = frames.allocate(owner);
      assertEquals(0, holders.getAndIncrement(pfn), () -> "frame " + pfn + " has two owners");
      assertTrue(held.incrementAndGet() <= frames.limit());
      frames.thaw(pfn, Counts.REF);
      return pfn;
    }

    private void give(int pfn) {
      held.decrementAndGet();
      assertEquals(1, holders.getAndDecrement(pfn));
      frames.put(pfn, Counts.REF);
    }
  }
}
