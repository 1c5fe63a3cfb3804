package io.github.guestmemfd;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.Frames;
import io.github.guestmemfd.spi.RacePoint;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;

/** Files of a shared host for states: a host of its own for each would be made too slowly. */
final class Files {
  /** A page size. */
  static final long PAGE = HostMemory.PAGE_SIZE;

  /** No bytes: for what is about counts and slots. */
  static final HostMemory METADATA = HostMemory.metadataOnly(1L << 36);

  /** With bytes: for what is about content. Chunks of 2 MiB come into use as needed. */
  static final HostMemory BYTES = HostMemory.ofBytes(1L << 32);

  /**
   * No bytes, and a gap between the steps of a guest-side holder: for twins that are the library
   * with a bad protocol.
   */
  static final HostMemory GAPS =
      HostMemory.builder(1L << 36)
          .metadataOnly()
          .raceHook(
              (point, index) -> {
                if (point == RacePoint.BETWEEN_REF_AND_SAFE || point == RacePoint.BETWEEN_DROPS) {
                  Frames.gap();
                }
              })
          .build();

  private static final long SHARED = CreateFlag.bits(CreateFlag.MMAP, CreateFlag.INIT_SHARED);

  /** What {@code invalidate-lock} would be if it locked no more than its range. */
  static final ConversionProtocol ITS_RANGE_ONLY =
      new ForwardingProtocol(ConversionProtocol.invalidateLock()) {
        @Override
        public boolean locksWholeFile() {
          return false;
        }
      };

  private Files() {}

  /** A file that starts accessible and refuses to convert at the first mismatch. */
  static Inode inode(HostMemory host, int pages) {
    return inode(host, pages, GuestMemfdOps.NONE, ConversionProtocol.atomicPair());
  }

  /** A file that starts accessible and refuses to convert at the first mismatch. */
  static Inode inode(HostMemory host, int pages, GuestMemfdOps ops, ConversionProtocol protocol) {
    return new Inode(host, pages * PAGE, SHARED, ops, protocol, RetryPolicy.failAtOnce());
  }

  /** A file whose pages are there and ready, and which refuses to convert at the first mismatch. */
  static Inode ready(HostMemory host, int pages, GuestMemfdOps ops, ConversionProtocol protocol) {
    Inode inode = inode(host, pages, ops, protocol);
    for (int i = 0; i < pages; i++) {
      inode.drop(inode.get(i, Counts.REF), Counts.REF);
    }
    return inode;
  }

  /** A file of one page, there and ready. */
  static Inode ready(ConversionProtocol protocol) {
    return ready(METADATA, 1, GuestMemfdOps.NONE, protocol);
  }

  /** A file of one page, there and ready, whose conversions complete later. */
  static Inode later(GuestMemfdOps ops) {
    Inode inode =
        new Inode(
            METADATA, PAGE, SHARED, ops, ConversionProtocol.lastPut(), RetryPolicy.completeLater());
    inode.drop(inode.get(0, Counts.REF), Counts.REF);
    return inode;
  }

  /**
   * Whether a stage of a pending conversion is done, in the end: where two tries of it meet, the
   * host's executor tries again a little later.
   */
  static boolean isDoneSoon(CompletableFuture<Void> stage) {
    try {
      stage.get(10, TimeUnit.SECONDS);
      return true;
    } catch (InterruptedException | ExecutionException | TimeoutException e) {
      return false;
    }
  }

  static boolean isInaccessible(Inode inode, long index) {
    return SlotWord.isInaccessible(inode.cache.slot(index));
  }

  /** Whether nobody is in the way of a conversion of page 0. */
  static boolean isFree(Inode inode, int pfn) {
    return inode.mayTurnInaccessible(inode.host.frames.counts(pfn));
  }

  /** A mapping of the whole file for reading and writing. */
  static HostMapping map(Inode inode) {
    inode.tryOpen();
    return new HostMapping(inode, 0, inode.size / PAGE, true, true);
  }

  /** A descriptor of a file that starts accessible. */
  static GuestMemfd memfd(HostMemory host, int pages, GuestMemfdOps ops) {
    return GuestMemfd.builder(host)
        .size(pages * PAGE)
        .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
        .ops(ops)
        .retryPolicy(RetryPolicy.failAtOnce())
        .build();
  }

  /** The guest writes into the page and reads it back later: it has its own way to the frame. */
  static void guestWrites(Inode inode, long value) {
    int pfn = SlotWord.pfn(inode.cache.slot(0));
    inode.host.bytes().chunk(pfn).putLong(FrameContents.base(pfn), value);
  }

  static long guestReads(Inode inode) {
    int pfn = SlotWord.pfn(inode.cache.slot(0));
    return inode.host.bytes().chunk(pfn).getLong(FrameContents.base(pfn));
  }

  /** What a fault does up to the entering of the page: 0, or the frame whose reference is held. */
  static int findPage(Inode inode) {
    return Math.max(0, inode.get(0, Counts.REF, Wanted.ACCESSIBLE));
  }

  /** Counts operations, with a plain read at the begin of each and a plain write at its end. */
  static class Exclusive implements GuestMemfdOps {
    int count; // plain: guarded by what makes the operations exclusive
    private int begun;

    @Override
    public Errno invalidateBegin(long offset, long length) {
      begun = count;
      return Errno.OK;
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      count = begun + 1;
    }
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
