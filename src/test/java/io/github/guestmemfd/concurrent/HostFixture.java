package io.github.guestmemfd.concurrent;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** A host for each test, which must be empty again after it. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
abstract class HostFixture {
  static final int PAGE = HostMemory.PAGE_SIZE;

  /** Bytes that only their owner may see. */
  static final long SECRET = 0x5ec2e7_5ec2e7L;

  @AutoClose final RacePoints races = new RacePoints();
  final WaitProbe probe = new WaitProbe();
  final HostMemory host =
      HostMemory.builder(64L * PAGE).raceHook(this::passes).idleStrategy(probe).build();
  private final Deque<AutoCloseable> open = new ArrayDeque<>();

  /** Called at every race point of the host. */
  void passes(RacePoint point, long index) {
    races.at(point, index);
  }

  /** After each test every frame must have come home, and the host can be closed. */
  @AfterEach
  void nothingIsLeft() throws Exception {
    run(
        () -> {
          while (!open.isEmpty()) {
            open.pop().close();
          }
        });
    assertEquals(0, host.used(), "memory in use after everything was closed");
    host.close();
  }

  /** Runs something that may hang when it is wrong. */
  static void run(Executable body) throws Exception {
    Worker.start(
            () -> {
              try {
                body.execute();
              } catch (Exception | Error e) {
                throw e;
              } catch (Throwable e) {
                throw new AssertionError(e);
              }
              return null;
            })
        .result();
  }

  /** A file, accessible at first and without patience, unless told otherwise. */
  GuestMemfd file(int pages, UnaryOperator<GuestMemfd.Builder> more) {
    return inaccessible(pages, b -> more.apply(b.flags(INIT_SHARED)));
  }

  /** A file that can be mapped, inaccessible at first and without patience. */
  GuestMemfd inaccessible(int pages, UnaryOperator<GuestMemfd.Builder> more) {
    GuestMemfd memfd =
        more.apply(
                GuestMemfd.builder(host)
                    .size((long) pages * PAGE)
                    .flags(MMAP)
                    .retryPolicy(RetryPolicy.failAtOnce()))
            .build();
    open.push(memfd);
    return memfd;
  }

  GuestMemfd file(int pages) {
    return file(pages, b -> b);
  }

  GuestMemfd file(int pages, GuestMemfdOps ops) {
    return file(pages, b -> b.ops(ops));
  }

  /** A file whose conversions complete later. */
  GuestMemfd later(int pages) {
    return file(pages, b -> b.retryPolicy(RetryPolicy.completeLater()));
  }

  HostMapping map(GuestMemfd memfd) {
    HostMapping window = memfd.mmap(0, memfd.size(), READ, WRITE);
    open.push(window);
    return window;
  }

  static GuestMemfdException refused(Errno errno, Executable body) {
    GuestMemfdException e = assertThrows(GuestMemfdException.class, body);
    assertEquals(errno, e.errno(), e.toString());
    return e;
  }

  /** The frame of a page, with a number written to its start. */
  static int write(GuestMemfd memfd, long offset, long value) {
    try (Folio folio = memfd.grab(offset)) {
      folio.buffer().putLong(0, value);
      return folio.pfn();
    }
  }

  /** The number at the start of a page, as the guest sees it. */
  static long read(GuestMemfd memfd, long offset) {
    try (Folio folio = memfd.grab(offset)) {
      return folio.buffer().getLong(0);
    }
  }

  /** The number at the start of a frame, as the host kernel sees it. */
  long readDirect(int pfn) {
    ByteBuffer into = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    host.directMap().read(pfn, 0, into);
    return into.getLong(0);
  }

  /** The machine behind the host, for what no public call can make last. */
  FrameTable frames() {
    return frames(host);
  }

  static FrameTable frames(HostMemory host) {
    return Insides.frames(host);
  }

  /**
   * Nothing is busy, and only the page cache holds a folio: everything converts, at once and in
   * both directions, without waiting.
   */
  void assertQuiet(GuestMemfd memfd) throws Exception {
    run(
        () -> {
          BusyFolio busy = new BusyFolio();
          assertEquals(Errno.OK, memfd.tryMakeAccessible(0, memfd.size()));
          assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, memfd.size(), busy), busy::toString);
          assertEquals(Errno.OK, memfd.tryMakeAccessible(0, memfd.size()));
        });
  }
}
