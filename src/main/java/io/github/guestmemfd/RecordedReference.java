package io.github.guestmemfd;

import io.github.guestmemfd.file.Inode;
import io.github.guestmemfd.file.UserPages;

/** A reference that tells a listener when it is dropped. */
final class RecordedReference extends HostReference {
  private final GuestMemfdListener listener;

  RecordedReference(
      Inode inode,
      UserPages.Taken taken,
      long unit,
      long offset,
      boolean writable,
      GuestMemfdListener listener) {
    super(inode, taken, unit, offset, writable);
    this.listener = listener;
  }

  @Override
  public void close() {
    if (isOpen()) {
      RecordedMemfd.told(listener).release(this);
    }
    super.close();
  }
}
