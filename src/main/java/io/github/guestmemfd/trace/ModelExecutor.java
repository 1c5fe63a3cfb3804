package io.github.guestmemfd.trace;

import io.github.guestmemfd.AddressSpace;
import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileCall;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.HostRam;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Makes the calls of a trace on the model. It has its own host and virtual machines; conversions
 * fail at once if a folio is held. Any number of threads may make calls at the same time.
 */
public final class ModelExecutor implements TraceExecutor {
  private static final long HOST_BYTES = 64L << 30;
  private static final long FIRST_USER_ADDRESS = 1L << 44;
  private static final long LONGEST_MAPPING = 1L << 40;

  /** What lies unused after anonymous memory: a memslot may be longer than that. */
  private static final long GAP = 1L << 30;

  /** What stands in an error_offset before a call: no offset. */
  static final long UNTOUCHED = -1;

  private final HostMemory host;
  private final ConversionProtocol protocol;
  private final KernelProfile profile;
  private final VirtualMachine vm;
  private final Map<String, VirtualMachine> machines = new ConcurrentHashMap<>();

  /** The vCPUs of each machine that are not in use. */
  private final Map<String, Queue<Vcpu>> vcpus = new ConcurrentHashMap<>();

  /** The machines of files that are not of the one that every trace has. */
  private final Map<String, VirtualMachine> owners = new ConcurrentHashMap<>();

  private final Map<String, GuestMemfd> memfds = new ConcurrentHashMap<>();
  private final Map<String, AddressSpace> processes = new ConcurrentHashMap<>();
  private final Map<String, HostMapping> mappings = new ConcurrentHashMap<>();
  private final Map<String, HostReference> references = new ConcurrentHashMap<>();

  /** Memory of the host; the view of each is among the mappings too. */
  private final Map<String, HostRam> anonymous = new ConcurrentHashMap<>();

  /** An address is used once: memslots know memory by its address. */
  private final AtomicLong nextUserAddress = new AtomicLong(FIRST_USER_ADDRESS);

  /** The memslots created so far, including deleted ones: the virtual machine knows which exist. */
  private final Map<String, Integer> slots = new ConcurrentHashMap<>();

  /**
   * Creates a model with 64 GiB of memory, all of it free.
   *
   * @param protocol how conversions detect holders of a folio
   * @param profile the kernel whose answers it gives
   */
  public ModelExecutor(ConversionProtocol protocol, KernelProfile profile) {
    this(HostMemory.ofBytes(HOST_BYTES), protocol, profile);
  }

  /**
   * Creates a model on a host of the caller, for instance one with race points.
   *
   * @param host the host, which is closed with the executor
   * @param protocol how conversions detect holders of a folio
   * @param profile the kernel whose answers it gives
   */
  public ModelExecutor(HostMemory host, ConversionProtocol protocol, KernelProfile profile) {
    this.host = Objects.requireNonNull(host, "host");
    this.protocol = Objects.requireNonNull(protocol, "protocol");
    this.profile = Objects.requireNonNull(profile, "profile");
    // What is converted in place is private memory, which a machine of the default type has not.
    this.vm = machine(profile == KernelProfile.IN_PLACE ? VmType.SW_PROTECTED : VmType.DEFAULT);
    machines.put(Trace.MACHINE, vm);
    processes.put("p0", host.addressSpace());
  }

  private VirtualMachine machine(VmType type) {
    return VirtualMachine.builder().kernelProfile(profile).type(type).build();
  }

  /**
   * Closes what calls have left open, and then the host.
   *
   * @throws GuestMemfdException EBUSY if frames were lost
   */
  @Override
  public void close() {
    references.values().forEach(HostReference::close);
    processes.values().forEach(AddressSpace::close);
    anonymous.values().forEach(HostRam::close);
    memfds.values().forEach(GuestMemfd::close);
    host.close();
  }

  @Override
  public String execute(Trace.Call call) {
    try {
      return run(call);
    } catch (Missing e) {
      return e.name + " does not exist";
    } catch (GuestMemfdException | IndexOutOfBoundsException e) {
      return Objects.requireNonNull(word(e));
    } catch (IllegalStateException e) {
      return "misuse: " + e.getMessage();
    }
  }

  /** The name of a failure in traces; null if there is none. */
  static @Nullable String word(RuntimeException failure) {
    if (failure instanceof SigBusException) {
      return "SIGBUS";
    }
    if (failure instanceof SigSegvException || failure instanceof IndexOutOfBoundsException) {
      return "SIGSEGV"; // no permission, or outside the mapping where nothing is
    }
    return failure instanceof GuestMemfdException e ? e.errno().name() : null;
  }

