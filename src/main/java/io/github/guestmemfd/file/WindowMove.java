package io.github.guestmemfd.file;

import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.LockOrder;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.function.ObjLongConsumer;

/** Shows the pieces of a range of a mapping to a task, each while an access to it is announced. */
public final class WindowMove implements HostAccess.Move {
  private final Mapping mapping;
  private final long offset;
  private final boolean write;
  private final ObjLongConsumer<ByteBuffer> task;

  /**
   * Shows a range.
   *
   * @param mapping the mapping
   * @param offset where it begins, in bytes from the start of the mapping
   * @param write whether the task may write
   * @param task is given each piece, and where in the mapping it begins
   */
  public WindowMove(Mapping mapping, long offset, boolean write, ObjLongConsumer<ByteBuffer> task) {
    this.mapping = mapping;
    this.offset = offset;
    this.write = write;
    this.task = task;
  }

  @Override
  public void bytes(ByteBuffer chunk, int at, int done, int length) {
    ByteBuffer piece = chunk.slice(at, length);
    if (!write) {
      piece = piece.asReadOnlyBuffer();
    }
    if (!CallbackContext.isInside()) {
      LockOrder.beforeCall(Callback.WINDOW);
    }
    LockOrder.turned(LockClass.ACCESS, LockClass.WINDOW);
    CallbackContext.enterCallback("window", mapping.inode, offset + done, length);
    try {
      task.accept(piece.order(ByteOrder.LITTLE_ENDIAN), offset + done);
    } finally {
      CallbackContext.leaveCallback();
      LockOrder.turned(LockClass.WINDOW, LockClass.ACCESS);
    }
  }
}
