package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.LockOrder;
import org.jspecify.annotations.Nullable;

/** The callbacks of a file: each is made within the {@link CallbackContext} of its thread. */
final class Callbacks {
  private final Inode inode;
  private final @Nullable FileClient client;

  Callbacks(Inode inode, @Nullable FileClient client) {
    this.inode = inode;
    this.client = client;
  }

  /** Whether there is a client. */
  boolean isAny() {
    return client != null;
  }

  Errno invalidateBegin(long from, long to) {
    if (client == null) {
      return Errno.OK;
    }
    long offset = Pages.bytes(from);
    long length = Pages.bytes(to - from);
    LockOrder.beforeCall(Callback.INVALIDATE_BEGIN);
    CallbackContext.enter("invalidateBegin", inode, offset, length);
    try {
      return CallbackContext.answered(client.invalidateBegin(offset, length));
    } finally {
      CallbackContext.leave();
    }
  }

  void invalidateEnd(long from, long to) {
    if (client == null) {
      return;
    }
    long offset = Pages.bytes(from);
    long length = Pages.bytes(to - from);
    LockOrder.beforeCall(Callback.INVALIDATE_END);
    CallbackContext.enter("invalidateEnd", inode, offset, length);
    try {
      client.invalidateEnd(offset, length);
    } finally {
      CallbackContext.leave();
    }
  }

  Errno prepare(long index, int pfn, boolean inaccessible) {
    if (client == null) {
      return Errno.OK;
    }
    LockOrder.beforeCall(Callback.PREPARE);
    CallbackContext.enter(
        inaccessible ? "prepareInaccessible" : "prepareAccessible",
        inode,
        Pages.bytes(index),
        Pages.SIZE);
    try {
      return CallbackContext.answered(client.prepare(index, pfn, inaccessible));
    } finally {
      CallbackContext.leave();
    }
  }

  void freeFolio(int pfn) {
    if (client != null) {
      LockOrder.beforeCall(Callback.FREE_FOLIO);
      CallbackContext.enter("freeFolio", inode, -1, Pages.SIZE);
      try {
        client.freeFolio(pfn);
      } finally {
        CallbackContext.leave();
      }
    }
  }

  void release(Failures failures) {
    if (client != null) {
      LockOrder.beforeCall(Callback.RELEASE);
      CallbackContext.enter("release", inode, 0, inode.size);
      try {
        failures.attempt(client::release);
      } finally {
        CallbackContext.leave();
      }
    }
  }
}
