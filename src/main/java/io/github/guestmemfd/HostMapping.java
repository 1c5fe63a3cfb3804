package io.github.guestmemfd;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.file.Areas;
import io.github.guestmemfd.file.Bytes;
import io.github.guestmemfd.file.CallbackContext;
import io.github.guestmemfd.file.FileOperations;
import io.github.guestmemfd.file.HostAccess;
import io.github.guestmemfd.file.Madvise;
import io.github.guestmemfd.file.Mapping;
import io.github.guestmemfd.file.ProtectionBits;
import io.github.guestmemfd.file.UserPages;
import io.github.guestmemfd.file.WindowMove;
import io.github.guestmemfd.memory.Counts;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.util.Objects;

/**
 * A part of a guest_memfd mapped by the host: real bytes, a page at a time, for as long as each
 * page is accessible.
 *
 * <p>Offsets are in bytes from the start of the mapping; numbers are little-endian. An access to a
 * page that is not mapped faults: an accessible page is allocated and mapped, for any other the
 * access fails with {@link SigBusException}, as for a page whose memory has failed. The protection
 * of the mapping is looked at first ({@link SigSegvException}). As on x86-64, a mapping that may be
 * written may be read too.
 *
 * <p><b>Refusals.</b> An offset that is not in the mapping is an {@link IndexOutOfBoundsException};
 * one that is not aligned for an atomic access, an {@link IllegalArgumentException}; any use of a
 * mapping that is closed, an {@link IllegalStateException}; an access to bytes if the host is
 * metadata only, an {@link UnsupportedOperationException}. A fault that cannot be served for lack
 * of memory, or since the thread was interrupted, is a {@link GuestMemfdException} with ENOMEM or
 * EINTR, as is what a callback answers. Of a number that lies in two pages, the first may have been
 * faulted in when the second is refused; nothing has been written then.
 *
 * <p><b>Revocation.</b> An access to a page happens wholly before a conversion or punch of that
 * page takes effect, or it faults. Reads of a number are optimistic: they read the page table
 * entry, the bytes, and the entry again, and start over if the page was unmapped in between.
 * Everything else is announced for the frame, and a conversion waits until it is over; a copy
 * announces up to 64 pages at once.
 *
 * <p><b>Memory ordering.</b> Methods without a suffix are plain, at any offset. {@code Acquire},
 * {@code Release} and {@code Volatile} methods, and atomic updates, have the ordering of the {@link
 * VarHandle} methods of these names; their offset must be a multiple of the width. A number that
 * reaches over the end of a page is not read or written at once.
 */
public sealed class HostMapping implements AutoCloseable permits RecordedMapping {
  final Mapping mapping;

  private final FileOperations file;
  private final AddressSpace addressSpace;
  private final HostAccess access;
  private final UserPages userPages;
  private final Madvise madvise;

  /** Takes over the caller's hold on the file. */
  HostMapping(FileOperations file, Mapping mapping, AddressSpace addressSpace) {
    this.file = file;
    this.addressSpace = addressSpace;
    this.mapping = mapping;
    this.access = new HostAccess(mapping, file.hostFault);
    this.userPages = new UserPages(mapping, file.hostFault);
    this.madvise = new Madvise(mapping, file);
  }

  /**
   * The length, a multiple of 4096.
   *
   * @return the length in bytes
   */
  public long length() {
    return mapping.length();
  }

  /**
   * Whether the mapping has been closed.
   *
   * @return true after {@link #close}
   */
  public boolean isClosed() {
    return mapping.isClosed();
  }

  /**
   * Unmaps: {@code munmap} of the whole mapping. A second call does nothing.
   *
   * @throws GuestMemfdException EDEADLK from inside a callback
   */
  @Override
  public void close() {
    file.remap.close(mapping);
  }

  /** As {@link #close}, and no listener is told. */
  final void end() {
    file.remap.end(mapping);
  }

  /**
   * The process that has the mapping.
   *
   * @return its address space
   */
  public AddressSpace addressSpace() {
    return addressSpace;
  }

  /** What a child has of this mapping; it takes over the file, if anything is mapped. */
  final HostMapping inherit(AddressSpace child, Areas areas) {
    Mapping made = file.remap.make(child.mm, mapping.opened, mapping.firstIndex, areas);
    return child.add(file.remap, made, m -> newMapping(m, child));
  }

  // ---- parts ----

