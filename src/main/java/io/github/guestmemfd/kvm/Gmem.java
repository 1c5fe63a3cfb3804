package io.github.guestmemfd.kvm;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.spi.Announce;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

/**
 * The callbacks of a file of a virtual machine: the kernel's {@code struct kvm_gmem}. It knows the
 * memslots that the file backs, and forwards every callback to a second client, the user's.
 */
final class Gmem implements GuestMemfdOps {
  /** The memslots that the file backs. */
  final List<BoundSlot> bindings = new CopyOnWriteArrayList<>();

  private final Mmu mmu;
  private final GuestMemfdOps next;
  private volatile boolean released;

  Gmem(Mmu mmu, GuestMemfdOps next) {
    this.mmu = mmu;
    this.next = next;
  }

  @Override
  public Errno invalidateBegin(long offset, long length) {
    Errno errno = mmu.invalidateBegin(Announce.read(bindings), offset, length);
    if (errno != Errno.OK) {
      return errno;
    }
    boolean done = false;
    try {
      errno = next.invalidateBegin(offset, length);
      done = errno == Errno.OK;
      return errno;
    } finally {
      if (!done) {
        mmu.invalidateEnd();
      }
    }
  }

  @Override
  public void invalidateEnd(long offset, long length) {
    try {
      next.invalidateEnd(offset, length);
    } finally {
      mmu.invalidateEnd();
    }
  }

  @Override
  public Errno prepareAccessible(Folio folio) {
    return next.prepareAccessible(folio);
  }

  @Override
  public Errno prepareInaccessible(Folio folio) {
    return next.prepareInaccessible(folio);
  }

  @Override
  public void freeFolio(Folio folio) {
    next.freeFolio(folio);
  }

  boolean isOf(Mmu other) {
    return mmu == other;
  }

  /** Whether the file is gone. */
  boolean isReleased() {
    return Announce.read(this).released;
  }

  @Override
  public void release() {
    Announce.write(this).released = true;
    try {
      mmu.invalidateBeginUninterruptibly(Announce.read(bindings), 0, Long.MAX_VALUE);
    } finally {
      try {
        next.release();
      } finally {
        mmu.invalidateEnd();
      }
    }
  }
}
