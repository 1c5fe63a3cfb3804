package io.github.guestmemfd.conformance;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static io.github.guestmemfd.abi.Protection.EXEC;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.AttributeRange;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FallocMode;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.gunyah.MemoryParcels;
import io.github.guestmemfd.kvm.Access;
import io.github.guestmemfd.kvm.MemoryAttributeRange;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.platform.CcaGuest;
import io.github.guestmemfd.platform.Rmm;
import io.github.guestmemfd.policy.GpaRange;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jctools.queues.MessagePassingQueue;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.slf4j.Logger;

/**
 * What is said when a call is refused: the rule that is broken, what was expected and what was met;
 * who answered. Addresses and offsets are hexadecimal, flags and modes have names.
 */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class MessagesTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long GPA = 0x100000;

  /** A file of four pages with a client, a mapping of five, and a virtual machine that has it. */
  private static final class World implements GuestMemfdOps {
    final HostMemory host = HostMemory.ofBytes(16 * PAGE);
    final VirtualMachine vm = new VirtualMachine();
    final GuestMemfdOps ops = vm.ops(this);
    final GuestMemfd file =
        GuestMemfd.builder(host)
            .size(4 * PAGE)
            .flags(MMAP, INIT_SHARED)
            .ops(ops)
            .retryPolicy(RetryPolicy.failAtOnce())
            .build();
    final HostMapping map = file.mmap(0, 5 * PAGE, READ, WRITE);
    final List<AutoCloseable> open = new ArrayList<>(List.of(file, map));

    /** What the next callback that can answer does answer. */
    Errno answer = Errno.OK;

    /** What the next callback calls. */
    Runnable inside = () -> {};

    World() {
      vm.adopt(file, ops);
      vm.bind(3, GPA, 4 * PAGE, file, 0);
    }

    GuestMemfd.Builder describe() {
      return GuestMemfd.builder(host).size(4 * PAGE).flags(MMAP, INIT_SHARED);
    }

    <T extends AutoCloseable> T opened(T resource) {
      open.add(resource);
      return resource;
    }

    /** The file, closed by all who have it. */
    GuestMemfd gone() {
      map.close();
      file.close();
      return file;
    }

    GuestMemfd closed() {
      file.close();
      return file;
    }

    Vcpu vcpu() {
      return vm.createVcpu();
    }

    /** Throws what a future has failed with. */
    static void now(CompletableFuture<Void> later) {
      try {
        later.join();
      } catch (CompletionException e) {
        throw (RuntimeException) e.getCause();
      }
    }

    /** What a call answers from inside a callback. */
    void inCallback(Runnable call) {
      List<RuntimeException> thrown = new ArrayList<>();
      inside =
          () -> {
            try {
              call.run();
            } catch (RuntimeException e) {
              thrown.add(e);
            }
          };
      file.punchHole(PAGE, PAGE);
      throw thrown.get(0);
    }

    private Errno next() {
      Errno next = answer;
      answer = Errno.OK;
      return next;
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      Runnable call = inside;
      inside = () -> {};
      call.run();
      return next();
    }

    @Override
    public Errno prepareAccessible(Folio folio) {
      return next();
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      return next();
    }

    void close() throws Exception {
      for (int i = open.size(); --i >= 0; ) {
        open.get(i).close();
      }
      host.close();
    }
  }

  private interface Call {
    void make(World world) throws Exception;
  }

  /**
   * A call that is refused, and what is said then, with {@code FILE}, {@code MAP} and {@code SLOT}
   * in place of what the world's are called.
   */
  private record Message(String expected, Call call) {
    @Override
    public String toString() {
      return expected;
    }
  }

  private static Message says(String expected, Call call) {
    return new Message(expected, call);
  }

  static Stream<Message> creation() {
    return Stream.of(
        says(
            "EINVAL: create: expected a positive multiple of 4096 as size, actual 4097",
            w -> w.describe().size(4097).build()),
        says(
            "EINVAL: create: expected flags of MMAP|INIT_SHARED, actual MMAP|INIT_SHARED|0x10",
            w -> w.describe().flags(0x11).build()),
        says(
            "EINVAL: host memory: expected a positive multiple of 4096 up to 4398046502912, actual 1",
            w -> HostMemory.ofBytes(1)),
        says("EINVAL: ftruncate to 1 of FILE: the size is fixed", w -> w.file.ftruncate(1)),
        says("EBADF: fstat of FILE: the descriptor is closed", w -> w.closed().stat()),
        says("EBADF: dup of FILE: the descriptor is closed", w -> w.closed().dup()));
  }

  static Stream<Message> conversions() {
    String call = "make inaccessible [offset=%s, length=%d] of FILE: ";
    return Stream.of(
        says(
            "EINVAL: "
                + call.formatted("0x1001", PAGE)
                + "expected multiples of 4096, actual offset 0x1001 and length 4096",
            w -> w.file.makeInaccessible(0x1001, PAGE)),
        says(
            "EINVAL: "
                + call.formatted("0xfffffffffffff000", PAGE)
                + "expected offset 0x0 to 0x7fffffffffffffff, actual 0xfffffffffffff000",
            w -> w.file.makeInaccessible(-PAGE, PAGE)),
        says(
            "EINVAL: " + call.formatted("0x1000", 0) + "expected a length above 0, actual 0",
            w -> w.file.makeInaccessible(PAGE, 0)),
        says(
            "EINVAL: "
                + call.formatted("0x1000", -PAGE)
                + "expected a length above 0, actual -4096",
            w -> w.file.makeInaccessible(PAGE, -PAGE)),
        says(
            "EINVAL: "
                + call.formatted("0x3000", 2 * PAGE)
                + "expected an end up to 0x4000, actual 0x5000",
            w -> w.file.makeInaccessible(3 * PAGE, 2 * PAGE)),
        says(
            "EINVAL: make accessible [offset=0x7ffffffffffff000, length=4096] of FILE: expected an"
                + " end up to 0x4000, actual 0x8000000000000000",
            w -> w.file.makeAccessible(Long.MAX_VALUE & -PAGE, PAGE)),
        says(
            "EBADF: make accessible [offset=0x0, length=4096] of FILE: the descriptor is closed",
            w -> w.closed().makeAccessible(0, PAGE)),
        says(
            "EINVAL: attributes [offset=0x0, length=1] of FILE: expected multiples of 4096, actual"
                + " offset 0x0 and length 1",
            w -> w.file.attributes(0, 1)),
        says(
            "EINVAL: attribute at offset 0x4000 of FILE: expected offset 0x0 to 0x3fff, actual"
                + " 0x4000",
            w -> w.file.isAccessible(4 * PAGE)),
        says(
            "EAGAIN: grab SAFE at offset 0x0 of guest_memfd[ino=2, size=16384,"
                + " flags=MMAP|INIT_SHARED]: a conversion of the page is pending",
            MessagesTest::grabPending),
        says(
            "ECANCELED: conversion of the range [offset=0x0, length=4096] of guest_memfd[ino=2,"
                + " size=16384, flags=MMAP|INIT_SHARED] undone: punched",
            MessagesTest::punchPending));
  }

  private static CompletableFuture<Void> pending(World w, GuestMemfd file) {
    HostMapping map = w.opened(file.mmap(0, PAGE, READ, WRITE));
    map.putLong(0, 1);
    w.opened(map.pin(0, PAGE));
    return file.makeInaccessibleLater(0, PAGE);
  }

  private static GuestMemfd patient(World w) {
    return w.opened(w.describe().retryPolicy(RetryPolicy.completeLater()).build());
  }

  private static void grabPending(World w) {
    GuestMemfd file = patient(w);
    assertThat(pending(w, file)).isNotDone();
    file.grab(0);
  }

  private static void punchPending(World w) throws Exception {
    GuestMemfd file = patient(w);
    CompletableFuture<Void> later = pending(w, file);
    file.punchHole(0, PAGE);
    throw later.handle((done, failure) -> (Exception) failure).get();
  }

  static Stream<Message> grabs() {
    return Stream.of(
        says(
            "EINVAL: grab SAFE at offset 0xffffffffffffffff of FILE: expected offset 0x0 to 0x3fff,"
                + " actual 0xffffffffffffffff",
            w -> w.file.grab(-1)),
        says(
            "EBADF: grab SAFE at offset 0x0 of FILE: the descriptor is closed",
            w -> w.closed().grab(0)),
        says(
            "EFAULT: grab UNSAFE at offset 0x1000 of FILE: the page is inaccessible",
            w -> {
              w.file.makeInaccessible(PAGE, PAGE);
              w.file.grab(PAGE, HolderKind.UNSAFE);
            }),
        says(
            "EHWPOISON: grab SAFE at offset 0x1001 of FILE: the memory of the page has failed",
            w -> {
              poison(w);
              w.file.grab(PAGE + 1);
            }),
        says("frame: expected 1 to 16, actual 17", w -> w.file.put(17, HolderKind.SAFE)),
        says(
            "Folio[pfn=1, offset=0x2000]: put twice",
            w -> {
              Folio folio = w.file.grab(2 * PAGE);
              folio.close();
              folio.close();
            }),
        says(
            "Folio[pfn=1, offset=0x2000]: used after put",
            w -> {
              Folio folio = w.file.grab(2 * PAGE);
              folio.close();
              folio.buffer();
            }),
        says(
            "Folio[pfn=1, offset=0x2000]: unlock without lock",
            w -> {
              try (Folio folio = w.file.grab(2 * PAGE)) {
                folio.unlock();
              }
            }));
  }

  private static void poison(World w) {
    w.map.putLong(PAGE, 1);
    try (HostReference pin = w.map.pin(PAGE, 1)) {
      assertThat(w.host.pfnWalker().memoryFailure(pin.pfn(0))).isEqualTo(Errno.OK);
    }
  }

  static Stream<Message> fallocate() {
    int punch = FallocMode.PUNCH_HOLE.bit();
    int zero = FallocMode.ZERO_RANGE.bit();
    int keep = FallocMode.KEEP_SIZE.bit();
    return Stream.of(
        says(
            "EBADF: fallocate of FILE: the descriptor is closed",
            w -> w.closed().allocate(0, PAGE)),
        says(
            "EINVAL: fallocate KEEP_SIZE [offset=0xffffffffffffffff, length=1] of FILE: expected"
                + " offset 0x0 to 0x7fffffffffffffff, actual 0xffffffffffffffff",
            w -> w.file.allocate(-1, 1)),
        says(
            "EINVAL: fallocate KEEP_SIZE [offset=0x0, length=0] of FILE: expected a length above 0,"
                + " actual 0",
            w -> w.file.allocate(0, 0)),
        says(
            "EOPNOTSUPP: fallocate PUNCH_HOLE [offset=0x0, length=4096] of FILE: expected KEEP_SIZE"
                + " or KEEP_SIZE|PUNCH_HOLE, actual PUNCH_HOLE",
            w -> w.file.fallocate(punch, 0, PAGE)),
        says(
            "EOPNOTSUPP: fallocate KEEP_SIZE|ZERO_RANGE [offset=0x0, length=4096] of FILE: expected"
                + " KEEP_SIZE or KEEP_SIZE|PUNCH_HOLE, actual KEEP_SIZE|ZERO_RANGE",
            w -> w.file.fallocate(keep | zero, 0, PAGE)),
        says(
            "EOPNOTSUPP: fallocate KEEP_SIZE|0x80000000 [offset=0x0, length=4096] of FILE: expected"
                + " KEEP_SIZE or KEEP_SIZE|PUNCH_HOLE, actual KEEP_SIZE|0x80000000",
            w -> w.file.fallocate(keep | 1 << 31, 0, PAGE)),
        says(
            "EOPNOTSUPP: fallocate none [offset=0x0, length=4096] of FILE: expected KEEP_SIZE or"
                + " KEEP_SIZE|PUNCH_HOLE, actual none",
            w -> w.file.fallocate(0, 0, PAGE)),
        says(
            "EFBIG: fallocate KEEP_SIZE [offset=0x7fffffffffffffff, length=1] of FILE: expected an"
                + " end up to 0x7fffffffffffffff, actual 0x8000000000000000",
            w -> w.file.allocate(Long.MAX_VALUE, 1)),
        says(
            "EINVAL: fallocate KEEP_SIZE|PUNCH_HOLE [offset=0x10, length=4096] of FILE: expected"
                + " multiples of 4096, actual offset 0x10 and length 4096",
            w -> w.file.punchHole(16, PAGE)),
        says(
            "EINVAL: fallocate KEEP_SIZE [offset=0x3000, length=8192] of FILE: expected an end up to"
                + " 0x4000, actual 0x5000",
            w -> w.file.allocate(3 * PAGE, 2 * PAGE)),
        says(
            "ENOMEM: fallocate KEEP_SIZE [offset=0x0, length=131072] of guest_memfd[ino=2,"
                + " size=131072, flags=none]: expected more free memory in HostMemory[size=65536,"
                + " used=0]",
            w ->
                w.opened(GuestMemfd.builder(w.host).size(32 * PAGE).build())
                    .allocate(0, 32 * PAGE)),
        says(
            "EINTR: fallocate KEEP_SIZE [offset=0x0, length=4096] of FILE: the thread was"
                + " interrupted",
            w -> {
              Thread.currentThread().interrupt();
              w.file.allocate(0, PAGE);
            }),
        says(
            "EBUSY: fallocate KEEP_SIZE|PUNCH_HOLE [offset=0x0, length=4096] of guest_memfd[ino=2,"
                + " size=16384, flags=MMAP|INIT_SHARED]: busy folio at BUSY",
            w -> {
              GuestMemfd file =
                  w.opened(w.describe().protocol(ConversionProtocol.safeOnly()).build());
              try (Folio folio = file.grab(0)) {
                assertThat(folio.offset()).isZero();
                file.punchHole(0, PAGE);
              }
            }));
  }

  static Stream<Message> mmap() {
    return Stream.of(
        says(
            "EINVAL: mmap [offset=0x1, length=4096] of FILE: expected a multiple of 4096 as offset,"
                + " actual 0x1",
            w -> w.file.mmap(1, PAGE, READ)),
        says(
            "EBADF: mmap [offset=0x0, length=0] of FILE: the descriptor is closed",
            w -> w.closed().mmap(0, 0, READ)),
        says(
            "EINVAL: mmap [offset=0x0, length=0] of FILE: expected a length above 0, actual 0",
            w -> w.file.mmap(0, 0, READ)),
        says(
            "ENOMEM: mmap [offset=0x0, length=140737488355328] of FILE: expected a length up to"
                + " 140737488347136, which fits an address space, actual 140737488355328",
            w -> w.file.mmap(0, 1L << 47, READ)),
        says(
            "EOVERFLOW: mmap [offset=0x7ffffffffffff000, length=4096] of FILE: expected an offset of"
                + " 0x0 or more, and an end up to 0x7ffffffffffff000, actual 0x7ffffffffffff000 and"
                + " 0x8000000000000000",
            w -> w.file.mmap(Long.MAX_VALUE & -PAGE, PAGE, READ)),
        says(
            "EPERM: mmap [offset=0x0, length=4096] of FILE: expected READ and WRITE at most, actual"
                + " also EXEC",
            w -> w.file.mmap(0, PAGE, READ, EXEC)),
        says(
            "ENODEV: mmap [offset=0x0, length=4096] of guest_memfd[ino=2, size=4096, flags=none]:"
                + " expected a file that was created with MMAP",
            w -> w.opened(GuestMemfd.builder(w.host).size(PAGE).build()).mmap(0, PAGE, READ)),
        says(
            "EINVAL: mmap [offset=0x0, length=4096] of FILE: expected SHARED, actual PRIVATE",
            w -> w.file.mmap(0, PAGE, MapType.PRIVATE, READ)));
  }

  static Stream<Message> accesses() {
    return Stream.of(
        says(
            "access to MAP: expected offset 0x0 or more, and an end up to 0x5000, actual 8 bytes at"
                + " 0x4ff9",
            w -> w.map.getLong(5 * PAGE - 7)),
        says(
            "atomic access: expected an offset that is a multiple of 8, actual 0x4",
            w -> w.map.getLongVolatile(4)),
        says(
            "EFAULT: SIGBUS at offset 0x4010 of the mapping: past the end of FILE",
            w -> w.map.getLong(4 * PAGE + 16)),
        says(
            "EFAULT: SIGBUS at offset 0x1008 of the mapping: the page at offset 0x1000 of FILE is"
                + " inaccessible",
            w -> {
              w.file.makeInaccessible(PAGE, PAGE);
              w.map.getLong(PAGE + 8);
            }),
        says(
            "EFAULT: SIGSEGV at offset 0x10 of the mapping: write forbidden by HostMapping"
                + "[offset=0x1000, length=4096, r-] of FILE",
            w -> w.opened(w.file.mmap(PAGE, PAGE, READ)).putLong(16, 1)),
        says(
            "HostMapping[offset=0x0, length=20480, unmapped] of FILE is closed",
            w -> {
              w.map.close();
              w.map.getLong(0);
            }),
        says(
            "ENOMEM: fault at offset 0x10000 of HostMapping[offset=0x0, length=131072, rw] of"
                + " guest_memfd[ino=2, size=131072, flags=MMAP|INIT_SHARED]: expected more free"
                + " memory in HostMemory[size=65536, used=65536]",
            w -> {
              GuestMemfd big = w.opened(w.describe().size(32 * PAGE).build());
              HostMapping map = w.opened(big.mmap(0, 32 * PAGE, READ, WRITE));
              for (long at = 0; ; at += PAGE) {
                map.putLong(at, 1);
              }
            }),
        says(
            "frame 1: expected offset 0x0 or more, and an end up to 0x1000, actual 2 bytes at 0xfff",
            w -> w.host.directMap().read(1, 0xfff, ByteBuffer.allocate(2))),
        says(
            "EFAULT: frame 1: expected one in the direct map, actual taken out of it",
            w -> {
              GuestMemfd file =
                  w.opened(GuestMemfd.builder(w.host).size(PAGE).flags(NO_DIRECT_MAP).build());
              file.grab(0).close();
              w.host.directMap().read(1, 0, ByteBuffer.allocate(2));
            }),
        says(
            "frame: expected 1 to 16, actual 0",
            w -> w.host.directMap().read(0, 0, ByteBuffer.allocate(1))),
        says(
            "expected an access that has begun and not ended, actual 0x123",
            w -> w.host.frameAccess().end(0x123)));
  }

  static Stream<Message> references() {
    String call = "reference [offset=%s, length=%d] of MAP: ";
    return Stream.of(
        says(
            "EINVAL: " + call.formatted("0x10", -1) + "expected a length of 0 or more, actual -1",
            w -> w.map.pin(16, -1)),
        says(
            "EFAULT: "
                + call.formatted("0x5000", 1)
                + "expected offset 0x0 to 0x4fff, actual 0x5000",
            w -> w.map.pin(5 * PAGE, 1)),
        says(
            "EFAULT: "
                + call.formatted("0x4000", 1)
                + "the page at offset 0x4000 cannot be had: it is past the end of the file",
            w -> w.map.getUserPages(4 * PAGE, 1)),
        says(
            "EFAULT: "
                + call.formatted("0x1010", 1)
                + "the page at offset 0x1000 cannot be had: the page is inaccessible",
            w -> {
              w.file.makeInaccessible(PAGE, PAGE);
              w.map.getUserPages(PAGE + 16, 1);
            }),
        says(
            "EFAULT: "
                + call.formatted("0x1000", 1)
                + "the page at offset 0x1000 cannot be had: the memory of the page has failed",
            w -> {
              poison(w);
              w.map.getUserPages(PAGE, 1);
            }),
        says(
            "EFAULT: "
                + call.formatted("0x0", 3 * PAGE)
                + "the page at offset 0x2000 cannot be had: the page is inaccessible",
            w -> {
              w.file.makeInaccessible(2 * PAGE, PAGE);
              w.map.pinFully(0, 3 * PAGE);
            }),
        says(
            "EFAULT: reference [offset=0x0, length=8192] of HostMapping[offset=0x0, length=4096, rw]"
                + " of FILE: expected an end up to 0x1000, actual 0x2000",
            w -> w.opened(w.file.mmap(0, PAGE, READ, WRITE)).pinFully(0, 2 * PAGE)),
        says(
            "EFAULT: reference [offset=0x0, length=1] of HostMapping[offset=0x0, length=4096, -w] of"
                + " FILE: expected a mapping for READ, or one that has mapped the page",
            w -> w.opened(w.file.mmap(0, PAGE, WRITE)).pin(0, 1)),
        says(
            "HostReference[pinned, pfns=1 2, length=8192]: expected 1 page, actual 2",
            w -> w.opened(w.map.pin(0, 2 * PAGE)).buffer()),
        says(
            "HostReference[plain, pfns=1, length=1]: put twice",
            w -> {
              HostReference reference = w.map.getUserPages(0, 1);
              reference.close();
              reference.close();
            }));
  }

  static Stream<Message> advice() {
    String call = "madvise %s [offset=%s, length=%d] of MAP: ";
    return Stream.of(
        says(
            "EINVAL: "
                + call.formatted("DONTNEED", "0x1", PAGE)
                + "expected a multiple of 4096 as offset, actual 0x1",
            w -> w.map.madvise(1, PAGE, Advice.DONTNEED)),
        says(
            "EINVAL: "
                + call.formatted("DONTNEED", "0x0", -1)
                + "expected a length of 0 or more, actual -1",
            w -> w.map.madvise(0, -1, Advice.DONTNEED)),
        says(
            "ENOMEM: "
                + call.formatted("REMOVE", "0x4000", 2 * PAGE)
                + "nothing is mapped at offset 0x5000",
            w -> w.map.madvise(4 * PAGE, 2 * PAGE, Advice.REMOVE)),
        says(
            "ENOMEM: " + call.formatted("FREE", "0x5000", 1) + "nothing is mapped at offset 0x5000",
            w -> w.map.madvise(5 * PAGE, 1, Advice.FREE)),
        says(
            "EINVAL: "
                + call.formatted("FREE", "0x0", 1)
                + "a guest_memfd does not take this advice",
            w -> w.map.madvise(0, 1, Advice.FREE)),
        says(
            "EINVAL: madvise POPULATE_WRITE [offset=0x0, length=1] of HostMapping[offset=0x0,"
                + " length=4096, r-] of FILE: expected a mapping for WRITE",
            w -> w.opened(w.file.mmap(0, PAGE, READ)).madvise(0, 1, Advice.POPULATE_WRITE)),
        says(
            "EFAULT: "
                + call.formatted("POPULATE_READ", "0x3000", 2 * PAGE)
                + "the page at offset 0x4000 cannot be had: it is past the end of the file",
            w -> w.map.madvise(3 * PAGE, 2 * PAGE, Advice.POPULATE_READ)),
        says(
            "EHWPOISON: "
                + call.formatted("POPULATE_READ", "0x1000", PAGE)
                + "the page at offset 0x1000 cannot be had: the memory of the page has failed",
            w -> {
              poison(w);
              w.map.madvise(PAGE, PAGE, Advice.POPULATE_READ);
            }),
        says(
            "EACCES: "
                + call.formatted("REMOVE", "0x1000", PAGE)
                + "callback invalidateBegin [offset=0x1000, length=4096] answered EACCES",
            w -> {
              w.answer = Errno.EACCES;
              w.map.madvise(PAGE, PAGE, Advice.REMOVE);
            }));
  }

  static Stream<Message> callbacks() {
    return Stream.of(
        says(
            "EBUSY: make inaccessible [offset=0x0, length=16384] of FILE: callback invalidateBegin"
                + " [offset=0x1000, length=12288] answered EBUSY",
            w -> {
              w.file.makeInaccessible(0, PAGE);
              w.answer = Errno.EBUSY;
              w.file.makeInaccessible(0, 4 * PAGE);
            }),
        says(
            "EINVAL: make accessible [offset=0x0, length=4096] of FILE: callback invalidateBegin"
                + " [offset=0x0, length=4096] answered EINVAL",
            w -> {
              w.file.makeInaccessible(0, PAGE);
              w.answer = Errno.EINVAL;
              w.file.makeAccessible(0, PAGE);
            }),
        says(
            "EBUSY: fallocate KEEP_SIZE|PUNCH_HOLE [offset=0x2000, length=4096] of FILE: callback"
                + " invalidateBegin [offset=0x2000, length=4096] answered EBUSY",
            w -> {
              w.answer = Errno.EBUSY;
              w.file.punchHole(2 * PAGE, PAGE);
            }),
        says(
            "EACCES: grab SAFE at offset 0x3008 of FILE: callback prepareAccessible [offset=0x3000,"
                + " length=4096] answered EACCES",
            w -> {
              w.answer = Errno.EACCES;
              w.file.grab(3 * PAGE + 8);
            }),
        says(
            "EACCES: fault at offset 0x3008 of MAP: callback prepareAccessible [offset=0x3000,"
                + " length=4096] answered EACCES",
            w -> {
              w.answer = Errno.EACCES;
              w.map.getLong(3 * PAGE + 8);
            }),
        says(
            "EAGAIN: grab SAFE at offset 0x0 of FILE: callback prepareInaccessible [offset=0x0,"
                + " length=4096] answered EAGAIN",
            w -> {
              w.file.makeInaccessible(0, PAGE);
              w.answer = Errno.EAGAIN;
              w.file.grab(0);
            }),
        says(
            "EACCES: set memory attributes of gpa 0x101000 size 4096 to PRIVATE: at 0x101000:"
                + " callback invalidateBegin [offset=0x1000, length=4096] answered EACCES",
            w -> {
              w.answer = Errno.EACCES;
              w.vm.setMemoryAttributes(GPA + PAGE, PAGE, PRIVATE);
            }),
        says(
            "EACCES: pre-fault gpa 0x101000 size 4096: at 0x101000: callback prepareAccessible"
                + " [offset=0x1000, length=4096] answered EACCES",
            w -> {
              w.answer = Errno.EACCES;
              w.vm.preFault(GPA + PAGE, PAGE);
            }),
        says(
            "callback invalidateBegin [offset=0x1000, length=4096] of FILE answered null, expected"
                + " an Errno",
            w -> {
              w.answer = null;
              w.file.makeInaccessible(PAGE, PAGE);
            }),
        says(
            "callback prepareAccessible [offset=0x1000, length=4096] of FILE answered null,"
                + " expected an Errno",
            w -> {
              w.answer = null;
              w.file.grab(PAGE);
            }));
  }

  static Stream<Message> insideCallbacks() {
    String inside =
        "called from inside callback invalidateBegin [offset=0x1000, length=4096] of FILE";
    return Stream.of(
        says(
            "EDEADLK: make accessible [offset=0x0, length=4096] of FILE: " + inside,
            w -> w.inCallback(() -> w.file.makeAccessible(0, PAGE))),
        says(
            "EDEADLK: fallocate KEEP_SIZE [offset=0x0, length=4096] of FILE: " + inside,
            w -> w.inCallback(() -> w.file.allocate(0, PAGE))),
        says(
            "EDEADLK: grab SAFE at offset 0x0 of FILE: " + inside,
            w -> w.inCallback(() -> w.file.grab(0))),
        says(
            "EDEADLK: fault at offset 0x0 of MAP: " + inside,
            w -> w.inCallback(() -> w.map.getLong(0))),
        says("EDEADLK: munmap: " + inside, w -> w.inCallback(w.map::close)),
        says(
            "EDEADLK: lock of a folio: " + inside,
            w -> {
              try (Folio folio = w.file.grab(0)) {
                w.inCallback(folio::lock);
              }
            }),
        says(
            "EDEADLK: cancelling a conversion: " + inside,
            w -> {
              CompletableFuture<Void> later = pending(w, patient(w));
              w.inCallback(() -> later.cancel(false));
            }),
        says(
            "EDEADLK: pin gpa 0x100000 size 4096: " + inside,
            w -> w.inCallback(() -> w.vm.pin(GPA, PAGE))),
        says(
            "EDEADLK: pre-fault gpa 0x100000 size 4096: at 0x100000: " + inside,
            w -> w.inCallback(() -> w.vm.preFault(GPA, PAGE))),
        says(
            "EDEADLK: set memory attributes of gpa 0x100000 size 4096 to PRIVATE: at 0x100000: "
                + inside,
            w -> w.inCallback(() -> w.vm.setMemoryAttributes(GPA, PAGE, PRIVATE))),
        says(
            "EDEADLK: lock of Folio[pfn=1, offset=0x0]: the thread keeps a folio lock, and could"
                + " wait for itself",
            w -> {
              try (Folio one = w.file.grab(0);
                  Folio two = w.file.grab(0)) {
                one.lock();
                try {
                  two.lock();
                } finally {
                  one.unlock();
                }
              }
            }));
  }

  static Stream<Message> virtualMachines() {
    String slot = "memslot 4: ";
    return Stream.of(
        says(
            "EINVAL: memslot 32764: expected a number of 0 to 32763, actual 32764",
            w -> w.vm.bind(32764, 0, PAGE, w.file, 0)),
        says(
            "EINVAL: " + slot + "expected multiples of 4096, actual gpa 0x10 size 4096 offset 0x0",
            w -> w.vm.bind(4, 16, PAGE, w.file, 0)),
        says(
            "EINVAL: "
                + slot
                + "expected an end below 2^64, actual gpa 0xfffffffffffff000 and size 8192",
            w -> w.vm.bind(4, -PAGE, 2 * PAGE, w.file, 0)),
        says(
            "EINVAL: "
                + slot
                + "expected an end below 2^64, actual offset 0xfffffffffffff000 and size 8192",
            w -> w.vm.bind(4, 0, 2 * PAGE, w.file, -PAGE)),
        says(
            "EINVAL: " + slot + "expected a size below 8796093022208, actual 8796093022208",
            w -> w.vm.bind(4, 0, 1L << 43, w.file, 0)),
        says(
            "EINVAL: " + slot + "expected a size above 0, actual 0",
            w -> w.vm.bind(4, 0, 0, w.file, 0)),
        says("EINVAL: " + slot + "there is none to delete", w -> w.vm.unbind(4)),
        says("EINVAL: " + slot + "there is none", w -> w.vm.metrics(4)),
        says(
            "EINVAL: memslot 3: exists, and cannot be changed: SLOT",
            w -> w.vm.bind(3, 0, PAGE, w.file, 0)),
        says(
            "EEXIST: " + slot + "guest addresses overlap SLOT",
            w -> w.vm.bind(4, GPA, PAGE, w.file, 0)),
        says(
            "EBADF: " + slot + "expected an open descriptor, actual FILE (closed)",
            w -> w.vm.bind(4, 0, PAGE, w.closed(), 0)),
        says(
            "EINVAL: " + slot + "expected a range in FILE, actual offset 0x4000 and size 4096",
            w -> w.vm.bind(4, 0, PAGE, w.file, 4 * PAGE)),
        says("EINVAL: " + slot + "file range overlaps SLOT", w -> w.vm.bind(4, 0, PAGE, w.file, 0)),
        says(
            "EINVAL: "
                + slot
                + "expected guest addresses up to 0x10000000000000, actual up to 0x10000000001000",
            w -> w.vm.bind(4, 1L << 52, PAGE, w.opened(w.describe().build()), 0)),
        says(
            "EINVAL: " + slot + "expected a file of no other virtual machine, actual FILE",
            w -> new VirtualMachine().bind(4, 0, PAGE, w.file, 0)),
        says(
            "EINVAL: adopt: expected a file of no other virtual machine, actual FILE",
            w -> {
              VirtualMachine other = new VirtualMachine();
              other.adopt(w.file, other.ops(GuestMemfdOps.NONE));
            }),
        says(
            "memslot 3: expected guest address 0x100000 to 0x103fff, actual 0x104000",
            w -> w.vm.memslotAt(GPA).orElseThrow().offsetOf(GPA + 4 * PAGE)));
  }

  @SuppressWarnings("FutureReturnValueIgnored") // there is none
  static Stream<Message> guestAddresses() {
    String set = "set memory attributes of gpa %s size %d to PRIVATE: ";
    String later = "set memory attributes of gpa %s size %d to PRIVATE later: ";
    return Stream.of(
        says(
            "EINVAL: "
                + set.formatted("0x100001", PAGE)
                + "expected multiples of 4096, actual gpa 0x100001 and size 4096",
            w -> w.vm.setMemoryAttributes(GPA + 1, PAGE, PRIVATE)),
        says(
            "EINVAL: " + set.formatted("0x100000", 0) + "expected a size above 0, actual 0",
            w -> w.vm.setMemoryAttributes(GPA, 0, PRIVATE)),
        says(
            "ENOENT: " + set.formatted("0x100000", 5 * PAGE) + "no memslot at 0x104000",
            w -> w.vm.setMemoryAttributes(GPA, 5 * PAGE, PRIVATE)),
        says(
            "EAGAIN: " + set.formatted("0x100000", PAGE) + "gpa 0x100000: BUSY",
            w -> {
              try (HostReference pin = w.map.pin(0, PAGE)) {
                assertThat(pin.isPinned()).isTrue();
                w.vm.setMemoryAttributes(GPA, PAGE, PRIVATE);
              }
            }),
        says(
            "EBADF: " + set.formatted("0x100000", PAGE) + "at 0x100000: the descriptor is closed",
            w -> {
              w.gone();
              w.vm.setMemoryAttributes(GPA, PAGE, PRIVATE);
            }),
        says(
            "EINVAL: "
                + later.formatted("0x10000000000000", PAGE)
                + "expected an end up to 0x10000000000000, actual 0x10000000001000",
            w -> World.now(w.vm.setMemoryAttributesLater(1L << 52, PAGE, PRIVATE))),
        says(
            "ENOENT: " + later.formatted("0x0", PAGE) + "no memslot at 0x0",
            w -> World.now(w.vm.setMemoryAttributesLater(0, PAGE, PRIVATE))),
        says(
            "EINVAL: "
                + later.formatted("0x100000", 5 * PAGE)
                + "expected one piece of one file, which ends at 0x104000",
            w -> {
              w.vm.bind(4, GPA + 4 * PAGE, PAGE, w.opened(w.describe().build()), 0);
              World.now(w.vm.setMemoryAttributesLater(GPA, 5 * PAGE, PRIVATE));
            }),
        says(
            "EBADF: " + later.formatted("0x100000", PAGE) + "the file of CLOSED_SLOT is gone",
            w -> {
              w.gone();
              World.now(w.vm.setMemoryAttributesLater(GPA, PAGE, PRIVATE));
            }),
        says(
            "EINVAL: attributes gpa 0x100000 size 1: expected multiples of 4096, actual gpa 0x100000"
                + " and size 1",
            w -> w.vm.memoryAttributes(GPA, 1)),
        says(
            "ENOENT: mmap gpa 0xff000 size 4096: no memslot at 0xff000",
            w -> w.vm.mmap(GPA - PAGE, PAGE, READ)),
        says(
            "EBADF: punch gpa 0x100000 size 4096: the file of CLOSED_SLOT is gone",
            w -> {
              w.gone();
              w.vm.punchHole(GPA, PAGE);
            }),
        says(
            "EINVAL: pre-fault gpa 0x100000 size 18446744073709547520: expected an end below 2^64,"
                + " actual gpa 0x100000 and size 18446744073709547520",
            w -> w.vm.preFault(GPA, -PAGE)),
        says("ENOENT: pre-fault gpa 0x0 size 4096: no memslot at 0x0", w -> w.vm.preFault(0, PAGE)),
        says(
            "EINTR: pre-fault gpa 0x100000 size 4096: at 0x100000: the thread was interrupted",
            w -> {
              Thread.currentThread().interrupt();
              w.vm.preFault(GPA, PAGE);
            }),
        says(
            "EFAULT: pre-fault gpa 0x100000 size 4096: the file of CLOSED_SLOT is gone",
            w -> {
              w.gone();
              w.vm.preFault(GPA, PAGE);
            }),
        says(
            "EOPNOTSUPP: pre-fault gpa 0x0 size 4096: expected a file from createGuestMemfd, or"
                + " adopted, actual Memslot[slot=4, gpa=0x0, size=4096, offset=0x0 of"
                + " guest_memfd[ino=2, size=16384, flags=MMAP|INIT_SHARED]]",
            w -> {
              w.vm.bind(4, 0, PAGE, w.opened(w.describe().build()), 0);
              w.vm.preFault(0, PAGE);
            }),
        says(
            "expected multiples of 4096, actual gpa 0x10 and size 4096",
            w -> new GpaRange(16, PAGE)));
  }

  static Stream<Message> exits() {
    String left = "the vCPU left the guest outside of run: ";
    return Stream.of(
        says(
            left
                + "MemoryFault[gpa=0x100000, size=4096, attribute=PRIVATE, access=READ,"
                + " errno=EFAULT: the page is not PRIVATE, or its file is gone]",
            w -> w.vcpu().read(GPA + 8, 8, PRIVATE)),
        says(
            left
                + "MemoryFault[gpa=0x0, size=4096, attribute=SHARED, access=READ,"
                + " errno=EOPNOTSUPP: the file is not of this virtual machine, which could not"
                + " follow its conversions; expected one from createGuestMemfd, or adopted]",
            w -> {
              w.vm.bind(4, 0, PAGE, w.opened(w.describe().build()), 0);
              w.vcpu().read(0, 8, SHARED);
            }),
        says(
            left
                + "MemoryFault[gpa=0x100000, size=4096, attribute=SHARED, access=WRITE,"
                + " errno=EACCES: answered by a prepare callback]",
            w -> {
              w.answer = Errno.EACCES;
              w.vcpu().write(GPA, 8, 1, SHARED);
            }),
        says(
            left
                + "Mmio[gpa=0x1000, size=8, access=WRITE, value=0xff: no memslot, or a read-only one]",
            w -> w.vcpu().write(PAGE, 8, 255, SHARED)),
        says(
            "atomic access: expected 4 or 8 bytes at a multiple of that, actual 8 at 0x100004",
            w -> w.vcpu().tryGetAndAdd(GPA + 4, 8, 1, SHARED)),
        says("vCPU 0: expected an exit for MMIO, actual NONE", w -> w.vcpu().completeMmio(1)),
        says(
            "vCPU 0: expected an exit for HYPERCALL, actual NONE",
            w -> w.vcpu().completeHypercall(Errno.OK)),
        says("expected 1 to 8 bytes, actual 9", w -> w.vcpu().tryRead(GPA, 9, SHARED)),
        says(
            "expected a page of Hypercall[gpa=0x100000, pages=2, attribute=PRIVATE], or its end,"
                + " actual 0x103000",
            w ->
                w.vcpu()
                    .run(
                        guest -> guest.mapGpaRange(GPA, 2, PRIVATE),
                        (vcpu, exit) -> {
                          vcpu.completeHypercall(Errno.OK, GPA + 3 * PAGE);
                          return true;
                        })));
  }

  static Stream<Message> others() {
    String of = " of guest_memfd[ino=2, size=16384, flags=MMAP|INIT_SHARED]: ";
    return Stream.of(
        says(
            "EBUSY: lend [offset=0x0, length=8192]"
                + of
                + "the page at offset 0x1000 is lent already",
            w -> {
              MemoryParcels parcels = parcels(w);
              parcels.lend(PAGE, PAGE);
              parcels.lend(0, 2 * PAGE);
            }),
        says(
            "reclaim: expected a length of 0 or more, and an end up to 0x7fffffffffffffff, actual"
                + " offset 0x10 and length -1",
            w -> parcels(w).reclaim(16, -1)),
        says(
            "expected bytes of one page, actual 2 at offset 0xfff",
            w -> {
              MemoryParcels parcels = parcels(w);
              parcels.lend(0, PAGE);
              parcels.read(0xfff, ByteBuffer.allocate(2));
            }),
        says("expected a multiple of 8, actual 0x4", w -> new CcaGuest(new Rmm()).read(4)),
        says(
            "expected a failure of 1 or more calls, actual OK of every 1, 1 times",
            w -> new Rmm().faults().fail(Rmm.Call.DELEGATE, Errno.OK, 1)),
        says(
            "offset: expected 0x0 or more, actual 0xffffffffffffffff",
            w -> new RacePoints().at(RacePoint.AFTER_LOOKUP, -1, () -> {})));
  }

  private static MemoryParcels parcels(World w) {
    MemoryParcels parcels = new MemoryParcels(w.describe());
    w.opened(parcels.memfd());
    return parcels;
  }

  static Stream<Message> all() {
    return Stream.of(
            creation(),
            conversions(),
            grabs(),
            fallocate(),
            mmap(),
            accesses(),
            references(),
            advice(),
            callbacks(),
            insideCallbacks(),
            virtualMachines(),
            guestAddresses(),
            exits(),
            others())
        .flatMap(s -> s);
  }

  /** Who holds a busy folio is said by {@code BusyFolio}, and tested there. */
  private static final Pattern BUSY = Pattern.compile("offset \\S+ held by .*");

  private static final Pattern DECIMAL =
      Pattern.compile("\\b(offset|gpa|address|end up to|at)[ =]-?(?!0x)\\d");

  @ParameterizedTest(name = "{0}")
  @MethodSource("all")
  void saysWhatIsWrong(Message message) throws Exception {
    World world = new World();
    String file = world.file.toString();
    String map = world.map.toString();
    String slot = world.vm.memslotAt(GPA).orElseThrow().toString();
    Throwable thrown = catchThrowable(() -> message.call.make(world));
    Thread.interrupted();
    world.close();
    assertThat(thrown).isNotNull();
    String said = BUSY.matcher(thrown.getMessage()).replaceAll("BUSY");
    assertThat(said)
        .isEqualTo(
            message
                .expected
                .replace("CLOSED_SLOT", slot.replace(file, file + " (closed)"))
                .replace("SLOT", slot)
                .replaceAll("\\bMAP\\b", Matcher.quoteReplacement(map))
                .replace("FILE", file));
    assertThat(DECIMAL.matcher(said).find()).as(said).isFalse();
  }

  @Test
  void rangesAreWrittenAlike() {
    assertThat(new AttributeRange(PAGE, PAGE, true))
        .hasToString("AttributeRange[offset=0x1000, length=4096, accessible=true]");
    assertThat(new MemoryAttributeRange(GPA, PAGE, SHARED))
        .hasToString("MemoryAttributeRange[gpa=0x100000, size=4096, attribute=SHARED]");
    assertThat(new GpaRange(GPA, PAGE)).hasToString("gpa 0x100000 size 4096");
    for (Errno errno : Errno.values()) {
      assertThat(new VcpuExit.MemoryFault(GPA, PAGE, SHARED, Access.READ, errno))
          .asString()
          .contains("gpa=0x100000", "errno=" + errno + ": ");
    }
  }

  /** A reason is that of the last call: an earlier answer of a callback is not told again. */
  @Test
  void reasonsAreForgotten() throws Exception {
    World w = new World();
    w.answer = Errno.EFAULT;
    assertThat(w.file.tryGrab(0, HolderKind.UNSAFE)).isEqualTo(-Errno.EFAULT.code());
    assertThat(w.file.why(Errno.EFAULT)).startsWith("callback prepareAccessible ");
    w.file.makeInaccessible(PAGE, PAGE);
    assertThat(catchThrowable(() -> w.file.grab(PAGE, HolderKind.UNSAFE)))
        .hasMessageEndingWith(": the page is inaccessible");
    w.close();
  }

  /** What a callback does on other files is not why its operation is refused. */
  @Test
  void theReasonOfAnOperationSurvivesOthersInItsCallbacks() throws Exception {
    World w = new World();
    GuestMemfd other = w.opened(w.describe().build());
    w.inside =
        () -> {
          assertThat(w.file.tryMakeAccessible(0, PAGE)).isEqualTo(Errno.EDEADLK);
          assertThat(GuestMemfd.currentCallback())
              .contains("callback invalidateBegin [offset=0x0, length=4096] of " + w.file);
          other.close();
          w.answer = Errno.EDEADLK;
        };
    assertThat(catchThrowable(() -> w.file.makeInaccessible(0, PAGE)))
        .hasMessageEndingWith(
            ": callback invalidateBegin [offset=0x0, length=4096] answered EDEADLK");
    assertThat(GuestMemfd.currentCallback()).isEmpty();
    w.close();
  }

  /** What is answered while an operation is undone is not why it was refused. */
  @Test
  void theFirstToRefuseIsNamed() throws Exception {
    try (HostMemory host = HostMemory.ofBytes(16 * PAGE)) {
      GuestMemfdOps ops =
          new GuestMemfdOps() {
            private boolean isInUse;

            @Override
            public Errno prepareAccessible(Folio folio) {
              Errno answer = isInUse ? Errno.EACCES : Errno.OK; // to undo is refused
              isInUse |= folio.offset() != 0;
              return answer;
            }

            @Override
            public Errno prepareInaccessible(Folio folio) {
              return folio.offset() == 0 ? Errno.OK : Errno.EACCES;
            }
          };
      try (GuestMemfd file =
          GuestMemfd.builder(host).size(2 * PAGE).flags(INIT_SHARED).ops(ops).build()) {
        file.grab(0).close();
        file.grab(PAGE).close();
        assertThat(catchThrowable(() -> file.makeInaccessible(0, 2 * PAGE)))
            .hasMessageEndingWith(
                ": callback prepareInaccessible [offset=0x1000, length=4096] answered EACCES");
      }
    }
  }

  /** Uses more direct memory than the JVM has. */
  static final class UsesUpDirectMemory {
    private UsesUpDirectMemory() {}

    public static void main(String[] args) {
      try (HostMemory host = HostMemory.ofBytes(64 << 20);
          GuestMemfd memfd = GuestMemfd.builder(host).size(64 << 20).build()) {
        memfd.allocate(0, memfd.size());
      } catch (GuestMemfdException e) {
        System.out.println(e.getMessage());
        for (Throwable cause = e.getCause(); cause != null; cause = cause.getCause()) {
          System.out.println(cause);
        }
      }
    }
  }

  @Test
  void theDirectMemoryOfTheJvmIsNotTheHosts() throws Exception {
    String classPath =
        Stream.of(
                UsesUpDirectMemory.class, GuestMemfd.class, Logger.class, MessagePassingQueue.class)
            .map(c -> c.getProtectionDomain().getCodeSource().getLocation())
            .map(location -> Path.of(URI.create(location.toString())).toString())
            .distinct()
            .collect(Collectors.joining(File.pathSeparator));
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:MaxDirectMemorySize=8m",
                "-cp",
                classPath,
                UsesUpDirectMemory.class.getName())
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(output.lines().filter(line -> !line.startsWith("SLF4J")))
        .hasSize(3)
        .element(0)
        .asString()
        .isEqualTo(
            "ENOMEM: fallocate KEEP_SIZE [offset=0x0, length=67108864] of guest_memfd[ino=1,"
                + " size=67108864, flags=none]: the JVM, not the host, is out of memory: no direct"
                + " memory for 2097152 bytes more, see -XX:MaxDirectMemorySize");
    assertThat(output).contains("OutOfMemoryError: Cannot reserve 2097152 bytes");
  }

  /**
   * Text that goes on with an address, an offset or bits that are not hexadecimal. The format of
   * traces is another; who holds a busy folio is not yet written by this rule.
   */
  @Test
  void noAddressIsDecimalInTheSources() throws IOException {
    Pattern decimal =
        Pattern.compile(
            "(offset|gpa|address|flags|mode)s?[ =]*\"\\s*\\+\\s*(?!Hex\\.|CreateFlag\\.|FallocMode\\.|MemslotFlag\\.)\\w"
                + "|0x\"\\s*\\+|%x|%#x");
    Path root = Path.of("src/main/java/io/github/guestmemfd");
    List<String> found = new ArrayList<>();
    try (Stream<Path> files = Files.walk(root)) {
      for (Path file : files.filter(f -> f.toString().endsWith(".java")).toList()) {
        String name = root.relativize(file).toString();
        if (!name.matches("trace/.*|abi/Hex.java")) {
          decimal
              .matcher(Files.readString(file))
              .results()
              .forEach(m -> found.add(name + ": " + m.group()));
        }
      }
    }
    assertThat(found).isEmpty();
  }
}