  /** A name that the trace has defined but the model, whose result differed there, has not. */
  private static final class Missing extends RuntimeException {
    private static final long serialVersionUID = 1L;
    final String name;

    Missing(String name) {
      super(name);
      this.name = name;
    }
  }

  private static <T> T find(Map<String, T> objects, String name) {
    T object = objects.get(name);
    if (object == null) {
      throw new Missing(name);
    }
    return object;
  }

  private static <T> T take(Map<String, T> objects, String name) {
    T object = find(objects, name);
    objects.remove(name);
    return object;
  }

  private String run(Trace.Call call) {
    String name = call.word(0);
    return switch (call.verb()) {
      case CREATE -> define(memfds, name, create(vm, call.number(1), call.number(2)));
      case STAT -> stat(find(memfds, name).stat());
      case DUP -> {
        String dup = define(memfds, name, find(memfds, call.word(1)).dup());
        owners.put(name, owners.getOrDefault(call.word(1), vm));
        yield dup;
      }
      case FALLOCATE ->
          ok(() -> find(memfds, name).fallocate(call.mode(1), call.number(2), call.number(3)));
      case FTRUNCATE -> ok(() -> find(memfds, name).ftruncate(0));
      case CALL -> answer(find(memfds, name).call(FileCall.valueOf(call.word(1))));
      case CACHED -> Long.toString(find(memfds, name).cachedPages());
      case FORK -> fork(name, find(processes, call.word(1)));
      case EXIT -> exit(take(processes, name));
      case MMAP -> define(mappings, name, mmap(host.addressSpace(), call, 1));
      case MMAP_IN -> define(mappings, name, mmap(find(processes, call.word(1)), call, 2));
      case LOAD -> hex(find(mappings, name).getByte(call.number(1)));
      case STORE -> ok(() -> find(mappings, name).putByte(call.number(1), (byte) call.number(2)));
      case MADVISE ->
          ok(() -> madvise(name, call.number(1), call.number(2), Advice.valueOf(call.word(3))));
      case MUNMAP -> ok(() -> munmap(name));
      case MUNMAP_PART -> ok(() -> find(mappings, name).munmap(call.number(1), call.number(2)));
      case MPROTECT ->
          ok(
              () ->
                  find(mappings, name)
                      .mprotect(call.number(1), call.number(2), protection(call.word(3))));
      case MBIND ->
          ok(() -> find(mappings, name).mbind(call.number(1), call.number(2), policy(call)));
      case GET_MEMPOLICY -> policy(find(mappings, name).getMempolicy(call.number(1)));
      case MREMAP ->
          define(
              mappings,
              name,
              find(mappings, call.word(1)).mremap(call.number(2), call.number(3), call.number(4)));
      case GUP ->
          define(
              references,
              name,
              find(mappings, call.word(1)).getUserPages(call.number(2), call.number(3)));
      case GUP_RELEASE -> {
        HostReference reference = take(references, name);
        String contents = contents(reference);
        reference.close();
        yield contents;
      }
      case BIND -> define(slots, name, bind(call));
      case UNBIND -> ok(() -> vm.unbind(find(slots, name)));
      case VM -> create(name, call.number(1));
      case CREATE_IN -> {
        VirtualMachine of = find(machines, call.word(1));
        String created = define(memfds, name, create(of, call.number(2), call.number(3)));
        owners.put(name, of);
        yield created;
      }
      case ANON -> anonymous(name, find(machines, call.word(1)), call.number(2));
      case MEMSLOT -> ok(() -> find(machines, name).setUserMemoryRegion2(memslot(call)));
      case DIRTY_LOG -> pages(find(machines, name).getDirtyLog((int) call.number(1)));
      case CLEAR_DIRTY_LOG ->
          ok(
              () ->
                  find(machines, name)
                      .clearDirtyLog((int) call.number(1), pages(call.number(2), call.number(3))));
      case GUEST_LOAD -> guest(name, call, false);
      case GUEST_STORE -> guest(name, call, true);
      case ATTRIBUTES -> attributes(find(machines, name), call);
      case CONVERT ->
          convert(
              find(memfds, name), call.word(1).equals("private"), call.number(2), call.number(3));
      case SET_ATTRIBUTES -> setAttributes(find(memfds, name), call);
      case ATTR -> find(memfds, name).isAccessible(call.number(1)) ? "shared" : "private";
      case CLOSE -> close(find(memfds, name));
    };
  }

