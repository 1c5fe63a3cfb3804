package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;

/** A reference that tells a listener when it is dropped. */
final class RecordedReference extends HostReference {
  private final GuestMemfdListener listener;

  RecordedReference(
      Inode inode,
      int[] pfns,
      long unit,
      long offset,
      long length,
      boolean writable,
      Errno end,
      GuestMemfdListener listener) {
    super(inode, pfns, unit, offset, length, writable, end);
    this.listener = listener;
  }

  @Override
  public void close() {
    if (isOpen()) {
      listener.release(this);
    }
    super.close();
  }
}
