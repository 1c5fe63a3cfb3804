package io.github.guestmemfd.kvm;

import io.github.guestmemfd.Errno;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

/**
 * A file of a virtual machine, as the client that the file tells and asks: the kernel's {@code
 * struct kvm_gmem}. It knows the memslots that the file backs, and passes everything on to a second
 * client, the user's.
 */
final class Gmem implements GuestMemfdOps {
  /** How many callbacks of users this thread is inside. */
  private static final ThreadLocal<int[]> DEPTH = ThreadLocal.withInitial(() -> new int[1]);

  /** The memslots that the file backs. */
  final List<BoundSlot> bindings = new CopyOnWriteArrayList<>();

  private final Mmu mmu;
  private final GuestMemfdOps next;
  private volatile boolean released;

  Gmem(Mmu mmu, GuestMemfdOps next) {
    this.mmu = mmu;
    this.next = next;
  }

  static boolean isInsideCallback() {
    return DEPTH.get()[0] != 0;
  }

  @Override
  public Errno invalidateBegin(long offset, long length) {
    Errno errno = mmu.invalidateBegin(bindings, offset, length);
    if (errno != Errno.OK) {
      return errno;
    }
    boolean begun = false;
    DEPTH.get()[0]++;
    try {
      errno = next.invalidateBegin(offset, length);
      begun = errno == Errno.OK;
      return errno;
    } finally {
      DEPTH.get()[0]--;
      if (!begun) {
        mmu.invalidateEnd();
      }
    }
  }

  @Override
  public void invalidateEnd(long offset, long length) {
    try {
      inside(() -> next.invalidateEnd(offset, length));
    } finally {
      mmu.invalidateEnd();
    }
  }

  @Override
  public Errno prepareAccessible(Folio folio) {
    DEPTH.get()[0]++;
    try {
      return next.prepareAccessible(folio);
    } finally {
      DEPTH.get()[0]--;
    }
  }

  @Override
  public Errno prepareInaccessible(Folio folio) {
    DEPTH.get()[0]++;
    try {
      return next.prepareInaccessible(folio);
    } finally {
      DEPTH.get()[0]--;
    }
  }

  @Override
  public void freeFolio(Folio folio) {
    inside(() -> next.freeFolio(folio));
  }

  boolean isOf(Mmu other) {
    return mmu == other;
  }

  /** Whether the file is gone. */
  boolean isReleased() {
    return released;
  }

  @Override
  public void release() {
    released = true;
    try {
      mmu.invalidateBeginUninterruptibly(bindings, 0, Long.MAX_VALUE);
    } finally {
      try {
        inside(next::release);
      } finally {
        mmu.invalidateEnd();
      }
    }
  }

  private static void inside(Runnable callback) {
    DEPTH.get()[0]++;
    try {
      callback.run();
    } finally {
      DEPTH.get()[0]--;
    }
  }
}
