package io.github.guestmemfd.platform;

import io.github.guestmemfd.spi.Announce;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * What a piece of hardware knows of the frames of its host: an entry for each frame that a guest
 * owns, none for those of the host. An entry changes in one atomic step, and no step waits.
 *
 * @param <E> the entries, compared by {@code equals}
 */
final class OwnedFrames<E> {
  private final ConcurrentMap<Integer, E> entries = new ConcurrentHashMap<>();
  private final AtomicInteger guests = new AtomicInteger();

  /** A number for a new guest, from 1 on. */
  int newGuest() {
    return Announce.write(guests).incrementAndGet();
  }

  /** The entry of a frame; null if it is the host's. */
  @Nullable E of(int pfn) {
    return Announce.read(entries).get(pfn);
  }

  /** Gives a frame of the host to a guest; false if it is not the host's. */
  boolean give(int pfn, E entry) {
    return Announce.write(entries).putIfAbsent(pfn, entry) == null;
  }

  /** Changes an entry; false if it is not as expected. */
  boolean change(int pfn, E expected, E entry) {
    return Announce.write(entries).replace(pfn, expected, entry);
  }

  /** Gives a frame back to the host; false if its entry is not as expected. */
  boolean giveBack(int pfn, E expected) {
    return Announce.write(entries).remove(pfn, expected);
  }

  /** How many frames are not the host's. */
  int size() {
    return Announce.read(entries).size();
  }
}
