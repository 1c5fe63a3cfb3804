package io.github.guestmemfd;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.file.Inode;
import io.github.guestmemfd.file.Mapping;
import io.github.guestmemfd.file.Mm;
import io.github.guestmemfd.file.OpenFile;
import io.github.guestmemfd.file.ProtectionBits;
import io.github.guestmemfd.file.Refusals;
import io.github.guestmemfd.file.Remap;
import java.util.Objects;

/** A call of {@code mmap}: its arguments, and its errors in order. */
final class Mmap {
  final ProtectionBits protection;

  private final OpenFile opened;
  private final Inode inode;
  private final long offset;
  private final long length;
  private final MapType type;

  Mmap(OpenFile opened, long offset, long length, MapType type, Protection... protection) {
    this.opened = opened;
    this.inode = opened.inode;
    this.offset = offset;
    this.length = length;
    this.type = Objects.requireNonNull(type, "type");
    this.protection = ProtectionBits.of(protection);
  }

  /** The mapping that is asked for, of a file that the caller has opened and it takes over. */
  Mapping newMapping(Remap remap, Mm<?> mm) {
    long pages = ((length - 1) >> Pages.SHIFT) + 1;
    return remap.make(mm, opened, Pages.index(offset), protection.areas(pages));
  }

  /**
   * Refuses the call if the file does not allow it.
   *
   * @param closed whether the descriptor is closed
   * @throws GuestMemfdException as {@link GuestMemfd#mmap(long, long, MapType, Protection...)}
   */
  void check(boolean closed) {
    if ((offset & Pages.OFFSET_MASK) != 0) {
      String why = "expected a multiple of 4096 as offset, actual " + Hex.of(offset);
      throw refused(Errno.EINVAL, why);
    }
    if (closed) {
      throw refused(Errno.EBADF, "the descriptor is closed");
    }
    if (length == 0) {
      throw refused(Errno.EINVAL, "expected a length above 0, actual 0");
    }
    if (length < 0 || length > Mapping.TASK_SIZE - Pages.SIZE) {
      String why =
          "expected a length up to "
              + (Mapping.TASK_SIZE - Pages.SIZE)
              + ", which fits an address space, actual "
              + Long.toUnsignedString(length);
      throw refused(Errno.ENOMEM, why);
    }
    if (offset < 0 || offset + ((length + Pages.OFFSET_MASK) & ~Pages.OFFSET_MASK) < 0) {
      String why =
          "expected an offset of 0x0 or more, and an end up to "
              + Hex.of(Long.MAX_VALUE & ~Pages.OFFSET_MASK)
              + ", actual "
              + Hex.of(offset)
              + " and "
              + Hex.of(offset + length);
      throw refused(Errno.EOVERFLOW, why);
    }
    if (protection.exec()) {
      throw refused(Errno.EPERM, "expected READ and WRITE at most, actual also EXEC");
    }
    if (!CreateFlag.MMAP.isIn(inode.flags)) {
      throw refused(Errno.ENODEV, "expected a file that was created with MMAP");
    }
    if (type != MapType.SHARED) {
      throw refused(Errno.EINVAL, "expected SHARED, actual " + type);
    }
  }

  GuestMemfdException refused(Errno errno, String why) {
    return Refusals.exception(
        errno, "mmap" + Hex.range(offset, length) + " of " + inode + ": " + why);
  }
}
