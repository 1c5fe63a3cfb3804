package io.github.guestmemfd.kvm;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.LockOrder;
import java.nio.ByteBuffer;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.ThreadFactory;
import org.jspecify.annotations.Nullable;

/**
 * A virtual processor: accesses the memory of its virtual machine by guest physical address, and
 * exits where it cannot.
 *
 * <p>Each access has a view of its page, private or shared, as a guest chooses it by the C-bit of
 * its page table. If the page has the other attribute the access is not made, and the vCPU exits.
 * There are three ways to make an access, from low level to high:
 *
 * <ul>
 *   <li>{@link #tryRead}, {@link #tryWrite} and the like neither throw nor allocate if the page is
 *       mapped; false means an exit, which {@link #exit} describes.
 *   <li>{@link #read}, {@link #write} and the like throw a {@link VcpuExitException} for an exit.
 *   <li>Inside {@link #run} an exit of the latter goes to the handler instead, and the access is
 *       repeated if the handler says so.
 * </ul>
 *
 * <p>An access to a page that is mapped takes no lock. Numbers are little-endian; one of 2, 4 or 8
 * bytes at a multiple of its size is read and written at once, others byte by byte; atomic updates
 * are of 4 or 8 bytes at a multiple of that. Accesses of one vCPU to mapped pages are seen by
 * others in their order: each is announced by an atomic operation and ended by a release store
 * (volatile semantics).
 *
 * <p>A vCPU is for one thread at a time, platform or virtual; other threads may only call {@link
 * #requestExit}.
 */
public final class Vcpu {
  private static final int PAGE_SIZE = HostMemory.PAGE_SIZE;
  private static final int PAGE_SHIFT = Integer.numberOfTrailingZeros(PAGE_SIZE);
  private static final long OFFSET_MASK = PAGE_SIZE - 1;