  private static String ok(Runnable call) {
    call.run();
    return "ok";
  }

  private static String close(GuestMemfd memfd) {
    if (!memfd.isOpen()) {
      return Errno.EBADF.name();
    }
    memfd.close();
    return "ok";
  }

  private static <T> String define(Map<String, T> objects, String name, T object) {
    objects.put(name, object);
    return "ok";
  }

  private GuestMemfd create(VirtualMachine of, long size, long flags) {
    return of.createGuestMemfd(
        GuestMemfd.builder(host)
            .size(size)
            .flags(flags)
            .protocol(protocol)
            .retryPolicy(RetryPolicy.failAtOnce()));
  }

  static String stat(FileStat stat) {
    return "size="
        + stat.size()
        + " blocks="
        + stat.blocks()
        + " blksize="
        + stat.blksize()
        + " mode=0"
        + Integer.toOctalString(stat.mode());
  }

  private HostMapping mmap(AddressSpace process, Trace.Call call, int at) {
    return process.mmap(
        find(memfds, call.word(at)),
        call.number(at + 1),
        call.number(at + 2),
        MapType.valueOf(call.word(at + 4)),
        protection(call.word(at + 3)));
  }

  /** The child's mapping of what the parent's is called has that name and the child's. */
  private String fork(String name, AddressSpace parent) {
    AddressSpace child = parent.fork();
    Map<String, HostMapping> inherited = new HashMap<>();
    mappings.forEach(
        (parents, mapping) -> {
          HostMapping same = child.inherited().get(mapping);
          if (same != null) {
            inherited.put(parents + name, same);
          }
        });
    mappings.putAll(inherited);
    return define(processes, name, child);
  }

  private String exit(AddressSpace process) {
    process.close();
    mappings.values().removeIf(m -> m.addressSpace() == process);
    return "ok";
  }

  private static String convert(GuestMemfd memfd, boolean inaccessible, long offset, long length) {
    BusyFolio busy = new BusyFolio();
    Errno errno =
        inaccessible
            ? memfd.tryMakeInaccessible(offset, length, busy)
            : memfd.tryMakeAccessible(offset, length);
    return converted(errno, busy.offset());
  }

  private String setAttributes(GuestMemfd memfd, Trace.Call call) {
    ByteBuffer bytes = ByteBuffer.allocate(MemoryAttributes2.SIZE);
    MemoryAttributes2 argument =
        MemoryAttributes2.of(bytes)
            .offset(call.number(1))
            .size(call.number(2))
            .attributes(call.number(3))
            .flags(call.number(4))
            .errorOffset(UNTOUCHED)
            .reserved(MemoryAttributes2.RESERVED - 1, call.number(5));
    VirtualMachine of = owners.getOrDefault(call.word(0), vm);
    return switch (call.word(6)) {
      case "null" -> answer(of.trySetMemoryAttributes2(memfd, null));
      case "r" ->
          setAttributes(
              of.trySetMemoryAttributes2(memfd, MemoryAttributes2.of(bytes.asReadOnlyBuffer())),
              argument.errorOffset());
      default -> setAttributes(of.trySetMemoryAttributes2(memfd, argument), argument.errorOffset());
    };
  }

  /** The answer of that call, with the offset if it has been written. */
  static String setAttributes(Errno errno, long errorOffset) {
    return errorOffset == UNTOUCHED ? answer(errno) : errno + " error_offset=" + errorOffset;
  }

  static String converted(Errno errno, long busyOffset) {
    return busyOffset >= 0 ? errno + " error_offset=" + busyOffset : answer(errno);
  }

  static String answer(Errno errno) {
    return errno == Errno.OK ? "ok" : errno.name();
  }

  /** A copy of the bytes. */
  static String contents(HostReference reference) {
    int sum = 0;
    int first = 0;
    for (int page = 0; page < reference.pages(); page++) {
      ByteBuffer bytes = reference.buffer(page);
      if (page == 0) {
        first = bytes.get(0) & 0xff;
      }
      while (bytes.hasRemaining()) {
        sum = (sum * 31 + (bytes.get() & 0xff)) & 0xffffff;
      }
    }
    return String.format(
        Locale.ROOT, "bytes=%d first=0x%02x sum31=0x%06x", reference.length(), first, sum);
  }

