package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.InjectedFault;
import io.github.guestmemfd.spi.LockOrder;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** The callbacks of a file: each is made within the {@link CallbackContext} of its thread. */
final class Callbacks {
  private final Inode inode;
  private final @Nullable FileClient client;

  /** The client, if it is to be called for single folios. */
  private final @Nullable FileClient ofFolios;

  Callbacks(Inode inode, @Nullable FileClient client) {
    this.inode = inode;
    this.client = client;
    this.ofFolios = client != null && client.takesFolios() ? client : null;
  }

  /** Whether there is a client. */
  boolean isAny() {
    return client != null;
  }

  /** Whether there is one that is to be called for single folios. */
  boolean takeFolios() {
    return ofFolios != null;
  }

  Errno invalidateBegin(long from, long to, InvalidationFilter filter) {
    if (client == null) {
      return Errno.OK;
    }
    long offset = Pages.bytes(from);
    long length = Pages.bytes(to - from);
    LockOrder.beforeCall(Callback.INVALIDATE_BEGIN);
    CallbackContext.enterCallback("invalidateBegin", inode, offset, length);
    try {
      return CallbackContext.answered(
          isRefused("invalidateBegin")
              ? Errno.ENOMEM
              : client.invalidateBegin(offset, length, filter));
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
    LockOrder.beforeCall(Callback.INVALIDATE_END);
    CallbackContext.enterCallback("invalidateEnd", inode, offset, length);
    try {
      client.invalidateEnd(offset, length);
      mayThrow("invalidateEnd");
    } finally {
      CallbackContext.leaveCallback();
    }
  }

  Errno prepare(long index, int pfn, boolean inaccessible) {
    if (ofFolios == null) {
      return Errno.OK;
    }
    LockOrder.beforeCall(Callback.PREPARE);
    String name = inaccessible ? "prepareInaccessible" : "prepareAccessible";
    CallbackContext.enterCallback(name, inode, Pages.bytes(index), Pages.SIZE);
    try {
      return CallbackContext.answered(
          isRefused(name) ? Errno.ENOMEM : ofFolios.prepare(index, pfn, inaccessible));
    } finally {
      CallbackContext.leaveCallback();
    }
  }

  /** As {@link #prepare}, by the hook of a population. */
  Errno populated(long index, Supplier<@Nullable Errno> hook) {
    LockOrder.beforeCall(Callback.PREPARE);
    CallbackContext.enterCallback("populated", inode, Pages.bytes(index), Pages.SIZE);
    try {
      return CallbackContext.answered(isRefused("populated") ? Errno.ENOMEM : hook.get());
    } finally {
      CallbackContext.leaveCallback();
    }
  }

  Errno makePrivate(long index, int pfn) {
    if (ofFolios == null) {
      return Errno.OK;
    }
    LockOrder.beforeCall(Callback.MAKE_PRIVATE);
    CallbackContext.enterCallback("makePrivate", inode, Pages.bytes(index), Pages.SIZE);
    try {
      return CallbackContext.answered(
          isRefused("makePrivate") ? Errno.ENOMEM : ofFolios.makePrivate(index, pfn));
    } finally {
      CallbackContext.leaveCallback();
    }
  }

  void makeShared(long index, int pfn) {
    if (ofFolios == null) {
      return;
    }
    LockOrder.beforeCall(Callback.MAKE_SHARED);
    CallbackContext.enterCallback("makeShared", inode, Pages.bytes(index), Pages.SIZE);
    try {
      ofFolios.makeShared(index, pfn);
      mayThrow("makeShared");
    } finally {
      CallbackContext.leaveCallback();
    }
  }

  void freeFolio(int pfn) {
    if (ofFolios != null) {
      LockOrder.beforeCall(Callback.FREE_FOLIO);
      CallbackContext.enterCallback("freeFolio", inode, -1, Pages.SIZE);
      try {
        ofFolios.freeFolio(pfn);
        mayThrow("freeFolio");
      } finally {
        CallbackContext.leaveCallback();
      }
    }
  }

  void release(Failures failures) {
    if (client != null) {
      LockOrder.beforeCall(Callback.RELEASE);
      CallbackContext.enterCallback("release", inode, 0, inode.size);
      try {
        failures.attempt(client::release);
        failures.attempt(() -> mayThrow("release"));
      } finally {
        CallbackContext.leaveCallback();
      }
    }
  }

  // ---- fault injection ----

  /** Throws if that is what is explored. */
  private static void mayThrow(String callback) {
    if (Exploration.shouldFail()) {
      throw new InjectedFault(callback);
    }
  }

  /** Whether it is explored that a callback refuses; throws if that is. */
  private static boolean isRefused(String callback) {
    mayThrow(callback);
    return Exploration.shouldFail();
  }
}