  /**
   * Unmaps a part: {@code munmap}. What is left keeps its offsets, and what is unmapped stays a
   * hole: an access there is a {@link SigSegvException}. When nothing is left, the mapping holds
   * the file no longer, as if it had been closed.
   *
   * @param offset the start in bytes, a multiple of 4096; may lie outside the mapping, where
   *     nothing is mapped
   * @param length the length in bytes, rounded up to whole pages
   * @throws GuestMemfdException EINVAL if the offset is unaligned, or the length 0, negative or
   *     longer than an address space; EDEADLK from inside a callback; EINTR before anything has
   *     changed, or while it waits for an access under way. In that case no access to the range
   *     begins any more; call again to wait for those that have begun
   */
  public void munmap(long offset, long length) {
    file.remap.munmap(mapping, offset, length);
  }

  /**
   * Changes what a part may be used for: {@code mprotect}. Pages that are mapped stay so, also
   * where no access is allowed.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, rounded up to whole pages
   * @param protection what for; none at all is allowed
   * @throws GuestMemfdException in this order: EINVAL if the offset is unaligned; then length 0
   *     succeeds; ENOMEM if nothing is mapped at its start, or the length is negative; EACCES for
   *     {@link Protection#EXEC}; ENOMEM if the range reaches over a part that is not mapped, and
   *     the protection has changed up to that. EDEADLK and EINTR as {@link #munmap}
   */
  public void mprotect(long offset, long length, Protection... protection) {
    file.remap.mprotect(mapping, offset, length, ProtectionBits.of(protection));
  }

  /**
   * Moves a part to addresses of its own, and makes it longer or shorter: {@code mremap} with
   * {@code MREMAP_MAYMOVE} and {@code MREMAP_FIXED}. Page table entries go with it; here the part
   * is unmapped. Of a part that is made shorter, the rest is unmapped too.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param oldLength the length in bytes, rounded up to whole pages; 0 to map from the offset on
   *     once more, in addition to this mapping
   * @param newLength the new length in bytes, rounded up to whole pages; it may reach past the end
   *     of the file
   * @return the moved part, a mapping of its own, which is to be closed
   * @throws GuestMemfdException in this order: EINVAL if the offset is unaligned, the new length 0,
   *     or one of the lengths longer than an address space; EFAULT if nothing is mapped at the
   *     start, or if the length changes and what is kept of the range is not mapped and protected
   *     alike. Otherwise holes and protections go with it. EDEADLK from inside a callback; EINTR,
   *     and nothing has changed
   */
  public HostMapping mremap(long offset, long oldLength, long newLength) {
    return file.remap.mremap(
        addressSpace.mm,
        mapping,
        offset,
        oldLength,
        newLength,
        moved -> newMapping(moved, addressSpace));
  }

  HostMapping newMapping(Mapping of, AddressSpace in) {
    return new HostMapping(file, of, in);
  }

  // ---- one number ----

  /** Refuses an access that is out of bounds, or forbidden by the protection. */
  final void require(long offset, int length, boolean write) {
    access.require(offset, length, write);
  }

  long load(long offset, int width, int mode) {
    return access.load(offset, width, mode);
  }

  void store(long offset, int width, int mode, long value) {
    access.store(offset, width, mode, value);
  }

  /**
   * Reads a byte.
   *
   * @param offset where
   * @return the byte
   */
  public byte getByte(long offset) {
    return (byte) load(offset, 1, Bytes.PLAIN);
  }

  /**
   * Writes a byte.
   *
   * @param offset where
   * @param value the byte
   */
  public void putByte(long offset, byte value) {
    store(offset, 1, Bytes.PLAIN, value);
  }

  /**
   * Reads two bytes.
   *
   * @param offset where
   * @return the number
   */
  public short getShort(long offset) {
    return (short) load(offset, 2, Bytes.PLAIN);
  }

  /**
   * Reads two bytes with acquire semantics.
   *
   * @param offset where, a multiple of 2
   * @return the number
   */
  public short getShortAcquire(long offset) {
    return (short) load(offset, 2, Bytes.ORDERED);
  }

  /**
   * Reads two bytes with volatile semantics.
   *
   * @param offset where, a multiple of 2
   * @return the number
   */
  public short getShortVolatile(long offset) {
    return (short) load(offset, 2, Bytes.VOLATILE);
  }

  /**
   * Writes two bytes.
   *
   * @param offset where
   * @param value the number
   */
  public void putShort(long offset, short value) {
    store(offset, 2, Bytes.PLAIN, value);
  }

  /**
   * Writes two bytes with release semantics.
   *
   * @param offset where, a multiple of 2
   * @param value the number
   */
  public void putShortRelease(long offset, short value) {
    store(offset, 2, Bytes.ORDERED, value);
  }

