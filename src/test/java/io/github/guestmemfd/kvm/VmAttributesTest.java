package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.fixtures.Worker;
import java.util.BitSet;
import java.util.Random;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.Test;

/** The ranges of private frames of a machine, against a bit for each. */
class VmAttributesTest {
  private static final int FRAMES = 64;

  private static void same(VmAttributes attributes, BitSet bits) {
    for (int gfn = 0; gfn < FRAMES; gfn++) {
      assertThat(attributes.isPrivate(gfn)).as("%d of %s", gfn, bits).isEqualTo(bits.get(gfn));
      int other = bits.get(gfn) ? bits.nextClearBit(gfn) : bits.nextSetBit(gfn);
      int expected = other < 0 ? FRAMES : Math.min(other, FRAMES);
      assertThat(attributes.firstOther(gfn, FRAMES, bits.get(gfn) ? PRIVATE : SHARED))
          .isEqualTo(expected);
      assertThat(attributes.firstOther(gfn, FRAMES, bits.get(gfn) ? SHARED : PRIVATE))
          .isEqualTo(gfn);
    }
  }

  @RepeatedTest(20)
  void randomChanges() {
    Random random = new Random();
    VmAttributes attributes = new VmAttributes();
    BitSet bits = new BitSet();
    for (int i = 0; i < 300; i++) {
      int from = random.nextInt(FRAMES);
      int to = from + 1 + random.nextInt(FRAMES - from);
      boolean toPrivate = random.nextBoolean();
      attributes.set(from, to, toPrivate ? PRIVATE : SHARED);
      bits.set(from, to, toPrivate);
      same(attributes, bits);
    }
  }

  @Test
  void theLastFrames() {
    VmAttributes attributes = new VmAttributes();
    long end = 1L << 52; // of a range that ends at 2^64
    attributes.set(end - 2, end, PRIVATE);
    assertThat(attributes.isPrivate(end - 1)).isTrue();
    assertThat(attributes.isPrivate(end - 3)).isFalse();
    assertThat(attributes.firstOther(0, end, SHARED)).isEqualTo(end - 2);
    attributes.set(0, end, SHARED);
    assertThat(attributes.firstOther(0, end, SHARED)).isEqualTo(end);
  }

  /** A reader of frames that stay as they are is not misled while those between them change. */
  @Test
  void readersOfOtherFramesSeeNoChange() throws Exception {
    VmAttributes attributes = new VmAttributes();
    attributes.set(0, FRAMES, PRIVATE);
    attributes.set(FRAMES + 8, FRAMES + 16, PRIVATE);
    AtomicBoolean stop = new AtomicBoolean();
    AtomicLong reads = new AtomicLong();
    Worker<Void> reader =
        Worker.start(
            () -> {
              while (!stop.get()) {
                for (int gfn : new int[] {0, 7, 40, FRAMES - 1, FRAMES + 8, FRAMES + 15}) {
                  assertThat(attributes.isPrivate(gfn)).as("%d", gfn).isTrue();
                }
                for (int gfn : new int[] {FRAMES, FRAMES + 7, FRAMES + 16}) {
                  assertThat(attributes.isPrivate(gfn)).as("%d", gfn).isFalse();
                }
                reads.getAndIncrement();
              }
              return null;
            });
    Random random = new Random(1);
    for (int i = 0; i < 100_000 || (reads.get() == 0 && !reader.isDone()); i++) {
      int from = 8 + random.nextInt(31);
      attributes.set(from, from + 1 + random.nextInt(40 - from), i % 2 == 0 ? SHARED : PRIVATE);
    }
    stop.set(true);
    reader.result();
  }
}
