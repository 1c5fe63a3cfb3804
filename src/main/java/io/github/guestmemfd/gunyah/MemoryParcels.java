package io.github.guestmemfd.gunyah;

import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Objects;
import java.util.concurrent.ConcurrentSkipListMap;
import org.jspecify.annotations.Nullable;

/**
 * The pages of a guest_memfd that are lent to a guest.
 *
 * <p>In all that matters to the file this is the opposite of a {@code VirtualMachine}. There is no
 * guest page table that follows the file: a page is mapped when it is lent, and stays so. A safe
 * reference is held on it as long. And an invalidation is refused: a page that is lent can neither
 * be converted nor punched, EBUSY, until it has been reclaimed.
 *
 * <p>Lending makes the pages inaccessible first. The parcel is entered before its references are
 * taken, and the attribute looked at after that, so that of a lending and a conversion at the same
 * time one sees the other. Which errno a conversion of a lent page answers depends on what asks
 * first: protocols that count a guest's reference like any other say EAGAIN. With those whose
 * holders keep the folio locked ({@code lock-only}) it waits instead, until the page is reclaimed.
 *
 * <p>Safe for use by any number of threads.
 */
public final class MemoryParcels {
  private static final int PAGE_SIZE = HostMemory.PAGE_SIZE;

  /** A page, from when it is being lent until it is reclaimed. */
  private static final class Lent {
    /** Held while bytes are moved, or the folio is given or taken: never while waiting. */
    private final Mutex lock = new Mutex(LockClass.PARCEL_LOCK);

    private @Nullable Folio folio;
    private boolean over;

    void give(Folio lent) {
      lock.lock();
      try {
        if (!over) {
          folio = lent;
          return;
        }
      } finally {
        lock.unlock();
      }
      lent.close(); // the file has ended meanwhile
    }

    void reclaim() {
      Folio lent;
      lock.lock();
      try {
        over = true;
        lent = folio;
        folio = null;
      } finally {
        lock.unlock();
      }
      if (lent != null) {
        lent.close();
      }
    }
  }

  private final class Client implements GuestMemfdOps {
    @Override
    public boolean takesFolios() {
      return false;
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      return isLent(offset, length) ? Errno.EBUSY : Errno.OK;
    }

    @Override
    public void release() {
      reclaimAll(Announce.read(pages));
    }
  }

  /** The pages by offset. */
  private final NavigableMap<Long, Lent> pages = new ConcurrentSkipListMap<>();

  private final GuestMemfd memfd;

  /**
   * Creates a file to lend from.
   *
   * @param builder describes the file; its {@code ops} are set here
   * @throws GuestMemfdException as {@link GuestMemfd.Builder#build}
   */
  public MemoryParcels(GuestMemfd.Builder builder) {
    memfd = builder.ops(new Client()).build();
    memfd.bindTo(this);
  }

  /**
   * Returns the file.
   *
   * @return its first descriptor, to be closed by the user; the end of the file ends all lending
   */
  public GuestMemfd memfd() {
    return memfd;
  }

  /**
   * Lends a range to the guest, which alone uses it from then on. All or nothing, except for the
   * attribute: pages made inaccessible stay inaccessible.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, a positive multiple of 4096
   * @throws ConversionBlockedException if a host holder has a page
   * @throws GuestMemfdException EBUSY if a page is lent already; EAGAIN if the range was converted
   *     back meanwhile; and as {@link GuestMemfd#makeInaccessible} and {@link GuestMemfd#grab}
   */
  public void lend(long offset, long length) {
    Long first = firstLent(offset, length);
    if (first != null) {
      throw refuse(Errno.EBUSY, offset, length, lentAlready(first));
    }
    memfd.makeInaccessible(offset, length);
    Map<Long, Lent> parcel = new HashMap<>();
    try {
      for (long at = offset; at < offset + length; at += PAGE_SIZE) {
        Lent page = new Lent();
        if (Announce.write(pages).putIfAbsent(at, page) != null) {
          throw refuse(Errno.EBUSY, offset, length, lentAlready(at));
        }
        parcel.put(at, page);
        page.give(memfd.grab(at)); // from here on an invalidation sees it, or has been seen
        if (memfd.isAccessible(at)) {
          String why = "the page at offset " + Hex.of(at) + " was converted meanwhile";
          throw refuse(Errno.EAGAIN, offset, length, why);
        }
      }
    } catch (Throwable e) {
      reclaimAll(parcel);
      throw e;
    }
  }

