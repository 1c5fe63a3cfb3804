package io.github.guestmemfd;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.file.Bytes;
import io.github.guestmemfd.file.CallbackContext;
import io.github.guestmemfd.file.FileOperations;
import io.github.guestmemfd.file.HostAccess;
import io.github.guestmemfd.file.Mapping;
import io.github.guestmemfd.file.UserPages;
import io.github.guestmemfd.memory.Counts;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A mapping that tells a listener its calls. */
final class RecordedMapping extends HostMapping {
  final GuestMemfdListener listener;

  RecordedMapping(
      FileOperations file,
      Mapping mapping,
      AddressSpace addressSpace,
      GuestMemfdListener listener) {
    super(file, mapping, addressSpace);
    this.listener = listener;
  }

  private GuestMemfdListener told() {
    return RecordedMemfd.told(listener);
  }

  private static byte[] bytes(long value, int width) {
    byte[] bytes = new byte[width];
    for (int i = 0; i < width; i++) {
      bytes[i] = (byte) (value >>> (8 * i));
    }
    return bytes;
  }

  private static boolean isOutOfBounds(RuntimeException e) {
    return e instanceof IndexOutOfBoundsException;
  }

  /** The byte at which an access was a signal; none for another failure. */
  private static long signalled(RuntimeException e) {
    return e instanceof SigBusException bus
        ? bus.offset()
        : e instanceof SigSegvException segv ? segv.offset() : Long.MIN_VALUE;
  }

  /**
   * Tells the listener of an access that failed at {@code next}, when the bytes before were done.
   */
  private void failed(boolean write, long offset, long next, RuntimeException e) {
    long at = next;
    long signalled = signalled(e);
    if (signalled >= 0) {
      at = signalled;
    } else if (isOutOfBounds(e)) {
      at = offset < 0 ? offset : Math.max(offset, length()); // the first byte that is outside
    }
    told().fault(this, write, at, e);
  }

  @Override
  long load(long offset, int width, int mode) {
    try {
      if (mode == Bytes.PLAIN && HostAccess.isAcross(offset, width)) {
        require(offset, width, false);
      } else {
        long value = super.load(offset, width, mode);
        told().load(this, offset, bytes(value, width));
        return value;
      }
    } catch (RuntimeException e) {
      failed(false, offset, offset, e);
      throw e;
    }
    return HostAccess.byByte(offset, width, at -> load(at, 1, Bytes.PLAIN)); // each a load
  }

  @Override
  void store(long offset, int width, int mode, long value) {
    try {
      super.store(offset, width, mode, value);
    } catch (RuntimeException e) {
      if (signalled(e) > offset) {
        told().touch(this, offset); // the first of two pages
      }
      failed(true, offset, offset, e);
      throw e;
    }
    told().store(this, offset, bytes(value, width));
  }

  @Override
  public long tryGetLong(long offset, long otherwise) {
    if ((offset & 7) != 0 || offset < 0 || offset >= length() || !isAllowed(offset, false)) {
      return otherwise;
    }
    try {
      return load(offset, 8, Bytes.PLAIN);
    } catch (GuestMemfdException | IllegalStateException e) {
      return otherwise;
    }
  }

  @Override
  public boolean tryPutLong(long offset, long value) {
    if ((offset & 7) != 0 || offset < 0 || offset >= length() || !isAllowed(offset, true)) {
      return false;
    }
    try {
      store(offset, 8, Bytes.PLAIN, value);
      return true;
    } catch (GuestMemfdException | IllegalStateException e) {
      return false;
    }
  }

  @Override
  public long getAndAddLong(long offset, long delta) {
    long old;
    try {
      old = super.getAndAddLong(offset, delta);
    } catch (RuntimeException e) {
      failed(true, offset, offset, e);
      throw e;
    }
    told().load(this, offset, bytes(old, 8));
    told().store(this, offset, bytes(old + delta, 8));
    return old;
  }

  @Override
  boolean compareAndSet(long offset, int width, long expected, long value) {
    boolean set;
    try {
      set = super.compareAndSet(offset, width, expected, value);
    } catch (RuntimeException e) {
      failed(true, offset, offset, e);
      throw e;
    }
    if (set) {
      told().store(this, offset, bytes(value, width));
    } else {
      told().touch(this, offset);
    }
    return set;
  }