  /**
   * Writes two bytes with volatile semantics.
   *
   * @param offset where, a multiple of 2
   * @param value the number
   */
  public void putShortVolatile(long offset, short value) {
    store(offset, 2, Bytes.VOLATILE, value);
  }

  /**
   * Reads four bytes.
   *
   * @param offset where
   * @return the number
   */
  public int getInt(long offset) {
    return (int) load(offset, 4, Bytes.PLAIN);
  }

  /**
   * Reads four bytes with acquire semantics.
   *
   * @param offset where, a multiple of 4
   * @return the number
   */
  public int getIntAcquire(long offset) {
    return (int) load(offset, 4, Bytes.ORDERED);
  }

  /**
   * Reads four bytes with volatile semantics.
   *
   * @param offset where, a multiple of 4
   * @return the number
   */
  public int getIntVolatile(long offset) {
    return (int) load(offset, 4, Bytes.VOLATILE);
  }

  /**
   * Writes four bytes.
   *
   * @param offset where
   * @param value the number
   */
  public void putInt(long offset, int value) {
    store(offset, 4, Bytes.PLAIN, value);
  }

  /**
   * Writes four bytes with release semantics.
   *
   * @param offset where, a multiple of 4
   * @param value the number
   */
  public void putIntRelease(long offset, int value) {
    store(offset, 4, Bytes.ORDERED, value);
  }

  /**
   * Writes four bytes with volatile semantics.
   *
   * @param offset where, a multiple of 4
   * @param value the number
   */
  public void putIntVolatile(long offset, int value) {
    store(offset, 4, Bytes.VOLATILE, value);
  }

  /**
   * Replaces four bytes if they are as expected, with volatile semantics.
   *
   * @param offset where, a multiple of 4
   * @param expected the old number
   * @param value the new number
   * @return whether it was replaced
   */
  public boolean compareAndSetInt(long offset, int expected, int value) {
    return compareAndSet(offset, 4, expected, value);
  }

  /**
   * Reads eight bytes.
   *
   * @param offset where
   * @return the number
   */
  public long getLong(long offset) {
    return load(offset, 8, Bytes.PLAIN);
  }

  /**
   * Reads eight bytes with acquire semantics.
   *
   * @param offset where, a multiple of 8
   * @return the number
   */
  public long getLongAcquire(long offset) {
    return load(offset, 8, Bytes.ORDERED);
  }

  /**
   * Reads eight bytes with volatile semantics.
   *
   * @param offset where, a multiple of 8
   * @return the number
   */
  public long getLongVolatile(long offset) {
    return load(offset, 8, Bytes.VOLATILE);
  }

  /**
   * Reads eight bytes, or answers otherwise where that would throw: for hot loops.
   *
   * @param offset where, a multiple of 8
   * @param otherwise the answer if the page cannot be read
   * @return the number, or the answer
   */
  public long tryGetLong(long offset, long otherwise) {
    return access.tryGetLong(offset, otherwise);
  }

  /**
   * Writes eight bytes, unless that would throw: for hot loops.
   *
   * @param offset where, a multiple of 8
   * @param value the number
   * @return whether it was written
   */
  public boolean tryPutLong(long offset, long value) {
    return access.tryPutLong(offset, value);
  }

  /**
   * Writes eight bytes.
   *
   * @param offset where
   * @param value the number
   */
  public void putLong(long offset, long value) {
    store(offset, 8, Bytes.PLAIN, value);
  }

  /**
   * Writes eight bytes with release semantics.
   *
   * @param offset where, a multiple of 8
   * @param value the number
   */
  public void putLongRelease(long offset, long value) {
    store(offset, 8, Bytes.ORDERED, value);
  }

  /**
   * Writes eight bytes with volatile semantics.
   *
   * @param offset where, a multiple of 8
   * @param value the number
   */
  public void putLongVolatile(long offset, long value) {
    store(offset, 8, Bytes.VOLATILE, value);
  }

  /**
   * Replaces eight bytes if they are as expected, with volatile semantics.
   *
   * @param offset where, a multiple of 8
   * @param expected the old number
   * @param value the new number
   * @return whether it was replaced
   */
  public boolean compareAndSetLong(long offset, long expected, long value) {
    return compareAndSet(offset, 8, expected, value);
  }

  /**
   * Adds to eight bytes, with volatile semantics.
   *
   * @param offset where, a multiple of 8
   * @param delta what to add
   * @return the old number
   */
  public long getAndAddLong(long offset, long delta) {
    return access.getAndAddLong(offset, delta);
  }

  boolean compareAndSet(long offset, int width, long expected, long value) {
    return access.compareAndSet(offset, width, expected, value);
  }

  // ---- many bytes ----

