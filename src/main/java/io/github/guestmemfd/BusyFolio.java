package io.github.guestmemfd;

import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.memory.Counts;
import java.util.List;
import java.util.stream.Collectors;

/**
 * The first folio of a range that kept it from becoming inaccessible, and who held it.
 *
 * <p>A plain holder for results, reused from call to call by hot loops; not safe for use by several
 * threads at once. The counts are those that the conversion saw when it gave up.
 */
public final class BusyFolio {
  private long offset = -1;
  private int unsafe;
  private int pinned;
  private int safe;
  private int accessible;
  private List<TrackedHolder> holders = List.of();

  /** How often the operation looked at counts again, for all folios. */
  int retries;

  /** Makes a result that names no folio. */
  public BusyFolio() {}

  /**
   * Names a folio.
   *
   * @param safe the safe holders
   * @param safeRefs how many of the references are theirs. Holders that drop their reference before
   *     they say that they are no longer safe have, for a moment, fewer than that
   * @param tracked the holders, as far as they are tracked
   */
  void set(long offset, long counts, int safe, int safeRefs, List<TrackedHolder> tracked) {
    int own = Math.max(0, Counts.ownRefs(counts) - safeRefs);
    this.offset = offset;
    this.accessible = Counts.accessible(counts);
    this.unsafe = own % Counts.PIN_BIAS + Counts.unsafe(counts);
    this.pinned = own / Counts.PIN_BIAS;
    this.safe = safe;
    this.holders = tracked;
  }

  void clear() {
    offset = -1;
    unsafe = 0;
    pinned = 0;
    safe = 0;
    accessible = 0;
    holders = List.of();
    retries = 0;
  }

  /** Whether the counts showed references besides the page cache's and the safe ones. */
  boolean hasOthers() {
    return unsafe + pinned + accessible > 0;
  }

  /**
   * Where the folio is.
   *
   * @return its offset in the file in bytes, or -1 if no folio was busy
   */
  public long offset() {
    return offset;
  }

  /**
   * Holders of plain references: neither the page cache, nor safe, nor pinned, nor counted as users
   * that asked for the page to be accessible.
   *
   * @return how many
   */
  public int unsafeHolders() {
    return unsafe;
  }

  /**
   * Holders of pins. As in the kernel, a pin is 1024 references, so that many of mappings and of
   * {@link HostMapping#getUserPages} look like a pin.
   *
   * @return how many
   */
  public int pinnedHolders() {
    return pinned;
  }

  /**
   * Users that asked for the page to be accessible.
   *
   * @return how many
   */
  public int accessibleUsers() {
    return accessible;
  }

  /**
   * Safe references, which do not stand in the way.
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
   *     track} them
   */
  public List<TrackedHolder> holders() {
    return holders;
  }

  @Override
  public String toString() {
    return offset < 0
        ? "no busy folio"
        : "offset "
            + Hex.of(offset)
            + " held by "
            + unsafe
            + " unsafe, "
            + pinned
            + " pinned, "
            + (accessible == 0 ? "" : accessible + " accessible, ")
            + safe
            + " safe"
            + holders.stream().map(h -> "\n  " + h).collect(Collectors.joining());
  }
}
