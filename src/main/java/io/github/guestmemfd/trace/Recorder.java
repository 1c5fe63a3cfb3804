package io.github.guestmemfd.trace;

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
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.WeakHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
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

  /** Makes a memslot call and its line one step. */
  private final Mutex slotsLock = new Mutex(LockClass.RECORDER_LOCK);

  /** The memslots of the program's machine, with the numbers that they have in the trace. */
  private final Map<Integer, Integer> slots = new HashMap<>();

  /** The kernel that the trace is of. */
  private final KernelProfile kernel;

  private @Nullable VirtualMachine machine;
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
      if (made != null) {
        names.remove(made);
      }
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
    String arguments = (inaccessible ? " private " : " shared ") + offset + " " + length;
    if (errno == null) {
      comment("convert " + names.get(memfd) + arguments + " = an exception of a callback");
    } else {
      call("convert", memfd, arguments, ModelExecutor.converted(errno, busyOffset), null);
    }
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
    if (isUnsayable(word)) {
      comment("mmap " + name + " " + names.get(memfd) + arguments + " = " + failed);
    } else {
      define("mmap", name, mapping, memfd, arguments, failed);
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
}
