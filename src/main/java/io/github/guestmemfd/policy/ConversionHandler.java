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
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Wait;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The part of a virtual machine monitor that converts memory. It handles the vCPU exits that ask
 * for a conversion: it consults a {@link ConversionPolicy}, and converts what the policy answers.
 *
 * <pre>{@code
 * ConversionHandler handler = ConversionHandler.builder(vm, ConversionPolicy.batched()).build();
 * handler.start(new GpaRange(0, memfd.size()));
 * vm.createVcpu().run(guest, handler);
 * }</pre>
 *
 * <p><b>A memory fault</b> on a page of the other attribute: converts the range that the policy
 * answers, cut to the memslots that adjoin the faulting pages without a gap. If a range larger than
 * these pages is refused, for any reason but an interrupt, only the pages are converted; if a
 * holder blocks that, EAGAIN or EBUSY, it is {@linkplain Builder#retries tried again}. Then the
 * guest is entered again. If the conversion finally fails, the exit says so: its errno is the
 * conversion's, EAGAIN for instance, and {@link VcpuExit.MemoryFault#busy} names the busy page and
 * its holders. The {@linkplain Builder#otherwise other handler} gets that exit, and {@link
 * Vcpu#run} returns it if it ends the run. If another vCPU has already converted the page to the
 * attribute that was used, the guest is entered again at once, and neither the policy nor the
 * observer is called.
 *
 * <p><b>A hypercall</b>: converts the range that the policy answers; if that is larger than the
 * range asked for and is refused, the range asked for. Then the guest is entered again, with an
 * {@linkplain VcpuExit.Hypercall#answerTo answer} that guests know: OK; EINVAL; or EAGAIN, after
 * which it may ask again, as TDX guests do when {@code TDG.VP.VMCALL<MapGPA>} answers RETRY. The
 * observer gets the original errno. A hypercall is not tried again here.
 *
 * <ul>
 *   <li>Addresses without a memslot need no conversion to shared, and that succeeds: guests ask for
 *       it so that accesses to devices exit. If a part of the range has no memslot and is to become
 *       private, the guest gets EINVAL, and nothing is converted; the same if the range reaches
 *       beyond 2^63 - 1.
 *   <li>The policy is asked about one piece after the other. A piece lies in memslots without a
 *       gap, and in one GiB of guest addresses. Pieces that were done stay done, and {@link
 *       Vcpu#convertedUpTo} tells the guest how far the conversion has come.
 *   <li>An interrupt ends the hypercall after each piece, and during waits: the guest gets EAGAIN,
 *       and the vCPU exits with {@link VcpuExit.Interrupted} at its next access or hypercall.
 *   <li>The file and its clients see nothing of a range that already has the attribute.
 * </ul>
 *
 * <p><b>Every other exit</b> goes to {@linkplain Builder#otherwise another handler}.
 *
 * <p><b>With two memories</b>, in a virtual machine that {@linkplain VirtualMachine#hasTwoMemories
 * has them}, a conversion moves no content, and no holder blocks it. {@linkplain Builder#onShared
 * Private} and {@linkplain Builder#onPrivate shared} memory that the guest no longer uses is kept
 * or discarded, one way, both ways or never. {@linkplain Builder#listener Listeners} are told: one
 * that refuses, or throws, leaves the pages private. What cannot be discarded, since the thread is
 * interrupted or a client refuses, stays: see {@link VirtualMachine#memoryUse}. What is thrown when
 * the attributes have changed, by a listener that is told of pages that have turned private, say,
 * changes nothing of the conversion: all listeners are told, memory is discarded, observer and
 * policy hear of it, and then it is thrown, with what others have thrown suppressed in it.
 *
 * <p>One handler serves all vCPUs of one virtual machine. Safe for use by any number of threads;
 * its waits are interruptible, and use its own {@linkplain Builder#idleStrategy idle strategy}.
 *
 * <p><b>With {@link PrivatePages#DISCARD}</b>, or if anything has to be discarded or told in a
 * machine with two memories, a handler makes a range its own while it converts it. So a thread that
 * keeps a folio lock, or is inside a callback of {@link io.github.guestmemfd.GuestMemfdOps}, must
 * not have a vCPU exit to such a handler: another thread may own the range and wait for that lock.
 * With assertions on, that is reported. A conversion to shared removes all content that was private
 * when it began. One handler converts overlapping ranges one after the other, so that if two vCPUs
 * use one page as shared at once, neither punches what the other has already written. Other
 * handlers, and direct calls of {@link VirtualMachine#setMemoryAttributes}, are not ordered with
 * it. A guest that goes on using a page as private while it converts it may expose what it writes
 * there. A conversion that is refused after the punch, by a callback for instance, leaves the pages
 * private and empty; a punch that is refused leaves them unconverted, and those before it in the
 * range empty.
 */
public final class ConversionHandler implements ExitHandler {
  private static final int PAGE_SIZE = HostMemory.PAGE_SIZE;

  /** The bytes of a hypercall that are converted between two checks for an interrupt. */
  private static final long PIECE = 1L << 30;

  /** How long a file retries a conversion by default, and so does a handler. */
  private static final long PATIENCE_NANOS =
      ConversionProtocol.atomicPair().retryPolicy().waitNanos();

  /** Not a count: retries for as long as a file does by default. */
  private static final int AS_A_FILE = -1;

  private final VirtualMachine vm;
  private final ConversionPolicy policy;
  private final Changes changes;
  private final List<SharedMemoryListener> listeners;
  private final ConversionObserver observer;
  private final int retries;
  private final IdleStrategy idle;
  private final ExitHandler otherwise;

  private ConversionHandler(Builder builder) {
    vm = builder.vm;
    policy = builder.policy;
    listeners = List.copyOf(builder.listeners);
    observer = builder.observer;
    retries = builder.retries;
    idle = builder.idle;
    otherwise = builder.otherwise;
    RangesUnderWay underWay = new RangesUnderWay(idle);
    changes =
        vm.hasTwoMemories()
            ? new TwoMemories(vm, builder.onShared, builder.onPrivate, listeners, underWay)
            : new InPlaceChanges(vm, builder.onShared, underWay);
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
    private SharedPages onPrivate = SharedPages.KEEP;
    private final List<SharedMemoryListener> listeners = new ArrayList<>();
    private ConversionObserver observer = new ConversionObserver() {};
    private int retries = AS_A_FILE;
    private IdleStrategy idle = IdleStrategy.spinThenPark();
    private ExitHandler otherwise = (vcpu, exit) -> false;

    private Builder(VirtualMachine vm, ConversionPolicy policy) {
      this.vm = Objects.requireNonNull(vm, "vm");
      this.policy = Objects.requireNonNull(policy, "policy");
    }

    /**
     * Says what becomes of private content when pages turn shared.
     *
     * @param privatePages {@link PrivatePages#KEEP} by default
     * @return this
     */
    public Builder onShared(PrivatePages privatePages) {
      onShared = Objects.requireNonNull(privatePages, "privatePages");
      return this;
    }

    /**
     * Says what becomes of the host's memory when pages turn private. Only for a virtual machine
     * with two memories: in place, there is no other.
     *
     * @param sharedPages {@link SharedPages#KEEP} by default
     * @return this
     */
    public Builder onPrivate(SharedPages sharedPages) {
      onPrivate = Objects.requireNonNull(sharedPages, "sharedPages");
      return this;
    }

    /**
     * Adds a listener that is told which pages are shared, and may refuse. Only for a virtual
     * machine with two memories.
     *
     * @param listener told after those added before it; of pages that turn private in the same
     *     order
     * @return this
     */
    public Builder listener(SharedMemoryListener listener) {
      listeners.add(Objects.requireNonNull(listener, "listener"));
      return this;
    }

    /**
     * Sets the observer of every attempt.
     *
     * @param conversionObserver by default one that does nothing
     * @return this
     */
    public Builder observer(ConversionObserver conversionObserver) {
      observer = Objects.requireNonNull(conversionObserver, "conversionObserver");
      return this;
    }

    /**
     * Sets how often to repeat a conversion that a vCPU needs, and that a holder blocks. Each
     * attempt also waits as the file's {@link io.github.guestmemfd.conversion.RetryPolicy} says.
     *
     * <p>By default it is repeated until as much time has passed since the first attempt began as a
     * file waits by default ({@link ConversionProtocol#retryPolicy}): 100 ms. So with a file that
     * waits that long there is one attempt, and a file that refuses at the first mismatch does not
     * stop the guest for a reference that is about to be dropped.
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
     * Sets how vCPUs wait, between attempts and for each other.
     *
     * @param strategy {@link IdleStrategy#spinThenPark} by default
     * @return this
     */
    public Builder idleStrategy(IdleStrategy strategy) {
      idle = Objects.requireNonNull(strategy, "strategy");
      return this;
    }

    /**
     * Sets the handler of all other exits: MMIO and interrupts; memory faults that are not about an
     * attribute (their errno is not EFAULT, or the memory behind the page has gone), that the
     * policy calls an error of the guest, or whose conversion was finally refused, or interrupted.
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
     * @throws IllegalArgumentException if something is asked for that needs two memories, and the
     *     virtual machine {@linkplain VirtualMachine#hasTwoMemories has one}
     */
    public ConversionHandler build() {
      if (!vm.hasTwoMemories() && (onPrivate == SharedPages.DISCARD || !listeners.isEmpty())) {
        throw new IllegalArgumentException(
            "expected a virtual machine with two memories for "
                + (listeners.isEmpty() ? "SharedPages.DISCARD" : "a listener")
                + ", actual "
                + vm);
      }
      return new ConversionHandler(this);
    }
  }

  /**
   * Converts what the policy wants private before the first vCPU runs, and tells the listeners what
   * is shared then.
   *
   * @param memory the guest's memory
   * @throws GuestMemfdException if a listener refuses; if a conversion is refused, even when it is
   *     {@linkplain Builder#retries tried again}; EINTR; what has been converted stays so, and this
   *     can be repeated
   * @throws IllegalStateException if the policy answers a range that is not in the memory
   * @throws NullPointerException if the policy answers null
   */
  public void start(GpaRange memory) {
    Objects.requireNonNull(memory, "memory");
    for (GpaRange range : answered(policy().beforeFirstRun(memory), "beforeFirstRun")) {
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
    if (changes instanceof TwoMemories memories) {
      memories.tellShared(memory);
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

  /** The policy, to be called. */
  private ConversionPolicy policy() {
    checkOrder();
    return policy;
  }

  /** Policy and observer are called with nothing held, unless a callback is under way. */
  private static void checkOrder() {
    if (LockOrder.isOn() && !GuestMemfd.isInsideCallback()) {
      LockOrder.beforeCall(Callback.POLICY);
    }
  }

  /** Returns the policy's answer; throws if it is null. */
  private <T> T answered(@Nullable T answer, String what) {
    if (answer == null) {
      throw new NullPointerException("policy " + policy.id() + ": " + what + " answered null");
    }
    return answer;
  }

  /**
   * Handles an exit that asks for a conversion, and passes on any other.
   *
   * @param vcpu a vCPU of the virtual machine
   * @param exit why it exited
   * @return true to enter the guest again
   * @throws IllegalArgumentException if the vCPU is of another virtual machine
   * @throws NullPointerException if the policy answers null
   * @throws IllegalStateException if the policy answers a fault with a range that does not contain
   *     the pages; if a fault cannot be resolved, or for a hypercall, and the vCPU has not exited
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
      vcpu.requestExit(); // a guest that just asks again would not notice the interrupt
    }
    vcpu.completeHypercall(VcpuExit.Hypercall.answerTo(progress.errno()), progress.upTo());
  }

  /** Converts a range that a guest has asked for, as far as possible. */
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
        return new Progress(Errno.ENOENT, at); // a memslot was deleted
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
        at = start; // the end, or a memslot was deleted
      }
    }
    return new Progress(Errno.OK, at);
  }

  private Progress doPiece(GpaRange piece, MemoryAttribute attribute) {
    Optional<GpaRange> answer = answered(policy().onHypercall(piece, attribute), "onHypercall");
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
        answered(policy().onMemoryFault(used, fault.attribute()), "onMemoryFault");
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

  /** The part of a policy's answer in memslots that adjoin the pages used without a gap. */
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

  /** The first address of {@code from} and above that has a memslot, at most {@code to}. */
  private long startOfMemory(long from, long to) {
    return vm.nextMemslot(from).map(s -> Math.max(from, Math.min(s.gpa(), to))).orElse(to);
  }

  /** The first address of {@code from} and above that has no memslot, at most {@code to}. */
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
   * The result of a conversion.
   *
   * @param errno why it stopped
   * @param upTo the address at which it stopped; what comes before is done
   * @param busy the busy page and its holders, if a holder blocked it
   */
  private record Progress(Errno errno, long upTo, @Nullable BusyGuestPage busy) {
    Progress(Errno errno, long upTo) {
      this(errno, upTo, null);
    }
  }

  /** Converts the wanted range or, if that is refused, the needed one. */
  private Progress convert(GpaRange wanted, GpaRange needed, MemoryAttribute attribute, int again) {
    long begun = Exploration.nanoTime();
    Progress last = attempt(wanted, attribute);
    if (last.errno() != Errno.OK && last.errno() != Errno.EINTR && !wanted.equals(needed)) {
      last = attempt(needed, attribute);
    }
    for (int round = 0; isInTheWay(last.errno()) && isPatient(again, round, begun); round++) {
      if (!Wait.pause(idle, round, Wait.LOOK_AGAIN_NANOS)) {
        return new Progress(Errno.EINTR, last.upTo());
      }
      last = attempt(needed, attribute);
    }
    return last;
  }

  private static boolean isPatient(int again, int round, long begun) {
    return again == AS_A_FILE ? Exploration.nanoTime() - begun < PATIENCE_NANOS : round < again;
  }

  private static boolean isInTheWay(Errno errno) {
    return errno == Errno.EAGAIN || errno == Errno.EBUSY;
  }

  private Progress attempt(GpaRange range, MemoryAttribute attribute) {
    BusyGuestPage busy = new BusyGuestPage();
    checkOrder();
    observer.begin(range, attribute);
    AllSteps steps = new AllSteps();
    Errno errno = steps.answer(() -> changes.change(range, attribute, busy), Errno.ECANCELED);
    steps.make(
        () -> {
          checkOrder();
          observer.end(range, attribute, errno, busy);
        });
    steps.make(() -> tellPolicy(range, attribute, errno, busy));
    steps.end();
    return new Progress(
        errno,
        errno == Errno.OK ? range.end() : Math.max(range.gpa(), busy.convertedUpTo()),
        busy.folio().offset() < 0 ? null : busy);
  }

  /** Tells the policy what was converted: pieces that were done stay done after a refusal. */
  private void tellPolicy(
      GpaRange range, MemoryAttribute attribute, Errno errno, BusyGuestPage busy) {
    if (errno == Errno.OK) {
      policy().converted(range, attribute);
    } else if (busy.convertedUpTo() > range.gpa()) {
      policy().converted(new GpaRange(range.gpa(), busy.convertedUpTo() - range.gpa()), attribute);
    }
  }
}
