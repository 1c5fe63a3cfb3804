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
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.IdleStrategy;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.BitSet;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
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
public final class Recorder extends TraceLines implements GuestMemfdListener, AutoCloseable {

  /** The default capacity of the queue, in lines. */
  public static final int DEFAULT_CAPACITY = 1 << 14;

  private static final int MAX_CAPACITY = 1 << 24;

  private final AtomicInteger memfds = new AtomicInteger();
  private final AtomicInteger mappings = new AtomicInteger();
  private final AtomicInteger references = new AtomicInteger();
  private final AtomicInteger processes = new AtomicInteger();

  private final MachineRecorder onMachines;

  private Recorder(LineWriter lines, @Nullable VirtualMachine machine) {
    super(lines);
    this.onMachines = new MachineRecorder(this, machine);
    lines.add(Trace.HEADER);
    lines.add(Trace.profileLine(onMachines.kernel().release()));
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

  @Override
  public void created(
      @Nullable GuestMemfd memfd, long size, long flags, @Nullable RuntimeException failed) {
    long bits = flags & ~DIRECT_MAP;
    if (bits != flags) {
      comment("the next file has no direct map");
    }
    String name = define("m", memfds, memfd);
    MachineRecorder.Creation creation = onMachines.creation();
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
    if (dup != null) {
      onMachines.dup(memfd, dup);
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
    if (onMachines.isSettingAttributes()) {
      return;
    }
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
    if (onMachines.creation() != null) {
      return; // the machine has refused the file: no caller has ever had it
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
    String nodes = " 0x" + Long.toHexString(policy.nodes());
    call("mbind", mapping, " " + offset + " " + length + " " + policy.mode() + nodes, "ok", failed);
  }

  @Override
  public void getMempolicy(
      HostMapping mapping,
      long offset,
      @Nullable MemoryPolicy policy,
      @Nullable RuntimeException failed) {
    String answer = policy == null ? "" : ModelExecutor.policy(policy);
    call("get_mempolicy", mapping, " " + offset, answer, failed);
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

  // ---- virtual machines ----

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
    return onMachines.setMemoryAttributes2(vm, memfd, argument);
  }

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
    onMachines.bind(vm, slot, gpa, size, memfd, offset);
  }

  /**
   * Deletes a memslot, and records that.
   *
   * @param vm the machine
   * @param slot its number
   * @throws io.github.guestmemfd.abi.GuestMemfdException as {@link VirtualMachine#unbind}
   */
  public void unbind(VirtualMachine vm, int slot) {
    onMachines.unbind(vm, slot);
  }

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
    return onMachines.createGuestMemfd(vm, builder.listener(this));
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
    onMachines.setUserMemoryRegion2(vm, wanted);
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
    return onMachines.getDirtyLog(vm, slot);
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
    return onMachines.clearDirtyLog(vm, slot, pages);
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
    return onMachines.trySetMemoryAttributes(vm, gpa, size, attribute, busy);
  }
}
