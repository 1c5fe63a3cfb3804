package io.github.guestmemfd.lab.workload;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.kvm.ExitHandler;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.policy.PrivatePages;
import io.github.guestmemfd.spi.IdleStrategy;
import java.util.OptionalLong;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A vCPU of a workload: carries out the requests as a guest would. It asks for a conversion by
 * hypercall before it uses pages in another way, as confidential guests do; the policy decides what
 * comes of that. It retries a refused operation a few times, and then gives up.
 */
final class GuestActor implements Runnable {
  private static final int ATTEMPTS = 4;
  private static final int LONGS_OF_DATA = 8;
  private static final long PAUSE_NANOS = 50_000;

  private final IdleStrategy idle = IdleStrategy.spinThenPark();
  private final Machine m;
  private final Vcpu vcpu;
  private final ExitHandler handler;
  private final Attempts attempts;
  private final Monitor monitor;
  private final Supplier<Request> requests;

  /** Null if the vCPU reaches private memory as it does shared memory. */
  private final @Nullable PrivateMemory privately;

  /** Values, which have no part in what is requested. */
  private final SplittableRandom random;

  /** The first page that it owns. */
  private final int first;

  /** The secret in each private page that it owns, 0 for none. */
  private final long[] secrets;

  /** With two memories, the secret that it has left in the private page behind a shared one. */
  private final long[] left;

  /** Which of them have been given back, and have to read as zero. */
  private final boolean[] givenBack;

  private final AtomicInteger outstanding = new AtomicInteger();
  private long done;

  /** What has been loaded last. */
  private long loaded;

  GuestActor(
      Machine m,
      Vcpu vcpu,
      ExitHandler handler,
      Attempts attempts,
      Monitor monitor,
      @Nullable PrivateMemory privately,
      Supplier<Request> requests,
      SplittableRandom random,
      int first,
      int pages) {
    this.m = m;
    this.vcpu = vcpu;
    this.handler = handler;
    this.attempts = attempts;
    this.monitor = monitor;
    this.privately = privately;
    this.requests = requests;
    this.random = random;
    this.first = first;
    this.secrets = new long[pages];
    this.left = new long[pages];
    this.givenBack = new boolean[pages];
  }

  /** How many pages' worth of requests were carried out. Read when it has ended. */
  long done() {
    return done;
  }

  Vcpu vcpu() {
    return vcpu;
  }

  @Override
  public void run() {
    vcpu.run(
        v -> {
          while (!m.stop().isSet()) {
            perform(requests.get());
          }
        },
        handler);
  }

  private void perform(Request request) {
    int first = request.page();
    int end = Math.min(m.pages(), first + request.pages());
    switch (request.op()) {
      case ACCEPT, SECRET -> keepSecrets(first, end);
      case SHARE -> share(first, end);
      case SUBMIT -> submit(first, end);
      case AWAIT -> await();
      case PEEK -> peek(first);
      case PEEK_PRIVATE -> peekPrivate(Machine.offset(first));
      case BALLOON -> balloon(first, end);
      case RESTORE -> restore(first, end);
      default -> throw new IllegalStateException("expected an operation of guests: " + request);
    }
  }

  // ---- private pages ----

  private void keepSecrets(int first, int end) {
    if (!arePrivate(first, end) && !ask(first, end, PRIVATE)) {
      return;
    }
    for (int page = first; page < end && !m.stop().isSet(); page++) {
      if (verifyLeft(page) && verify(page) && write(page)) {
        done++;
      }
    }
  }

  /**
   * Looks at a page that has turned private again, with two memories: what was left there is still
   * there, unless it has been discarded, or unmapped by hardware that destroys it then. False if it
   * cannot be used now.
   */
  private boolean verifyLeft(int page) {
    long secret = left[page - this.first];
    if (secret == 0) {
      return true;
    }
    boolean discarded = monitor.discard().onShared() == PrivatePages.DISCARD;
    boolean gone = discarded || (privately != null && privately.losesUnmapped());
    boolean anything = discarded && privately != null && !privately.isNewPageZero();
    for (int at : new int[] {Secrets.READ_AT, Secrets.WRITE_AT}) {
      if (!load(Machine.offset(page) + at, PRIVATE)) {
        return false;
      }
      if (loaded != secret && !(gone && (anything || loaded == 0))) {
        m.secrets().corrupted();
      }
    }
    left[page - this.first] = 0;
    return true;
  }

