package io.github.guestmemfd.observe;

import io.github.guestmemfd.abi.TrackedHolder;
import java.time.Instant;

/** An entry of the {@link HolderRegister}. Immutable. */
public final class Holder {
  /** The order in which holders came. */
  final long number;

  /** What it is. */
  public final TrackedHolder.Kind kind;

  /** The inode number of its file. */
  public final long ino;

  private final Object file;
  private final long offset;
  private final long length;
  private final int[] pfns;
  private final Thread thread = Thread.currentThread();
  private final String threadName = thread.getName();
  private final Instant since = Instant.now();
  private final CallSite here = CallSite.here();

  /**
   * A holder that is taken here.
   *
   * @param file says in its {@code toString} which file it is
   * @param pfns the frames that it has references on; none for what holds a file, not a frame
   */
  Holder(
      long number,
      TrackedHolder.Kind kind,
      long ino,
      Object file,
      long offset,
      long length,
      int[] pfns) {
    this.number = number;
    this.kind = kind;
    this.ino = ino;
    this.file = file;
    this.offset = offset;
    this.length = length;
    this.pfns = pfns;
  }

  boolean isByThisThread() {
    return thread == Thread.currentThread();
  }

  /**
   * The frames that it has a reference on, one each.
   *
   * @return the frames, not to be changed
   */
  public int[] frames() {
    return pfns;
  }

  boolean holds(int pfn) {
    for (int p : pfns) {
      if (p == pfn) {
        return true;
      }
    }
    return false;
  }

  /** What users see of it. */
  TrackedHolder tracked() {
    return new TrackedHolder(
        kind, ino, file.toString(), offset, length, threadName, since, here.site(), here.stack());
  }
}
