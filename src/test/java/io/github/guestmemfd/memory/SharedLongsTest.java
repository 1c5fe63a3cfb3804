package io.github.guestmemfd.memory;

import static io.github.guestmemfd.fixtures.Announced.read;
import static io.github.guestmemfd.fixtures.Announced.write;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.Announced;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What each access does, and that it announces its word first. */
class SharedLongsTest {
  private final long[] words = {10, 20, 30};

  private void assertAnnounced(Announced.Access access, Runnable body) {
    assertEquals(List.of(access), Announced.by(body));
  }

  @Test
  void reads() {
    assertAnnounced(read(words, 1), () -> assertEquals(20, SharedLongs.getVolatile(words, 1)));
    assertAnnounced(read(words, 2), () -> assertEquals(30, SharedLongs.getOpaque(words, 2)));
  }

  @Test
  void stores() {
    assertAnnounced(write(words, 1), () -> SharedLongs.setRelease(words, 1, 21));
    assertAnnounced(write(words, 2), () -> SharedLongs.setVolatile(words, 2, 31));
    assertArrayEquals(new long[] {10, 21, 31}, words);
  }

  @Test
  void replacesWhatIsAsExpected() {
    assertAnnounced(write(words, 0), () -> assertTrue(SharedLongs.compareAndSet(words, 0, 10, 11)));
    assertAnnounced(
        write(words, 0), () -> assertFalse(SharedLongs.compareAndSet(words, 0, 10, 12)));
    assertArrayEquals(new long[] {11, 20, 30}, words);
  }

  @Test
  void changesReturnTheOldWord() {
    assertAnnounced(write(words, 0), () -> assertEquals(10, SharedLongs.getAndAdd(words, 0, 5)));
    assertAnnounced(
        write(words, 1), () -> assertEquals(20, SharedLongs.getAndBitwiseOr(words, 1, 3)));
    assertAnnounced(
        write(words, 2), () -> assertEquals(30, SharedLongs.getAndBitwiseAnd(words, 2, 6)));
    assertArrayEquals(new long[] {15, 23, 6}, words);
  }
}