  void move(long offset, int length, boolean write, HostAccess.Move move) {
    access.move(offset, length, write, move);
  }

  /**
   * Reads bytes. If a page in the middle faults, what lies before it has been read.
   *
   * @param offset where
   * @param into takes the bytes
   * @param from the first index in {@code into}
   * @param length how many
   */
  public void get(long offset, byte[] into, int from, int length) {
    Objects.checkFromIndexSize(from, length, into.length);
    move(offset, length, false, (chunk, at, done, n) -> chunk.get(at, into, from + done, n));
  }

  /**
   * Reads bytes. If a page in the middle faults, what lies before it has been read, and the
   * buffer's position says so.
   *
   * @param offset where
   * @param into takes as many bytes as it has remaining
   */
  public void get(long offset, ByteBuffer into) {
    move(
        offset,
        into.remaining(),
        false,
        (chunk, at, done, n) -> {
          into.put(into.position(), chunk, at, n);
          into.position(into.position() + n);
        });
  }

  /**
   * Writes bytes. If a page in the middle faults, what lies before it has been written.
   *
   * @param offset where
   * @param from gives the bytes
   * @param at the first index in {@code from}
   * @param length how many
   */
  public void put(long offset, byte[] from, int at, int length) {
    Objects.checkFromIndexSize(at, length, from.length);
    move(offset, length, true, (chunk, to, done, n) -> chunk.put(to, from, at + done, n));
  }

  /**
   * Writes bytes. If a page in the middle faults, what lies before it has been written, and the
   * buffer's position says so.
   *
   * @param offset where
   * @param from gives as many bytes as it has remaining
   */
  public void put(long offset, ByteBuffer from) {
    move(
        offset,
        from.remaining(),
        true,
        (chunk, at, done, n) -> {
          chunk.put(at, from, from.position(), n);
          from.position(from.position() + n);
        });
  }

  /** Reads and writes a piece of a mapping in place. */
  @FunctionalInterface
  public interface Window {
    /**
     * Uses a piece.
     *
     * @param offset where it begins, in bytes from the start of the mapping
     * @param bytes the piece, from index 0 on; little-endian, and only for the time of this call
     */
    void use(long offset, ByteBuffer bytes);
  }

  /**
   * Lets a task read and write a range in place, at the speed of the buffer: for many small
   * accesses to pages near each other, of which each would be announced by itself otherwise. The
   * range is faulted in, and shown in pieces, one after the other: as many bytes as lie together in
   * memory, up to 256 KiB, and one page at a time on a host with a race hook.
   *
   * <p>To the rest of the library the use of a piece is one access. A conversion, a punch or an
   * unmapping of its pages waits until it is over, so it must be quick. What would wait for pages
   * is refused inside with {@link Errno#EDEADLK}, as inside a callback of {@link GuestMemfdOps}.
   * What the task throws ends the use of the piece and is thrown. As {@code kmap_local_folio} has a
   * page mapped for a moment.
   *
   * @param offset where the range begins, in bytes
   * @param length how many bytes
   * @param protection {@link Protection#READ}, for buffers that cannot be written, or {@link
   *     Protection#WRITE}, for reading and writing
   * @param window the task; it must not keep the buffer, which after its call may be another page's
   *     memory
   * @throws IllegalArgumentException for another protection
   * @throws SigBusException if a page cannot be had; the pieces before it have been used
   * @throws SigSegvException if the mapping forbids the access
   * @throws IndexOutOfBoundsException if the range is not in the mapping
   */
  public void window(long offset, int length, Protection protection, Window window) {
    boolean write = Objects.requireNonNull(protection, "protection") == Protection.WRITE;
    if (!write && protection != Protection.READ) {
      throw new IllegalArgumentException("window: expected READ or WRITE, actual " + protection);
    }
    Objects.requireNonNull(window, "window");
    if (length < 0) {
      throw new IndexOutOfBoundsException("window: expected 0 bytes or more, actual " + length);
    }
    CallbackContext.enterOperation(); // work that the task causes is done after its access
    try {
      move(
          offset,
          length,
          write,
          new WindowMove(mapping, offset, write, (bytes, at) -> window.use(at, bytes)));
    } finally {
      CallbackContext.leaveOperation();
    }
  }

  // ---- advice ----

