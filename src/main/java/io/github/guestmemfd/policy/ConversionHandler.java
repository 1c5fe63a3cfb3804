package io.github.guestmemfd.policy;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.ExitHandler;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.IdleStrategy;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The part of a virtual machine monitor that converts memory: it takes the exits of vCPUs that are
 * about that, asks a {@link ConversionPolicy}, and does what it says.
 *
 * <pre>{@code
 * ConversionHandler handler = ConversionHandler.builder(vm, ConversionPolicy.batched()).build();
 * handler.start(new GpaRange(0, memfd.size()));
 * vm.createVcpu().run(guest, handler);
 * }</pre>
 *
 * <p><b>A memory fault</b> of a page that is of the other attribute: converts what the policy
 * answers. What of it is not around the pages used in memslots without a gap is left out. If a
 * range larger than the pages is refused, for whatever reason, just the pages are converted; if
 * somebody is in the way of these, EAGAIN or EBUSY, they are {@linkplain Builder#retries tried
 * again}. Then the guest is entered again. If they are refused for good, the exit says so: its
 * errno is the conversion's, EAGAIN for instance, and {@link VcpuExit.MemoryFault#busy} names the
 * page in the way and who held it. That is the exit that the {@linkplain Builder#otherwise other
 * handler} gets, and if it ends the run, the one that {@link Vcpu#run} returns. If another vCPU has
 * been faster and the page is of the attribute that was used by now, the guest is entered again at
 * once: neither the policy nor the observer hears of it.
 *
 * <p><b>A hypercall</b>: converts what the policy answers, and if more than was asked for is
 * refused, what was asked for. Then the guest is entered again, with an {@linkplain
 * VcpuExit.Hypercall#answerTo answer} that guests know: OK; EINVAL; or EAGAIN, and it may ask
 * again, as TDX guests do when {@code TDG.VP.VMCALL<MapGPA>} answers RETRY. The observer hears the
 * errno that was met. Nothing is tried again here.
 *
 * <ul>
 *   <li>Where there is no memslot there is nothing to make shared, and that succeeds: guests ask
 *       for it to have accesses to devices exit. If a part of the range has none and is to be
 *       private, the guest gets EINVAL, and nothing is converted; the same if the range reaches
 *       beyond 2^63 - 1.
 *   <li>The policy is asked about one piece after the other: what lies in memslots without a gap,
 *       and in one GiB of guest addresses. What was done of the pieces stays done, and {@link
 *       Vcpu#convertedUpTo} tells the guest how far it has come.
 *   <li>After each piece, and in waits, an interrupt ends it: the guest gets EAGAIN, and the vCPU
 *       exits with {@link VcpuExit.Interrupted} at its next access or hypercall.
 *   <li>Of a range that is of that attribute already the file and its clients see nothing.
 * </ul>
 *
 * <p><b>Everything else</b> goes to {@linkplain Builder#otherwise another handler}.
 *
 * <p>One handler is for all vCPUs of one virtual machine. Safe for use by any number of threads;
 * its waits are interruptible, and idle by its own {@linkplain Builder#idleStrategy strategy}.
 *
 * <p><b>With {@link PrivatePages#DISCARD}</b> no content that was private when the conversion of
 * its page to shared began is there afterwards. Conversions of overlapping ranges by one handler
 * come one after the other, so that of two vCPUs that use one page as shared at once, neither
 * punches what the other has written already. That holds for one handler: others, and direct calls
 * of {@link VirtualMachine#setMemoryAttributes}, may come in between. A guest that goes on using a
 * page as private while it converts it may show what it writes there. A conversion that is refused
 * after the punch, as by a callback, leaves the pages private and empty; a punch that is refused
 * leaves them unconverted, and those before it in the range empty.
 */
public final class ConversionHandler implements ExitHandler {
  private static final int PAGE_SIZE = HostMemory.PAGE_SIZE;

  /** How much of a hypercall is done between two looks for an interrupt. */
  private static final long PIECE = 1L << 30;

  /** How long a file is patient if nobody asks for anything else, and so is a handler. */
  private static final long PATIENCE_NANOS =
      ConversionProtocol.atomicPair().retryPolicy().waitNanos();

  /** Retries that are not counted: as many as fit in the default patience. */
  private static final int AS_A_FILE = -1;

  /** How long to sleep when nobody tells when it is time to look again. */
  private static final long LOOK_AGAIN_NANOS = 20_000;

  private final VirtualMachine vm;
  private final ConversionPolicy policy;
  private final PrivatePages onShared;
  private final ConversionObserver observer;
  private final int retries;
  private final IdleStrategy idle;
  private final ExitHandler otherwise;

  /** What is being converted, where private pages are discarded. */
  private final RangesUnderWay underWay;

  private ConversionHandler(Builder builder) {
    vm = builder.vm;
    policy = builder.policy;
    onShared = builder.onShared;
    observer = builder.observer;
    retries = builder.retries;
    idle = builder.idle;
    otherwise = builder.otherwise;
    underWay = new RangesUnderWay(idle);
  }

  /**
   * Starts to describe a handler.
   *
   * @param vm the virtual machine whose memory it converts
   * @param policy says what to convert; if it keeps state, it is for this handler alone
   * @return a builder
   */
  public static Builder builder(VirtualMachine vm, ConversionPolicy policy) {
    return new Builder(vm, policy);
  }

  /** Describes a handler. Not safe for use by several threads. */
  public static final class Builder {
    private final VirtualMachine vm;
    private final ConversionPolicy policy;
    private PrivatePages onShared = PrivatePages.KEEP;
    private ConversionObserver observer = new ConversionObserver() {};
    private int retries = AS_A_FILE;
    private IdleStrategy idle = IdleStrategy.spinThenPark();
    private ExitHandler otherwise = (vcpu, exit) -> false;

    private Builder(VirtualMachine vm, ConversionPolicy policy) {
      this.vm = Objects.requireNonNull(vm, "vm");
      this.policy = Objects.requireNonNull(policy, "policy");
    }

    /**
     * What becomes of private content when pages turn shared.
     *
     * @param privatePages {@link PrivatePages#KEEP} by default
     * @return this
     */
    public Builder onShared(PrivatePages privatePages) {
      onShared = Objects.requireNonNull(privatePages, "privatePages");
      return this;
    }

    /**
     * Who hears of every attempt.
     *
     * @param conversionObserver nobody by default
     * @return this
     */
    public Builder observer(ConversionObserver conversionObserver) {
      observer = Objects.requireNonNull(conversionObserver, "conversionObserver");
      return this;
    }

    /**
     * How often to try again what a vCPU cannot go on without, and somebody on the host is in the
     * way of. Each attempt has the patience of the file's {@link
     * io.github.guestmemfd.conversion.RetryPolicy} besides.
     *
     * <p>By default it is tried again for as long as a file is patient by default ({@link
     * ConversionProtocol#retryPolicy}): until 100 ms have passed since the first attempt began. So
     * with a file of that patience there is one attempt, and one that refuses at the first mismatch
     * does not stop the guest for a reference that is about to be dropped.
     *
     * @param attempts at least 0
     * @return this
     * @throws IllegalArgumentException if it is negative
     */
    public Builder retries(int attempts) {
      if (attempts < 0) {
        throw new IllegalArgumentException("expected retries >= 0, actual " + attempts);
      }
      retries = attempts;
      return this;
    }

    /**
     * How vCPUs wait: between attempts, and for each other.
     *
     * @param strategy {@link IdleStrategy#spinThenPark} by default
     * @return this
     */
    public Builder idleStrategy(IdleStrategy strategy) {
      idle = Objects.requireNonNull(strategy, "strategy");
      return this;
    }

    /**
     * Who deals with the rest: MMIO and interrupts; memory faults that are none of an attribute
     * (their errno is not EFAULT, or the memory behind the page has gone), that the policy calls an
     * error of the guest, or of which the conversion is still refused, or interrupted.
     *
     * @param handler by default one that ends the run
     * @return this
     */
    public Builder otherwise(ExitHandler handler) {
      otherwise = Objects.requireNonNull(handler, "handler");
      return this;
    }

    /**
     * Makes the handler.
     *
     * @return the handler
     */
    public ConversionHandler build() {
      return new ConversionHandler(this);
    }
  }

  /**
   * Converts what the policy wants private before the first vCPU runs.
   *
   * @param memory the guest's memory
   * @throws GuestMemfdException if a conversion is refused, also when it is {@linkplain
   *     Builder#retries tried again}; EINTR; what has been converted stays so, and this can be
   *     repeated
   * @throws IllegalStateException if the policy answers a range that is not in the memory
   * @throws NullPointerException if the policy answers null
   */
  public void start(GpaRange memory) {
    Objects.requireNonNull(memory, "memory");
    for (GpaRange range : answered(policy.beforeFirstRun(memory), "beforeFirstRun")) {
      answered(range, "a range of beforeFirstRun");
      if (!memory.contains(range)) {
        throw new IllegalStateException(
            policy.id() + ": expected a range in " + memory + ", actual " + range);
      }
      Progress progress = convert(range, range, MemoryAttribute.PRIVATE, retries);
      if (progress.errno() != Errno.OK) {
        throw new GuestMemfdException(
            progress.errno(), "conversion of " + range + " before the first run: " + why(progress));
      }
    }
  }

  private static String why(Progress progress) {
    if (progress.busy() != null) {
      return progress.busy().toString();
    }
    String at = Hex.of(progress.upTo());
    return switch (progress.errno()) {
      case EINTR -> "the thread was interrupted at " + at;
      case ENOENT -> "no memslot at " + at;
      case EBADF -> "the file at " + at + " is gone";
      default -> "refused at " + at;
    };
  }

  /** What the policy has answered, which is not to be null. */
  private <T> T answered(@Nullable T answer, String what) {
    if (answer == null) {
      throw new NullPointerException("policy " + policy.id() + ": " + what + " answered null");
    }
    return answer;
  }

  /**
   * Deals with an exit that is about conversion, and passes on any other.
   *
   * @param vcpu a vCPU of the virtual machine
   * @param exit why it exited
   * @return true to enter the guest again
   * @throws IllegalArgumentException if the vCPU is of another virtual machine
   * @throws NullPointerException if the policy answers null
   * @throws IllegalStateException if the policy answers a fault by a range that does not contain
   *     the pages; if a fault cannot be dealt with, or for a hypercall, and the vCPU has not exited
   *     with that
   */
  @Override
  public boolean handle(Vcpu vcpu, VcpuExit exit) {
    Objects.requireNonNull(exit, "exit");
    if (vcpu.vm() != vm) {
      throw new IllegalArgumentException(
          "expected a vCPU of the virtual machine that this was made for, actual " + vcpu);
    }
    if (exit instanceof VcpuExit.Hypercall call) {
      onHypercall(vcpu, call);
      return true;
    }
    if (!(exit instanceof VcpuExit.MemoryFault fault)) {
      return otherwise.handle(vcpu, exit);
    }
    VcpuExit unresolved = onMemoryFault(vcpu, fault);
    return unresolved == null || otherwise.handle(vcpu, unresolved);
  }

  private void onHypercall(Vcpu vcpu, VcpuExit.Hypercall call) {
    if (call.gpa() < 0 || call.pages() > (Long.MAX_VALUE - call.gpa()) / PAGE_SIZE) {
      vcpu.completeHypercall(Errno.EINVAL);
      return;
    }
    GpaRange asked = new GpaRange(call.gpa(), call.pages() * PAGE_SIZE);
    Progress progress = doPieces(asked, call.attribute());
    if (progress.errno() == Errno.EINTR) {
      vcpu.requestExit(); // a guest that just asks again would not notice
    }
    vcpu.completeHypercall(VcpuExit.Hypercall.answerTo(progress.errno()), progress.upTo());
  }

  /** Deals with a range that a guest has asked for, as far as that goes. */
  private Progress doPieces(GpaRange asked, MemoryAttribute attribute) {
    boolean needsMemory = attribute == MemoryAttribute.PRIVATE;
    long at = asked.gpa();
    if (needsMemory && endOfMemory(at, asked.end()) < asked.end()) {
      return new Progress(Errno.ENOENT, at); // before anything is converted
    }
    while (at < asked.end()) {
      long start = startOfMemory(at, asked.end());
      long end = endOfMemory(start, Math.min(asked.end(), (start & -PIECE) + PIECE));
      if (needsMemory && start > at) {
        return new Progress(Errno.ENOENT, at); // a memslot has gone
      }
      if (start < end) {
        if (at > asked.gpa() && Thread.currentThread().isInterrupted()) {
          return new Progress(Errno.EINTR, at);
        }
        Progress piece = doPiece(new GpaRange(start, end - start), attribute);
        boolean hasGone = piece.errno() == Errno.ENOENT && endOfMemory(start, end) < end;
        if (piece.errno() != Errno.OK && (needsMemory || !hasGone)) {
          return piece;
        }
        at = hasGone ? start : end;
      } else {
        at = start; // the end, or a memslot has gone
      }
    }
    return new Progress(Errno.OK, at);
  }

  private Progress doPiece(GpaRange piece, MemoryAttribute attribute) {
    Optional<GpaRange> answer = answered(policy.onHypercall(piece, attribute), "onHypercall");
    if (answer.isEmpty()) {
      return new Progress(Errno.OK, piece.end());
    }
    GpaRange needed = answer.get().contains(piece) ? piece : answer.get();
    Progress progress = convert(answer.get(), needed, attribute, 0);
    long upTo = Math.min(Math.max(progress.upTo(), piece.gpa()), piece.end());
    return new Progress(progress.errno(), upTo);
  }

  /** Returns why the vCPU cannot go on; null if it can. */
  private @Nullable VcpuExit onMemoryFault(Vcpu vcpu, VcpuExit.MemoryFault fault) {
    Optional<MemoryAttribute> now = vm.memoryAttribute(fault.gpa());
    if (fault.errno() != Errno.EFAULT || now.isEmpty()) {
      return fault;
    }
    if (now.get() == fault.attribute()) {
      return null;
    }
    GpaRange used = new GpaRange(fault.gpa(), fault.size());
    Optional<GpaRange> answer =
        answered(policy.onMemoryFault(used, fault.attribute()), "onMemoryFault");
    if (answer.isEmpty()) {
      return fault;
    }
    GpaRange wanted = withMemory(answer.get(), used);
    Progress progress = convert(wanted, used, fault.attribute(), retries);
    if (progress.errno() == Errno.OK) {
      return null;
    }
    vcpu.failMemoryFault(progress.errno(), progress.busy());
    return vcpu.exit();
  }

  // ---- the range ----

  /** What of a policy's answer is around the pages used in memslots without a gap. */
  private GpaRange withMemory(GpaRange answer, GpaRange used) {
    if (answer.equals(used)) {
      return used;
    }
    if (!answer.contains(used)) {
      throw new IllegalStateException(
          policy.id() + ": expected a range that contains " + used + ", actual " + answer);
    }
    long start = used.gpa();
    while (start > answer.gpa()) {
      Optional<Memslot> slot = vm.memslotAt(start - 1);
      if (slot.isEmpty()) {
        break;
      }
      start = Math.max(slot.get().gpa(), answer.gpa());
    }
    return new GpaRange(start, endOfMemory(used.end(), answer.end()) - start);
  }

  /** The first address with a memslot from one address on, or the other if that is before. */
  private long startOfMemory(long from, long to) {
    return vm.nextMemslot(from).map(s -> Math.max(from, Math.min(s.gpa(), to))).orElse(to);
  }

  /** The first address without a memslot from one address on, or the other if that is before. */
  private long endOfMemory(long from, long to) {
    long at = from;
    while (at < to) {
      Optional<Memslot> slot = vm.memslotAt(at);
      if (slot.isEmpty()) {
        return at;
      }
      at = slot.get().gpa() + slot.get().size();
    }
    return to;
  }

  // ---- converting ----

  /**
   * What has come of a conversion.
   *
   * @param errno why it stopped
   * @param upTo where; what comes before is done
   * @param busy who was in the way, if somebody was
   */
  private record Progress(Errno errno, long upTo, @Nullable BusyGuestPage busy) {
    Progress(Errno errno, long upTo) {
      this(errno, upTo, null);
    }
  }

  /** Converts a range, or of it what cannot be done without. */
  private Progress convert(GpaRange wanted, GpaRange needed, MemoryAttribute attribute, int again) {
    long begun = System.nanoTime();
    Progress last = attempt(wanted, attribute);
    if (last.errno() != Errno.OK && last.errno() != Errno.EINTR && !wanted.equals(needed)) {
      last = attempt(needed, attribute);
    }
    for (int round = 0; isInTheWay(last.errno()) && isPatient(again, round, begun); round++) {
      if (Thread.currentThread().isInterrupted()) {
        return new Progress(Errno.EINTR, last.upTo());
      }
      idle.idle(round, LOOK_AGAIN_NANOS);
      last = attempt(needed, attribute);
    }
    return last;
  }

  private static boolean isPatient(int again, int round, long begun) {
    return again == AS_A_FILE ? System.nanoTime() - begun < PATIENCE_NANOS : round < again;
  }

  private static boolean isInTheWay(Errno errno) {
    return errno == Errno.EAGAIN || errno == Errno.EBUSY;
  }

  private Progress attempt(GpaRange range, MemoryAttribute attribute) {
    BusyGuestPage busy = new BusyGuestPage();
    observer.begin(range, attribute);
    Errno errno = Errno.ECANCELED; // unless it returns
    try {
      errno = change(range, attribute, busy);
      return new Progress(
          errno,
          errno == Errno.OK ? range.end() : Math.max(range.gpa(), busy.convertedUpTo()),
          busy.folio().offset() < 0 ? null : busy);
    } finally {
      try {
        observer.end(range, attribute, errno, busy);
      } finally {
        tellPolicy(range, attribute, errno, busy);
      }
    }
  }

  /** The pieces of a range are converted one after the other; those that were done stay done. */
  private void tellPolicy(
      GpaRange range, MemoryAttribute attribute, Errno errno, BusyGuestPage busy) {
    if (errno == Errno.OK) {
      policy.converted(range, attribute);
    } else if (busy.convertedUpTo() > range.gpa()) {
      policy.converted(new GpaRange(range.gpa(), busy.convertedUpTo() - range.gpa()), attribute);
    }
  }

  private Errno change(GpaRange range, MemoryAttribute attribute, BusyGuestPage busy) {
    if (onShared == PrivatePages.KEEP) {
      return vm.trySetMemoryAttributes(range.gpa(), range.size(), attribute, busy);
    }
    if (!underWay.lock(range)) {
      return Errno.EINTR;
    }
    try {
      Errno errno = attribute == MemoryAttribute.SHARED ? discard(range) : Errno.OK;
      return errno == Errno.OK
          ? vm.trySetMemoryAttributes(range.gpa(), range.size(), attribute, busy)
          : errno;
    } finally {
      underWay.unlock(range);
    }
  }

  // ---- discarding ----

  /** Punches what is private in a range. */
  private Errno discard(GpaRange range) {
    if (endOfMemory(range.gpa(), range.end()) < range.end()) {
      return Errno.ENOENT; // before anything is lost
    }
    for (long at = range.gpa(); at < range.end(); ) {
      Optional<Memslot> found = vm.memslotAt(at);
      if (found.isEmpty()) {
        return Errno.ENOENT;
      }
      Memslot slot = found.get();
      long to = Math.min(range.end(), slot.gpa() + slot.size());
      long offset = slot.offset() + (at - slot.gpa());
      Errno errno = discard(slot.memfd(), offset, offset + (to - at));
      if (errno != Errno.OK) {
        return errno;
      }
      at = to;
    }
    return Errno.OK;
  }

  private static Errno discard(GuestMemfd weak, long offset, long end) {
    Optional<GuestMemfd> file = weak.reopen();
    if (file.isEmpty()) {
      return Errno.EBADF;
    }
    try (GuestMemfd memfd = file.get()) {
      for (long at = offset; at < end; ) {
        if (Thread.currentThread().isInterrupted()) {
          return Errno.EINTR;
        }
        long from = memfd.firstInaccessible(at, end - at);
        if (from < end) {
          at = memfd.firstAccessible(from, end - from);
          if (from < at) {
            memfd.punchHole(from, at - from);
          }
        } else {
          at = end;
        }
      }
      return Errno.OK;
    } catch (GuestMemfdException e) {
      return e.errno();
    }
  }
}
