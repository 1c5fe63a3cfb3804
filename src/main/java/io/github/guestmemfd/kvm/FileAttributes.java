package io.github.guestmemfd.kvm;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.abi.Pages;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** The attributes of a file: {@code KVM_SET_MEMORY_ATTRIBUTES2} on its descriptor. */
final class FileAttributes {
  /** The virtual machine of the files, compared by identity. */
  private final Object vm;

  private final KernelProfile profile;
  private final @Nullable VmType type;
  private final MemoryAttributes byGuestAddress;

  FileAttributes(
      Object vm, KernelProfile profile, @Nullable VmType type, MemoryAttributes byGuestAddress) {
    this.vm = vm;
    this.profile = profile;
    this.type = type;
    this.byGuestAddress = byGuestAddress;
  }

  /** See supportedFileAttributes of the virtual machine. */
  long supported() {
    boolean hasPrivateMemory = type == null || type.hasPrivateMemory();
    return profile.convertsInPlace() && hasPrivateMemory ? MemoryAttributes2.PRIVATE : 0;
  }

  /** See setMemoryAttributes2 of the virtual machine. */
  void set(GuestMemfd memfd, @Nullable MemoryAttributes2 argument) {
    BusyFolio busy = new BusyFolio();
    Errno errno = trySet(memfd, argument, busy);
    if (errno != Errno.OK) {
      String why = busy.offset() < 0 ? why(errno, memfd, argument) : busy.toString();
      throw new GuestMemfdException(errno, "set memory attributes 2 of " + memfd + ": " + why);
    }
  }

  private String why(Errno errno, GuestMemfd memfd, @Nullable MemoryAttributes2 argument) {
    if (errno == Errno.ENOTTY) {
      return "Linux " + profile.release() + " does not convert in place";
    }
    if (argument == null) {
      return "expected an argument, actual null";
    }
    String wrong = errno == Errno.EINVAL ? wrong(argument, memfd.size()) : null;
    if (wrong != null) {
      return wrong;
    }
    return errno == Errno.EFAULT
        ? "the argument cannot be written, and the conversion has failed"
        : memfd.why(errno);
  }

  /** See trySetMemoryAttributes2 of the virtual machine. */
  Errno trySet(GuestMemfd memfd, @Nullable MemoryAttributes2 argument, BusyFolio busy) {
    if (!memfd.isOpen()) {
      return Errno.EBADF;
    }
    if (!profile.convertsInPlace()) {
      return Errno.ENOTTY;
    }
    if (argument == null) {
      return Errno.EFAULT;
    }
    MemoryAttributes2 copy = argument.copy(); // what is changed meanwhile is not looked at
    if (wrong(copy, memfd.size()) != null) {
      return Errno.EINVAL;
    }
    if (!memfd.bindTo(vm)) {
      throw new IllegalArgumentException(
          "expected a file of no other virtual machine, actual " + memfd);
    }
    long offset = copy.offset();
    Errno errno =
        copy.attributes() == MemoryAttributes2.PRIVATE
            ? memfd.tryMakeInaccessible(offset, copy.size(), busy)
            : memfd.tryMakeAccessible(offset, copy.size());
    if (errno == Errno.OK || errno == Errno.EBADF) { // closed meanwhile: nothing has begun
      return errno;
    }
    if (!argument.isWritable()) {
      return Errno.EFAULT;
    }
    argument.assign(copy.errorOffset(Math.max(offset, busy.offset())));
    return errno;
  }

  /** See tryConvertInPlace of the virtual machine. */
  Errno trySet(long gpa, long size, MemoryAttribute attribute, BusyGuestPage busy) {
    Objects.requireNonNull(attribute, "attribute");
    Objects.requireNonNull(busy, "busy").set(gpa);
    if (profile.hasTwoMemories(type)) {
      return Errno.ENOTTY;
    }
    return type != null && !type.hasPrivateMemory()
        ? Errno.EINVAL
        : byGuestAddress.trySet(gpa, size, attribute, busy);
  }

  /** What is wrong with an argument, in the kernel's order; null if nothing. */
  private @Nullable String wrong(MemoryAttributes2 argument, long fileSize) {
    if (argument.flags() != 0) {
      return "expected flags 0, actual " + Hex.of(argument.flags());
    }
    for (int i = 0; i < MemoryAttributes2.RESERVED; i++) {
      if (argument.reserved(i) != 0) {
        return "expected reserved[" + i + "] 0, actual " + Hex.of(argument.reserved(i));
      }
    }
    long supported = supported();
    if (supported == 0) {
      return "a machine of type " + type + " has no private memory";
    }
    if ((argument.attributes() & ~supported) != 0) {
      return "expected attributes "
          + Hex.of(supported)
          + " or 0x0, actual "
          + Hex.of(argument.attributes());
    }
    return wrongRange(argument.offset(), argument.size(), fileSize);
  }

  private static @Nullable String wrongRange(long offset, long size, long fileSize) {
    if (size == 0) {
      return "expected a size above 0, actual 0";
    }
    String actual =
        ", actual offset " + Hex.of(offset) + " and size " + Long.toUnsignedString(size);
    long end = offset + size;
    if (Long.compareUnsigned(end, offset) < 0) {
      return "expected an end below 2^64" + actual;
    }
    if (!Pages.isAligned(offset | size)) {
      return "expected multiples of 4096" + actual;
    }
    return Long.compareUnsigned(offset, fileSize) >= 0 || Long.compareUnsigned(end, fileSize) > 0
        ? "expected an end up to " + Hex.of(fileSize) + actual
        : null;
  }
}