  /** Ends a run from the inside. */
  private static final class Stop extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Stop() {
      super("the handler has ended the run; guest code must let this through", null, false, false);
    }
  }

  private final VirtualMachine vm;
  private final int id;
  private final Counters<VmMeter> counters;
  private final KvmRun run;
  final PageWalk walk;

  private @Nullable ExitHandler handler;

  Vcpu(VirtualMachine vm, int id) {
    this.vm = vm;
    this.id = id;
    counters = vm.counters.part();
    run = new KvmRun(toString(), counters);
    walk = new PageWalk(vm.regions, vm.mmu, run, counters);
  }

  /**
   * Returns the number of this vCPU.
   *
   * @return the number, from 0, in the order of creation
   */
  public int id() {
    return id;
  }

  /**
   * Returns the counters of this vCPU: faults, retries and exits. May be called by any thread.
   *
   * @return the numbers now
   */
  public VmMetrics metrics() {
    return new VmMetrics(counters.read());
  }

  /**
   * Returns the virtual machine of this vCPU.
   *
   * @return the virtual machine
   */
  public VirtualMachine vm() {
    return vm;
  }

  // ---- accesses that return false for an exit ----

  /**
   * Reads a number.
   *
   * @param gpa the guest physical address
   * @param size 1 to 8 bytes, which may lie in two pages
   * @param attribute the view of the page
   * @return true if {@link #value} is what was read; false if the vCPU {@linkplain #exit exited}
   * @throws IllegalArgumentException if the size is not 1 to 8
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public boolean tryRead(long gpa, int size, MemoryAttribute attribute) {
    return tryLoad(gpa, size, attribute, Access.READ);
  }

  /**
   * Fetches an instruction: reads it, to execute it.
   *
   * @param gpa the guest physical address
   * @param size 1 to 8 bytes, which may lie in two pages
   * @param attribute the view of the page
   * @return true if {@link #value} is what was read; false if the vCPU {@linkplain #exit exited}
   * @throws IllegalArgumentException if the size is not 1 to 8
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public boolean tryFetch(long gpa, int size, MemoryAttribute attribute) {
    return tryLoad(gpa, size, attribute, Access.EXEC);
  }

  private boolean tryLoad(long gpa, int size, MemoryAttribute attribute, Access access) {
    checkSize(size);
    if (walk.tryPeek(gpa, size, attribute)) {
      return true;
    }
    return tryLoadSlowly(gpa, size, attribute, access);
  }

  /** Loads a number that lies in two pages, or needs an access that is announced. */
  private boolean tryLoadSlowly(long gpa, int size, MemoryAttribute attribute, Access access) {
    int here = Math.min(size, toEndOfPage(gpa));
    boolean peeked = (walk.turnsTo(gpa) || here < size) && walk.tryPeek(gpa, here, attribute);
    if (!peeked && !tryLoadAnnounced(gpa, here, attribute, access)) {
      return false;
    }
    if (here == size) {
      return true;
    }
    long low = walk.value;
    if (!tryLoad(gpa + here, size - here, attribute, access)) {
      return false;
    }
    walk.value = low | walk.value << (Byte.SIZE * here);
    return true;
  }

  private boolean tryLoadAnnounced(long gpa, int size, MemoryAttribute attribute, Access access) {
    long begun = walk.begin(gpa, size, attribute, access, 0);
    if (begun == 0) {
      return false;
    }
    FrameAccess frames = walk.used();
    try {
      walk.value = frames.read(begun, offset(gpa), size);
    } finally {
      frames.end(begun);
    }
    return true;
  }

  /**
   * Writes a number. If it lies in two pages, and only the second one makes the vCPU exit, the part
   * in the first is written.
   *
   * @param gpa the guest physical address
   * @param size 1 to 8 bytes, which may lie in two pages
   * @param number what to write, of which the low bytes count
   * @param attribute the view of the page
   * @return false if the vCPU {@linkplain #exit exited}
   * @throws IllegalArgumentException if the size is not 1 to 8
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public boolean tryWrite(long gpa, int size, long number, MemoryAttribute attribute) {
    checkSize(size);
    int here = Math.min(size, toEndOfPage(gpa));
    long begun = walk.begin(gpa, here, attribute, Access.WRITE, number);
    if (begun == 0) {
      return false;
    }
    FrameAccess frames = walk.used();
    try {
      frames.write(begun, offset(gpa), here, number);
    } finally {
      frames.end(begun);
    }
    return here == size
        || tryWrite(gpa + here, size - here, number >>> (Byte.SIZE * here), attribute);
  }

  /**
   * Reads bytes, until the buffer is full. After an exit the buffer's position says how much has
   * been read; repeat the call with the address advanced by as many bytes.
   *
   * @param gpa the guest physical address of the byte that goes to the buffer's position
   * @param into takes the bytes
   * @param attribute the view of the pages
   * @return false if the vCPU {@linkplain #exit exited}
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public boolean tryRead(long gpa, ByteBuffer into, MemoryAttribute attribute) {
    Objects.requireNonNull(attribute, "attribute");
    for (long at = gpa; into.hasRemaining(); ) {
      int length = Math.min(into.remaining(), toEndOfPage(at));
      long begun = walk.begin(at, length, attribute, Access.READ, 0);
      if (begun == 0) {
        return false;
      }
      FrameAccess frames = walk.used();
      try {
        into.put(into.position(), frames.buffer(FrameAccess.pfn(begun)), index(begun, at), length);
      } finally {
        frames.end(begun);
      }
      into.position(into.position() + length);
      at += length;
    }
    return true;
  }

  /**
   * Writes bytes, until the buffer is empty. After an exit the buffer's position says how much has
   * been written; repeat the call with the address advanced by as many bytes.
   *
   * @param gpa the guest physical address for the byte at the buffer's position
   * @param from holds the bytes
   * @param attribute the view of the pages
   * @return false if the vCPU {@linkplain #exit exited}
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public boolean tryWrite(long gpa, ByteBuffer from, MemoryAttribute attribute) {
    Objects.requireNonNull(attribute, "attribute");
    for (long at = gpa; from.hasRemaining(); ) {
      int length = Math.min(from.remaining(), toEndOfPage(at));
      long begun = walk.begin(at, length, attribute, Access.WRITE, 0);
      if (begun == 0) {
        return false;
      }
      FrameAccess frames = walk.used();
      try {
        frames.buffer(FrameAccess.pfn(begun)).put(index(begun, at), from, from.position(), length);
      } finally {
        frames.end(begun);
      }
      from.position(from.position() + length);
      at += length;
    }
    return true;
  }

  /**
   * Replaces a number if it is as expected: a locked {@code cmpxchg}. Atomic with respect to the
   * atomic operations of other vCPUs and of host mappings, to aligned accesses of their size, and
   * to conversions: it happens wholly before one, or the vCPU exits. Ordering is volatile.
   *
   * @param gpa the guest physical address, a multiple of the size
   * @param size 4 or 8 bytes
   * @param expected what must be there, of which the low bytes count
   * @param number what to write, of which the low bytes count
   * @param attribute the view of the page
   * @return true if {@link #value} is what was there, and was replaced exactly if it was as
   *     expected; false if the vCPU {@linkplain #exit exited}
   * @throws IllegalArgumentException if the size is not 4 or 8, or the address not a multiple of it
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public boolean tryCompareAndSet(
      long gpa, int size, long expected, long number, MemoryAttribute attribute) {
    checkAtomic(gpa, size);
    long begun = walk.begin(gpa, size, attribute, Access.WRITE, number);
    if (begun == 0) {
      return false;
    }
    FrameAccess frames = walk.used();
    try {
      walk.value = frames.compareAndExchange(begun, offset(gpa), size, expected, number);
    } finally {
      frames.end(begun);
    }
    return true;
  }

  /**
   * Adds to a number: a locked {@code xadd}. Atomic as {@link #tryCompareAndSet} is.
   *
   * @param gpa the guest physical address, a multiple of the size
   * @param size 4 or 8 bytes
   * @param delta what to add, of which the low bytes count
   * @param attribute the view of the page
   * @return true if {@link #value} is what was there before; false if the vCPU {@linkplain #exit
   *     exited}
   * @throws IllegalArgumentException if the size is not 4 or 8, or the address not a multiple of it
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public boolean tryGetAndAdd(long gpa, int size, long delta, MemoryAttribute attribute) {
    checkAtomic(gpa, size);
    long begun = walk.begin(gpa, size, attribute, Access.WRITE, delta);
    if (begun == 0) {
      return false;
    }
    FrameAccess frames = walk.used();
    try {
      walk.value = frames.getAndAdd(begun, offset(gpa), size, delta);
    } finally {
      frames.end(begun);
    }
    return true;
  }

  /**
   * Faults a page in, and moves no bytes; also for hosts that are metadata only.
   *
   * @param gpa a guest physical address in the page
   * @param access what the guest is about to do
   * @param attribute the view of the page
   * @return false if the vCPU {@linkplain #exit exited}
   */
  public boolean tryTouch(long gpa, Access access, MemoryAttribute attribute) {
    Objects.requireNonNull(access, "access");
    long begun = walk.begin(gpa, 1, attribute, access, 0);
    if (begun == 0) {
      return false;
    }
    walk.used().end(begun);
    return true;
  }

  /**
   * Returns the number read last.
   *
   * @return the number that {@link #tryRead(long, int, MemoryAttribute)}, {@link #tryFetch}, {@link
   *     #tryCompareAndSet} or {@link #tryGetAndAdd} found last, its bytes above the size 0
   */
  public long value() {
    return walk.value;
  }

  /**
   * Returns why the vCPU exited the last time.
   *
   * @return the exit, as a new object
   * @throws IllegalStateException if it never has
   */
  public VcpuExit exit() {
    return run.exit();
  }

  /**
   * Makes the vCPU exit with {@link VcpuExit.Interrupted} at its next access or hypercall, or in
   * the fault it is waiting in: {@code kvm_run.immediate_exit}. May be called by any thread.
   */
  public void requestExit() {
    run.requestExit();
  }

  // ---- accesses that exit to the handler, or throw ----

  /**
   * Reads a number, exiting as often as need be.
   *
   * @param gpa the guest physical address
   * @param size 1 to 8 bytes
   * @param attribute the view of the page
   * @return the number
   * @throws VcpuExitException if the vCPU exits outside {@link #run}
   * @throws IllegalArgumentException if the size is not 1 to 8
   */
  public long read(long gpa, int size, MemoryAttribute attribute) {
    if (!walk.tryPeek(gpa, size, attribute)) {
      return readSlowly(gpa, size, attribute);
    }
    return walk.value;
  }

  private long readSlowly(long gpa, int size, MemoryAttribute attribute) {
    int here = toEndOfPage(gpa);
    if (size > here) { // each part exits, and may be completed, on its own
      return read(gpa, here, attribute)
          | read(gpa + here, size - here, attribute) << (Byte.SIZE * here);
    }
    while (!tryRead(gpa, size, attribute)) {
      if (exitToHandler()) {
        return run.mmioValue();
      }
    }
    return walk.value;
  }

  /**
   * Fetches an instruction, exiting as often as need be.
   *
   * @param gpa the guest physical address
   * @param size 1 to 8 bytes
   * @param attribute the view of the page
   * @return the bytes as a number
   * @throws VcpuExitException if the vCPU exits outside {@link #run}
   * @throws IllegalArgumentException if the size is not 1 to 8
   */
  public long fetch(long gpa, int size, MemoryAttribute attribute) {
    int here = toEndOfPage(gpa);
    if (size > here) {
      return fetch(gpa, here, attribute)
          | fetch(gpa + here, size - here, attribute) << (Byte.SIZE * here);
    }
    while (!tryFetch(gpa, size, attribute)) {
      if (exitToHandler()) {
        return run.mmioValue();
      }
    }
    return walk.value;
  }

  /**
   * Writes a number, exiting as often as need be.
   *
   * @param gpa the guest physical address
   * @param size 1 to 8 bytes
   * @param number what to write, of which the low bytes count
   * @param attribute the view of the page
   * @throws VcpuExitException if the vCPU exits outside {@link #run}
   * @throws IllegalArgumentException if the size is not 1 to 8
   */
  public void write(long gpa, int size, long number, MemoryAttribute attribute) {
    int here = toEndOfPage(gpa);
    if (size > here) {
      write(gpa, here, number, attribute);
      write(gpa + here, size - here, number >>> (Byte.SIZE * here), attribute);
      return;
    }
    while (!tryWrite(gpa, size, number, attribute)) {
      if (exitToHandler()) {
        return;
      }
    }
  }

  /**
   * Reads bytes until the buffer is full, exiting as often as need be.
   *
   * @param gpa the guest physical address
   * @param into takes the bytes
   * @param attribute the view of the pages
   * @throws VcpuExitException if the vCPU exits outside {@link #run}
   */
  public void read(long gpa, ByteBuffer into, MemoryAttribute attribute) {
    long start = gpa - into.position();
    while (!tryRead(start + into.position(), into, attribute)) {
      if (exitToHandler()) {
        into.position(into.position() + run.mmioSize()); // what the handler leaves there
      }
    }
  }

  /**
   * Writes bytes until the buffer is empty, exiting as often as need be.
   *
   * @param gpa the guest physical address
   * @param from holds the bytes
   * @param attribute the view of the pages
   * @throws VcpuExitException if the vCPU exits outside {@link #run}
   */
  public void write(long gpa, ByteBuffer from, MemoryAttribute attribute) {
    long start = gpa - from.position();
    while (!tryWrite(start + from.position(), from, attribute)) {
      if (exitToHandler()) {
        from.position(from.position() + run.mmioSize());
      }
    }
  }

  /**
   * Replaces a number if it is as expected, exiting as often as need be. Atomic as {@link
   * #tryCompareAndSet} is; a handler that completes an MMIO exit says what was there.
   *
   * @param gpa the guest physical address, a multiple of the size
   * @param size 4 or 8 bytes
   * @param expected what must be there, of which the low bytes count
   * @param number what to write, of which the low bytes count
   * @param attribute the view of the page
   * @return whether it was as expected, and has been replaced
   * @throws VcpuExitException if the vCPU exits outside {@link #run}
   * @throws IllegalArgumentException if the size is not 4 or 8, or the address not a multiple of it
   */
  public boolean compareAndSet(
      long gpa, int size, long expected, long number, MemoryAttribute attribute) {
    long wanted = low(expected, size);
    while (!tryCompareAndSet(gpa, size, expected, number, attribute)) {
      if (exitToHandler()) {
        return low(run.mmioValue(), size) == wanted;
      }
    }
    return walk.value == wanted;
  }

  /**
   * Adds to a number, exiting as often as need be. Atomic as {@link #tryCompareAndSet} is; a
   * handler that completes an MMIO exit says what was there.
   *
   * @param gpa the guest physical address, a multiple of the size
   * @param size 4 or 8 bytes
   * @param delta what to add, of which the low bytes count
   * @param attribute the view of the page
   * @return what was there before
   * @throws VcpuExitException if the vCPU exits outside {@link #run}
   * @throws IllegalArgumentException if the size is not 4 or 8, or the address not a multiple of it
   */
  public long getAndAdd(long gpa, int size, long delta, MemoryAttribute attribute) {
    while (!tryGetAndAdd(gpa, size, delta, attribute)) {
      if (exitToHandler()) {
        return low(run.mmioValue(), size);
      }
    }
    return walk.value;
  }

  /**
   * Faults a page in, exiting as often as need be.
   *
   * @param gpa a guest physical address in the page
   * @param access what the guest is about to do
   * @param attribute the view of the page
   * @throws VcpuExitException if the vCPU exits outside {@link #run}
   */
  public void touch(long gpa, Access access, MemoryAttribute attribute) {
    while (!tryTouch(gpa, access, attribute)) {
      if (exitToHandler()) {
        return;
      }
    }
  }

  /**
   * Asks for a conversion, by the hypercall {@code KVM_HC_MAP_GPA_RANGE}. The vCPU exits with a
   * {@link VcpuExit.Hypercall}; the handler may convert the range, by {@link
   * VirtualMachine#setMemoryAttributes}, or refuse.
   *
   * @param gpa the first guest physical address
   * @param pages how many pages
   * @param attribute what they are to become
   * @return what the handler {@linkplain #completeHypercall answered}, OK if it just went on;
   *     EINVAL without an exit if the address is not a multiple of 4096, or the range empty or
   *     wraps. A guest that gets EAGAIN asks again for what is left from {@link #convertedUpTo} on
   * @throws VcpuExitException if the vCPU exits outside {@link #run}
   */
  public Errno mapGpaRange(long gpa, long pages, MemoryAttribute attribute) {
    while (!tryMapGpaRange(gpa, pages, attribute)) {
      boolean asks = run.isHypercall(); // else an exit was requested
      exitToHandler();
      if (asks) {
        return run.hypercallResult();
      }
    }
    return Errno.EINVAL;
  }

  /**
   * Returns how far the last hypercall got: with {@code TDG.VP.VMCALL<MapGPA>}, the address in
   * {@code R11}.
   *
   * @return the first guest physical address of the range asked for that the monitor has not dealt
   *     with; the address after the range if it has dealt with all of it
   */
  public long convertedUpTo() {
    return run.convertedUpTo();
  }

  /**
   * As {@link #mapGpaRange}, for a virtual machine monitor that handles exits itself.
   *
   * @param gpa the first guest physical address
   * @param pages how many pages
   * @param attribute what they are to become
   * @return false if the vCPU has exited with the hypercall, or with {@link VcpuExit.Interrupted}
   *     if an {@linkplain #requestExit exit was requested}; true if it is refused without that:
   *     EINVAL
   */
  public boolean tryMapGpaRange(long gpa, long pages, MemoryAttribute attribute) {
    Objects.requireNonNull(attribute, "attribute");
    if ((gpa & OFFSET_MASK) != 0
        || pages <= 0
        || Long.compareUnsigned((gpa >>> PAGE_SHIFT) + pages, gpa >>> PAGE_SHIFT) <= 0) {
      run.refuseHypercall(gpa);
      return true;
    }
    if (!run.tryExitAsRequested()) {
      run.exitHypercall(gpa, pages, attribute);
    }
    return false;
  }

  // ---- running ----

  /**
   * Executes guest code on this thread. The handler gets the exits of its accesses.
   *
   * @param program the guest's code
   * @param exitHandler the virtual machine monitor
   * @return the exit at which the handler ended the run; nothing if the code came to its end
   * @throws IllegalStateException if it is running
   */
  public Optional<VcpuExit> run(GuestProgram program, ExitHandler exitHandler) {
    if (handler != null) {
      throw new IllegalStateException(this + " is running");
    }
    Objects.requireNonNull(program, "program");
    handler = Objects.requireNonNull(exitHandler, "exitHandler");
    try {
      program.execute(this);
      return Optional.empty();
    } catch (Stop e) {
      return Optional.of(exit());
    } finally {
      handler = null;
    }
  }

  /**
   * Executes guest code on a thread of its own.
   *
   * @param threads makes the thread: of whatever kind, {@code Thread.ofVirtual().factory()} too
   * @param program the guest's code
   * @param exitHandler the virtual machine monitor
   * @return what {@link #run} returns or throws, later. To cancel it interrupts the thread: a wait
   *     ends, and the vCPU exits with {@link VcpuExit.Interrupted}
   * @throws IllegalStateException if the factory makes no thread
   */
  public Future<Optional<VcpuExit>> start(
      ThreadFactory threads, GuestProgram program, ExitHandler exitHandler) {
    Objects.requireNonNull(program, "program");
    Objects.requireNonNull(exitHandler, "exitHandler");
    FutureTask<Optional<VcpuExit>> task = new FutureTask<>(() -> run(program, exitHandler));
    Thread thread = threads.newThread(task);
    if (thread == null) { // which a factory may answer
      throw new IllegalStateException("no thread for " + this + " from " + threads);
    }
    thread.start();
    return task;
  }

  /**
   * For a handler: what the vCPU exited for has been done, and need not be done again when the
   * guest is entered.
   *
   * @param number what a read of 1 to 8 bytes is to return; a bulk read leaves its buffer as the
   *     handler left it, and goes on after it
   * @throws IllegalStateException if the vCPU has not exited with an {@link VcpuExit.Mmio}
   */
  public void completeMmio(long number) {
    run.completeMmio(number);
  }

  /**
   * For a handler: says that the page could not be converted to the attribute that the guest used.
   * From now on {@link #exit} says why, and so does what {@link #run} returns if the handler ends
   * the run.
   *
   * @param why the errno of the conversion
   * @param busy the busy page and its holders, null if there was none; kept, and so not to be used
   *     for another call
   * @throws IllegalStateException if the vCPU has not exited with a {@link VcpuExit.MemoryFault}
   */
  public void failMemoryFault(Errno why, @Nullable BusyGuestPage busy) {
    run.failMemoryFault(why, busy);
  }

  /**
   * For a handler: sets what the hypercall answers the guest. With OK all of the range is done,
   * with any other answer nothing of it.
   *
   * @param result the answer, OK if this is not called; guests know those of {@link
   *     VcpuExit.Hypercall#answerTo}
   * @throws IllegalStateException if the vCPU has not exited with a {@link VcpuExit.Hypercall}
   */
  public void completeHypercall(Errno result) {
    run.completeHypercall(result);
  }

  /**
   * For a handler: sets what the hypercall answers the guest, if it was done in part.
   *
   * @param result the answer; with EAGAIN the guest asks again from the address on
   * @param upTo the first guest physical address that was not dealt with, a multiple of 4096 in the
   *     range or at its end
   * @throws IllegalStateException if the vCPU has not exited with a {@link VcpuExit.Hypercall}
   * @throws IllegalArgumentException if the address is none of these
   */
  public void completeHypercall(Errno result, long upTo) {
    run.completeHypercall(result, upTo);
  }

  /**
   * Exits to the handler, which says whether to enter the guest again.
   *
   * @return true if what it left for has been completed
   */
  private boolean exitToHandler() {
    ExitHandler told = handler;
    VcpuExit exit = exit();
    if (told == null) {
      throw new VcpuExitException(exit);
    }
    run.beginHandling();
    if (LockOrder.isOn() && !GuestMemfd.isInsideCallback()) {
      LockOrder.beforeCall(Callback.EXIT_HANDLER);
    }
    if (!told.handle(this, exit)) {
      throw new Stop();
    }
    return run.isCompleted();
  }

  // ---- arguments ----

  private static void checkSize(int size) {
    if (size < 1 || size > Long.BYTES) {
      throw new IllegalArgumentException("expected 1 to 8 bytes, actual " + size);
    }
  }

  private static void checkAtomic(long gpa, int size) {
    if ((size != Integer.BYTES && size != Long.BYTES) || (gpa & (size - 1)) != 0) {
      throw new IllegalArgumentException(
          "atomic access: expected 4 or 8 bytes at a multiple of that, actual "
              + size
              + " at "
              + Hex.of(gpa));
    }
  }

  /** The low bytes of a number of 4 or 8 bytes. */
  private static long low(long number, int size) {
    return size == Integer.BYTES ? number & 0xffff_ffffL : number;
  }

  private static int toEndOfPage(long gpa) {
    return PAGE_SIZE - offset(gpa);
  }

  /** Where a bulk access begins in the buffer of its frame. */
  private static int index(long begun, long gpa) {
    return FrameAccess.base(FrameAccess.pfn(begun)) + offset(gpa);
  }

  /** Where in its page an access begins. */
  private static int offset(long gpa) {
    return (int) (gpa & OFFSET_MASK);
  }

  @Override
  public String toString() {
    return "vCPU " + id;
  }
}
