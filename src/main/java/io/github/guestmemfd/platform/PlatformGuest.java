package io.github.guestmemfd.platform;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.kvm.MachineOps;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.nio.ByteBuffer;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A confidential guest with its private memory, as the client of one file: the page table by which
 * the guest reaches it, and what the hardware does when a page is mapped, unmapped, converted and
 * freed. Guest addresses are offsets in the file.
 *
 * <p>Which pages are private the file says. If the file is of a {@link VirtualMachine} with
 * {@linkplain VirtualMachine#hasTwoMemories two memories}, whose second client this is then, the
 * machine has to say so too, and what it makes shared is taken from the guest: the page stays in
 * the file, and what is discarded of it is the monitor's policy. So a conversion hands nothing over
 * there; the guest finds a page that turns private again as the last unmapping has left it.
 *
 * <p>The page table follows the file as KVM's does: an invalidation marks its range, blocks what is
 * mapped there, waits for the accesses under way, unmaps, and raises a number at its end; a fault
 * reads the number first, and maps only if no invalidation of its page is under way and the number
 * is the same. What the hardware is told and asked in between is what makes one platform different
 * from another.
 *
 * <p>An access to private memory is of 8 bytes, little-endian. It is made wholly before an
 * invalidation of its page, or not at all. Safe for use by any number of threads.
 */
public abstract class PlatformGuest extends PrivatePageTable implements MachineOps {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  /** What a platform makes of the content of a page that the guest and the host hand over. */
  public enum Content {
    /** Each finds what the other has written. */
    KEPT,
    /** Each finds a page without content. */
    DESTROYED,
    /** It is there, and makes no sense: what one has written the other reads by another key. */
    ENCRYPTED
  }

  PlatformGuest() {}

  // ---- the guest's life ----

  /**
   * What becomes of content that the guest and the host hand over by a conversion.
   *
   * @return the rule of the platform
   */
  public abstract Content content();

  /**
   * Why the guest is dead: the kernel's {@code KVM_BUG_ON}. A dead guest accesses nothing and maps
   * nothing, {@link Errno#EIO}; its file goes on, and can be closed.
   *
   * @return the reason; empty while it lives
   */
  public final Optional<String> death() {
    return Optional.ofNullable(causeOfDeath());
  }

  /**
   * How often the hardware has not given a frame back that a page had. The first is logged as a
   * warning.
   *
   * @return the number
   */
  public final long lostFrames() {
    return losses();
  }

  /**
   * Ends the launch of the guest: from here on it runs, and its pages are mapped by faults. Before
   * that a fault answers EOPNOTSUPP.
   *
   * @return {@link Errno#OK}; EINVAL if it has been launched; EIO if it is dead, or the hardware
   *     refuses, and then it can be tried again
   */
  public final Errno finishLaunch() {
    return tryLaunch();
  }

  // ---- faults ----

  /**
   * Maps a private page for the guest, as a fault does. The guest may have to {@link #accept} it.
   * Does nothing if it is mapped. Waits for an operation on the page that is under way, and asks
   * the hardware again for as long as that is busy.
   *
   * @param memfd the file whose client this is
   * @param offset any byte of the page
   * @return {@link Errno#OK}; EBADF if the descriptor is closed; EINVAL if the offset is not in the
   *     file, or another file has been mapped before; EFAULT if the page is the host's too and the
   *     platform does not map such pages, and if the machine has it as shared, or in no memslot;
   *     EIO if the guest is dead; EOPNOTSUPP before it has been {@linkplain #finishLaunch
   *     launched}; EDEADLK from inside a callback; EINTR; as {@link GuestMemfd#grab}; and what the
   *     platform adds
   */
  public final Errno map(GuestMemfd memfd, long offset) {
    return fault(memfd, offset, false);
  }

  /**
   * Uses a private page as a guest's kernel does: maps and accepts it in one step.
   *
   * @param memfd the file whose client this is
   * @param offset any byte of the page
   * @return {@link Errno#OK}, or why not, as {@link #map} and {@link #accept}
   */
  public final Errno use(GuestMemfd memfd, long offset) {
    return fault(memfd, offset, true);
  }

  /**
   * The guest accepts a page that is mapped, and may touch it from then on.
   *
   * @param offset any byte of the page
   * @return {@link Errno#OK}, also if it has been accepted; ENOENT if it is not mapped; EIO if the
   *     guest is dead; and what the platform adds
   */
  public final Errno accept(long offset) {
    long page = offset & -PAGE;
    return locked(
        () -> {
          Leaf leaf = leaf(page);
          if (isDead()) {
            return Errno.EIO;
          }
          if (leaf == null || leaf.blocked) {
            return Errno.ENOENT;
          }
          return leaf.accepted ? Errno.OK : acceptLocked(page, leaf);
        });
  }

  /**
   * Whether a page is mapped for the guest.
   *
   * @param offset any byte of the page
   * @return the answer, which may be out of date when it is returned
   */
  public final boolean isMapped(long offset) {
    Leaf leaf = leaf(offset);
    return leaf != null && !leaf.blocked;
  }

  // ---- accesses of the guest ----

  /**
   * Reads a number, as the guest.
   *
   * @param offset where it is, a multiple of 8
   * @return the number; empty if the page is not mapped and accepted, or the guest does not run yet
   *     or is dead
   * @throws IllegalArgumentException if the offset is not a multiple of 8
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public final OptionalLong read(long offset) {
    long access = begin(offset);
    if (access == 0) {
      return OptionalLong.empty();
    }
    try {
      return OptionalLong.of(frames().read(access, at(offset), Long.BYTES));
    } finally {
      frames().end(access);
    }
  }

  /**
   * Writes a number, as the guest.
   *
   * @param offset where it is to be, a multiple of 8
   * @param number the number
   * @return whether it was written: false where {@link #read} is empty
   * @throws IllegalArgumentException if the offset is not a multiple of 8
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public final boolean write(long offset, long number) {
    long access = begin(offset);
    if (access == 0) {
      return false;
    }
    try {
      frames().write(access, at(offset), Long.BYTES, number);
      return true;
    } finally {
      frames().end(access);
    }
  }

  /**
   * Replaces a number if it is as expected, atomically, as the guest.
   *
   * @param offset where it is, a multiple of 8
   * @param expected what must be there
   * @param number what to write
   * @return what was there: as expected exactly if it was replaced; empty where {@link #read} is
   * @throws IllegalArgumentException if the offset is not a multiple of 8
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public final OptionalLong compareAndExchange(long offset, long expected, long number) {
    long access = begin(offset);
    if (access == 0) {
      return OptionalLong.empty();
    }
    try {
      return OptionalLong.of(
          frames().compareAndExchange(access, at(offset), Long.BYTES, expected, number));
    } finally {
      frames().end(access);
    }
  }

  private static int at(long offset) {
    return (int) (offset & (PAGE - 1));
  }

  /** Announces an access; 0 if there can be none. */
  private long begin(long offset) {
    if ((offset & (Long.BYTES - 1)) != 0) {
      throw new IllegalArgumentException("expected a multiple of 8, actual " + Hex.of(offset));
    }
    long page = offset & -PAGE;
    Leaf leaf = leaf(page);
    if (leaf == null || leaf.blocked || !runs() || isDead()) {
      return 0;
    }
    if (!leaf.accepted) {
      touchedTooEarly(page);
      return 0;
    }
    long access = frames().begin(leaf.pfn);
    if (leaf(page) != leaf) { // looked at again, now that it is announced
      frames().end(access);
      return 0;
    }
    return access;
  }

  // ---- invalidations ----

  /**
   * Takes a range from the guest: blocks what is mapped, waits for the accesses under way, unmaps.
   *
   * @return {@link Errno#OK}; EINTR if the thread is interrupted while it waits: what was mapped is
   *     blocked then, until a fault or the next invalidation. A failure of the hardware is no
   *     refusal
   */
  @Override
  public final Errno invalidateBegin(long offset, long length) {
    return begin(offset, length);
  }

  @Override
  public final void invalidateEnd(long offset, long length) {
    end();
  }

  /**
   * Takes a range from the guest, as {@link #invalidateBegin} does, since its pages turn shared in
   * a machine with two memories, or have no memslot any more.
   *
   * @return as there
   */
  @Override
  public final Errno unmapBegin(long offset, long length) {
    return begin(offset, length);
  }

  @Override
  public final void unmapEnd(long offset, long length) {
    end();
  }

  @Override
  public final void release() {
    endOfFile();
  }

  // ---- content ----

  /** The bytes of a mapped page's frame, which no other thread uses; null without content. */
  final @Nullable ByteBuffer content(int pfn) {
    GuestMemfd memfd = file();
    return content(() -> memfd.buffer(pfn));
  }

  /** A view of a page; null if the host is metadata only. */
  static @Nullable ByteBuffer content(Supplier<ByteBuffer> view) {
    try {
      return view.get();
    } catch (UnsupportedOperationException e) {
      return null;
    }
  }

  static void xor(@Nullable ByteBuffer page, long pattern) {
    for (int at = 0; page != null && at < PAGE; at += Long.BYTES) {
      page.putLong(at, page.getLong(at) ^ pattern);
    }
  }

  static void fill(@Nullable ByteBuffer page, ByteBuffer content) {
    if (page != null) {
      page.put(0, content, content.position(), PAGE);
    }
  }

  static void wipe(@Nullable ByteBuffer page) {
    for (int at = 0; page != null && at < PAGE; at += Long.BYTES) {
      page.putLong(at, 0);
    }
  }
}