  /** Whether it knows of all pages that they are private, and need not ask for that. */
  private boolean arePrivate(int first, int end) {
    for (int page = first; page < end; page++) {
      if (secrets[page - this.first] == 0 && !givenBack[page - this.first]) {
        return false;
      }
    }
    return true;
  }

  /** Looks whether a private page is as it was left; false if it cannot be used now. */
  private boolean verify(int page) {
    long offset = Machine.offset(page);
    long secret = secrets[page - this.first];
    if (secret == 0 && !givenBack[page - this.first]) {
      return true;
    }
    if (!load(offset + Secrets.READ_AT, PRIVATE)) {
      return false;
    }
    boolean anything = secret == 0 && privately != null && !privately.isNewPageZero();
    if (loaded != secret && !anything) {
      m.secrets().corrupted();
    }
    givenBack[page - this.first] = false;
    if (secret != 0) {
      if (!load(offset + Secrets.WRITE_AT, PRIVATE)) {
        return false;
      }
      if (loaded != secret) {
        m.secrets().leak("the guest found its private page changed", page);
      }
    }
    return true;
  }

  private boolean write(int page) {
    long secret = Secrets.of(random.nextLong());
    // From here on there may be one, or half of one.
    secrets[page - this.first] = 0;
    if (storeInBothPlaces(page, secret)) {
      secrets[page - this.first] = secret;
      return true;
    }
    return false;
  }

  private boolean storeInBothPlaces(int page, long value) {
    long offset = Machine.offset(page);
    return store(offset + Secrets.READ_AT, value, PRIVATE)
        && store(offset + Secrets.WRITE_AT, value, PRIVATE);
  }

  /**
   * Wipes secrets, unless they are discarded anyway, or stay where the host cannot reach them;
   * false if a page cannot be used now.
   */
  private boolean forget(int first, int end) {
    for (int page = first; page < end; page++) {
      long secret = secrets[page - this.first];
      if (secret == 0) {
        continue;
      }
      if (!verify(page)) {
        return false;
      }
      if (monitor.hasTwoMemories()) {
        left[page - this.first] = secret;
      } else if (monitor.discard() == Monitor.Discard.NEVER && !storeInBothPlaces(page, 0)) {
        return false;
      }
      secrets[page - this.first] = 0;
    }
    return true;
  }

  // ---- shared pages ----

  private void share(int first, int end) {
    if (!forget(first, end) || !ask(first, end, SHARED)) {
      return;
    }
    for (int page = first; page < end && !m.stop().isSet(); page++) {
      givenBack[page - this.first] = false;
      if (store(Machine.offset(page) + Secrets.DATA_AT, page, SHARED)) {
        done++;
      }
    }
  }

  private void submit(int first, int end) {
    for (int page = first; page < end; page++) {
      if (secrets[page - this.first] != 0) {
        return; // not shared
      }
      long offset = Machine.offset(page) + Secrets.DATA_AT;
      for (int i = 0; i < LONGS_OF_DATA; i++) {
        if (!store(offset + (long) i * Long.BYTES, Secrets.data(random.nextLong()), SHARED)) {
          return;
        }
      }
    }
    outstanding.getAndIncrement();
    if (m.device().offer(new Transfer(first, end - first, random.nextInt(4) == 0, outstanding))) {
      done += end - first;
    } else {
      outstanding.getAndDecrement();
      await();
    }
  }

  private void await() {
    for (int round = 0; outstanding.get() != 0 && !m.stop().isSet(); round++) {
      idle.idle(round, PAUSE_NANOS);
    }
  }

  /** Reads any page of the guest as shared, to race with conversions of it. */
  private void peek(int page) {
    if (vcpu.tryRead(Machine.offset(page) + Secrets.READ_AT, Long.BYTES, SHARED)) {
      m.secrets().check(vcpu.value(), "in a page that is shared", page);
    }
  }

  /** Reads any page of the guest as private, without the monitor's help. */
  private void peekPrivate(long gpa) {
    if (privately == null) {
      vcpu.tryRead(gpa, Long.BYTES, PRIVATE);
    } else {
      privately.peek(gpa);
    }
  }

  // ---- with the monitor's help ----

