package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.memory.Counts;
import java.io.Serializable;
import java.util.List;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The first folio of a range that is not as it must be: what a refused conversion or punch reports.
 * Not safe for use by several threads.
 */
public final class Mismatch implements Serializable {
  private static final long serialVersionUID = 1L;

  /** Where it is, in bytes; -1 for none. */
  private long offset = -1;

  /** Holders of plain references. */
  private int unsafe;

  /** Holders of pins. */
  private int pinned;

  /** Users that asked for the page to be accessible. */
  private int accessible;

  /** Safe holders. */
  private int safe;

  /** The holders one by one; null, for none, in a copy that has been serialized. */
  private transient @Nullable List<TrackedHolder> holders = List.of();

  /** How often the operation looked at counts again, for all folios. */
  int retries;

  /** Makes one that names no folio. */
  public Mismatch() {}

  /**
   * Names a folio.
   *
   * @param offset where it is in the file, in bytes
   * @param counts its counts
   * @param safe the safe holders, as the protocol counts them
   * @param safeRefs the references that these have
   * @param tracked its holders, as far as they are tracked
   */
  public void set(long offset, long counts, int safe, int safeRefs, List<TrackedHolder> tracked) {
    this.offset = offset;
    this.accessible = Counts.accessible(counts);
    this.unsafe = Counts.plain(counts, safeRefs);
    this.pinned = Counts.pins(counts, safeRefs);
    this.safe = safe;
    this.holders = tracked;
  }

  /** Names no folio any more. */
  public void clear() {
    offset = -1;
    unsafe = 0;
    pinned = 0;
    safe = 0;
    accessible = 0;
    holders = List.of();
    retries = 0;
  }

  /**
   * Whether there was one.
   *
   * @return the answer
   */
  public boolean isAny() {
    return offset >= 0;
  }

  /** Whether the counts showed references besides the page cache's and the safe ones. */
  boolean hasOthers() {
    return unsafe + pinned + accessible > 0;
  }

  /**
   * Where it is.
   *
   * @return the offset in the file in bytes; -1 if there was none
   */
  public long offset() {
    return offset;
  }

  /**
   * Holders of plain references.
   *
   * @return how many
   */
  public int unsafe() {
    return unsafe;
  }

  /**
   * Holders of pins.
   *
   * @return how many
   */
  public int pinned() {
    return pinned;
  }

  /**
   * Users that asked for the page to be accessible.
   *
   * @return how many
   */
  public int accessible() {
    return accessible;
  }

  /**
   * Holders of safe references.
   *
   * @return how many
   */
  public int safe() {
    return safe;
  }

  /**
   * The holders one by one.
   *
   * @return the holders that are tracked
   */
  public List<TrackedHolder> holders() {
    return holders == null ? List.of() : holders;
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
            + holders().stream().map(h -> "\n  " + h).collect(Collectors.joining());
  }
}
