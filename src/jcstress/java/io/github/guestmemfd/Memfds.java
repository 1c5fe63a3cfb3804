package io.github.guestmemfd;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Frames;
import java.util.concurrent.atomic.AtomicInteger;

/** Descriptors for states whose test is about what a user of the library has in hand. */
final class Memfds {
  /** A page size. */
  static final long PAGE = HostMemory.PAGE_SIZE;

  /** A host that is shared: one of its own for each state would be made too slowly. */
  static final HostMemory METADATA = HostMemory.metadataOnly(1L << 36);

  static {
    Frames.used(METADATA.host.frames);
  }

  private Memfds() {}

  /** A descriptor of a file that starts accessible. */
  static GuestMemfd memfd(HostMemory host, int pages, GuestMemfdOps ops) {
    return GuestMemfd.builder(host)
        .size(pages * PAGE)
        .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
        .ops(ops)
        .retryPolicy(RetryPolicy.failAtOnce())
        .build();
  }

  /** Counts the lives of folios: prepared at first use, freed at the end. */
  static final class Lives implements GuestMemfdOps {
    final AtomicInteger prepared = new AtomicInteger();
    final AtomicInteger freed = new AtomicInteger();
    final AtomicInteger released = new AtomicInteger();

    @Override
    public Errno prepareAccessible(Folio folio) {
      prepared.incrementAndGet();
      return Errno.OK;
    }

    @Override
    public void freeFolio(Folio folio) {
      freed.incrementAndGet();
    }

    @Override
    public void release() {
      released.incrementAndGet();
    }
  }
}
