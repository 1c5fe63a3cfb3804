package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * The files that own frames of a host, by number. A frame's state word holds the number of its
 * file.
 *
 * <p>A number is in use from the time its file is registered until it is closed and its last frame
 * free. The lock is a leaf: nothing is called under it. Readers take no lock.
 */
public final class FrameOwners {
  /** A file, as the listener to what happens to its frames. */
  @FunctionalInterface
  public interface Listener {
    /**
     * The last reference on a frame is gone: on the thread that dropped it, while the frame is
     * still frozen and has no other owner. The frame is freed even if this throws.
     *
     * @param pfn the frame
     */
    void freeing(int pfn);

    /**
     * A frame that {@link #freeing} was called for is back on the free list. On the same thread,
     * which holds nothing of it any more.
     */
    default void afterFree() {}
  }

  /**
   * A file, as the owner of frames. It is remembered until it is closed and its last frame free.
   */
  public static final class Owner {
    private final FrameOwners owners;
    final int number;
    final AtomicLong frames = new AtomicLong(1); // one for being open
    final Listener listener;

    Owner(FrameOwners owners, int number, Listener listener) {
      this.owners = owners;
      this.number = number;
      this.listener = listener;
    }

    /** Notes that the file will allocate no more. Its frames may live on as orphans. */
    public void close() {
      drop();
    }

    /**
     * Counts down a frame that was freed, or that the file was open; at 0 the file is forgotten.
     */
    void drop() {
      if (Announce.write(frames).decrementAndGet() == 0) {
        owners.remove(this);
      }
    }
  }

  /** The files that own frames, by number. Replaced when it must grow. */
  private volatile @Nullable Owner[] owners = new @Nullable Owner[16];

  /** Which numbers of files are in use; no file has 0. Under the lock. */
  private final BitSet numbers = new BitSet();

  private final Mutex lock = new Mutex(LockClass.OWNERS_LOCK);

  /** Makes a table without files. */
  FrameOwners() {}

  /** See {@link FrameTable#newOwner}. */
  Owner newOwner(Listener listener) {
    lock.lock();
    try {
      int number = numbers.nextClearBit(1);
      Owner owner = new Owner(this, number, listener);
      @Nullable Owner[] now = Announce.read(this).owners;
      @Nullable Owner[] grown = number < now.length ? now : Arrays.copyOf(now, 2 * now.length);
      grown[number] = owner;
      Announce.write(this).owners = grown;
      numbers.set(number);
      return owner;
    } finally {
      lock.unlock();
    }
  }

  /** Forgets a file of which no frame is left. */
  void remove(Owner owner) {
    lock.lock();
    try {
      Announce.write(this).owners[owner.number] = null;
      numbers.clear(owner.number);
    } finally {
      lock.unlock();
    }
  }

  /** The file with a number; null for 0, and for one that has been forgotten. */
  @Nullable Owner get(int number) {
    return Announce.read(this).owners[number];
  }

  /** See {@link FrameTable#listeners}. */
  List<Listener> listeners() {
    List<Listener> listeners = new ArrayList<>();
    for (Owner owner : Announce.read(this).owners) {
      if (owner != null) {
        listeners.add(owner.listener);
      }
    }
    return listeners;
  }
}
