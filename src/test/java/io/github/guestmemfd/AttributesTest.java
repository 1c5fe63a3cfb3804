package io.github.guestmemfd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.AttributeRange;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;

/** The attributes of a file as ranges. */
class AttributesTest extends HostFixture {

  @Test
  void partsThatAreAlikeAreOne() {
    GuestMemfd memfd = file(8);
    assertEquals(
        List.of(new AttributeRange(0, 8L * PAGE, true)), memfd.attributes(0, memfd.size()));
    memfd.makeInaccessible(PAGE, 2L * PAGE);
    memfd.makeInaccessible(7L * PAGE, PAGE);
    assertEquals(
        List.of(
            new AttributeRange(0, PAGE, true),
            new AttributeRange(PAGE, 2L * PAGE, false),
            new AttributeRange(3L * PAGE, 4L * PAGE, true),
            new AttributeRange(7L * PAGE, PAGE, false)),
        memfd.attributes(0, memfd.size()));
    assertEquals(
        List.of(
            new AttributeRange(2L * PAGE, PAGE, false), new AttributeRange(3L * PAGE, PAGE, true)),
        memfd.attributes(2L * PAGE, 2L * PAGE));
  }

  @Test
  void aRangeThatIsNoneIsRefused() {
    GuestMemfd memfd = file(2);
    refused(Errno.EINVAL, () -> memfd.attributes(0, 3L * PAGE));
    refused(Errno.EINVAL, () -> memfd.attributes(1, PAGE));
    refused(Errno.EINVAL, () -> memfd.attributes(0, 0));
    refused(Errno.EINVAL, () -> memfd.attributes(-PAGE, PAGE));
  }

  /** A file of 2^62 bytes with three kinds of range takes no time. */
  @Test
  void aHugeFileIsNotLookedAtPageByPage() {
    HostMemory small = HostMemory.metadataOnly(1L << 20);
    long size = 1L << 62;
    try (GuestMemfd memfd = GuestMemfd.builder(small).size(size).build()) {
      memfd.makeAccessible(1L << 40, 1L << 50);
      long end = (1L << 40) + (1L << 50);
      assertEquals(
          List.of(
              new AttributeRange(0, 1L << 40, false),
              new AttributeRange(1L << 40, 1L << 50, true),
              new AttributeRange(end, size - end, false)),
          memfd.attributes(0, size));
    }
    small.close();
  }

  /** Whatever is converted meanwhile: no gap, no overlap, and no two neighbours that are alike. */
  @Test
  void partsFitTogetherWhilePagesAreConverted() throws Exception {
    GuestMemfd memfd = file(16);
    AtomicBoolean stop = new AtomicBoolean();
    Worker<Void> converting =
        Worker.start(
            () -> {
              Random random = new Random(1);
              while (!stop.get()) {
                long at = (long) random.nextInt(16) * PAGE;
                if (random.nextBoolean()) {
                  memfd.makeInaccessible(at, PAGE);
                } else {
                  memfd.makeAccessible(at, PAGE);
                }
              }
              return null;
            });
    int several = 0;
    for (int i = 0; i < 20_000; i++) {
      List<AttributeRange> parts = memfd.attributes(0, memfd.size());
      long at = 0;
      for (int k = 0; k < parts.size(); k++) {
        assertEquals(at, parts.get(k).offset());
        assertTrue(parts.get(k).length() > 0);
        at += parts.get(k).length();
        if (k > 0) {
          assertNotEquals(
              parts.get(k - 1).accessible(), parts.get(k).accessible(), parts::toString);
        }
      }
      assertEquals(memfd.size(), at);
      several += parts.size() > 1 ? 1 : 0;
    }
    stop.set(true);
    converting.result();
    assertTrue(several > 0);
  }
}