  /**
   * Advises the kernel about a range: {@code madvise}. The range may reach out of the mapping,
   * where nothing is mapped.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, rounded up to whole pages
   * @param advice what to do
   * @throws GuestMemfdException EINVAL if the offset is unaligned, the length negative, for {@link
   *     Advice#FREE} and {@link Advice#COLLAPSE}, and to populate against the protection; ENOMEM
   *     where nothing is mapped (with DONTNEED and REMOVE the mapped part has been done); EFAULT to
   *     populate past the end of the file or an inaccessible page (what lies before has been
   *     populated), EHWPOISON if its memory has failed; EINTR
   */
  public void madvise(long offset, long length, Advice advice) {
    madvise.madvise(offset, length, advice);
  }

  // ---- NUMA policies ----

  /**
   * Sets the NUMA policy of a part: {@code mbind} without flags. Where the file {@linkplain
   * FileTrait#SHARED_POLICY keeps policies}, it is the policy of this part of the file, whatever
   * maps it, also past its end and where no page can be had. The host has one node, so a policy
   * decides nothing.
   *
   * <p>As in the kernel, what has been set to this policy through this mapping before is left
   * alone, even if the file's policy has been changed through another mapping since.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, rounded up to whole pages
   * @param policy the policy
   * @throws GuestMemfdException in this order: EINVAL if the offset is unaligned or the length
   *     negative, down to -2^47 + 4096: one below is, as an unsigned number, a long one; then
   *     length 0 succeeds; EINVAL as {@link MemoryPolicy#normalized}; EFAULT, and nothing has
   *     changed, if a part of the range is not mapped; with the mode DEFAULT only if nothing of it
   *     is. EDEADLK from inside a callback; EINTR before anything has changed
   */
  public void mbind(long offset, long length, MemoryPolicy policy) {
    file.mempolicy.mbind(mapping, offset, length, Objects.requireNonNull(policy, "policy"));
  }

  /**
   * The NUMA policy of a page: {@code get_mempolicy} with {@code MPOL_F_ADDR}.
   *
   * @param offset any byte of the page
   * @return the policy; {@link MemoryPolicy#DEFAULT} where none has been set
   * @throws GuestMemfdException EFAULT if nothing is mapped there
   */
  public MemoryPolicy getMempolicy(long offset) {
    return file.mempolicy.at(mapping, offset);
  }

  // ---- references ----

  /**
   * Takes plain references on the pages of a range, as {@code get_user_pages} does for vmsplice,
   * /proc/pid/mem and some direct I/O. Untouched pages are allocated.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @return the reference; shorter than asked for if a page after the first cannot be had
   * @throws GuestMemfdException EINVAL for a negative length; EFAULT if the first page is not
   *     accessible, past the end of the file or of the mapping, or its memory has failed, or the
   *     mapping cannot be read and has not mapped it; ENOMEM; EINTR
   */
  public HostReference getUserPages(long offset, long length) {
    return reference(offset, length, Counts.REF);
  }

  /**
   * As {@link #getUserPages}, but pinned, as {@code pin_user_pages} does for long-term DMA.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @return the reference; shorter than asked for if a page after the first cannot be had
   * @throws GuestMemfdException as {@code getUserPages}
   */
  public HostReference pin(long offset, long length) {
    return reference(offset, length, Counts.PIN);
  }

  /**
   * As {@link #pin}, but all of the range or nothing, as callers of {@code pin_user_pages} need it
   * that cannot use a part.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @return the reference, as long as asked for
   * @throws GuestMemfdException as {@code getUserPages}, for any page of the range; nothing is held
   *     then, and pages that were allocated on the way stay
   */
  public HostReference pinFully(long offset, long length) {
    HostReference reference = pin(offset, length);
    if (reference.length() == length) {
      return reference;
    }
    GuestMemfdException e = userPages.notAll(reference.taken, offset, length);
    reference.close(); // which may be told other reasons
    throw e;
  }

  HostReference reference(long offset, long length, long unit) {
    UserPages.Taken taken = userPages.reference(offset, length, unit);
    try {
      long first = Pages.index(offset);
      boolean writable = mapping.areas().allows(first, first + taken.pfns().length, true);
      return newReference(taken, unit, offset, writable);
    } catch (Throwable e) { // no memory for the reference
      userPages.giveBack(taken, unit);
      throw e;
    }
  }

  HostReference newReference(UserPages.Taken taken, long unit, long offset, boolean writable) {
    return new HostReference(file.inode, taken, unit, fileOffset(offset), writable);
  }

  final long fileOffset(long offset) {
    return Pages.bytes(mapping.firstIndex) + offset;
  }

  /** Whether a byte of the mapping may be read, or written. */
  final boolean isAllowed(long offset, boolean write) {
    return mapping.areas().allows(Pages.index(offset), write);
  }

  final FileOperations file() {
    return file;
  }

  @Override
  public String toString() {
    return mapping.toString();
  }
}