  private void balloon(int first, int end) {
    for (int page = first; page < end; page++) {
      if (!verify(page)) {
        return;
      }
    }
    try {
      m.discard(first, end, monitor.pinnable() > 0);
    } catch (GuestMemfdException refused) {
      return; // EBUSY, by protocols that refuse while a safe holder remains: nothing has changed
    }
    for (int page = first; page < end; page++) {
      secrets[page - this.first] = 0;
      left[page - this.first] = 0;
      // The host may have made a new page since, where the page is shared.
      givenBack[page - this.first] = m.isPrivate(page);
    }
    done += end - first;
  }

  private void restore(int first, int end) {
    if (!forget(first, end) || !ask(first, end, SHARED)) {
      return;
    }
    for (int page = first; page < end && !m.stop().isSet(); page++) {
      givenBack[page - this.first] = false;
      long offset = Machine.offset(page) + Secrets.DATA_AT;
      if (!store(offset, 0, SHARED)) {
        return;
      }
      long content = Secrets.data(random.nextLong());
      if (!m.window().tryPutLong(offset, content)) {
        continue; // the policy has converted it along with its neighbours
      }
      if (monitor.hasTwoMemories() ? !copyToPrivate(page, content) : !turnPrivate(page)) {
        continue;
      }
      boolean handedOver = !monitor.hasTwoMemories(); // else the guest has copied it
      if (loaded != content && !(handedOver && privately != null && !privately.keepsContent())) {
        m.secrets().corrupted();
      }
      done++;
    }
  }

  private boolean turnPrivate(int page) {
    return ask(page, page + 1, PRIVATE) && load(Machine.offset(page) + Secrets.DATA_AT, PRIVATE);
  }

  /** With two memories the guest copies what the host has left for it, as it accepts the page. */
  private boolean copyToPrivate(int page, long content) {
    long offset = Machine.offset(page) + Secrets.DATA_AT;
    if (!vcpu.tryRead(offset, Long.BYTES, SHARED)) {
      return false; // the policy has converted it along with its neighbours
    }
    if (vcpu.value() != content) {
      m.secrets().corrupted();
    }
    return ask(page, page + 1, PRIVATE) && store(offset, content, PRIVATE) && turnPrivate(page);
  }

  // ---- what a guest's kernel does ----

  private boolean ask(int first, int end, MemoryAttribute attribute) {
    if (privately != null && attribute == SHARED) {
      privately.beforeShared(first, end);
    }
    boolean done = false;
    for (int i = 0; i < ATTEMPTS && !done && !m.stop().isSet(); i++) {
      if (i > 0) {
        LockSupport.parkNanos(PAUSE_NANOS);
      }
      done = vcpu.mapGpaRange(Machine.offset(first), end - first, attribute) == Errno.OK;
    }
    endAsking();
    if (done && privately != null && attribute == PRIVATE) {
      return privately.whenPrivate(first, end);
    }
    return done;
  }

  private boolean load(long gpa, MemoryAttribute attribute) {
    if (privately != null && attribute == PRIVATE) {
      OptionalLong number = privately.access(vcpu, handler, gpa, guest -> guest.read(gpa));
      endAsking();
      loaded = number.orElse(0);
      return number.isPresent();
    }
    boolean done = access(() -> vcpu.tryRead(gpa, Long.BYTES, attribute));
    loaded = done ? vcpu.value() : 0;
    return done;
  }

  private boolean store(long gpa, long value, MemoryAttribute attribute) {
    if (privately != null && attribute == PRIVATE) {
      OptionalLong done =
          privately.access(
              vcpu,
              handler,
              gpa,
              guest -> guest.write(gpa, value) ? OptionalLong.of(value) : OptionalLong.empty());
      endAsking();
      return done.isPresent();
    }
    return access(() -> vcpu.tryWrite(gpa, Long.BYTES, value, attribute));
  }

  /** Makes an access, with exits to the monitor as long as that lets it enter again. */
  private boolean access(BooleanSupplier access) {
    if (access.getAsBoolean()) {
      return true;
    }
    boolean done = false;
    for (int i = 1; i < ATTEMPTS && !done && !m.stop().isSet(); i++) {
      if (!handler.handle(vcpu, vcpu.exit())) {
        break;
      }
      done = access.getAsBoolean();
    }
    endAsking();
    return done;
  }

  /** A conversion that the end of the run cuts off counts as neither made nor given up. */
  private void endAsking() {
    if (!m.stop().isSet()) {
      attempts.over();
    }
  }
}
