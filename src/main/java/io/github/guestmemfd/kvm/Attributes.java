package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/** The attributes of guest addresses: of their files, or of the virtual machine. */
interface Attributes {
  /** See {@link VirtualMachine#memoryAttribute(long)}. */
  Optional<MemoryAttribute> of(long gpa);

  /** See {@link VirtualMachine#memoryAttribute(GuestMemfd, long)}. */
  Optional<MemoryAttribute> of(GuestMemfd memfd, long offset);

  /** See {@link VirtualMachine#memoryAttributes}. */
  List<MemoryAttributeRange> of(long gpa, long size);

  /** See {@link VirtualMachine#setMemoryAttributes}. */
  void set(long gpa, long size, MemoryAttribute attribute);

  /** See {@link VirtualMachine#trySetMemoryAttributes}. */
  Errno trySet(long gpa, long size, MemoryAttribute attribute, BusyGuestPage busy);

  /** See {@link VirtualMachine#setMemoryAttributesLater}. */
  CompletableFuture<Void> setLater(long gpa, long size, MemoryAttribute attribute);
}
