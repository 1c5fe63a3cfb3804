package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.Frames;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/** Files of a shared host for states: a host of its own for each would be made too slowly. */
final class Files {
  /** A page size. */
  static final long PAGE = Pages.SIZE;

  /** No bytes: for what is about counts and slots. */
  static final Host METADATA = used(host(1L << 36, null));

  /** With bytes: for what is about content. Chunks of 2 MiB come into use as needed. */
  static final Host BYTES = new Host((int) Pages.index(1L << 32), new Host.Options());

  /**
   * No bytes, and a gap between the steps of a guest-side holder: for twins that are the library
   * with a bad protocol.
   */
  static final Host GAPS =
      host(
          1L << 36,
          (point, index) -> {
            if (point == RacePoint.BETWEEN_REF_AND_SAFE || point == RacePoint.BETWEEN_DROPS) {
              Frames.gap();
            }
          });

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

  /** A host without bytes. */
  static Host host(long bytes, @Nullable RaceHook hook) {
    Host.Options options = new Host.Options();
    options.metadataOnly = true;
    options.hook = hook;
    return new Host((int) Pages.index(bytes), options);
  }

  /** A host whose first frames have been in use before: see {@link Frames#used}. */
  private static Host used(Host host) {
    Frames.used(host.frames);
    return host;
  }

  /** A file that starts accessible and refuses to convert at the first mismatch. */
  static FileOperations file(Host host, int pages) {
    return file(host, pages, null, ConversionProtocol.atomicPair());
  }

  /** A file that starts accessible and refuses to convert at the first mismatch. */
  static FileOperations file(
      Host host, int pages, @Nullable FileClient client, ConversionProtocol protocol) {
    return new FileOperations(
        host, pages * PAGE, SHARED, client, protocol, RetryPolicy.failAtOnce());
  }

  /** A file whose pages are there and ready, and which refuses to convert at the first mismatch. */
  static FileOperations ready(
      Host host, int pages, @Nullable FileClient client, ConversionProtocol protocol) {
    FileOperations file = file(host, pages, client, protocol);
    for (int i = 0; i < pages; i++) {
      host.frames.put(file.lookup.get(i, Counts.REF), Counts.REF);
    }
    return file;
  }

  /** A file of one page, there and ready. */
  static FileOperations ready(ConversionProtocol protocol) {
    return ready(METADATA, 1, null, protocol);
  }

  /**
   * A file of one page under {@code invalidate-lock}, on a host of its own with an LRU batch: a
   * shared batch would be drained for all states at once.
   */
  static FileOperations batched() {
    Host.Options options = new Host.Options();
    options.metadataOnly = true;
    options.cpus = 1;
    options.batchSize = 8;
    return file(new Host(1, options), 1, null, ConversionProtocol.invalidateLock());
  }

  /** A file of one page, there and ready, whose conversions complete later. */
  static FileOperations later(@Nullable FileClient client) {
    FileOperations file =
        new FileOperations(
            METADATA,
            PAGE,
            SHARED,
            client,
            ConversionProtocol.lastPut(),
            RetryPolicy.completeLater());
    METADATA.frames.put(file.lookup.get(0, Counts.REF), Counts.REF);
    return file;
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

  static boolean isInaccessible(FileOperations file, long index) {
    return SlotWord.isInaccessible(file.inode.cache.slot(index));
  }

  /** Whether no holder is in the way of a conversion of page 0. */
  static boolean isFree(FileOperations file, int pfn) {
    return file.pendingDriver.mayTurnInaccessible(file.inode.frames.counts(pfn));
  }

  /** A mapping of the whole file for reading and writing, in a process of its own. */
  static Mapping map(FileOperations file) {
    return map(file, new Mm<>());
  }

  /** As {@link #map(FileOperations)}, in a process. */
  static Mapping map(FileOperations file, Mm<Mapping> mm) {
    file.inode.tryOpen();
    Areas all = Areas.of(file.inode.pages, Areas.bits(true, true));
    Mapping made = file.remap.make(mm, new OpenFile(file.inode), 0, all);
    mm.add(made, made);
    return made;
  }

  /** The guest writes into the page and reads it back later: it has its own way to the frame. */
  static void guestWrites(FileOperations file, long value) {
    int pfn = SlotWord.pfn(file.inode.cache.slot(0));
    file.inode.host.bytes().chunk(pfn).putLong(FrameContents.base(pfn), value);
  }

  static long guestReads(FileOperations file) {
    int pfn = SlotWord.pfn(file.inode.cache.slot(0));
    return file.inode.host.bytes().chunk(pfn).getLong(FrameContents.base(pfn));
  }

  /** What a fault does up to the entering of the page: 0, or the frame whose reference is held. */
  static int findPage(FileOperations file) {
    return Math.max(0, file.lookup.get(0, Counts.REF, Wanted.ACCESSIBLE));
  }

  /** A client that agrees to everything and does nothing. */
  static class Client implements FileClient {
    @Override
    public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
      return Errno.OK;
    }

    @Override
    public void invalidateEnd(long offset, long length) {}

    @Override
    public Errno prepare(long index, int pfn, boolean inaccessible) {
      return Errno.OK;
    }

    @Override
    public Errno makePrivate(long index, int pfn) {
      return Errno.OK;
    }

    @Override
    public void makeShared(long index, int pfn) {}

    @Override
    public void freeFolio(int pfn) {}

    @Override
    public void release() {}
  }

  /** Counts operations, with a plain read at the begin of each and a plain write at its end. */
  static class Exclusive extends Client {
    int count; // plain: guarded by what makes the operations exclusive
    private int begun;

    @Override
    public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
      begun = count;
      return Errno.OK;
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      count = begun + 1;
    }
  }

  /** Counts the ends of folios. */
  static final class Lives extends Client {
    final AtomicInteger freed = new AtomicInteger();

    @Override
    public void freeFolio(int pfn) {
      freed.incrementAndGet();
    }
  }
}
