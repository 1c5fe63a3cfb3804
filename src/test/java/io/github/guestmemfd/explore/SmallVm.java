package io.github.guestmemfd.explore;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.InjectedFault;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.StringJoiner;
import org.jspecify.annotations.Nullable;

/**
 * A world of one or two shared pages: a file, a mapping that has them mapped, and a virtual machine
 * with two vCPUs, of which the first may have them mapped too. What the guest writes as private is
 * a secret: a host that reads it has found a leak.
 */
final class SmallVm {
  static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long GPA = 0x10_0000;
  private static final long SECRET = 0x5ec2e7;

  /** Pages of the file, from one on. */
  record Range(int first, int pages) {
    int offset() {
      return first * PAGE;
    }

    int length() {
      return pages * PAGE;
    }

    long gpa() {
      return GPA + offset();
    }

    /** The frame that the first page has at the start. */
    int pfn() {
      return first + 1;
    }
  }

  /** A call on a range of pages. */
  @FunctionalInterface
  interface Act {
    @Nullable Object on(SmallVm world, Range range) throws Exception;
  }

  /** A public operation, as one thread calls it; refusals that are documented are an outcome. */
  enum Operation {
    GRAB((w, r) -> w.hold(w.memfd.grab(r.offset(), HolderKind.SAFE)), SmallVm::letGo),
    GRAB_UNSAFE((w, r) -> w.hold(w.memfd.grab(r.offset(), HolderKind.UNSAFE)), SmallVm::letGo),
    LOAD((w, r) -> w.requireNoSecret(w.window.getLong(r.offset()))),
    LOAD_BYTES(
        (w, r) -> {
          ByteBuffer bytes = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
          w.window.get(r.offset(), bytes.array(), 0, Long.BYTES);
          return w.requireNoSecret(bytes.getLong(0));
        }),
    STORE(
        (w, r) -> {
          w.window.putLong(r.offset(), 1);
          return "stored";
        }),
    GUP((w, r) -> w.hold(w.window.getUserPages(r.offset(), r.length())), SmallVm::letGo),
    PIN((w, r) -> w.hold(w.window.pin(r.offset(), r.length())), SmallVm::letGo),
    MAKE_INACCESSIBLE((w, r) -> w.memfd.tryMakeInaccessible(r.offset(), r.length())),
    MAKE_ACCESSIBLE((w, r) -> w.memfd.tryMakeAccessible(r.offset(), r.length())),
    PUNCH(
        (w, r) -> {
          w.memfd.punchHole(r.offset(), r.length());
          return "punched";
        }),
    ALLOCATE(
        (w, r) -> {
          w.memfd.allocate(r.offset(), r.length());
          return "allocated";
        }),
    DONTNEED(
        (w, r) -> {
          w.window.madvise(r.offset(), r.length(), Advice.DONTNEED);
          return "unmapped";
        }),
    MUNMAP_PART(
        (w, r) -> {
          w.window.munmap(r.offset(), r.length());
          return "unmapped";
        }),
    MPROTECT(
        (w, r) -> {
          w.window.mprotect(r.offset(), r.length(), Protection.READ);
          return "protected";
        }),
    MREMAP(
        (w, r) -> {
          HostMapping moved = w.window.mremap(r.offset(), r.length(), r.length());
          w.open.push(moved);
          return moved.tryPutLong(0, 3) ? "moved and written" : "moved";
        }),
    MUNMAP(
        (w, r) -> {
          w.window.close();
          return "closed";
        }),
    MIGRATE((w, r) -> w.host.pfnWalker().migrate(r.pfn())),
    SCAN((w, r) -> w.host.pfnWalker().scan(r.pfn())),
    MEMORY_FAILURE((w, r) -> w.host.pfnWalker().memoryFailure(r.pfn())),
    VCPU_READ_SHARED((w, r) -> w.readShared(w.second, r)),
    VCPU_READ_SHARED_MAPPED((w, r) -> w.readShared(w.first, r)),
    VCPU_WRITE_PRIVATE((w, r) -> w.first.tryWrite(r.gpa(), 8, SECRET, PRIVATE)),
    CONVERT_BY_THE_VM(
        (w, r) -> w.vm.trySetMemoryAttributes(r.gpa(), r.length(), PRIVATE, new BusyGuestPage())),
    UNBIND(
        (w, r) -> {
          w.vm.unbind(0);
          return "unbound";
        }),
    CLOSE(
        (w, r) -> {
          w.memfd.close();
          return "closed";
        });

    /** Those that touch most of what others touch. */
    static final Set<Operation> MOST_IMPORTANT =
        EnumSet.of(
            GRAB,
            LOAD_BYTES,
            STORE,
            PIN,
            MAKE_INACCESSIBLE,
            MAKE_ACCESSIBLE,
            PUNCH,
            MUNMAP,
            MEMORY_FAILURE,
            VCPU_WRITE_PRIVATE,
            CONVERT_BY_THE_VM,
            CLOSE);

    @SuppressWarnings("ImmutableEnumChecker") // a function without state
    private final List<Act> acts;

    Operation(Act... acts) {
      this.acts = List.of(acts);
    }

