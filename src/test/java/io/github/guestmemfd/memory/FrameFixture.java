package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.spi.IdleStrategy;
import java.util.concurrent.atomic.AtomicInteger;

/** Tables and frames for the tests of frames. */
abstract class FrameFixture {

  /** How many frames have been reported as freed, by files of {@link #owner}. */
  final AtomicInteger freed = new AtomicInteger();

  static FrameTable table(int frames) {
    return new FrameTable(frames, IdleStrategy.spinThenPark());
  }

  FrameOwners.Owner owner(FrameTable frames) {
    return frames.newOwner(pfn -> freed.incrementAndGet());
  }

  static int live(FrameTable frames, FrameOwners.Owner owner, long unit) {
    assertTrue(frames.reserve(1));
    int pfn = frames.allocate(owner);
    frames.thaw(pfn, unit);
    return pfn;
  }
}
