package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.file.FileClient;
import io.github.guestmemfd.file.FileOperations;
import org.jspecify.annotations.Nullable;

/** Adapts the {@link GuestMemfdOps} of a file to its calls: with folios for frame numbers. */
final class OpsClient implements FileClient {
  private final GuestMemfdOps ops;

  /** Set once, before any callback can come. */
  private @Nullable FileOperations file;

  OpsClient(GuestMemfdOps ops) {
    this.ops = ops;
  }

  /** Sets the file that calls. */
  void attach(FileOperations caller) {
    file = caller;
  }

  @Override
  public boolean takesFolios() {
    return ops.takesFolios();
  }

  @Override
  public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
    return ops.invalidateBegin(offset, length, filter);
  }

  @Override
  public void invalidateEnd(long offset, long length) {
    ops.invalidateEnd(offset, length);
  }

  @Override
  public Errno prepare(long index, int pfn, boolean inaccessible) {
    Folio folio = folio(index, pfn);
    try {
      return inaccessible ? ops.prepareInaccessible(folio) : ops.prepareAccessible(folio);
    } finally {
      folio.expire();
    }
  }

  @Override
  public Errno makePrivate(long index, int pfn) {
    Folio folio = folio(index, pfn);
    try {
      return ops.makePrivate(folio);
    } finally {
      folio.expire();
    }
  }

  @Override
  public void makeShared(long index, int pfn) {
    Folio folio = folio(index, pfn);
    try {
      ops.makeShared(folio);
    } finally {
      folio.expire();
    }
  }

  @Override
  public void freeFolio(int pfn) {
    Folio folio = folio(-1, pfn);
    try {
      ops.freeFolio(folio);
    } finally {
      folio.expire();
    }
  }

  @Override
  public void release() {
    ops.release();
  }

  private Folio folio(long index, int pfn) {
    FileOperations caller = file;
    if (caller == null) {
      throw new IllegalStateException("a callback before there is a file");
    }
    return new Folio(caller, index, pfn, null);
  }
}