  /** What was moved, also by a move that throws: a window's task may have written before that. */
  private static final class Moved implements HostAccess.Move {
    private final HostAccess.Move move;
    final List<byte[]> pieces = new ArrayList<>();

    /** Whether the move has thrown, and not the access. */
    boolean hasThrown;

    Moved(HostAccess.Move move) {
      this.move = move;
    }

    @Override
    public void bytes(ByteBuffer chunk, int at, int done, int length) {
      hasThrown = true;
      try {
        move.bytes(chunk, at, done, length);
        hasThrown = false;
      } finally {
        byte[] bytes = new byte[length];
        chunk.get(at, bytes);
        pieces.add(bytes);
      }
    }
  }

  /** Keeps what was moved until the access is over: a thread must not wait in the middle of one. */
  @Override
  void move(long offset, int length, boolean write, HostAccess.Move move) {
    Moved moved = new Moved(move);
    RuntimeException failure = null;
    try {
      super.move(offset, length, write, moved);
    } catch (RuntimeException e) {
      failure = e;
      throw e;
    } finally {
      tell(offset, write, moved, failure);
    }
  }

  private void tell(long offset, boolean write, Moved moved, @Nullable RuntimeException failure) {
    long next = offset;
    for (byte[] bytes : moved.pieces) {
      if (write) {
        told().store(this, next, bytes);
      } else {
        told().load(this, next, bytes);
      }
      next += bytes.length;
    }
    if (failure != null && !moved.hasThrown) {
      failed(write, offset, next, failure);
    }
  }

  @Override
  public void madvise(long offset, long length, Advice advice) {
    try {
      super.madvise(offset, length, advice);
    } catch (RuntimeException e) {
      told().madvise(this, offset, length, advice, e);
      throw e;
    }
    told().madvise(this, offset, length, advice, null);
  }

  @Override
  public void munmap(long offset, long length) {
    try {
      super.munmap(offset, length);
    } catch (RuntimeException e) {
      told().munmap(this, offset, length, e);
      throw e;
    }
    told().munmap(this, offset, length, null);
  }

  @Override
  public void mprotect(long offset, long length, Protection... protection) {
    List<Protection> asked = List.of(protection);
    try {
      super.mprotect(offset, length, protection);
    } catch (RuntimeException e) {
      told().mprotect(this, offset, length, asked, e);
      throw e;
    }
    told().mprotect(this, offset, length, asked, null);
  }

  @Override
  public void mbind(long offset, long length, MemoryPolicy policy) {
    try {
      super.mbind(offset, length, policy);
    } catch (GuestMemfdException | IllegalStateException e) {
      told().mbind(this, offset, length, policy, e);
      throw e;
    }
    told().mbind(this, offset, length, policy, null);
  }

  @Override
  public MemoryPolicy getMempolicy(long offset) {
    MemoryPolicy policy;
    try {
      policy = super.getMempolicy(offset);
    } catch (GuestMemfdException | IllegalStateException e) {
      told().getMempolicy(this, offset, null, e);
      throw e;
    }
    told().getMempolicy(this, offset, policy, null);
    return policy;
  }

  @Override
  public HostMapping mremap(long offset, long oldLength, long newLength) {
    HostMapping moved;
    try {
      moved = super.mremap(offset, oldLength, newLength);
    } catch (RuntimeException e) {
      told().mremap(this, null, offset, oldLength, newLength, e);
      throw e;
    }
    told().mremap(this, moved, offset, oldLength, newLength, null);
    return moved;
  }

  @Override
  HostMapping newMapping(Mapping of, AddressSpace in) {
    return new RecordedMapping(file(), of, in, listener);
  }

  @Override
  public void close() {
    if (!isClosed() && !CallbackContext.isInside()) {
      told().munmap(this);
    }
    super.close();
  }

  @Override
  HostReference reference(long offset, long length, long unit) {
    boolean pinned = unit == Counts.PIN;
    HostReference reference;
    try {
      reference = super.reference(offset, length, unit);
    } catch (RuntimeException e) {
      told().reference(this, null, offset, length, pinned, e);
      throw e;
    }
    told().reference(this, reference, offset, length, pinned, null);
    return reference;
  }

  @Override
  HostReference newReference(UserPages.Taken taken, long unit, long offset, boolean writable) {
    return new RecordedReference(file().inode, taken, unit, fileOffset(offset), writable, listener);
  }
}