  private static Protection[] protection(String word) {
    List<Protection> protection = new ArrayList<>();
    if (word.contains("r")) {
      protection.add(Protection.READ);
    }
    if (word.contains("w")) {
      protection.add(Protection.WRITE);
    }
    if (word.contains("x")) {
      protection.add(Protection.EXEC);
    }
    return protection.toArray(new Protection[0]);
  }

  private static MemoryPolicy policy(Trace.Call call) {
    return new MemoryPolicy(MemoryPolicy.Mode.valueOf(call.word(3)), call.number(4));
  }

  static String policy(MemoryPolicy policy) {
    return "mode=" + policy.mode() + " nodes=0x" + Long.toHexString(policy.nodes());
  }

  private int bind(Trace.Call call) {
    int slot = Integer.parseInt(call.word(0).substring(1));
    GuestMemfd memfd = find(memfds, call.word(1));
    vm.setUserMemoryRegion2(
        new Memslot(slot, call.number(2), call.number(3), memfd, call.number(4)));
    return slot;
  }

  // ---- memslots with all their arguments ----

  private String create(String name, long type) {
    for (VmType known : VmType.values()) {
      if (known.number() == type) {
        return define(machines, name, machine(known));
      }
    }
    return Errno.EINVAL.name();
  }

  private String anonymous(String name, VirtualMachine of, long length) {
    long size = (length + Pages.OFFSET_MASK) & -Pages.SIZE;
    long room = size < LONGEST_MAPPING ? size + GAP : 0;
    HostRam ram = of.mapHostRam(host, nextUserAddress.getAndAdd(room), size);
    anonymous.put(name, ram);
    return define(mappings, name, ram.mapping());
  }

  private void madvise(String name, long offset, long length, Advice advice) {
    HostMapping mapping = find(mappings, name);
    HostRam ram = anonymous.get(name);
    if (ram == null) {
      mapping.madvise(offset, length, advice);
    } else {
      ram.madvise(offset, length, advice);
    }
  }

  private void munmap(String name) {
    HostMapping mapping = take(mappings, name);
    HostRam ram = anonymous.remove(name);
    if (ram == null) {
      mapping.close();
    } else {
      ram.close();
    }
  }

  private Memslot memslot(Trace.Call call) {
    String user = call.word(5);
    String file = call.word(6);
    return new Memslot(
        (int) call.number(1),
        (int) call.number(2),
        call.number(3),
        call.number(4),
        user.startsWith("a") ? find(anonymous, user).userAddress() : call.number(5),
        file.equals("none") ? null : find(memfds, file),
        call.number(7));
  }

  private static BitSet pages(long first, long count) {
    BitSet pages = new BitSet();
    pages.set(Math.toIntExact(first), Math.toIntExact(first + count));
    return pages;
  }

  static String pages(BitSet pages) {
    return pages.isEmpty()
        ? "none"
        : pages.stream().mapToObj(Integer::toString).collect(Collectors.joining(","));
  }

  /** An access of the guest to shared memory, by a vCPU of its own. */
  private String guest(String machine, Trace.Call call, boolean write) {
    VirtualMachine of = find(machines, machine);
    Queue<Vcpu> idle = vcpus.computeIfAbsent(machine, m -> new ConcurrentLinkedQueue<>());
    Vcpu polled = idle.poll();
    Vcpu vcpu = polled == null ? of.createVcpu() : polled;
    try {
      long gpa = call.number(1);
      boolean done =
          write
              ? vcpu.tryWrite(gpa, 1, call.number(2), MemoryAttribute.SHARED)
              : vcpu.tryRead(gpa, 1, MemoryAttribute.SHARED);
      return !done ? word(vcpu.exit()) : write ? "ok" : hex(vcpu.value());
    } finally {
      idle.add(vcpu);
    }
  }

  private static String word(VcpuExit exit) {
    if (exit instanceof VcpuExit.MemoryFault fault) {
      return fault.errno() == Errno.EFAULT ? "MEMORY_FAULT" : fault.errno().name();
    }
    return exit instanceof VcpuExit.Mmio
        ? "MMIO"
        : exit instanceof VcpuExit.HostFault ? Errno.EFAULT.name() : Errno.EINTR.name();
  }

  private static String hex(long value) {
    return String.format(Locale.ROOT, "0x%02x", value & 0xff);
  }

  private static String attributes(VirtualMachine of, Trace.Call call) {
    MemoryAttribute attribute =
        call.word(1).equals("private") ? MemoryAttribute.PRIVATE : MemoryAttribute.SHARED;
    return answer(
        of.trySetMemoryAttributes(call.number(2), call.number(3), attribute, new BusyGuestPage()));
  }
}
