package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HolderKind;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * An entry of a guest page table: a page mapped for a guest, for the attribute it had then, and how
 * many accesses are under way through it.
 *
 * <p>Its state is one word: the accesses, and whether it has been zapped. An access announces
 * itself there and sees in the same step whether it comes too late; who zaps sets the bit and then
 * waits for the accesses. So an access that was let in is over when the zap is, as after a TLB
 * shootdown. An entry that was zapped never comes back: the page is mapped again by a new one.
 */
final class TdpEntry {
  private static final VarHandle STATE;

  static {
    try {
      STATE = MethodHandles.lookup().findVarHandle(TdpEntry.class, "state", int.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  private static final int ZAPPED = 1 << 31;

  /** Whoever first finds no access under way gives the reference back. */
  private static final int OWED = 1 << 30;

  /** The page's bytes; empty if the host is metadata only. */
  final ByteBuffer view;

  final MemoryAttribute attribute;

  /** The file of the frame on which this holds a safe reference, if it does. */
  private final @Nullable GuestMemfd memfd;

  private final int pfn;

  @SuppressWarnings("unused") // set through STATE
  private volatile int state;

  /**
   * Makes an entry.
   *
   * @param memfd null for an entry that holds no reference
   */
  TdpEntry(ByteBuffer view, MemoryAttribute attribute, @Nullable GuestMemfd memfd, int pfn) {
    this.view = view;
    this.attribute = attribute;
    this.memfd = memfd;
    this.pfn = pfn;
  }

  /** Announces an access; false if the entry has been zapped, and nothing is announced. */
  boolean begin() {
    if ((int) STATE.getAndAdd(this, 1) >= 0) {
      return true;
    }
    end();
    return false;
  }

  /** Ends an access. */
  void end() {
    if ((int) STATE.getAndAdd(this, -1) - 1 == (ZAPPED | OWED)) {
      settle();
    }
  }

  /** Lets no access begin any more. Those under way go on. */
  void zap() {
    STATE.getAndBitwiseOr(this, ZAPPED);
  }

  /** Whether accesses are under way. */
  boolean isInUse() {
    return (state & ~(ZAPPED | OWED)) != 0;
  }

  /** Gives the reference of a zapped entry back, now or with the last access. */
  void release() {
    if (memfd != null) {
      STATE.getAndBitwiseOr(this, OWED);
      settle();
    }
  }

  private void settle() {
    GuestMemfd file = memfd;
    if (file != null && STATE.compareAndSet(this, ZAPPED | OWED, ZAPPED)) {
      file.put(pfn, HolderKind.SAFE);
    }
  }
}
