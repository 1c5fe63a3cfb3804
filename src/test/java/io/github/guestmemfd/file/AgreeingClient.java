package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;

/** A client that agrees to everything, and does nothing. */
class AgreeingClient implements FileClient {
  @Override
  public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
    return Errno.OK;
  }

  @Override
  public void invalidateEnd(long offset, long length) {}

  @Override
  public Errno prepare(long index, int pfn, boolean inaccessible) {
    return Errno.OK;
  }

  @Override
  public Errno makePrivate(long index, int pfn) {
    return Errno.OK;
  }

  @Override
  public void makeShared(long index, int pfn) {}

  @Override
  public void freeFolio(int pfn) {}

  @Override
  public void release() {}
}
