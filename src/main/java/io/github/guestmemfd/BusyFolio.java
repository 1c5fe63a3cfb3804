package io.github.guestmemfd;

import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.file.Mismatch;
import java.io.Serializable;
import java.util.List;

/**
 * The first folio of a range that kept it from becoming inaccessible, and its holders.
 *
 * <p>A plain holder for results, reused from call to call by hot loops; not safe for use by several
 * threads at once. The counts are those that the conversion saw when it gave up.
 */
public final class BusyFolio implements Serializable {
  private static final long serialVersionUID = 1L;

  /** The folio. */
  final Mismatch found = new Mismatch();

  /** Makes a result that names no folio. */
  public BusyFolio() {}

  /**
   * Where the folio is.
   *
   * @return its offset in the file in bytes, or -1 if no folio was busy
   */
  public long offset() {
    return found.offset();
  }

  /**
   * Holders of plain references: neither the page cache, nor safe, nor pinned, nor counted as users
   * that asked for the page to be accessible.
   *
   * @return how many
   */
  public int unsafeHolders() {
    return found.unsafe();
  }

  /**
   * Holders of pins. As in the kernel, a pin is 1024 references, so that many of mappings and of
   * {@link HostMapping#getUserPages} look like a pin.
   *
   * @return how many
   */
  public int pinnedHolders() {
    return found.pinned();
  }

  /**
   * Users that asked for the page to be accessible.
   *
   * @return how many
   */
  public int accessibleUsers() {
    return found.accessible();
  }

  /**
   * Safe references, which do not stand in the way.
   *
   * @return how many
   */
  public int safeHolders() {
    return found.safe();
  }

  /**
   * The holders one by one, safe ones among them, as they were a moment after they were counted.
   *
   * @return the holders; none if the host does not {@linkplain HostMemory.Builder#trackHolders
   *     track} them
   */
  public List<TrackedHolder> holders() {
    return found.holders();
  }

  @Override
  public String toString() {
    return found.toString();
  }
}
