package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/**
 * The attributes of guest addresses of a machine with a type whose kernel converts in place: they
 * are their files', and {@code KVM_SET_MEMORY_ATTRIBUTES} supports none, so that it can ask for
 * shared alone, which changes nothing.
 */
final class NoMachineAttributes implements Attributes {
  private final MemoryAttributes ofFiles;

  NoMachineAttributes(MemoryAttributes ofFiles) {
    this.ofFiles = ofFiles;
  }

  @Override
  public Optional<MemoryAttribute> of(long gpa) {
    return ofFiles.of(gpa);
  }

  @Override
  public Optional<MemoryAttribute> of(GuestMemfd memfd, long offset) {
    return ofFiles.of(memfd, offset);
  }

  @Override
  public List<MemoryAttributeRange> of(long gpa, long size) {
    return ofFiles.of(gpa, size);
  }

  @Override
  public void set(long gpa, long size, MemoryAttribute attribute) {
    Errno errno = trySet(gpa, size, attribute, new BusyGuestPage());
    if (errno != Errno.OK) {
      throw refused(errno, gpa, size, attribute);
    }
  }

  private static MemoryAttributesException refused(
      Errno errno, long gpa, long size, MemoryAttribute attribute) {
    String wrong = GuestRange.wrongUnsigned(gpa, size);
    return new MemoryAttributesException(
        errno,
        AttributesOfVm.setTo(gpa, size, attribute)
            + ": "
            + (attribute == MemoryAttribute.PRIVATE || wrong == null
                ? "attributes are those of files, set by KVM_SET_MEMORY_ATTRIBUTES2 on a file"
                : wrong),
        gpa,
        gpa);
  }

  @Override
  public Errno trySet(long gpa, long size, MemoryAttribute attribute, BusyGuestPage busy) {
    Objects.requireNonNull(attribute, "attribute");
    Objects.requireNonNull(busy, "busy").set(gpa);
    if (attribute == MemoryAttribute.PRIVATE || GuestRange.wrongUnsigned(gpa, size) != null) {
      return Errno.EINVAL;
    }
    busy.set(gpa + size);
    return Errno.OK;
  }

  @Override
  public CompletableFuture<Void> setLater(long gpa, long size, MemoryAttribute attribute) {
    Errno errno = trySet(gpa, size, attribute, new BusyGuestPage());
    return errno == Errno.OK
        ? CompletableFuture.completedFuture(null)
        : CompletableFuture.failedFuture(refused(errno, gpa, size, attribute));
  }
}
