package io.github.guestmemfd;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.file.FileOperations;
import io.github.guestmemfd.file.Host;
import io.github.guestmemfd.file.Refusals;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** A call of {@code KVM_CREATE_GUEST_MEMFD}: its arguments, and its errors in order. */
final class CreateGuestMemfd {
  private final Host host;
  long size;
  long flags;

  /** Bits that are no flag of the kernel's. */
  long unknownFlags;

  Set<FileTrait> traits = Set.of();
  GuestMemfdOps ops = GuestMemfdOps.NONE;
  ConversionProtocol protocol = ConversionProtocol.atomicPair();

  /** Null for the protocol's own. */
  @Nullable RetryPolicy retry;

  CreateGuestMemfd(Host host) {
    this.host = host;
  }

  long allFlags() {
    return flags | unknownFlags;
  }

  /** See {@link GuestMemfd.Builder#build}. */
  FileOperations newFile() {
    if (unknownFlags != 0) {
      throw Refusals.exception(
          Errno.EINVAL,
          "create: expected flags of "
              + CreateFlag.names(CreateFlag.KERNEL_BITS)
              + ", actual "
              + CreateFlag.names(allFlags()));
    }
    if (size <= 0 || (size & Pages.OFFSET_MASK) != 0) {
      throw Refusals.exception(
          Errno.EINVAL, "create: expected a positive multiple of 4096 as size, actual " + size);
    }
    RetryPolicy policy = retry == null ? protocol.retryPolicy() : retry;
    if (policy == null) { // which a user's protocol may answer
      throw new NullPointerException("protocol " + protocol.id() + ": retryPolicy answered null");
    }
    if (ops == GuestMemfdOps.NONE) {
      return new FileOperations(host, size, flags, traits, null, protocol, policy);
    }
    OpsClient client = new OpsClient(ops);
    FileOperations created =
        new FileOperations(host, size, flags, traits, client, protocol, policy);
    client.attach(created);
    return created;
  }
}
