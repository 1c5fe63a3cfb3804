package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.file.CallbackContext;
import io.github.guestmemfd.file.FileOperations;
import io.github.guestmemfd.file.Refusals;
import io.github.guestmemfd.observe.Holder;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.KeptLock;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.LockOrder;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * A reference on a folio, taken by {@link GuestMemfd#grab}; or, in a callback, the folio it is
 * about.
 *
 * <p>While the reference is held the frame stays as it is, even if it is punched out of its file
 * and becomes an orphan.
 */
public final class Folio implements AutoCloseable {
  private static final int LOCKED = 1;
  private static final int PUT = 2;
  private static final VarHandle STATE;

  static {
    try {
      STATE = MethodHandles.lookup().findVarHandle(Folio.class, "state", int.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  /** The kinds by their codes, which take the lowest bits of {@link #place}. */
  private static final @Nullable HolderKind[] KINDS = {
    null, HolderKind.SAFE, HolderKind.UNSAFE, HolderKind.ACCESSIBLE
  };

  private static final int KIND_BITS = 2;

  private final FileOperations file;

  /** The page, and below it the kind: with a field for each the object would take 8 bytes more. */
  private final long place;

  private final int pfn;

  /** {@link #LOCKED}, {@link #PUT}, or both; in the object itself, since folios are made often. */
  private volatile int state;

  /** For the check of the order; written before {@code LOCKED} is set. */
  private @Nullable KeptLock kept;

  private final @Nullable Holder tracked;

  /** A folio that has been grabbed; if a kind is missing, one that is shown to a callback. */
  Folio(FileOperations file, long index, int pfn, @Nullable HolderKind kind) {
    this.file = file;
    this.place = index << KIND_BITS | code(kind);
    this.pfn = pfn;
    this.tracked =
        kind == null || file.inode.host.register == null // looked at here: no array where it is not
            ? null
            : file.inode.track(TrackedHolder.Kind.of(kind), offset(), Pages.SIZE, pfn);
  }

  private static int code(@Nullable HolderKind kind) {
    return kind == null
        ? 0
        : switch (kind) {
          case SAFE -> 1;
          case UNSAFE -> 2;
          case ACCESSIBLE -> 3;
        };
  }

  /** The page where it was grabbed; negative for a folio that is being freed. */
  private long index() {
    return place >> KIND_BITS;
  }

  /** What the reference is; null for a folio that is shown to a callback. */
  private @Nullable HolderKind kind() {
    return KINDS[(int) place & (KINDS.length - 1)];
  }

  /**
   * Where the folio was when it was grabbed.
   *
   * @return the offset in its file in bytes; -1 for a folio that is being freed
   */
  public long offset() {
    return place < 0 ? -1 : Pages.bytes(index());
  }

  /**
   * The frame.
   *
   * @return its page frame number
   */
  public int pfn() {
    return pfn;
  }

  /**
   * Whether the folio has left its file, and only its references keep it alive.
   *
   * @return the answer, which may be out of date when it is returned
   */
  public boolean isOrphan() {
    return place < 0 || SlotWord.pfn(file.inode.cache.slot(index())) != pfn;
  }

  /**
   * The bytes. The holder of the reference decides what it may do with them; the view must not be
   * used after {@link #close}.
   *
   * @return a new little-endian view of one page
   * @throws IllegalStateException if the reference has been dropped
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public ByteBuffer buffer() {
    requireHeld();
    return file.inode.host.bytes().view(pfn);
  }

  /**
   * Fills the folio with zeroes; nothing to do if the host is metadata only.
   *
   * @throws IllegalStateException if the reference has been dropped
   */
  public void zero() {
    requireHeld();
    if (file.inode.host.contents != null) {
      file.inode.host.contents.zero(pfn);
    }
  }

  /**
   * Takes the folio lock, which keeps the folio from being converted or punched until {@link
   * #unlock}. Waiting threads get it in order of arrival. The lock belongs to this object, and any
   * thread may give it back; until then the thread that took it must not wait for pages, since the
   * thread that has made them busy may be waiting for this lock. A caller that needs several locks
   * takes them in ascending order, one file after the other.
   *
   * @throws GuestMemfdException EINTR if the thread is interrupted while it waits; EBADF if the
   *     file ends meanwhile; EAGAIN if a conversion of the page is pending; EDEADLK from inside a
   *     callback, or if the thread would wait for a lock that it has taken itself, or keeps any
   *     folio lock and would wait for an operation on the page
   * @throws IllegalStateException if the file's protocol is one whose guest-side holders have the
   *     folio lock anyway
   */
  public void lock() {
    requireHeld();
    if (kind() == HolderKind.SAFE && file.guest.keepsLock()) {
      throw new IllegalStateException(this + ": locked already, as its protocol has it");
    }
    CallbackContext.forbid("lock of a folio");
    LockOrder.beforeWait(LockClass.KEPT_FOLIO_LOCK, file.inode, index());
    try {
      for (; ; ) {
        file.inode.host.frames.lock(pfn);
        long slot = file.inode.cache.slot(index());
        boolean elsewhere = SlotWord.pfn(slot) != pfn;
        if (elsewhere || !(SlotWord.isBusy(slot) || SlotWord.isNeither(slot))) {
          keep();
          return;
        }
        file.inode.host.frames.unlock(pfn);
        if (!SlotWord.isBusy(slot)) {
          throw Refusals.exception(
              Errno.EAGAIN, "lock of " + this + ": a conversion of the page is pending");
        }
        if (!file.inode.cache.awaitNotBusy(index())) {
          throw file.inode.refused(Errno.EBADF, "lock of " + this);
        }
      }
    } catch (InterruptedException e) {
      throw Refusals.interrupted(e, "lock of " + this);
    }
  }

  /** Notes that the lock which has been taken outlasts this call. */
  private void keep() {
    try {
      file.inode.host.frames.keepLock(pfn);
      kept = LockOrder.kept(file.inode, index());
      set(LOCKED);
    } catch (Throwable e) {
      file.inode.host.frames.unlock(pfn);
      throw e;
    }
  }

  /**
   * Gives the folio lock back.
   *
   * @throws IllegalStateException if this object does not have it
   */
  public void unlock() {
    if (!clearLocked()) {
      throw new IllegalStateException(this + ": unlock without lock");
    }
    unlockKept();
  }

  private void unlockKept() {
    KeptLock was = kept;
    file.inode.host.frames.unlockKept(pfn);
    if (was != null) {
      was.giveBack();
    }
  }

  /**
   * Drops the reference.
   *
   * @throws IllegalStateException if it has been dropped before, or the folio is one shown to a
   *     callback; or if the folio was locked, in which case it has been unlocked and dropped
   */
  @Override
  public void close() {
    HolderKind kind = kind();
    if (kind == null) {
      throw new IllegalStateException(this + ": not grabbed");
    }
    int was = set(PUT);
    if ((was & PUT) != 0) {
      throw new IllegalStateException(this + ": put twice");
    }
    boolean wasLocked = (was & LOCKED) != 0 && clearLocked(); // or another thread unlocks just now
    try {
      if (wasLocked) {
        unlockKept();
      }
    } finally {
      giveBack(kind);
    }
    if (wasLocked) {
      throw new IllegalStateException(this + ": put while locked");
    }
  }

  private void giveBack(HolderKind held) {
    if (tracked == null) {
      file.put(index(), pfn, held);
      return;
    }
    // First: the put may complete a conversion, which must not find this holder listed.
    CallbackContext.enterOperation();
    try {
      file.put(index(), pfn, held);
    } finally {
      file.inode.host.untrack(tracked);
      CallbackContext.leaveOperation();
    }
  }

  /** Ends the use of this folio: the callback that it was shown to is over. */
  void expire() {
    set(PUT);
  }

  /** Sets a bit of the state; returns the state before. */
  private int set(int bit) {
    return (int) STATE.getAndBitwiseOr(Announce.write(this), bit);
  }

  /** Clears {@link #LOCKED}; returns whether it was set. */
  private boolean clearLocked() {
    return ((int) STATE.getAndBitwiseAnd(Announce.write(this), ~LOCKED) & LOCKED) != 0;
  }

  private void requireHeld() {
    if ((Announce.read(this).state & PUT) != 0) {
      throw new IllegalStateException(this + ": used after put");
    }
  }

  @Override
  public String toString() {
    return "Folio[pfn=" + pfn + (place < 0 ? "" : ", offset=" + Hex.of(offset())) + "]";
  }
}