    /** Its calls: a holder's second one lets go. */
    List<Scenario.Call<SmallVm>> calls(Range range) {
      return acts.stream().<Scenario.Call<SmallVm>>map(act -> w -> run(act, w, range)).toList();
    }

    /** Returns what a call returns, or how it is refused. */
    private static @Nullable Object run(Act act, SmallVm world, Range range) throws Exception {
      try {
        return act.on(world, range);
      } catch (GuestMemfdException e) {
        world.requireDocumented(e.errno());
        return e.errno();
      } catch (IllegalStateException e) {
        if (!String.valueOf(e.getMessage()).matches("(?s).*(unmapped|closed|exited).*")) {
          throw e;
        }
        return "closed before";
      } catch (InjectedFault e) {
        return "a callback has thrown";
      }
    }
  }

  private static final Set<Errno> DOCUMENTED =
      EnumSet.of(
          Errno.OK,
          Errno.EAGAIN,
          Errno.EBADF,
          Errno.EFAULT,
          Errno.EBUSY,
          Errno.ENOENT,
          Errno.EACCES,
          Errno.EPERM,
          Errno.EHWPOISON,
          Errno.EINVAL,
          Errno.ENOMEM,
          Errno.EINTR);

  final int pages;
  final HostMemory host;
  final VirtualMachine vm = new VirtualMachine();
  final GuestMemfd memfd;
  final HostMapping window;
  final Vcpu first = vm.createVcpu();
  final Vcpu second = vm.createVcpu();
  private final Deque<AutoCloseable> open = new ArrayDeque<>();

  /** By thread; no two threads of a scenario run at the same time. */
  private final Map<Thread, AutoCloseable> held = new HashMap<>();

  /**
   * A world.
   *
   * @param pages how many pages: the mapping has them mapped
   * @param guestMapped whether the first vCPU has them mapped, too
   */
  SmallVm(int pages, boolean guestMapped, ConversionProtocol protocol, RetryPolicy retries) {
    this.pages = pages;
    host = HostMemory.ofBytes((pages + 3L) * PAGE);
    open.push(host);
    memfd =
        vm.createGuestMemfd(
            GuestMemfd.builder(host)
                .size((long) pages * PAGE)
                .protocol(protocol)
                .retryPolicy(retries)
                .flags(MMAP, INIT_SHARED));
    open.push(memfd);
    window = memfd.mmap(0, (long) pages * PAGE, Protection.READ, Protection.WRITE);
    open.push(window);
    vm.bind(0, GPA, (long) pages * PAGE, memfd, 0);
    for (int page = 0; page < pages; page++) {
      window.putLong((long) page * PAGE, 7);
      if (guestMapped) {
        first.read(GPA + (long) page * PAGE, 8, SHARED);
      }
    }
  }

  private void requireDocumented(Errno errno) {
    if (!DOCUMENTED.contains(errno)) {
      throw new AssertionError("refused with " + errno);
    }
  }

  private Long requireNoSecret(long number) {
    if (number == SECRET) {
      throw new AssertionError("what the guest had written as private was read as shared");
    }
    return number;
  }

  /** The guest writes a secret to the first page, not by a vCPU. */
  String writeSecret() {
    try (Folio folio = memfd.grab(0, HolderKind.SAFE)) {
      folio.buffer().putLong(0, SECRET);
    }
    return "written";
  }

  private Object readShared(Vcpu vcpu, Range range) {
    return vcpu.tryRead(range.gpa(), 8, SHARED) ? requireNoSecret(vcpu.value()) : "exit";
  }

  /** Keeps a folio or a reference for the calling thread. */
  private String hold(AutoCloseable holder) {
    held.put(Thread.currentThread(), holder);
    if (holder instanceof HostReference reference) {
      requireNoSecret(reference.buffer(0).getLong(0));
    }
    return "held";
  }

  private static String letGo(SmallVm w, Range range) throws Exception {
    AutoCloseable holder = w.held.remove(Thread.currentThread());
    if (holder == null) {
      return "nothing held";
    }
    if (holder instanceof HostReference reference) {
      w.requireNoSecret(reference.buffer(0).getLong(0));
    }
    holder.close();
    return "let go";
  }

  /** What is left of the pages. */
  String state() {
    StringJoiner text = new StringJoiner(", ");
    for (int page = 0; page < pages && memfd.isOpen(); page++) {
      long offset = (long) page * PAGE;
      text.add(memfd.isAccessible(offset) ? "accessible" : "inaccessible");
      text.add(memfd.holders(offset).isHole() ? "hole" : "present");
    }
    return text.add(host.used() + " bytes used").toString();
  }

  /** Everything is given back, and then nothing is left. */
  void close() throws Exception {
    if (!host.violations().isEmpty()) {
      throw new AssertionError(host.violations().toString());
    }
    try {
      vm.unbind(0);
    } catch (GuestMemfdException e) {
      requireDocumented(e.errno());
    }
    while (open.size() > 1) {
      open.pop().close();
    }
    if (host.used() != 0) {
      throw new AssertionError(host.used() + " bytes in use after everything was closed");
    }
    host.close();
  }
}
