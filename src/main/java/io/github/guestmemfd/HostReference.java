package io.github.guestmemfd;

import static io.github.guestmemfd.abi.Pages.SHIFT;
import static io.github.guestmemfd.abi.Pages.SIZE;

import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.file.CallbackContext;
import io.github.guestmemfd.file.Failures;
import io.github.guestmemfd.file.Inode;
import io.github.guestmemfd.file.UserPages;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.observe.Holder;
import io.github.guestmemfd.spi.Announce;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;

/**
 * The host's references on the pages of a range, taken through a mapping (GUP): what the kernel
 * holds while it does direct I/O or DMA on user memory.
 *
 * <p>It outlives the mapping and the file. If a page is punched meanwhile, the reference keeps the
 * old frame, now an orphan, and never sees what takes that place later. While it is held, its pages
 * cannot become inaccessible.
 */
public sealed class HostReference implements AutoCloseable permits RecordedReference {
  private final Inode inode;
  private final int[] pfns;
  private final long unit;
  private final int in;
  private final long length;
  private final boolean writable;

  /** What it holds, and why it does not hold the next page. */
  final UserPages.Taken taken;

  private final AtomicBoolean released = new AtomicBoolean();
  private final @Nullable Holder tracked;

  /**
   * Takes over references.
   *
   * @param offset where they begin in the file, in bytes
   */
  HostReference(Inode inode, UserPages.Taken taken, long unit, long offset, boolean writable) {
    this.inode = inode;
    this.pfns = taken.pfns();
    this.unit = unit;
    this.in = (int) offset & (SIZE - 1);
    this.length = taken.length();
    this.writable = writable;
    this.taken = taken;
    TrackedHolder.Kind kind =
        unit == Counts.PIN ? TrackedHolder.Kind.PIN : TrackedHolder.Kind.REFERENCE;
    this.tracked = inode.track(kind, offset, length, pfns);
  }

  /**
   * How much is referenced; less than what was asked for if a page could not be had.
   *
   * @return the length in bytes
   */
  public long length() {
    return length;
  }

  /**
   * How many pages are referenced.
   *
   * @return the number
   */
  public int pages() {
    return pfns.length;
  }

  /**
   * The frame of a page.
   *
   * @param page the page of the reference, from 0
   * @return its page frame number
   * @throws IndexOutOfBoundsException if there is no such page
   */
  public int pfn(int page) {
    return pfns[Objects.checkIndex(page, pfns.length)];
  }

  /**
   * Whether the pages are pinned.
   *
   * @return false for plain references
   */
  public boolean isPinned() {
    return unit == Counts.PIN;
  }

  /**
   * Whether the references are still held.
   *
   * @return false after {@link #close}
   */
  public boolean isOpen() {
    return !Announce.read(released).get();
  }

  /**
   * The bytes of a page, raw: no check stands between the caller and the frame. The view must not
   * be used after {@link #close}, as a device must not after an unpin.
   *
   * @param page the page of the reference, from 0
   * @return a new little-endian view of the referenced bytes of that page; read-only if the mapping
   *     was
   * @throws IllegalStateException if the reference has been dropped
   * @throws IndexOutOfBoundsException if there is no such page
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public ByteBuffer buffer(int page) {
    if (Announce.read(released).get()) {
      throw new IllegalStateException(this + ": used after release");
    }
    ByteBuffer whole = inode.host.bytes().view(pfn(page));
    int from = page == 0 ? in : 0;
    int to = (int) Math.min(SIZE, in + length - ((long) page << SHIFT));
    ByteBuffer view = whole.slice(from, to - from);
    return (writable ? view : view.asReadOnlyBuffer()).order(ByteOrder.LITTLE_ENDIAN);
  }

  /**
   * The bytes of the only page.
   *
   * @return as {@link #buffer(int)} for page 0
   * @throws IllegalStateException if there is not exactly one page
   */
  public ByteBuffer buffer() {
    if (pfns.length != 1) {
      throw new IllegalStateException(this + ": expected 1 page, actual " + pfns.length);
    }
    return buffer(0);
  }

  /**
   * Drops the references.
   *
   * @throws IllegalStateException if that has been done before
   */
  @Override
  public void close() {
    if (!Announce.write(released).compareAndSet(false, true)) {
      throw new IllegalStateException(this + ": put twice");
    }
    Failures failures = new Failures();
    CallbackContext.enterOperation(); // work that a put causes is done after the last one
    try {
      for (int pfn : pfns) {
        failures.attempt(() -> inode.host.frames.put(pfn, unit));
      }
    } finally {
      inode.host.untrack(tracked);
      CallbackContext.leaveOperation();
    }
    failures.throwIfAny();
  }

  @Override
  public String toString() {
    StringBuilder text =
        new StringBuilder("HostReference[").append(isPinned() ? "pinned" : "plain");
    for (int i = 0; i < Math.min(pfns.length, 4); i++) {
      text.append(i == 0 ? ", pfns=" : " ").append(pfns[i]);
    }
    return text.append(pfns.length > 4 ? " ..." : "")
        .append(", length=")
        .append(length)
        .append(']')
        .toString();
  }
}
