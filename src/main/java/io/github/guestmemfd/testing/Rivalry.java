package io.github.guestmemfd.testing;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.util.Objects;

/** A file of one page, accessible and present, on a host that all states share. */
final class Rivalry {
  static final int PAGE = HostMemory.PAGE_SIZE;

  /** Shared, since creating a host for each state would be slow. Metadata only: 64 GiB. */
  private static final HostMemory HOST = HostMemory.metadataOnly(1L << 36);

  final GuestMemfd memfd;
  final HostMapping window;

  Rivalry(ConversionProtocol protocol, GuestMemfdOps ops, RetryPolicy policy) {
    memfd =
        GuestMemfd.builder(HOST)
            .size(PAGE)
            .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
            .protocol(Objects.requireNonNull(protocol, "protocol"))
            .ops(Objects.requireNonNull(ops, "ops"))
            .retryPolicy(policy)
            .build();
    window = memfd.mmap(0, PAGE, Protection.READ, Protection.WRITE);
    window.getUserPages(0, 1).close(); // allocates the page
  }

  /** Closes the file; its frame goes back to the host. */
  void end() {
    window.close();
    memfd.close();
  }
}