  /**
   * Takes a range back. Pages that are not lent are left as they are; those that were stay
   * inaccessible, with their content, and can be converted again. Waits for accesses under way,
   * which only move bytes.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @throws IllegalArgumentException if the length is negative, or the end past 2^63 - 1
   */
  public void reclaim(long offset, long length) {
    if (length < 0 || offset + length < offset) {
      throw new IllegalArgumentException(
          "reclaim: expected a length of 0 or more, and an end up to "
              + Hex.of(Long.MAX_VALUE)
              + ", actual offset "
              + Hex.of(offset)
              + " and length "
              + length);
    }
    reclaimAll(Announce.read(pages).subMap(offset, offset + length));
  }

  private void reclaimAll(Map<Long, Lent> range) {
    reclaimAll(range.entrySet().iterator());
  }

  /** Reclaims all of them, whatever one of them throws. */
  private void reclaimAll(Iterator<Map.Entry<Long, Lent>> range) {
    while (range.hasNext()) {
      Map.Entry<Long, Lent> lent = range.next();
      boolean done = false;
      try {
        lent.getValue().reclaim();
        done = true;
      } finally {
        // last: while it is in the way its reference is there
        Announce.write(pages).remove(lent.getKey(), lent.getValue());
        if (!done) {
          reclaimAll(range);
        }
      }
    }
  }

  /**
   * Returns whether any page of a range is lent.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @return the answer, which may be out of date when it is returned
   */
  public boolean isLent(long offset, long length) {
    return firstLent(offset, length) != null;
  }

  private @Nullable Long firstLent(long offset, long length) {
    Long first = Announce.read(pages).ceilingKey(offset & -PAGE_SIZE);
    return first != null && first - offset < length ? first : null;
  }

  private static String lentAlready(long offset) {
    return "the page at offset " + Hex.of(offset) + " is lent already";
  }

  /**
   * Reads from one page, as the guest.
   *
   * @param offset the first byte
   * @param into takes the bytes, as many as fit
   * @return false if the page is not lent, and nothing was read
   * @throws IndexOutOfBoundsException if the bytes are not all in one page
   */
  public boolean read(long offset, ByteBuffer into) {
    Objects.requireNonNull(into, "into");
    return access(
        offset,
        into.remaining(),
        (page, at) -> {
          into.put(page.slice(at, into.remaining()));
        });
  }

  /**
   * Writes to one page, as the guest.
   *
   * @param offset the first byte
   * @param from holds the bytes
   * @return false if the page is not lent, and nothing was written
   * @throws IndexOutOfBoundsException if the bytes are not all in one page
   */
  public boolean write(long offset, ByteBuffer from) {
    Objects.requireNonNull(from, "from");
    return access(
        offset,
        from.remaining(),
        (page, at) -> {
          page.slice(at, from.remaining()).put(from);
        });
  }

  private interface Mover {
    void move(ByteBuffer page, int at);
  }

  private boolean access(long offset, int bytes, Mover mover) {
    Lent page = Announce.read(pages).get(offset & -PAGE_SIZE);
    if (page == null) {
      return false;
    }
    page.lock.lock();
    try {
      Folio folio = page.folio;
      if (folio == null) {
        return false;
      }
      int at = (int) (offset & (PAGE_SIZE - 1));
      if (bytes > PAGE_SIZE - at) {
        throw new IndexOutOfBoundsException(
            "expected bytes of one page, actual " + bytes + " at offset " + Hex.of(offset));
      }
      mover.move(folio.buffer(), at);
      return true;
    } finally {
      page.lock.unlock();
    }
  }

  private GuestMemfdException refuse(Errno errno, long offset, long length, String why) {
    return new GuestMemfdException(
        errno,
        "lend [offset=" + Hex.of(offset) + ", length=" + length + "] of " + memfd + ": " + why);
  }
}
