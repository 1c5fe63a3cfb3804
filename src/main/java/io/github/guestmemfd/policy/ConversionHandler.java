package io.github.guestmemfd.policy;

import io.github.guestmemfd.Errno;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdException;
import io.github.guestmemfd.HostMemory;
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
 * somebody is in the way of these, EAGAIN or EBUSY, again as often as {@linkplain Builder#retries
 * asked}. Then the guest is entered again. If another vCPU has been faster and the page is of the
 * attribute that was used by now, the guest is entered again at once: neither the policy nor the
 * observer hears of it.
 *
 * <p><b>A hypercall</b> for a range with memslots: converts what the policy answers, and if more
 * than was asked for is refused, what was asked for. The guest gets the errno, and is entered
 * again. Nothing is tried again: EAGAIN goes to the guest, which may ask again, as TDX guests do
 * when {@code TDG.VP.VMCALL<MapGPA>} answers RETRY. If there is no memslot for a part of it the
 * guest gets ENOENT, if it reaches beyond 2^63 - 1 EINVAL, and the policy is not asked. A range
 * that is of that attribute already is converted all the same, which the file answers with OK at
 * once.
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
    private int retries;
    private IdleStrategy idle = IdleStrategy.spinThenPark();
    private ExitHandler otherwise = (vcpu, exit) -> false;

    private Builder(VirtualMachine vm, ConversionPolicy policy) {
      this.vm = Objects.requireNonNull(vm);
      this.policy = Objects.requireNonNull(policy);
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
     * @param attempts at least 0, the default
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
   * @throws GuestMemfdException if a conversion is refused, also again as often as {@linkplain
   *     Builder#retries asked}; EINTR; what has been converted stays so, and this can be repeated
   * @throws IllegalStateException if the policy answers a range that is not in the memory
   */
  public void start(GpaRange memory) {
    Objects.requireNonNull(memory, "memory");
    for (GpaRange range : policy.beforeFirstRun(memory)) {
      if (!memory.contains(range)) {
        throw new IllegalStateException(
            policy.id() + ": expected a range in " + memory + ", actual " + range);
      }
      Errno errno = convert(range, range, MemoryAttribute.PRIVATE, retries);
      if (errno != Errno.OK) {
        throw new GuestMemfdException(errno, "conversion before the first run: " + range);
      }
    }
  }

  /**
   * Deals with an exit that is about conversion, and passes on any other.
   *
   * @param vcpu a vCPU of the virtual machine
   * @param exit why it exited
   * @return true to enter the guest again
   * @throws IllegalArgumentException if the vCPU is of another virtual machine
   * @throws IllegalStateException if the policy answers a fault by a range that does not contain
   *     the pages
   */
  @Override
  public boolean handle(Vcpu vcpu, VcpuExit exit) {
    Objects.requireNonNull(exit, "exit");
    if (vcpu.vm() != vm) {
      throw new IllegalArgumentException(
          "expected a vCPU of the virtual machine that this was made for, actual " + vcpu);
    }
    if (exit instanceof VcpuExit.Hypercall call) {
      vcpu.completeHypercall(onHypercall(call));
      return true;
    }
    return (exit instanceof VcpuExit.MemoryFault fault && onMemoryFault(fault))
        || otherwise.handle(vcpu, exit);
  }

  private Errno onHypercall(VcpuExit.Hypercall call) {
    if (call.gpa() < 0 || call.pages() > (Long.MAX_VALUE - call.gpa()) / PAGE_SIZE) {
      return Errno.EINVAL;
    }
    GpaRange asked = new GpaRange(call.gpa(), call.pages() * PAGE_SIZE);
    if (endOfMemory(asked.gpa(), asked.end()) < asked.end()) {
      return Errno.ENOENT;
    }
    Optional<GpaRange> answer = policy.onHypercall(asked, call.attribute());
    if (answer.isEmpty()) {
      return Errno.OK;
    }
    GpaRange needed = answer.get().contains(asked) ? asked : answer.get();
    return convert(answer.get(), needed, call.attribute(), 0);
  }

  /** Returns false if the vCPU cannot go on. */
  private boolean onMemoryFault(VcpuExit.MemoryFault fault) {
    Optional<MemoryAttribute> now = vm.memoryAttribute(fault.gpa());
    if (fault.errno() != Errno.EFAULT || now.isEmpty()) {
      return false;
    }
    if (now.get() == fault.attribute()) {
      return true;
    }
    GpaRange used = new GpaRange(fault.gpa(), fault.size());
    Optional<GpaRange> answer = policy.onMemoryFault(used, fault.attribute());
    if (answer.isEmpty()) {
      return false;
    }
    GpaRange wanted = withMemory(answer.get(), used);
    return convert(wanted, used, fault.attribute(), retries) == Errno.OK;
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

  /** Converts a range, or of it what cannot be done without. */
  private Errno convert(GpaRange wanted, GpaRange needed, MemoryAttribute attribute, int again) {
    Errno errno = attempt(wanted, attribute);
    if (errno != Errno.OK && errno != Errno.EINTR && !wanted.equals(needed)) {
      errno = attempt(needed, attribute);
    }
    for (int round = 0; round < again && isInTheWay(errno); round++) {
      if (Thread.currentThread().isInterrupted()) {
        return Errno.EINTR;
      }
      idle.idle(round, LOOK_AGAIN_NANOS);
      errno = attempt(needed, attribute);
    }
    return errno;
  }

  private static boolean isInTheWay(Errno errno) {
    return errno == Errno.EAGAIN || errno == Errno.EBUSY;
  }

  private Errno attempt(GpaRange range, MemoryAttribute attribute) {
    BusyGuestPage busy = new BusyGuestPage();
    observer.begin(range, attribute);
    Errno errno = Errno.ECANCELED; // unless it returns
    try {
      errno = change(range, attribute, busy);
      return errno;
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
      for (long from = offset; from < end; ) {
        long to = endOfPrivate(memfd, from, end);
        if (from < to) {
          memfd.punchHole(from, to - from);
        }
        from = to + PAGE_SIZE; // what is there is shared, or the end
      }
      return Errno.OK;
    } catch (GuestMemfdException e) {
      return e.errno();
    }
  }

  private static long endOfPrivate(GuestMemfd memfd, long from, long end) {
    long to = from;
    while (to < end && !memfd.isAccessible(to)) {
      to += PAGE_SIZE;
    }
    return to;
  }
}
