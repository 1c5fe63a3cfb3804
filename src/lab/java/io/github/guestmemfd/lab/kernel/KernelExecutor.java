package io.github.guestmemfd.lab.kernel;

import io.github.guestmemfd.abi.FileCall;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.TraceExecutor;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * Makes the calls of a trace on the real guest_memfd of the kernel that runs here. It has a virtual
 * machine of its own. Calls may be made by any number of threads at a time.
 *
 * <p><b>Signals.</b> The JVM never touches a mapping: a byte is moved by a system call from or to a
 * pipe, for which the kernel's own access faults, and EFAULT takes the place of the signal. Which
 * signal it would have been the kernel says too: to populate the page is EFAULT where a touch is a
 * SIGBUS, EINVAL where it is a SIGSEGV, and so is ENOMEM where nothing is mapped; elsewhere ENOMEM
 * is the answer.
 *
 * <p><b>Neighbours.</b> Each mapping lies alone, in a part of the address space that nothing else
 * uses, with {@link #GAP} bytes of nothing on both sides, which is checked before it is made, so
 * that calls that reach out of it meet nothing; those that would reach farther are not made ({@link
 * IllegalArgumentException}).
 *
 * <p><b>Processes</b> are forked from the JVM ({@link ForkedProcess}), for which it takes x86-64;
 * p0 is the JVM. A child has what it inherits at the same addresses, and shares all descriptors.
 *
 * <p><b>References</b> are pages spliced into pipes, of up to 256 each; one of more takes several.
 */
public final class KernelExecutor implements TraceExecutor {

  /** What lies unused before and after each mapping, in bytes. */
  public static final long GAP = 1L << 30;

  /** The longest mapping that can be made, in bytes. */
  public static final long LONGEST_MAPPING = 1L << 40;

  static final int PAGE_SIZE = 4096;
  private static final int PIPE_BYTES = 1 << 20;
  private static final int DEFAULT_PIPE_BYTES = 1 << 16;

  /** Half of the addresses of a process; what is in use there already is passed by. */
  private static final long FIRST_ADDRESS = 1L << 44;

  private static final long END_ADDRESS = 1L << 46;

  /** More than there are places. */
  private static final int MOST_PLACES = 1 << 15;

  private static final AtomicLong NEXT_ADDRESS = new AtomicLong(FIRST_ADDRESS);

  /** What the device's open answers where there is no KVM, or none for this user. */
  static final Set<String> NO_DEVICE = Set.of("ENOENT", "EACCES", "EPERM", "ENXIO", "ENODEV");

  /** What KVM_CREATE_VM answers where the device is not KVM's, or it cannot make machines. */
  static final Set<String> NO_KVM = Set.of("ENOTTY", "EINVAL", "ENODEV", "EOPNOTSUPP", "EBUSY");

  /** What stands in an error_offset before a call. */
  private static final long NO_OFFSET = -1;

  /** A descriptor that the program knows as closed. */
  private static final int CLOSED = -1;

  /** The name of the JVM's process. */
  private static final String JVM = "p0";

  private record Mapping(UserSpace process, long address, long length) {}

  private final int vm;
  private final AtomicBoolean closed = new AtomicBoolean();
  private final Map<String, Integer> fds = new ConcurrentHashMap<>();
  private final Map<String, UserSpace> processes = new ConcurrentHashMap<>();
  private final Map<String, Mapping> mappings = new ConcurrentHashMap<>();
  private final KernelMemslots memslots;

  /** The reading ends of the pipes that hold the pages of each reference. */
  private final Map<String, List<Integer>> references = new ConcurrentHashMap<>();

  /** The memslots that have been made, also those deleted since: the kernel knows which. */
  private final Set<String> slots = ConcurrentHashMap.newKeySet();

  /** The mappings of anonymous memory. */
  private final Set<String> anonymous = ConcurrentHashMap.newKeySet();

  /** Pipes that move single bytes; those not in use. */
  private final Queue<Pipe> pipes = new ConcurrentLinkedQueue<>();

  /**
   * Makes a virtual machine.
   *
   * @throws NoGuestMemfdException if this machine has no guest_memfd that the host can map
   * @throws IllegalStateException if it may have one, and something else is wrong: too many open
   *     files, for instance
   */
  public KernelExecutor() throws NoGuestMemfdException {
    this("/dev/kvm");
  }

  /** For tests, of a device that is not KVM's. */
  KernelExecutor(String device) throws NoGuestMemfdException {
    if (!System.getProperty("os.name").equals("Linux")) {
      throw new NoGuestMemfdException("expected Linux, actual " + System.getProperty("os.name"));
    }
    try {
      requirePageSize(Libc.getpagesize());
      vm = createVm(device);
      processes.put(JVM, UserSpace.OWN);
      memslots = new KernelMemslots(device, vm);
    } catch (LinkageError e) {
      throw new NoGuestMemfdException("expected JNA and its native part, actual " + e);
    }
  }

  private static int createVm(String device) throws NoGuestMemfdException {
    int kvm = Libc.open(device, Libc.O_RDWR_CLOEXEC);
    if (kvm < 0) {
      throw missing(device + " cannot be opened", Libc.errno(), NO_DEVICE);
    }
    int vm = KernelMemslots.createVm(kvm, 0);
    int errno = Libc.errno();
    Libc.close(kvm);
    if (vm < 0) {
      throw missing("KVM_CREATE_VM", errno, NO_KVM);
    }
    int capability = Libc.ioctl(vm, Libc.KVM_CHECK_EXTENSION, Libc.KVM_CAP_GUEST_MEMFD);
    int flags = Libc.ioctl(vm, Libc.KVM_CHECK_EXTENSION, Libc.KVM_CAP_GUEST_MEMFD_FLAGS);
    if (capability < 1 || flags < 0 || (flags & 3) != 3) {
      Libc.close(vm);
      throw new NoGuestMemfdException(
          "expected KVM_CAP_GUEST_MEMFD 1 and KVM_CAP_GUEST_MEMFD_FLAGS 3, actual "
              + capability
              + " and "
              + flags);
    }
    return vm;
  }

  /**
   * What an error means: that there is no guest_memfd, or else that the machine has another
   * problem, which is thrown at once.
   */
  static NoGuestMemfdException missing(String call, int errno, Set<String> absent) {
    String message = call + ": " + Libc.name(errno);
    if (!absent.contains(Libc.name(errno))) {
      throw new IllegalStateException(message);
    }
    return new NoGuestMemfdException(message);
  }

  static void requirePageSize(int bytes) throws NoGuestMemfdException {
    if (bytes != PAGE_SIZE) {
      throw new NoGuestMemfdException("expected pages of " + PAGE_SIZE + " bytes, actual " + bytes);
    }
  }

  /**
   * The kernel that answers.
   *
   * @return its name, release and machine, as {@code uname -srm}
   */
  public static String kernel() {
    return System.getProperty("os.name")
        + " "
        + System.getProperty("os.version")
        + " "
        + System.getProperty("os.arch");
  }

  /** Gives back all that calls have left open. No call may be running; none is made any more. */
  @Override
  public void close() {
    if (closed.getAndSet(true)) {
      return;
    }
    references.values().forEach(pipe -> pipe.forEach(Libc::close));
    references.clear();
    mappings.values().forEach(m -> m.process.munmap(m.address, m.length));
    mappings.clear();
    processes.values().forEach(KernelExecutor::end);
    processes.clear();
    fds.values().forEach(KernelExecutor::closeOnce);
    fds.clear();
    for (Pipe pipe = pipes.poll(); pipe != null; pipe = pipes.poll()) {
      pipe.close();
    }
    memslots.close();
  }

  private static void closeOnce(int fd) {
    if (fd != CLOSED) {
      Libc.close(fd);
    }
  }

  @Override
  public String execute(Trace.Call call) {
    if (closed.get()) {
      throw new IllegalStateException("closed");
    }
    String missing = missing(call);
    return missing == null ? run(call) : missing + " does not exist";
  }

  /** What the call needs and no call has made. */
  private @Nullable String missing(Trace.Call call) {
    for (int i = 0; i < call.arguments().size(); i++) {
      boolean known =
          switch (call.verb().arguments().get(i)) {
            case "m" -> fds.containsKey(call.word(i));
            case "a" -> mappings.containsKey(call.word(i));
            case "p" -> processes.containsKey(call.word(i));
            case "g" -> references.containsKey(call.word(i));
            case "s" -> slots.contains(call.word(i));
            case "v" -> memslots.hasMachine(call.word(i));
            case "file=m|none" -> call.word(i).equals("none") || fds.containsKey(call.word(i));
            case "user=number|a" ->
                !call.word(i).startsWith("a") || anonymous.contains(call.word(i));
            default -> true;
          };
      if (!known) {
        return call.word(i);
      }
    }
    return null;
  }

  private String run(Trace.Call call) {
    String name = call.word(0);
    return switch (call.verb()) {
      case CREATE -> define(name, memslots.createFile(vm, call.number(1), call.number(2)));
      case STAT -> stat(fd(name));
      case DUP -> define(name, Libc.dup(fd(call.word(1))));
      case FALLOCATE -> fallocate(fd(name), call.mode(1), call.number(2), call.number(3));
      case FTRUNCATE -> answer(Libc.ftruncate(fd(name), 0));
      case CALL -> call(fd(name), FileCall.valueOf(call.word(1)));
      case CACHED -> cached(fd(name));
      case FORK -> fork(name, process(call.word(1)));
      case EXIT -> exit(name);
      case MMAP -> mmap(name, UserSpace.OWN, call, 1);
      case MMAP_IN -> mmap(name, process(call.word(1)), call, 2);
      case LOAD -> load(mapping(name), call.number(1));
      case STORE -> store(mapping(name), call.number(1), (byte) call.number(2));
      case MADVISE -> madvise(mapping(name), call.number(1), call.number(2), advice(call.word(3)));
      case MUNMAP -> munmap(name);
      case MUNMAP_PART -> munmap(mapping(name), call.number(1), call.number(2));
      case MPROTECT -> mprotect(mapping(name), call);
      case MBIND -> mbind(mapping(name), call);
      case GET_MEMPOLICY -> mempolicy(mapping(name), call.number(1));
      case MREMAP -> mremap(name, mapping(call.word(1)), call);
      case GUP -> gup(name, mapping(call.word(1)), call.number(2), call.number(3));
      case GUP_RELEASE -> release(name);
      case BIND -> bind(name, call.number(2), call.number(3), fd(call.word(1)), call.number(4));
      case UNBIND -> memslots.set(vm, slot(name), 0, 0, 0, 0, 0, 0);
      case VM -> memslots.createMachine(name, call.number(1));
      case CREATE_IN ->
          define(
              name,
              memslots.createFile(memslots.machine(call.word(1)), call.number(2), call.number(3)));
      case ANON -> anonymous(name, call.number(2));
      case MEMSLOT -> memslot(memslots.machine(name), call);
      case DIRTY_LOG -> memslots.dirtyLog(memslots.machine(name), (int) call.number(1));
      case CLEAR_DIRTY_LOG ->
          memslots.clearDirtyLog(
              memslots.machine(name), (int) call.number(1), call.number(2), call.number(3));
      case GUEST_LOAD -> memslots.guest(memslots.machine(name)).load(call.number(1));
      case GUEST_STORE ->
          memslots.guest(memslots.machine(name)).store(call.number(1), (byte) call.number(2));
      case ATTRIBUTES ->
          memslots.setAttributes(
              memslots.machine(name),
              call.word(1).equals("private"),
              call.number(2),
              call.number(3));
      case SET_ATTRIBUTES -> setAttributes(fd(name), call);
      case CONVERT, ATTR -> "ENOTTY"; // no released kernel has them
      case CLOSE -> close(name);
    };
  }

  private static String answer(long result) {
    return result < 0 ? Libc.name(Libc.errno()) : "ok";
  }

  /** What a process has answered. */
  private static String answered(long result) {
    return result < 0 ? Libc.name((int) -result) : "ok";
  }

  // ---- processes ----

  private UserSpace process(String name) {
    UserSpace process = processes.get(name);
    if (process == null) {
      throw new IllegalStateException(name + " has ended during the call");
    }
    return process;
  }

  /** The child has at the same addresses what it has inherited. */
  private String fork(String name, UserSpace parent) {
    UserSpace child = parent.fork();
    Map<String, Mapping> inherited = new HashMap<>();
    mappings.forEach(
        (parents, mapping) -> {
          if (mapping.process == parent) {
            inherited.put(parents + name, new Mapping(child, mapping.address, mapping.length));
          }
        });
    mappings.putAll(inherited);
    processes.put(name, child);
    return "ok";
  }

  private String exit(String name) {
    UserSpace process = process(name);
    if (process == UserSpace.OWN) {
      throw new IllegalArgumentException("expected a process that was forked, actual " + name);
    }
    processes.remove(name);
    mappings.values().removeIf(mapping -> mapping.process == process);
    end(process);
    return "ok";
  }

  private static void end(UserSpace process) {
    if (process instanceof ForkedProcess forked) {
      forked.exit();
    }
  }

  // ---- files ----

  private int fd(String name) {
    return fds.getOrDefault(name, CLOSED);
  }

  private String define(String name, int fd) {
    if (fd < 0) {
      return Libc.name(Libc.errno());
    }
    fds.put(name, fd);
    return "ok";
  }

  private String close(String name) {
    Integer fd = fds.put(name, CLOSED); // by one thread alone: the number may be reused at once
    return answer(Libc.close(fd == null ? CLOSED : fd));
  }

  /** By statx, whose answer is laid out alike on every machine. */
  private static String stat(int fd) {
    byte[] status = new byte[256];
    if (Libc.statx(fd, "", Libc.AT_EMPTY_PATH, Libc.STATX_BASIC_STATS, status) < 0) {
      return Libc.name(Libc.errno());
    }
    ByteBuffer s = ByteBuffer.wrap(status).order(ByteOrder.nativeOrder());
    return "size="
        + s.getLong(40)
        + " blocks="
        + s.getLong(48)
        + " blksize="
        + s.getInt(4)
        + " mode=0"
        + Integer.toOctalString(s.getShort(28) & 0xffff);
  }

  private static String fallocate(int fd, int mode, long offset, long length) {
    int result;
    do {
      result = Libc.fallocate(fd, mode, offset, length);
    } while (result < 0 && Libc.errno() == Libc.EINTR);
    return answer(result);
  }

  /** The numbers of the structure are unsigned, in the order of the bytes. */
  private static String setAttributes(int fd, Trace.Call call) {
    long[] argument = new long[16];
    for (int i = 0; i < 4; i++) {
      argument[i] = call.number(1 + i);
    }
    argument[4] = NO_OFFSET;
    argument[15] = call.number(5);
    boolean readOnly = call.word(6).equals("r"); // the call is given a copy
    int result =
        call.word(6).equals("null")
            ? Libc.ioctl(fd, Libc.KVM_SET_MEMORY_ATTRIBUTES2, 0)
            : Libc.ioctl(fd, Libc.KVM_SET_MEMORY_ATTRIBUTES2, argument);
    String answer = answer(result);
    return readOnly || argument[4] == NO_OFFSET ? answer : answer + " error_offset=" + argument[4];
  }

  private static String call(int fd, FileCall call) {
    if (call == FileCall.FADVISE) { // returns its error
      int errno = Libc.posix_fadvise(fd, 0, 0, Libc.POSIX_FADV_DONTNEED);
      return errno == 0 ? "ok" : Libc.name(errno);
    }
    byte[] bytes = new byte[1];
    long result =
        switch (call) {
          case READ -> Libc.read(fd, bytes, 1);
          case WRITE -> Libc.write(fd, bytes, 1);
          case PREAD -> Libc.pread(fd, bytes, 1, 0);
          case PWRITE -> Libc.pwrite(fd, bytes, 1, 0);
          case LSEEK -> Libc.lseek(fd, 0, 0);
          case FSYNC -> Libc.fsync(fd);
          case FDATASYNC -> Libc.fdatasync(fd);
          case SYNC_FILE_RANGE ->
              Libc.sync_file_range(fd, 0, PAGE_SIZE, Libc.SYNC_FILE_RANGE_WRITE);
          case FADVISE -> throw new AssertionError(call);
          case READAHEAD -> Libc.readahead(fd, 0, PAGE_SIZE);
          case GET_SEALS -> Libc.fcntl(fd, Libc.F_GET_SEALS, 0);
          case ADD_SEALS -> Libc.fcntl(fd, Libc.F_ADD_SEALS, Libc.F_SEAL_WRITE);
          case FCHMOD -> Libc.fchmod(fd, 0600);
          case FCHOWN -> Libc.fchown(fd, -1, -1);
          case FUTIMENS -> Libc.futimens(fd, new long[] {5, 0, 6, 0});
        };
    return answer(result);
  }

  private static String cached(int fd) {
    long[] status = new long[5];
    return Libc.syscall(Libc.SYS_CACHESTAT, fd, new long[2], status, 0) < 0
        ? Libc.name(Libc.errno())
        : Long.toString(status[0]);
  }

  // ---- mappings ----

  private Mapping mapping(String name) {
    Mapping mapping = mappings.get(name);
    if (mapping == null) {
      throw new IllegalStateException(name + " was unmapped during the call");
    }
    return mapping;
  }

  private static long address(Mapping mapping, long offset) {
    requireAlone(mapping, offset, 0);
    return mapping.address + offset;
  }

  /**
   * A negative length is an unsigned one to the kernel: a small one ends below the start, and is
   * refused; any other is everything from there on, the JVM included.
   */
  private static void requireAlone(Mapping mapping, long offset, long length) {
    long end = mapping.length + GAP / 2;
    if (offset < -GAP / 2 || offset > end || length > end - offset || length < -FIRST_ADDRESS) {
      throw new IllegalArgumentException(
          "expected a range within "
              + GAP / 2
              + " bytes of "
              + mapping
              + ", actual offset "
              + offset
              + " length "
              + length);
    }
  }

  private String mmap(String name, UserSpace process, Trace.Call call, int at) {
    int fd = fd(call.word(at));
    long offset = call.number(at + 1);
    long length = call.number(at + 2);
    int bits = protection(call.word(at + 3));
    int flags = call.word(at + 4).equals("PRIVATE") ? Libc.MAP_PRIVATE : Libc.MAP_SHARED;
    return map(name, process, length, bits, flags, fd, offset);
  }

  private String anonymous(String name, long length) {
    int bits = Libc.PROT_READ | Libc.PROT_WRITE;
    int flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS;
    String answer = map(name, UserSpace.OWN, length, bits, flags, CLOSED, 0);
    if (answer.equals("ok")) {
      anonymous.add(name);
    }
    return answer;
  }

  /** Maps where nothing is. */
  private String map(
      String name, UserSpace process, long length, int bits, int flags, int fd, long offset) {
    long mapped = (length + PAGE_SIZE - 1) & -PAGE_SIZE;
    for (int attempt = 0; attempt < MOST_PLACES; attempt++) {
      long place = place(length);
      if (canBeMade(length) && !isFree(process, place - GAP, mapped + 2 * GAP)) {
        continue;
      }
      long address = process.mmap(place, length, bits, flags, fd, offset);
      if (address < 0) {
        return answered(address);
      }
      if (address == place && canBeMade(length)) {
        mappings.put(name, new Mapping(process, address, mapped));
        return "ok";
      }
      process.munmap(address, mapped); // something is there since: try elsewhere
    }
    throw new IllegalStateException("no free addresses for " + length + " bytes");
  }

  private static int protection(String word) {
    return word.equals("none")
        ? Libc.PROT_NONE
        : (word.contains("r") ? Libc.PROT_READ : 0)
            | (word.contains("w") ? Libc.PROT_WRITE : 0)
            | (word.contains("x") ? Libc.PROT_EXEC : 0);
  }

  private static boolean canBeMade(long length) {
    return length > 0 && length <= LONGEST_MAPPING;
  }

  /** Whether nothing is mapped in a range of addresses. */
  private static boolean isFree(UserSpace process, long address, long length) {
    int flags =
        Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE | Libc.MAP_FIXED_NOREPLACE;
    long found = process.mmap(address, length, Libc.PROT_NONE, flags, -1, 0);
    if (found < 0 && found != -Libc.EEXIST) {
      throw new IllegalStateException("mmap of nothing: " + answered(found));
    }
    if (found >= 0) {
      process.munmap(found, length);
    }
    return found == address;
  }

  /** Where a mapping could lie; any place for one that is refused whatever the place. */
  private static long place(long length) {
    long room = canBeMade(length) ? (length + GAP - 1) & -GAP : 0;
    for (; ; ) {
      long place = NEXT_ADDRESS.get();
      long next = place + room + 2 * GAP;
      if (NEXT_ADDRESS.compareAndSet(place, next < END_ADDRESS ? next : FIRST_ADDRESS)
          && next < END_ADDRESS) {
        return place + GAP;
      }
    }
  }

  private String munmap(String name) {
    Mapping mapping = mapping(name);
    mappings.remove(name);
    anonymous.remove(name);
    return answered(mapping.process.munmap(mapping.address, mapping.length));
  }

  private static String munmap(Mapping mapping, long offset, long length) {
    requireAlone(mapping, offset, length);
    return answered(mapping.process.munmap(mapping.address + offset, length));
  }

  private static String mprotect(Mapping mapping, Trace.Call call) {
    requireAlone(mapping, call.number(1), call.number(2));
    long address = mapping.address + call.number(1);
    int bits = protection(call.word(3));
    return answered(mapping.process.mprotect(address, call.number(2), bits));
  }

  private static String mbind(Mapping mapping, Trace.Call call) {
    requireAlone(mapping, call.number(1), call.number(2));
    long address = mapping.address + call.number(1);
    int mode = MemoryPolicy.Mode.valueOf(call.word(3)).number();
    return answered(mapping.process.mbind(address, call.number(2), mode, call.number(4)));
  }

  private static String mempolicy(Mapping mapping, long offset) {
    long[] policy = new long[2];
    long result = mapping.process.mempolicy(address(mapping, offset), policy);
    if (result < 0) {
      return answered(result);
    }
    MemoryPolicy.Mode[] modes = MemoryPolicy.Mode.values();
    Object mode = policy[0] < modes.length ? modes[(int) policy[0]] : policy[0];
    return "mode=" + mode + " nodes=0x" + Long.toHexString(policy[1]);
  }

  /** Moves to a place where nothing is, also what could grow where it lies. */
  private String mremap(String name, Mapping mapping, Trace.Call call) {
    long offset = call.number(2);
    long oldLength = call.number(3);
    long newLength = call.number(4);
    requireAlone(mapping, offset, oldLength);
    long mapped = (newLength + PAGE_SIZE - 1) & -PAGE_SIZE;
    for (int attempt = 0; attempt < MOST_PLACES; attempt++) {
      long place = place(newLength);
      if (canBeMade(newLength) && !isFree(mapping.process, place - GAP, mapped + 2 * GAP)) {
        continue;
      }
      long from = mapping.address + offset;
      long moved = mapping.process.mremap(from, oldLength, newLength, place);
      if (moved < 0) {
        return answered(moved);
      }
      mappings.put(name, new Mapping(mapping.process, place, mapped));
      return "ok";
    }
    throw new IllegalStateException("no free addresses for " + newLength + " bytes");
  }

  private static int advice(String word) {
    return switch (word) {
      case "DONTNEED" -> 4;
      case "DONTFORK" -> 10;
      case "DOFORK" -> 11;
      case "WIPEONFORK" -> 18;
      case "KEEPONFORK" -> 19;
      case "FREE" -> 8;
      case "REMOVE" -> 9;
      case "HUGEPAGE" -> 14;
      case "COLD" -> 20;
      case "PAGEOUT" -> 21;
      case "COLLAPSE" -> 25;
      case "POPULATE_READ" -> POPULATE_READ;
      case "POPULATE_WRITE" -> POPULATE_WRITE;
      default -> throw new IllegalArgumentException("no such advice: " + word);
    };
  }

  private static final int POPULATE_READ = 22;
  private static final int POPULATE_WRITE = 23;

  private static String madvise(Mapping mapping, long offset, long length, int advice) {
    requireAlone(mapping, offset, length);
    long result;
    do {
      result = mapping.process.madvise(mapping.address + offset, length, advice);
    } while (result == -Libc.EINTR);
    return answered(result);
  }

  // ---- bytes ----

  private Pipe takePipe() {
    Pipe pipe = pipes.poll();
    return pipe != null ? pipe : Pipe.make();
  }

  private String load(Mapping mapping, long offset) {
    long address = address(mapping, offset);
    Pipe pipe = takePipe();
    try {
      long result = mapping.process.write(pipe.in(), address, 1);
      if (result < 0) {
        return signal(mapping, offset, false, result);
      }
      byte[] value = new byte[1];
      Libc.read(pipe.out(), value, 1);
      return hex(value[0]);
    } finally {
      pipes.add(pipe);
    }
  }

  private String store(Mapping mapping, long offset, byte value) {
    long address = address(mapping, offset);
    Pipe pipe = takePipe();
    try {
      byte[] bytes = {value};
      Libc.write(pipe.in(), bytes, 1);
      long result = mapping.process.read(pipe.out(), address, 1);
      if (result < 0) {
        String signal = signal(mapping, offset, true, result);
        Libc.read(pipe.out(), bytes, 1); // is still in the pipe
        return signal;
      }
      return "ok";
    } finally {
      pipes.add(pipe);
    }
  }

  /** What the touch of a byte that was EFAULT would have been; a read also as a writer may. */
  private static String signal(Mapping mapping, long offset, boolean write, long result) {
    if (result != -Libc.EFAULT) {
      return answered(result);
    }
    UserSpace process = mapping.process;
    long page = (mapping.address + offset) & -PAGE_SIZE;
    boolean inside = process.mincore(page) == 0; // where nothing is: ENOMEM
    String signal = signal(populate(process, page, POPULATE_WRITE), inside);
    return write || !signal.equals("SIGSEGV")
        ? signal
        : signal(populate(process, page, POPULATE_READ), inside);
  }

  /**
   * The same by what populate answers. ENOMEM is a range where nothing is mapped, or else memory
   * has run out.
   */
  static String signal(int errno, boolean inside) {
    return switch (errno) {
      case Libc.EFAULT -> "SIGBUS";
      case Libc.ENOMEM -> inside ? "ENOMEM" : "SIGSEGV";
      default -> "SIGSEGV";
    };
  }

  private static int populate(UserSpace process, long page, int advice) {
    return (int) -process.madvise(page, PAGE_SIZE, advice);
  }

  private static String hex(byte value) {
    return value >= 0 && value < 16
        ? "0x0" + Integer.toHexString(value)
        : "0x" + Integer.toHexString(value & 0xff);
  }

  // ---- references ----

  private String gup(String name, Mapping mapping, long offset, long length) {
    List<Integer> out = new ArrayList<>();
    String answer = "failed";
    try {
      answer = splice(out, mapping.process, address(mapping, offset), length);
    } finally {
      if (answer.equals("ok")) {
        references.put(name, out);
      } else {
        out.forEach(Libc::close);
      }
    }
    return answer;
  }

  /** Splices pages into new pipes, whose reading ends are added to a list whatever happens. */
  private static String splice(List<Integer> out, UserSpace process, long address, long length) {
    long done = 0;
    do {
      long room = PIPE_BYTES - ((address + done) & (PAGE_SIZE - 1)); // to the end of a page
      long wanted = Math.min(length - done, room);
      Pipe pipe = Pipe.make();
      out.add(pipe.out());
      try {
        if (wanted > DEFAULT_PIPE_BYTES - PAGE_SIZE
            && Libc.fcntl(pipe.in(), Libc.F_SETPIPE_SZ, PIPE_BYTES) < PIPE_BYTES) {
          throw new IllegalStateException("F_SETPIPE_SZ: " + Libc.name(Libc.errno()));
        }
        long spliced = process.vmsplice(pipe.in(), address + done, wanted);
        if (spliced < 0) {
          return done == 0 ? answered(spliced) : "ok";
        }
        done += spliced;
        if (spliced < wanted) {
          return "ok";
        }
      } finally {
        Libc.close(pipe.in());
      }
    } while (done < length);
    return "ok";
  }

  private String release(String name) {
    List<Integer> out = references.remove(name);
    if (out == null) {
      throw new IllegalStateException(name + " was released during the call");
    }
    byte[] bytes = new byte[1 << 16];
    long total = 0;
    int first = 0;
    int sum = 0;
    for (int pipe : out) {
      for (; ; ) {
        long n = Libc.read(pipe, bytes, bytes.length);
        if (n <= 0) {
          break;
        }
        if (total == 0) {
          first = bytes[0] & 0xff;
        }
        total += n;
        for (int i = 0; i < n; i++) {
          sum = (sum * 31 + (bytes[i] & 0xff)) & 0xffffff;
        }
      }
      Libc.close(pipe);
    }
    return String.format(Locale.ROOT, "bytes=%d first=0x%02x sum31=0x%06x", total, first, sum);
  }

  // ---- memslots ----

  private static int slot(String name) {
    return Integer.parseInt(name.substring(1));
  }

  private String bind(String name, long gpa, long size, int fd, long offset) {
    int flags = Libc.KVM_MEM_GUEST_MEMFD;
    String answer = memslots.set(vm, slot(name), flags, gpa, size, 0, fd, offset);
    if (answer.equals("ok")) {
      slots.add(name);
    }
    return answer;
  }

  private String memslot(int of, Trace.Call call) {
    String user = call.word(5);
    return memslots.set(
        of,
        (int) call.number(1),
        (int) call.number(2),
        call.number(3),
        call.number(4),
        user.startsWith("a") ? mapping(user).address : call.number(5),
        fd(call.word(6)),
        call.number(7));
  }
}
