package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import java.util.List;

/**
 * A range could not become inaccessible because somebody holds one of its folios: {@link
 * Errno#EAGAIN}. No page of the range has changed; its mappings have to fault again.
 */
public final class ConversionBlockedException extends GuestMemfdException {
  private static final long serialVersionUID = 1L;

  /** Offset of the first busy folio in bytes. */
  private final long offset;

  /** Holders of plain references. */
  private final int unsafe;

  /** Holders of pins. */
  private final int pinned;

  /** Users that asked for the page to be accessible. */
  private final int accessible;

  /** Holders of safe references. */
  private final int safe;

  /** Who they are, as far as they are tracked. */
  private final transient List<TrackedHolder> holders;

  ConversionBlockedException(BusyFolio busy) {
    super(Errno.EAGAIN, "busy folio at " + busy);
    this.offset = busy.offset();
    this.unsafe = busy.unsafeHolders();
    this.pinned = busy.pinnedHolders();
    this.accessible = busy.accessibleUsers();
    this.safe = busy.safeHolders();
    this.holders = busy.holders();
  }

  /**
   * Where the first busy folio is; the kernel's {@code error_offset}.
   *
   * @return its offset in the file in bytes
   */
  public long offset() {
    return offset;
  }

  /**
   * Holders of plain references when the conversion gave up.
   *
   * @return how many
   */
  public int unsafeHolders() {
    return unsafe;
  }

  /**
   * Holders of pins when the conversion gave up.
   *
   * @return how many
   */
  public int pinnedHolders() {
    return pinned;
  }

  /**
   * Users that asked for the page to be accessible when the conversion gave up.
   *
   * @return how many
   */
  public int accessibleUsers() {
    return accessible;
  }

  /**
   * Holders of safe references, which were not in the way.
   *
   * @return how many
   */
  public int safeHolders() {
    return safe;
  }

  /**
   * Who the holders are, safe ones among them, as they were a moment after they were counted.
   *
   * @return the holders; none if the host does not {@linkplain HostMemory.Builder#trackHolders
   *     track} them, or if this has been serialized
   */
  @SuppressWarnings("ConstantValue") // null after serialization
  public List<TrackedHolder> holders() {
    return holders == null ? List.of() : holders;
  }
}
