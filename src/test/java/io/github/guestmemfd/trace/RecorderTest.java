package io.github.guestmemfd.trace;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.AddressSpace;
import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdListener;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileCall;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.spi.IdleStrategy;
import java.io.IOException;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What a program did, as a trace that replays. */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class RecorderTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  @TempDir Path folder;

  private static Trace parse(String text) {
    return Trace.parse("recorded", text.lines().toList());
  }

  // ---- a random program of one thread ----

  /** Makes random calls of all kinds, with the edges more likely than the middle. */
  private static final class Program {
    private final Random random;
    private final HostMemory host;
    private final Recorder recorder;
    private final ConversionProtocol protocol;
    private final VirtualMachine vm = new VirtualMachine();
    private final VirtualMachine typed = VirtualMachine.builder().type(VmType.SW_PROTECTED).build();
    private final List<GuestMemfd> memfds = new ArrayList<>();

    /** Those of the machine with a type. */
    private final List<GuestMemfd> typedFiles = new ArrayList<>();

    private final List<HostMapping> mappings = new ArrayList<>();
    private final List<AddressSpace> processes = new ArrayList<>();
    private final List<HostReference> references = new ArrayList<>();
    private int calls;

    Program(long seed, HostMemory host, Recorder recorder, ConversionProtocol protocol) {
      this.random = new Random(seed);
      this.host = host;
      this.recorder = recorder;
      this.protocol = protocol;
    }

    private <T> T any(List<T> list) {
      return list.get(random.nextInt(list.size()));
    }

    @SafeVarargs
    private <T> T of(T... values) {
      return values[random.nextInt(values.length)];
    }

    private long page() {
      return PAGE * (long) (random.nextInt(12) == 0 ? of(-1, 8, 1 << 20) : random.nextInt(8));
    }

    private long pages() {
      return random.nextInt(16) == 0
          ? of(0L, -4096L, 1L, 1L << 62)
          : PAGE * (1L + random.nextInt(4));
    }

    /** Where an access begins: near the ends of pages, at times where it is misaligned. */
    private long at() {
      return page() + of(0, 8, 16, PAGE - 8, PAGE - 4, PAGE - 1);
    }

    private void create() {
      CreateFlag[] flags =
          random.nextInt(3) == 0
              ? new CreateFlag[] {CreateFlag.MMAP}
              : new CreateFlag[] {CreateFlag.MMAP, CreateFlag.INIT_SHARED};
      GuestMemfd.Builder builder =
          GuestMemfd.builder(host)
              .size(random.nextInt(10) == 0 ? 4095 : 8L * PAGE)
              .listener(recorder)
              .protocol(protocol)
              .retryPolicy(RetryPolicy.failAtOnce());
      if (random.nextInt(10) == 0) {
        builder.flags(random.nextLong() | 4);
      } else {
        builder.flags(flags);
      }
      memfds.add(builder.build());
    }

    private void call() {
      if (memfds.isEmpty()) {
        create();
        return;
      }
      GuestMemfd memfd = any(memfds);
      switch (random.nextInt(17)) {
        case 16 -> process(memfd);
        case 0 -> memfd.stat();
        case 1 -> memfd.cachedPages();
        case 2 -> memfds.add(memfd.dup());
        case 3 -> memfd.ftruncate(0);
        case 4 -> memfd.allocate(page(), pages());
        case 5, 6 -> memfd.punchHole(page(), pages());
        case 7 -> memfd.fallocate(random.nextInt(256) - 8, page(), pages());
        case 8 -> {
          memfd.isAccessible(page());
          memfd.call(of(FileCall.values()));
          recorder.setMemoryAttributes2(
              vm, memfd, new MemoryAttributes2(page(), pages(), of(0, 1, 8)));
        }
        case 9, 10 -> memfd.makeInaccessible(page(), pages());
        case 11 -> memfd.tryMakeInaccessible(page(), pages(), new BusyFolio());
        case 12 -> memfd.makeAccessible(page(), pages());
        case 13 ->
            mappings.add(
                memfd.mmap(
                    page(),
                    random.nextBoolean() ? 8L * PAGE : pages(),
                    random.nextInt(16) == 0 ? MapType.PRIVATE : MapType.SHARED,
                    of(
                        new Protection[] {Protection.READ, Protection.WRITE},
                        new Protection[] {Protection.READ, Protection.WRITE},
                        new Protection[] {Protection.WRITE},
                        new Protection[] {Protection.READ},
                        new Protection[] {Protection.READ, Protection.EXEC},
                        new Protection[0])));
        case 14 -> {
          if (random.nextInt(12) == 0) {
            memfds.remove(memfd);
            memfd.close();
            memfd.cachedPages(); // EBADF
          } else {
            create();
          }
        }
        default -> {
          int slot = random.nextInt(4) - (random.nextInt(16) == 0 ? 1 : 0);
          if (random.nextBoolean()) {
            typed(slot, typedFiles.isEmpty() ? null : any(typedFiles));
          } else if (random.nextBoolean()) {
            recorder.bind(vm, slot, page() + (1L << 30), pages(), memfd, page());
          } else {
            recorder.unbind(vm, slot);
          }
        }
      }
    }

    /** Forks, ends or uses another process. */
    private void process(GuestMemfd memfd) {
      AddressSpace process =
          processes.isEmpty() || random.nextBoolean() ? host.addressSpace() : any(processes);
      boolean first = process == host.addressSpace();
      if (processes.size() < 3 && !process.mappings().isEmpty() && random.nextBoolean()) {
        AddressSpace child = process.fork();
        processes.add(child);
        mappings.addAll(child.mappings());
      } else if (!first && random.nextBoolean()) {
        processes.remove(process);
        mappings.removeIf(mapping -> mapping.addressSpace() == process);
        process.close();
      } else {
        mappings.add(process.mmap(memfd, page(), pages(), MapType.SHARED, Protection.READ));
      }
    }

    /** Calls on a machine that has a type. */
    private void typed(int slot, @Nullable GuestMemfd memfd) {
      switch (random.nextInt(8)) {
        case 0 -> {
          GuestMemfd made =
              recorder.createGuestMemfd(
                  typed,
                  GuestMemfd.builder(host)
                      .size(8L * PAGE)
                      .flags(random.nextInt(4))
                      .protocol(protocol)
                      .retryPolicy(RetryPolicy.failAtOnce()));
          memfds.add(made);
          typedFiles.add(made);
          typedFiles.add(made.dup());
        }
        case 1 -> recorder.getDirtyLog(typed, slot);
        case 2 -> {
          BitSet pages = new BitSet();
          pages.set(random.nextInt(2), 2 + random.nextInt(3));
          recorder.clearDirtyLog(typed, slot, pages);
        }
        case 3 ->
            recorder.trySetMemoryAttributes(
                typed, page(), pages(), of(MemoryAttribute.values()), new BusyGuestPage());
        case 4 -> recorder.unbind(typed, slot);
        default -> {
          int flags = of(0, 0, 1, 2, 3, 4, 4, 5, 8);
          long user = of(0L, 1L << 32, 1L);
          recorder.setUserMemoryRegion2(
              typed, new Memslot(slot, flags, page(), pages(), user, memfd, page()));
        }
      }
    }

    private void access() {
      if (mappings.isEmpty()) {
        return;
      }
      HostMapping mapping = any(mappings);
      switch (random.nextInt(27)) {
        case 25 ->
            mapping.mbind(
                page() + (random.nextInt(20) == 0 ? 1 : 0),
                pages(),
                new MemoryPolicy(of(MemoryPolicy.Mode.values()), random.nextInt(4)));
        case 26 -> mapping.getMempolicy(at());
        case 22 ->
            mapping.munmap(page() + (random.nextInt(20) == 0 ? 1 : 0), random.nextInt(2 * PAGE));
        case 23 ->
            mapping.mprotect(
                page() + (random.nextInt(20) == 0 ? 1 : 0),
                pages(),
                of(
                    new Protection[] {Protection.READ, Protection.WRITE},
                    new Protection[] {Protection.READ},
                    new Protection[] {Protection.READ, Protection.EXEC},
                    new Protection[0]));
        case 24 -> {
          long length = pages();
          long grown = random.nextInt(3) * (long) PAGE;
          mappings.add(mapping.mremap(page(), random.nextInt(4) == 0 ? 0 : length, length + grown));
        }
        case 0 -> mapping.getByte(at());
        case 1 -> mapping.putByte(at(), (byte) random.nextInt());
        case 2 -> mapping.getShort(at());
        case 3 -> mapping.putInt(at(), random.nextInt());
        case 4 -> mapping.getLong(at());
        case 5 -> mapping.putLong(at(), random.nextLong());
        case 6 -> mapping.getLongVolatile(at());
        case 7 -> mapping.putLongRelease(at(), random.nextLong());
        case 8 -> mapping.tryGetLong(at(), 0);
        case 9 -> mapping.tryPutLong(at(), random.nextLong());
        case 10 -> mapping.getAndAddLong(at(), random.nextLong());
        case 11 -> mapping.compareAndSetLong(at(), random.nextInt(2), random.nextLong());
        case 12 -> mapping.compareAndSetInt(at(), 0, random.nextInt());
        case 13 -> {
          byte[] bytes = new byte[random.nextInt(60)];
          random.nextBytes(bytes);
          mapping.put(at(), bytes, 0, bytes.length);
        }
        case 14 -> mapping.get(at(), ByteBuffer.allocate(random.nextInt(60)));
        case 15, 16 ->
            mapping.madvise(
                page() + (random.nextInt(20) == 0 ? 1 : 0), pages(), of(Advice.values()));
        case 17, 18 -> references.add(mapping.getUserPages(at(), random.nextInt(3 * PAGE) - 8));
        case 19, 20 -> {
          if (!references.isEmpty()) {
            references.remove(random.nextInt(references.size())).close();
          }
        }
        default -> {
          if (random.nextInt(6) == 0) {
            mappings.remove(mapping);
            mapping.close();
          }
        }
      }
    }

    void run(int n) {
      for (; calls < n; calls++) {
        try {
          if (random.nextBoolean()) {
            call();
          } else {
            access();
          }
        } catch (RuntimeException e) {
          assertThat(ModelExecutor.word(e) != null || e instanceof IllegalArgumentException)
              .as(e.toString())
              .isTrue();
        }
      }
      references.forEach(HostReference::close);
      mappings.forEach(HostMapping::close);
      memfds.forEach(GuestMemfd::close);
      typedFiles.forEach(GuestMemfd::close);
    }
  }

  static Stream<ConversionProtocol> soundProtocols() {
    return ConversionProtocol.all().stream().filter(ConversionProtocol::isSound);
  }

  @ParameterizedTest
  @MethodSource("soundProtocols")
  void aRandomProgramReplays(ConversionProtocol protocol) {
    Set<String> words = new HashSet<>();
    for (long seed = 1; seed <= 12; seed++) {
      StringWriter out = new StringWriter();
      try (HostMemory host = HostMemory.ofBytes(1L << 30);
          Recorder recorder = Recorder.to(out, 256, IdleStrategy.spinThenPark())) {
        new Program(seed, host, recorder, protocol).run(600);
      }
      Trace trace = parse(out.toString());
      assertThat(trace.size()).isGreaterThan(300);
      out.toString().lines().forEach(line -> words.add(line.substring(0, line.indexOf(' '))));
      assertThat(Replay.run(trace, protocol).differences()).as("seed " + seed).isEmpty();
    }
    for (Verb verb : EnumSet.complementOf(NOT_SEEN)) {
      assertThat(words).contains(verb.word());
    }
  }

  /** What the guest does, and the host's memory behind memslots, a recorder does not see. */
  private static final EnumSet<Verb> NOT_SEEN =
      EnumSet.of(Verb.GUEST_LOAD, Verb.GUEST_STORE, Verb.ANON);

  // ---- single calls ----

  private GuestMemfd file(HostMemory host, Recorder recorder, RetryPolicy policy) {
    return GuestMemfd.builder(host)
        .size(2L * PAGE)
        .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
        .retryPolicy(policy)
        .listener(recorder)
        .build();
  }

  /** The call is a line of its own, with the offset exactly where it was written. */
  @Test
  void theCallThatSetsAttributes() {
    StringWriter out = new StringWriter();
    VirtualMachine inPlace = VirtualMachine.builder().kernelProfile(KernelProfile.IN_PLACE).build();
    try (HostMemory host = HostMemory.ofBytes(1L << 20);
        Recorder recorder = Recorder.to(out, 256, IdleStrategy.spinThenPark());
        GuestMemfd memfd = file(host, recorder, RetryPolicy.failAtOnce());
        HostMapping window = memfd.mmap(0, 2L * PAGE, Protection.READ, Protection.WRITE)) {
      MemoryAttributes2 argument = new MemoryAttributes2(0, 2L * PAGE, MemoryAttributes2.PRIVATE);
      try (HostReference reference = window.getUserPages(0, 1)) {
        assertThat(reference.pages()).isEqualTo(1);
        assertThat(recorder.setMemoryAttributes2(inPlace, memfd, argument)).isEqualTo(Errno.EAGAIN);
        assertThat(argument.errorOffset()).isZero();
      }
      argument.errorOffset(77);
      recorder.setMemoryAttributes2(inPlace, memfd, argument.flags(1));
      recorder.setMemoryAttributes2(inPlace, memfd, argument.flags(0).reserved(10, 5));
      recorder.setMemoryAttributes2(inPlace, memfd, null);
      recorder.setMemoryAttributes2(inPlace, memfd, argument.reserved(10, 0));
      assertThat(argument.errorOffset()).isEqualTo(77);
      assertThat(recorder.inexact()).isZero();
      recorder.setMemoryAttributes2(inPlace, memfd, argument.reserved(3, 5));
      assertThat(recorder.inexact()).isEqualTo(1);
      memfd.makeAccessible(0, PAGE);
    }
    assertThat(out.toString().lines().filter(line -> line.contains("set_attr")))
        .containsExactly(
            "set_attributes m0 offset=0 size=8192 attributes=0x8 flags=0x0 reserved=0x0"
                + " argument=rw = EAGAIN error_offset=0",
            "set_attributes m0 offset=0 size=8192 attributes=0x8 flags=0x1 reserved=0x0"
                + " argument=rw = EINVAL",
            "set_attributes m0 offset=0 size=8192 attributes=0x8 flags=0x0 reserved=0x5"
                + " argument=rw = EINVAL",
            "set_attributes m0 offset=0 size=0 attributes=0 flags=0 reserved=0 argument=null"
                + " = EFAULT",
            "set_attributes m0 offset=0 size=8192 attributes=0x8 flags=0x0 reserved=0x0"
                + " argument=rw = ok",
            "# set_attributes m0 offset=0 size=8192 attributes=0x8 flags=0x0 reserved=0x0"
                + " argument=rw = EINVAL");
    assertThat(out.toString().lines().filter(line -> line.startsWith("convert ")))
        .containsExactly("convert m0 shared 0 4096 = ok");
    assertThat(
            Replay.run(
                    parse(out.toString()), ConversionProtocol.atomicPair(), KernelProfile.IN_PLACE)
                .differences())
        .isEmpty();
  }

  @Test
  void theLinesOfAProgram() throws IOException {
    Path file = folder.resolve("run.trace");
    try (HostMemory host = HostMemory.ofBytes(1L << 20);
        Recorder recorder = Recorder.to(file)) {
      GuestMemfd memfd = file(host, recorder, RetryPolicy.failAtOnce());
      HostMapping window = memfd.mmap(0, 2L * PAGE, Protection.READ, Protection.WRITE);
      window.putShort(PAGE - 1, (short) 0x0201);
      window.compareAndSetInt(0, 1, 2);
      HostReference reference = window.getUserPages(0, 1);
      memfd.tryMakeInaccessible(0, 2L * PAGE);
      reference.close();
      memfd.makeInaccessible(PAGE, PAGE);
      assertThatThrownBy(() -> window.putShort(PAGE - 1, (short) 0)).hasMessageContaining("SIGBUS");
      assertThatThrownBy(() -> window.getShort(PAGE - 1)).hasMessageContaining("SIGBUS");
      window.close();
      window.close();
      memfd.close();
      memfd.close();
      assertThat(recorder.inexact()).isZero();
    }
    assertThat(Files.readAllLines(file))
        .containsExactly(
            "# guest_memfd trace 1",
            "# profile: 6.18",
            "create m0 size=8192 flags=0x3 = ok",
            "mmap a0 m0 offset=0 length=8192 prot=rw flags=SHARED = ok",
            "store a0 4095 0x01 = ok",
            "store a0 4096 0x02 = ok",
            "madvise a0 0 4096 POPULATE_WRITE = ok",
            "gup g0 a0 0 1 = ok",
            "convert m0 private 0 8192 = EAGAIN error_offset=0",
            "gup_release g0 = bytes=1 first=0x00 sum31=0x000000",
            "convert m0 private 4096 4096 = ok",
            "madvise a0 0 4096 POPULATE_WRITE = ok",
            "store a0 4096 0 = SIGBUS",
            "load a0 4095 = 0x01",
            "load a0 4096 = SIGBUS",
            "munmap a0 = ok",
            "close m0 = ok");
  }

  /** A trace carries the kernel of the machine that it is of, and is replayed as that. */
  @Test
  void theKernelIsInTheTrace() {
    VirtualMachine vm = VirtualMachine.builder().kernelProfile(KernelProfile.LINUX_7_2).build();
    StringWriter out = new StringWriter();
    try (HostMemory host = HostMemory.ofBytes(1L << 20);
        Recorder recorder = Recorder.to(out, 16, IdleStrategy.spinThenPark(), vm);
        GuestMemfd memfd =
            vm.createGuestMemfd(
                GuestMemfd.builder(host).size(2L * PAGE).flags(3).listener(recorder))) {
      recorder.bind(vm, 0, 0, PAGE, memfd, 0);
      assertThatThrownBy(() -> recorder.bind(vm, 1, 4L * PAGE, PAGE, memfd, 0))
          .hasMessageContaining("EEXIST");
      try (HostMapping window = memfd.mmap(0, PAGE, Protection.READ);
          HostMapping other = memfd.mmap(0, PAGE, Protection.READ)) {
        window.mbind(0, PAGE, new MemoryPolicy(MemoryPolicy.Mode.BIND, 3));
        assertThat(other.getMempolicy(5).nodes()).isEqualTo(1); // the file has it
        assertThatThrownBy(() -> other.getMempolicy(PAGE)).hasMessageContaining("EFAULT");
        assertThatThrownBy(() -> other.mbind(1, PAGE, MemoryPolicy.DEFAULT))
            .hasMessageContaining("EINVAL");
      }
      assertThat(recorder.inexact()).isZero();
    }
    assertThat(out.toString().lines().toList())
        .startsWith("# guest_memfd trace 1", "# profile: 7.2")
        .contains(
            "mbind a0 0 4096 BIND 0x3 = ok",
            "get_mempolicy a1 5 = mode=BIND nodes=0x1",
            "get_mempolicy a1 4096 = EFAULT",
            "mbind a1 1 4096 DEFAULT 0x0 = EINVAL");
    Trace trace = parse(out.toString());
    assertThat(trace.profile()).isEqualTo(KernelProfile.LINUX_7_2);
    assertThat(Replay.run(trace, ConversionProtocol.atomicPair()).differences()).isEmpty();
    assertThat(
            Replay.run(trace, ConversionProtocol.atomicPair(), KernelProfile.LINUX_6_18)
                .differences())
        .as("the error of the second memslot, and the policy by another mapping")
        .hasSize(2);
  }

  /** Made without a machine, it is of 6.18; one that answers otherwise cannot be said. */
  @Test
  void aMachineOfAnotherKernelIsNotExact() {
    VirtualMachine vm = VirtualMachine.builder().kernelProfile(KernelProfile.LINUX_6_19).build();
    StringWriter out = new StringWriter();
    try (HostMemory host = HostMemory.ofBytes(1L << 20);
        Recorder recorder = Recorder.to(out, 16, IdleStrategy.spinThenPark());
        GuestMemfd memfd =
            vm.createGuestMemfd(GuestMemfd.builder(host).size(PAGE).flags(3).listener(recorder))) {
      recorder.bind(vm, 0, 0, PAGE, memfd, 0);
      assertThat(recorder.inexact()).isEqualTo(1);
    }
    assertThat(out.toString())
        .contains("# profile: 6.18")
        .contains("# the machine answers as Linux 6.19");
  }

  /** What a trace cannot say is a comment, and what it does to the page cache a call. */
  @Test
  void whatATraceCannotSay() {
    StringWriter out = new StringWriter();
    try (HostMemory host = HostMemory.ofBytes(1L << 20);
        Recorder recorder = Recorder.to(out, 16, IdleStrategy.spinThenPark())) {
      GuestMemfd memfd = file(host, recorder, RetryPolicy.completeLater());
      Folio folio = memfd.grab(PAGE + 1);
      int pfn = memfd.tryGrab(PAGE, HolderKind.SAFE);
      memfd.put(pfn, HolderKind.SAFE);
      folio.close();
      HostMapping window = memfd.mmap(0, PAGE, Protection.READ);
      HostReference pin = window.pin(0, PAGE);
      var later = memfd.makeInaccessibleLater(0, PAGE);
      pin.close();
      later.join();
      memfd.makeInaccessibleLater(PAGE, PAGE).join();
      memfd.close();
      GuestMemfd again = memfd.reopen().orElseThrow();
      again.stat();
      again.close();
      window.close();
      assertThat(recorder.inexact()).isEqualTo(7);
    }
    assertThat(out.toString().lines().toList())
        .startsWith(
            "# guest_memfd trace 1",
            "# profile: 6.18",
            "create m0 size=8192 flags=0x3 = ok",
            "# grab m0 4097 SAFE = OK",
            "fallocate m0 0x1 4096 4096 = ok",
            "# grab m0 4096 SAFE = OK",
            "fallocate m0 0x1 4096 4096 = ok",
            "mmap a0 m0 offset=0 length=4096 prot=r flags=SHARED = ok",
            "# the next reference is pinned",
            "gup g0 a0 0 4096 = ok",
            "# convert m0 private 0 4096 = pending",
            "gup_release g0 = bytes=4096 first=0x00 sum31=0x000000",
            "convert m0 private 0 4096 = ok",
            "convert m0 private 4096 4096 = ok",
            "close m0 = ok",
            "# dup m1 of the closed m0 = ok")
        .endsWith("munmap a0 = ok")
        .hasSize(19);
    assertThat(Replay.run(parse(out.toString()), ConversionProtocol.atomicPair()).differences())
        .isEmpty();
  }

  static List<Throwable> failuresOfTasks() {
    return List.of(
        new IllegalStateException("thrown"),
        new AssertionError("thrown"),
        new IndexOutOfBoundsException("thrown"),
        new GuestMemfdException(Errno.EAGAIN, "thrown"));
  }

  /** What a window's task has written before it throws is recorded, and no fault of the access. */
  @ParameterizedTest
  @MethodSource("failuresOfTasks")
  void aWindowWhoseTaskThrows(Throwable thrown) {
    StringWriter out = new StringWriter();
    try (HostMemory host = HostMemory.ofBytes(1L << 20);
        Recorder recorder = Recorder.to(out, 16, IdleStrategy.spinThenPark())) {
      GuestMemfd memfd = file(host, recorder, RetryPolicy.failAtOnce());
      HostMapping window = memfd.mmap(0, 2L * PAGE, Protection.READ, Protection.WRITE);
      assertThatThrownBy(
              () ->
                  window.window(
                      8,
                      1,
                      Protection.WRITE,
                      (offset, bytes) -> {
                        bytes.put(0, (byte) 7);
                        if (thrown instanceof Error error) {
                          throw error;
                        }
                        throw (RuntimeException) thrown;
                      }))
          .isSameAs(thrown);
      window.getByte(8);
      window.close();
      memfd.close();
    }
    assertThat(out.toString().lines().toList().subList(4, 6))
        .containsExactly("store a0 8 0x07 = ok", "load a0 8 = 0x07");
    assertThat(Replay.run(parse(out.toString()), ConversionProtocol.atomicPair()).differences())
        .isEmpty();
  }

  /** A recorder that forgets a call would say nothing of it. */
  @Test
  void everyCallIsRecorded() throws Exception {
    for (Method call : GuestMemfdListener.class.getMethods()) {
      assertThat(call.isDefault()).as(call.getName()).isTrue();
      Method recorded = Recorder.class.getMethod(call.getName(), call.getParameterTypes());
      assertThat(recorded.getDeclaringClass()).as(call.getName()).isEqualTo(Recorder.class);
    }
  }

  @Test
  void aLaterConversionThatIsRefusedAtOnce() {
    StringWriter out = new StringWriter();
    try (HostMemory host = HostMemory.ofBytes(1L << 20);
        Recorder recorder = Recorder.to(out, 16, IdleStrategy.spinThenPark());
        GuestMemfd memfd = file(host, recorder, RetryPolicy.failAtOnce());
        HostMapping window = memfd.mmap(0, PAGE, Protection.READ);
        HostReference pin = window.pin(0, PAGE)) {
      assertThat(pin.isPinned()).isTrue();
      assertThat(memfd.makeInaccessibleLater(0, PAGE)).isCompletedExceptionally();
      assertThat(memfd.makeInaccessibleLater(1, PAGE)).isCompletedExceptionally();
    }
    assertThat(out.toString().lines())
        .contains("convert m0 private 0 4096 = EAGAIN error_offset=0")
        .contains("convert m0 private 1 4096 = EINVAL");
  }

  // ---- the queue ----

  /** Lets nothing be written until it is told to. */
  private static final class Gate extends Writer {
    final CountDownLatch open = new CountDownLatch(1);
    final StringBuilder text = new StringBuilder();

    @Override
    public void write(char[] chars, int from, int length) throws IOException {
      try {
        open.await();
      } catch (InterruptedException e) {
        throw new IOException(e);
      }
      text.append(chars, from, length);
    }

    @Override
    public void flush() {}

    @Override
    public void close() {}
  }

  /**
   * A call waits for room, by the idle strategy, also when it is interrupted, and loses nothing.
   */
  @Test
  void aFullQueueBlocks() throws Exception {
    Gate gate = new Gate();
    AtomicInteger idled = new AtomicInteger();
    Thread[] caller = new Thread[1];
    IdleStrategy idle =
        (round, nanos) -> {
          if (Thread.currentThread() == caller[0] && idled.incrementAndGet() == 100) {
            Thread.currentThread().interrupt();
          }
          IdleStrategy.spinThenPark().idle(round, nanos);
        };
    Recorder recorder = Recorder.to(gate, 4, idle);
    try (HostMemory host = HostMemory.ofBytes(1L << 20);
        GuestMemfd memfd = file(host, recorder, RetryPolicy.failAtOnce())) {
      AtomicInteger made = new AtomicInteger();
      boolean[] interrupted = new boolean[1];
      caller[0] =
          new Thread(
              () -> {
                for (int i = 0; i < 20; i++) {
                  memfd.cachedPages();
                  made.incrementAndGet();
                }
                interrupted[0] = Thread.interrupted();
              });
      caller[0].start();
      while (idled.get() < 200) {
        Thread.onSpinWait();
      }
      assertThat(made.get()).isLessThan(6);
      gate.open.countDown();
      caller[0].join();
      assertThat(interrupted[0]).isTrue();
      recorder.close();
      assertThat(gate.text.toString().lines().filter("cached m0 = 0"::equals)).hasSize(20);
    }
  }

  /** The program goes on; closing the recorder reports it. */
  @Test
  void anErrorIsToldAtTheEnd() {
    Writer broken =
        new Writer() {
          @Override
          public void write(char[] chars, int from, int length) throws IOException {
            throw new IOException("full");
          }

          @Override
          public void flush() {}

          @Override
          public void close() {}
        };
    try (HostMemory host = HostMemory.ofBytes(1L << 20)) {
      Recorder recorder = Recorder.to(broken, 2, IdleStrategy.spinThenPark());
      try (GuestMemfd memfd = file(host, recorder, RetryPolicy.failAtOnce())) {
        for (int i = 0; i < 100; i++) {
          memfd.cachedPages();
        }
      }
      assertThatThrownBy(recorder::close)
          .isInstanceOf(UncheckedIOException.class)
          .hasStackTraceContaining("full");
    }
  }

  @Test
  void theCapacityIsChecked() {
    assertThatThrownBy(() -> Recorder.to(new StringWriter(), 1, IdleStrategy.busySpin()))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
