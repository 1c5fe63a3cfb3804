package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Pages;
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
    CallbackContext.enterCallback("invalidateBegin", inode, offset, length);
    try {
      return CallbackContext.answered(client.invalidateBegin(offset, length));
    } finally {
      CallbackContext.leaveCallback();
    }
  }

  void invalidateEnd(long from, long to) {
    if (client == null) {
      return;
    }
    long offset = Pages.bytes(from);
    long length = Pages.bytes(to - from);
    CallbackContext.enterCallback("invalidateEnd", inode, offset, length);
    try {
      client.invalidateEnd(offset, length);
    } finally {
      CallbackContext.leaveCallback();
    }
  }

  Errno prepare(long index, int pfn, boolean inaccessible) {
    if (client == null) {
      return Errno.OK;
    }
    CallbackContext.enterCallback(
        inaccessible ? "prepareInaccessible" : "prepareAccessible",
        inode,
        Pages.bytes(index),
        Pages.SIZE);
    try {
      return CallbackContext.answered(client.prepare(index, pfn, inaccessible));
    } finally {
      CallbackContext.leaveCallback();
    }
  }

  void freeFolio(int pfn) {
    if (client != null) {
      CallbackContext.enterCallback("freeFolio", inode, -1, Pages.SIZE);
      try {
        client.freeFolio(pfn);
      } finally {
        CallbackContext.leaveCallback();
      }
    }
  }

  void release(Failures failures) {
    if (client != null) {
      CallbackContext.enterCallback("release", inode, 0, inode.size);
      try {
        failures.attempt(client::release);
      } finally {
        CallbackContext.leaveCallback();
      }
    }
  }
}
