package io.github.guestmemfd.trace;

import io.github.guestmemfd.AddressSpace;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdListener;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FallocMode;
import io.github.guestmemfd.abi.FileCall;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.MemslotFlag;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.BitSet;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.WeakHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Records the calls of a program as a trace that {@link Replay} accepts. It is attached to a file
 * when the file is created:
 *
 * <pre>{@code
 * try (Recorder recorder = Recorder.to(Path.of("run.trace"))) {
 *   GuestMemfd memfd = GuestMemfd.builder(host).size(n).flags(MMAP).listener(recorder).build();
 *   recorder.bind(vm, 0, 0, n, memfd, 0);
 *   ...
 * }
 * }</pre>
 *
 * <p>The calls of a program with one thread are in order. With several threads, calls that overlap
 * are in the order in which they ended, with closes, unmaps and releases where they began.
 *
 * <p><b>What a trace cannot say.</b> It contains the host's calls only. Operations that have no
 * call in the trace format are written as comments and counted ({@link #inexact}); a replay may
 * then differ. A grab is written as the allocation that it causes in the page cache, and a pin as a
 * plain reference.
 *
 * <p><b>Writing.</b> Calls put lines into a bounded queue; a thread of the recorder writes them.
 * When the queue is full, a call waits for room with the idle strategy. The call has taken effect
 * already, so an interrupt does not end that wait; the thread's interrupt status is kept. No line
 * is ever dropped, except after an I/O error; {@link #close} then fails.
 *
 * <p>Only the library calls the methods of the listener. It never passes, for instance, a reference
 * that has been released ({@link IllegalStateException}); there is no way to record one.
 *
 * <p>Safe for use by any number of threads.
 */
public final class Recorder implements GuestMemfdListener, AutoCloseable {

  /** The default capacity of the queue, in lines. */
  public static final int DEFAULT_CAPACITY = 1 << 14;

  private static final int MAX_CAPACITY = 1 << 24;

  private final LineWriter lines;
  private final AtomicLong inexact = new AtomicLong();

  /** The names of descriptors, mappings and references, as long as the program has them. */
  private final Map<Object, String> names = Collections.synchronizedMap(new WeakHashMap<>());

  private final AtomicInteger memfds = new AtomicInteger();
  private final AtomicInteger mappings = new AtomicInteger();
  private final AtomicInteger references = new AtomicInteger();
  private final AtomicInteger processes = new AtomicInteger();

  /** Makes a memslot call and its line one step. */
  private final Mutex slotsLock = new Mutex(LockClass.RECORDER_LOCK);

  /** The memslots of the program's machine, with the numbers that they have in the trace. */
  private final Map<Integer, Integer> slots = new HashMap<>();

  /** Set while a thread is in {@link #setMemoryAttributes2}. */
  @SuppressWarnings("ThreadLocalUsage") // one for each recorder
  private final ThreadLocal<@Nullable Boolean> settingAttributes = new ThreadLocal<>();

  /** The kernel that the trace is of. */
  private final KernelProfile kernel;

  /** The machine of which all memslots are made by {@link #bind}: that of every trace. */
  private @Nullable VirtualMachine machine;

  private final AtomicInteger machines = new AtomicInteger(1);

  /** The machines of descriptors, but those of the machine of every trace. */
  private final Map<Object, String> owners = Collections.synchronizedMap(new WeakHashMap<>());

  /** The file that this thread is creating in a machine. */
  @SuppressWarnings("ThreadLocalUsage") // one for each recorder
  private final ThreadLocal<@Nullable Creation> creations = new ThreadLocal<>();

  private static final class Creation {
    final String machine;
    @Nullable String call;

    Creation(String machine) {
      this.machine = machine;
    }
  }

  private int lastSlot = -1;

  private Recorder(LineWriter lines, @Nullable VirtualMachine machine) {
    this.lines = lines;
    this.machine = machine;
    this.kernel = machine == null ? KernelProfile.LINUX_6_18 : machine.kernelProfile();
    lines.add(Trace.HEADER);
    lines.add(Trace.profileLine(kernel.release()));
  }

  /**
   * Creates a recorder that writes to a file, of a program without virtual machine, or with one
   * that answers as Linux 6.18.
   *
   * @param file the file, which is created or emptied
   * @return the recorder
   * @throws IOException if it cannot be opened
   */
  public static Recorder to(Path file) throws IOException {
    return open(file, null);
  }

  /**
   * Creates a recorder that writes to a file. The trace carries the kernel whose answers the
   * machine gives.
   *
   * @param file the file, which is created or emptied
   * @param vm the machine whose files and memslots are recorded
   * @return the recorder
   * @throws IOException if it cannot be opened
   */
  public static Recorder to(Path file, VirtualMachine vm) throws IOException {
    return open(file, Objects.requireNonNull(vm, "vm"));
  }

  private static Recorder open(Path file, @Nullable VirtualMachine vm) throws IOException {
    return create(
        Files.newBufferedWriter(Objects.requireNonNull(file, "file"), StandardCharsets.US_ASCII),
        DEFAULT_CAPACITY,
        IdleStrategy.spinThenPark(),
        vm);
  }

  /**
   * Creates a recorder of a program without virtual machine, or with one that answers as Linux
   * 6.18.
   *
   * @param out receives the trace; closed by {@link #close}
   * @param capacity how many lines may wait to be written, 2 to 2^24; rounded up to a power of 2
   * @param idle how calls wait for room, and the writing thread for lines
   * @return the recorder
   * @throws IllegalArgumentException if the capacity is below 2 or above 2^24
   */
  public static Recorder to(Writer out, int capacity, IdleStrategy idle) {
    return create(out, capacity, idle, null);
  }

  /**
   * Creates a recorder. The trace carries the kernel whose answers the machine gives.
   *
   * @param out receives the trace; closed by {@link #close}
   * @param capacity how many lines may wait to be written, 2 to 2^24; rounded up to a power of 2
   * @param idle how calls wait for room, and the writing thread for lines
   * @param vm the machine whose files and memslots are recorded
   * @return the recorder
   * @throws IllegalArgumentException if the capacity is below 2 or above 2^24
   */
  public static Recorder to(Writer out, int capacity, IdleStrategy idle, VirtualMachine vm) {
    return create(out, capacity, idle, Objects.requireNonNull(vm, "vm"));
  }

  private static Recorder create(
      Writer out, int capacity, IdleStrategy idle, @Nullable VirtualMachine vm) {
    if (capacity < 2 || capacity > MAX_CAPACITY) {
      throw new IllegalArgumentException(
          "capacity: expected 2 to " + MAX_CAPACITY + ", actual " + capacity);
    }
    return new Recorder(new LineWriter(out, capacity, idle), vm);
  }

  /**
   * Returns how many calls could not be written exactly. With 0, the replay of a program of one
   * thread under the same protocol gives the same results, if conversions failed at once, the host
   * had enough memory, and no callback refused and no thread was interrupted.
   *
   * @return the number so far
   */
  public long inexact() {
    return inexact.get();
  }

  /**
   * Ends the recording: waits until all lines are written. Calls that have not ended by now, and
   * later ones, are not recorded. An interrupt does not end the wait; the thread's interrupt status
   * is kept.
   *
   * @throws UncheckedIOException if something could not be written
   */
  @Override
  public void close() {
    lines.close();
  }

  // ---- lines ----

  private void comment(String text) {
    inexact.incrementAndGet();
    line("# " + text);
  }

  private void line(String line) {
    lines.add(line);
  }

  /** Names a new object. A failed call defines a name too, which is never used again. */
  private String define(String kind, AtomicInteger last, @Nullable Object object) {
    String name = kind + last.getAndIncrement();
    if (object != null) {
      names.put(object, name);
    }
    return name;
  }

  /** Writes a call on something; in a comment, if the trace does not know it or the failure. */
  private void call(
      String verb, Object on, String arguments, String result, @Nullable RuntimeException failed) {
    String name = names.get(on);
    String word = failed == null ? result : ModelExecutor.word(failed);
    String line = verb + " " + (name == null ? on : name) + arguments + " = ";
    if (name == null || word == null) {
      comment(line + (word == null ? failed : word));
    } else {
      line(line + word);
    }
  }

  /** Writes a call that creates an object from another. */
  private void define(
      String verb,
      String name,
      @Nullable Object made,
      Object of,
      String arguments,
      @Nullable RuntimeException failed) {
    String source = names.get(of);
    String word = failed == null ? "ok" : ModelExecutor.word(failed);
    String line = verb + " " + name + " " + (source == null ? of : source) + arguments + " = ";
    if (source == null || word == null) {
      forget(made);
      comment(line + (word == null ? failed : word));
    } else {
      line(line + word);
    }
  }

  @Override
  public void created(
      @Nullable GuestMemfd memfd, long size, long flags, @Nullable RuntimeException failed) {
    long bits = flags & ~DIRECT_MAP;
    if (bits != flags) {
      comment("the next file has no direct map");
    }
    String name = define("m", memfds, memfd);
    Creation creation = creations.get();
    if (creation != null) {
      String arguments = " size=" + size + " flags=0x" + Long.toHexString(bits);
      creation.call = "create_in " + name + " " + creation.machine + arguments;
      return;
    }
    String word = failed == null ? "ok" : ModelExecutor.word(failed);
    String line = "create " + name + " size=" + size + " flags=0x" + Long.toHexString(bits) + " = ";
    if (word == null) {
      comment(line + failed);
    } else {
      line(line + word);
    }
  }

  /** A flag of the library that no kernel has. */
  private static final long DIRECT_MAP = CreateFlag.NO_DIRECT_MAP.bit();

  @Override
  public void stat(GuestMemfd memfd, @Nullable FileStat stat, @Nullable RuntimeException failed) {
    call("stat", memfd, "", stat == null ? "" : ModelExecutor.stat(stat), failed);
  }

  @Override
  public void dup(GuestMemfd memfd, @Nullable GuestMemfd dup, @Nullable RuntimeException failed) {
    String name = define("m", memfds, dup);
    String owner = owners.get(memfd);
    if (dup != null && owner != null) {
      owners.put(dup, owner);
    }
    if (dup != null && !memfd.isOpen()) {
      names.remove(dup); // a trace has no way from a closed descriptor to its file
      comment("dup " + name + " of the closed " + names.get(memfd) + " = ok");
    } else {
      define("dup", name, dup, memfd, "", failed);
    }
  }

  @Override
  public void fallocate(
      GuestMemfd memfd, int mode, long offset, long length, @Nullable RuntimeException failed) {
    call(
        "fallocate",
        memfd,
        " 0x" + Integer.toHexString(mode) + " " + offset + " " + length,
        "ok",
        failed);
  }

  @Override
  public void ftruncate(GuestMemfd memfd, long length, RuntimeException failed) {
    call("ftruncate", memfd, "", "", failed);
  }

  @Override
  public void cachedPages(GuestMemfd memfd, long pages, @Nullable RuntimeException failed) {
    call("cached", memfd, "", Long.toString(pages), failed);
  }

  @Override
  public void isAccessible(
      GuestMemfd memfd, long offset, boolean accessible, @Nullable RuntimeException failed) {
    call("attr", memfd, " " + offset, accessible ? "shared" : "private", failed);
  }

  @Override
  public void convert(
      GuestMemfd memfd,
      boolean inaccessible,
      long offset,
      long length,
      @Nullable Errno errno,
      long busyOffset) {
    if (settingAttributes.get() != null) {
      return;
    }
    String arguments = (inaccessible ? " private " : " shared ") + offset + " " + length;
    if (errno == null) {
      comment("convert " + names.get(memfd) + arguments + " = an exception of a callback");
    } else {
      call("convert", memfd, arguments, ModelExecutor.converted(errno, busyOffset), null);
    }
  }

  /**
   * Makes the call {@link VirtualMachine#trySetMemoryAttributes2}, and records it. If it is made
   * otherwise, the conversion is recorded as one, and a call that is refused before that is not.
   *
   * @param vm the machine of the file
   * @param memfd the descriptor
   * @param argument what to do
   * @return what it answers
   * @throws IllegalArgumentException if the file is of another virtual machine
   */
  public Errno setMemoryAttributes2(
      VirtualMachine vm, GuestMemfd memfd, @Nullable MemoryAttributes2 argument) {
    String line = argument == null ? NO_ARGUMENT : line(argument);
    boolean exact = argument == null || isSayable(argument);
    MemoryAttributes2 written = argument != null && argument.isWritable() ? argument : null;
    long before = written == null ? 0 : written.errorOffset();
    if (written != null) {
      written.errorOffset(ModelExecutor.UNTOUCHED);
    }
    String result = "an exception of a callback";
    settingAttributes.set(Boolean.TRUE); // what it converts is not recorded as a call of its own
    try {
      Errno errno = vm.trySetMemoryAttributes2(memfd, argument);
      result =
          ModelExecutor.setAttributes(
              errno, written == null ? ModelExecutor.UNTOUCHED : written.errorOffset());
      return errno;
    } catch (Throwable e) {
      exact = false;
      throw e;
    } finally {
      settingAttributes.remove();
      if (written != null && written.errorOffset() == ModelExecutor.UNTOUCHED) {
        written.errorOffset(before);
      }
      if (exact) {
        call("set_attributes", memfd, line, result, null);
      } else {
        comment("set_attributes " + names.get(memfd) + line + " = " + result);
      }
    }
  }

  private static final String NO_ARGUMENT =
      " offset=0 size=0 attributes=0 flags=0 reserved=0 argument=null";

  private static String line(MemoryAttributes2 argument) {
    return " offset="
        + argument.offset()
        + " size="
        + argument.size()
        + " attributes=0x"
        + Long.toHexString(argument.attributes())
        + " flags=0x"
        + Long.toHexString(argument.flags())
        + " reserved=0x"
        + Long.toHexString(argument.reserved(MemoryAttributes2.RESERVED - 1))
        + " argument="
        + (argument.isWritable() ? "rw" : "r");
  }

  /** A trace says of the reserved numbers the last alone. */
  private static boolean isSayable(MemoryAttributes2 argument) {
    for (int i = 0; i < MemoryAttributes2.RESERVED - 1; i++) {
      if (argument.reserved(i) != 0) {
        return false;
      }
    }
    return true;
  }

  @Override
  public void pending(GuestMemfd memfd, long offset, long length) {
    comment("convert " + names.get(memfd) + " private " + offset + " " + length + " = pending");
  }

  @Override
  public void grab(GuestMemfd memfd, long offset, HolderKind kind, Errno errno) {
    comment("grab " + names.get(memfd) + " " + offset + " " + kind + " = " + errno);
    if (errno == Errno.OK) {
      long page = offset & -HostMemory.PAGE_SIZE;
      fallocate(memfd, FallocMode.KEEP_SIZE.bit(), page, HostMemory.PAGE_SIZE, null);
    }
  }

  @Override
  public void call(GuestMemfd memfd, FileCall call, Errno answer) {
    call(
        "call",
        memfd,
        " " + call,
        ModelExecutor.answer(Objects.requireNonNull(answer, "answer")),
        null);
  }

  @Override
  public void close(GuestMemfd memfd) {
    if (creations.get() != null) {
      return; // the machine has refused the file: nobody has ever had it
    }
    call("close", memfd, "", "ok", null);
  }

  @Override
  public void mmap(
      GuestMemfd memfd,
      @Nullable HostMapping mapping,
      long offset,
      long length,
      MapType type,
      List<Protection> protection,
      @Nullable RuntimeException failed) {
    String word = word(protection);
    String name = define("a", mappings, mapping);
    String arguments =
        " offset=" + offset + " length=" + length + " prot=" + word + " flags=" + type;
    String process = mapping == null ? "p0" : process(mapping.addressSpace());
    if (isUnsayable(word) || process == null) {
      forget(mapping);
      comment("mmap " + name + " " + names.get(memfd) + arguments + " = " + failed);
    } else if (process.equals("p0")) {
      define("mmap", name, mapping, memfd, arguments, failed);
    } else {
      define("mmap_in", name + " " + process, mapping, memfd, arguments, failed);
    }
  }

  private void forget(@Nullable Object made) {
    if (made != null) {
      names.remove(made);
    }
  }

  /** The name of a process; null if the trace does not know it. */
  private @Nullable String process(AddressSpace process) {
    return process.id() == 0 ? "p0" : names.get(process);
  }

  @Override
  public void fork(AddressSpace parent, AddressSpace child) {
    Objects.requireNonNull(parent, "parent");
    Objects.requireNonNull(child, "child");
    String name = "p" + processes.incrementAndGet();
    String of = process(parent);
    if (of == null) {
      comment("fork " + name + " of " + parent + " = ok");
      return;
    }
    names.put(child, name);
    child
        .inherited()
        .forEach(
            (parents, same) -> {
              String called = names.get(parents);
              if (called != null) {
                names.put(same, called + name);
              }
            });
    line("fork " + name + " " + of + " = ok");
  }

  @Override
  public void exit(AddressSpace process) {
    Objects.requireNonNull(process, "process");
    String name = process(process);
    if (name == null) {
      comment("exit of " + process + " = ok");
    } else if (process.id() == 0) { // which goes on in a replay
      process.mappings().stream().filter(names::containsKey).forEach(this::munmap);
    } else {
      line("exit " + name + " = ok");
    }
  }

  private static String word(List<Protection> protection) {
    String word =
        (protection.contains(Protection.READ) ? "r" : "")
            + (protection.contains(Protection.WRITE) ? "w" : "")
            + (protection.contains(Protection.EXEC) ? "x" : "");
    return word.isEmpty() ? "none" : word;
  }

  /** Whether a trace has no word for a protection: of those to execute it has one. */
  private static boolean isUnsayable(String word) {
    return word.endsWith("x") && !word.equals("rx");
  }

  @Override
  public void load(HostMapping mapping, long offset, byte[] bytes) {
    for (int i = 0; i < bytes.length; i++) {
      call("load", mapping, " " + (offset + i), hex(bytes[i]), null);
    }
  }

  @Override
  public void store(HostMapping mapping, long offset, byte[] bytes) {
    for (int i = 0; i < bytes.length; i++) {
      call("store", mapping, " " + (offset + i) + " " + hex(bytes[i]), "ok", null);
    }
  }

  private static String hex(byte value) {
    return String.format(Locale.ROOT, "0x%02x", value & 0xff);
  }

  @Override
  public void touch(HostMapping mapping, long offset) {
    long page = offset & -HostMemory.PAGE_SIZE;
    madvise(mapping, page, HostMemory.PAGE_SIZE, Advice.POPULATE_WRITE, null);
  }

  @Override
  public void fault(HostMapping mapping, boolean write, long offset, RuntimeException failed) {
    call(write ? "store" : "load", mapping, " " + offset + (write ? " 0" : ""), "", failed);
  }

  @Override
  public void madvise(
      HostMapping mapping,
      long offset,
      long length,
      Advice advice,
      @Nullable RuntimeException failed) {
    call("madvise", mapping, " " + offset + " " + length + " " + advice, "ok", failed);
  }

  @Override
  public void munmap(
      HostMapping mapping, long offset, long length, @Nullable RuntimeException failed) {
    call("munmap_part", mapping, " " + offset + " " + length, "ok", failed);
  }

  @Override
  public void mprotect(
      HostMapping mapping,
      long offset,
      long length,
      List<Protection> protection,
      @Nullable RuntimeException failed) {
    String word = word(protection);
    String arguments = " " + offset + " " + length + " " + word;
    if (isUnsayable(word)) {
      comment("mprotect " + names.get(mapping) + arguments + " = " + failed);
    } else {
      call("mprotect", mapping, arguments, "ok", failed);
    }
  }

  @Override
  public void mbind(
      HostMapping mapping,
      long offset,
      long length,
      MemoryPolicy policy,
      @Nullable RuntimeException failed) {
    String arguments = " " + offset + " " + length + " " + policy;
    comment("mbind " + names.get(mapping) + arguments + " = " + (failed == null ? "ok" : failed));
  }

  @Override
  public void mremap(
      HostMapping mapping,
      @Nullable HostMapping moved,
      long offset,
      long oldLength,
      long newLength,
      @Nullable RuntimeException failed) {
    String name = define("a", mappings, moved);
    String arguments = " " + offset + " " + oldLength + " " + newLength;
    define("mremap", name, moved, mapping, arguments, failed);
  }

  @Override
  public void munmap(HostMapping mapping) {
    call("munmap", mapping, "", "ok", null);
  }

  @Override
  public void reference(
      HostMapping mapping,
      @Nullable HostReference reference,
      long offset,
      long length,
      boolean pinned,
      @Nullable RuntimeException failed) {
    String name = define("g", references, reference);
    if (pinned) {
      comment("the next reference is pinned");
    }
    define("gup", name, reference, mapping, " " + offset + " " + length, failed);
  }

  @Override
  public void release(HostReference reference) {
    String contents;
    try {
      contents = ModelExecutor.contents(reference);
    } catch (UnsupportedOperationException e) { // metadata only: as if nothing had been written
      contents =
          String.format(Locale.ROOT, "bytes=%d first=0x00 sum31=0x000000", reference.length());
    }
    call("gup_release", reference, "", contents, null);
  }

  // ---- memslots ----

  /**
   * Creates a memslot, and records that. Memslots do not belong to the file, so they are recorded
   * only if they are created here. A trace knows one machine: that which the recorder was made for,
   * or else that of the first call.
   *
   * @param vm the machine
   * @param slot its number, 0 to 32763
   * @param gpa the first guest physical address
   * @param size the size in bytes, not 0
   * @param memfd the file behind it
   * @param offset where the range starts in the file
   * @throws io.github.guestmemfd.abi.GuestMemfdException as {@link VirtualMachine#bind}
   */
  public void bind(
      VirtualMachine vm, int slot, long gpa, long size, GuestMemfd memfd, long offset) {
    step(() -> bindAndRecord(vm, slot, gpa, size, memfd, offset));
  }

  /** Makes a memslot call and its line one step; what depends on conversions comes after it. */
  private void step(Runnable call) {
    GuestMemfd.completingAfter(
        () -> {
          slotsLock.lock();
          try {
            call.run();
          } finally {
            slotsLock.unlock();
          }
          return null;
        });
  }

  private void bindAndRecord(
      VirtualMachine vm, int slot, long gpa, long size, GuestMemfd memfd, long offset) {
    if (names.containsKey(vm)) {
      setAndRecord(vm, new Memslot(slot, gpa, size, memfd, offset));
      return;
    }
    if (machine == null) {
      machine = vm;
      if (vm.kernelProfile() != kernel) {
        comment("the machine answers as Linux " + vm.kernelProfile().release());
      }
    }
    boolean taken = vm != machine || slots.containsKey(slot);
    boolean known = slot >= 0 && slot < VirtualMachine.USER_SLOTS;
    int number = known ? ++lastSlot : slot; // a name is used once, so numbers are too
    String arguments = " gpa=0x" + Long.toHexString(gpa) + " size=" + size + " offset=" + offset;
    RuntimeException failed = null;
    try {
      vm.bind(slot, gpa, size, memfd, offset);
    } catch (RuntimeException e) {
      failed = e;
    }
    if (taken || slot < 0) {
      comment("bind of slot " + slot + arguments + " = " + (failed == null ? "ok" : failed));
    } else {
      if (failed == null) {
        slots.put(slot, number);
      }
      define("bind", "s" + number, null, memfd, arguments, failed);
    }
    if (failed != null) {
      throw failed;
    }
  }

  /**
   * Deletes a memslot, and records that.
   *
   * @param vm the machine
   * @param slot its number
   * @throws io.github.guestmemfd.abi.GuestMemfdException as {@link VirtualMachine#unbind}
   */
  public void unbind(VirtualMachine vm, int slot) {
    step(() -> unbindAndRecord(vm, slot));
  }

  private void unbindAndRecord(VirtualMachine vm, int slot) {
    if (names.containsKey(vm)) {
      setAndRecord(vm, new Memslot(slot, 0, 0, 0, 0, null, 0));
      return;
    }
    RuntimeException failed = null;
    try {
      vm.unbind(slot);
    } catch (RuntimeException e) {
      failed = e;
    }
    Integer number = vm == machine ? slots.remove(slot) : null;
    if (number == null) {
      comment("unbind of slot " + slot + " = " + (failed == null ? "ok" : failed));
    } else {
      line("unbind s" + number + " = " + (failed == null ? "ok" : ModelExecutor.word(failed)));
    }
    if (failed != null) {
      throw failed;
    }
  }

  // ---- memslots with all their arguments ----

  /**
   * Creates a file of a machine, and records that, with this as its listener. A machine whose first
   * call is {@link #bind} is that of {@code create}; any other is created in the trace when it is
   * first used.
   *
   * @param vm the machine
   * @param builder describes the file; its listener is set here
   * @return the first descriptor of the file
   * @throws io.github.guestmemfd.abi.GuestMemfdException as {@link
   *     VirtualMachine#createGuestMemfd(GuestMemfd.Builder)}
   */
  public GuestMemfd createGuestMemfd(VirtualMachine vm, GuestMemfd.Builder builder) {
    String name = name(vm);
    Creation creation = new Creation(name == null ? Trace.MACHINE : name);
    RuntimeException failed = null;
    creations.set(creation);
    try {
      GuestMemfd memfd = vm.createGuestMemfd(builder.listener(this));
      if (name != null) {
        owners.put(memfd, name);
      }
      return memfd;
    } catch (RuntimeException e) {
      failed = e;
      throw e;
    } finally {
      creations.remove();
      if (creation.call != null) {
        answer(creation.call, "ok", failed);
      }
    }
  }

  /** The name of a machine; null for the one of {@link #bind}. Names it if it has none. */
  private @Nullable String name(VirtualMachine vm) {
    Objects.requireNonNull(vm, "vm");
    slotsLock.lock();
    try {
      if (vm == machine) {
        return null;
      }
      String known = names.get(vm);
      if (known != null) {
        return known;
      }
      String name = define("v", machines, vm);
      int type = vm.type().orElse(VmType.DEFAULT).number();
      line("vm " + name + " type=" + type + " = ok");
      return name;
    } finally {
      slotsLock.unlock();
    }
  }

  /** Writes a call; in a comment, if a trace has no word for its failure. */
  private void answer(String call, String result, @Nullable RuntimeException failed) {
    String word = failed == null ? result : ModelExecutor.word(failed);
    if (word == null) {
      comment(call + " = " + failed);
    } else {
      line(call + " = " + word);
    }
  }

  /**
   * Creates, changes or deletes a memslot, and records that. A machine of which a memslot was made
   * by {@link #bind} before has numbers of its own in the trace: there this is a comment, and so it
   * is if the file was not created by {@link #createGuestMemfd}.
   *
   * @param vm the machine
   * @param wanted the memslot; of size 0 to delete the one with this number
   * @throws io.github.guestmemfd.abi.GuestMemfdException as {@link
   *     VirtualMachine#setUserMemoryRegion2(Memslot)}
   */
  public void setUserMemoryRegion2(VirtualMachine vm, Memslot wanted) {
    Objects.requireNonNull(wanted, "wanted");
    name(vm);
    step(() -> setAndRecord(vm, wanted));
  }

  private void setAndRecord(VirtualMachine vm, Memslot wanted) {
    RuntimeException failed = null;
    try {
      vm.setUserMemoryRegion2(wanted);
    } catch (RuntimeException e) {
      failed = e;
    }
    String name = names.get(vm);
    GuestMemfd memfd = wanted.memfd();
    String file = memfd == null ? "none" : names.get(memfd);
    String call =
        "memslot %s slot=%d flags=0x%x gpa=0x%x size=%d user=0x%x file=%s offset=%d"
            .formatted(
                name,
                wanted.slot(),
                wanted.flags(),
                wanted.gpa(),
                wanted.size(),
                wanted.userAddress(),
                file,
                wanted.offset());
    boolean isForeign = failed == null && isOfAnother(name, wanted);
    if (name == null || file == null || isForeign) {
      comment(call + " = " + (failed == null ? "ok" : failed));
    } else {
      answer(call, "ok", failed);
    }
    if (failed != null) {
      throw failed;
    }
  }

  /** Whether a file was not created in the machine, as far as the trace knows. */
  private boolean isOfAnother(@Nullable String name, Memslot wanted) {
    GuestMemfd memfd = wanted.memfd();
    return wanted.size() != 0
        && wanted.has(MemslotFlag.GUEST_MEMFD)
        && memfd != null
        && !Objects.equals(name, owners.get(memfd));
  }

  /**
   * Takes the dirty log of a memslot, and records that. A log with pages is a comment: what the
   * guest writes is not seen.
   *
   * @param vm the machine
   * @param slot its number
   * @return the pages of the memslot that the guest has written
   * @throws io.github.guestmemfd.abi.GuestMemfdException as {@link VirtualMachine#getDirtyLog}
   */
  public BitSet getDirtyLog(VirtualMachine vm, int slot) {
    return log(vm, "dirty_log", slot, "", () -> vm.getDirtyLog(slot));
  }

  /**
   * Takes pages out of the dirty log of a memslot, and records that; in a comment, if they are not
   * one range.
   *
   * @param vm the machine
   * @param slot its number
   * @param pages the pages of the memslot
   * @return those of them that were in the log
   * @throws io.github.guestmemfd.abi.GuestMemfdException as {@link VirtualMachine#clearDirtyLog}
   */
  public BitSet clearDirtyLog(VirtualMachine vm, int slot, BitSet pages) {
    int first = Math.max(0, pages.nextSetBit(0));
    int count = pages.cardinality();
    boolean isRange = pages.length() - first == count || count == 0;
    String range = isRange ? " " + first + " " + count : " " + pages;
    return log(vm, "clear_dirty_log", slot, range, () -> vm.clearDirtyLog(slot, pages));
  }

  private BitSet log(
      VirtualMachine vm, String verb, int slot, String range, Supplier<BitSet> take) {
    String name = name(vm);
    BitSet taken = new BitSet();
    RuntimeException failed = null;
    try {
      taken = take.get();
      return taken;
    } catch (RuntimeException e) {
      failed = e;
      throw e;
    } finally {
      String call = verb + " " + name + " " + slot + range;
      String result = verb.equals("dirty_log") ? ModelExecutor.pages(taken) : "ok";
      if (name == null || !taken.isEmpty() || range.contains("{")) {
        comment(call + " = " + (failed == null ? result : failed));
      } else {
        answer(call, result, failed);
      }
    }
  }

  /**
   * Changes the attribute of guest addresses, and records that. Of a machine that converts in place
   * the conversions are recorded, by their files.
   *
   * @param vm the machine
   * @param gpa the first guest physical address
   * @param size the size in bytes
   * @param attribute the new attribute of the pages
   * @param busy receives the address where it stopped, and the holders that blocked it
   * @return as {@link VirtualMachine#trySetMemoryAttributes}
   */
  public Errno trySetMemoryAttributes(
      VirtualMachine vm, long gpa, long size, MemoryAttribute attribute, BusyGuestPage busy) {
    if (vm.type().isEmpty()) {
      return vm.trySetMemoryAttributes(gpa, size, attribute, busy);
    }
    String name = name(vm);
    Errno errno = vm.trySetMemoryAttributes(gpa, size, attribute, busy);
    String word = attribute == MemoryAttribute.PRIVATE ? "private" : "shared";
    String call = "attributes " + name + " " + word + " 0x" + Long.toHexString(gpa) + " " + size;
    if (name == null) {
      comment(call + " = " + errno);
    } else {
      line(call + " = " + ModelExecutor.answer(errno));
    }
    return errno;
  }
}
