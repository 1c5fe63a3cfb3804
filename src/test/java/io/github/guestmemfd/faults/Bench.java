package io.github.guestmemfd.faults;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdListener;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.gunyah.MemoryParcels;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import java.util.function.UnaryOperator;

/** Where a scenario plays: a host, and everything that has been made in it and is open still. */
final class Bench {
  static final int PAGE = HostMemory.PAGE_SIZE;

  /** Frames of a host: more than any scenario uses. */
  static final int FRAMES = 24;

  /** There is no other thread to wait for, so a long wait is for ever. */
  private static final int LONG_WAIT = 20_000;

  /** A listener that does nothing. */
  private static final GuestMemfdListener DEAF = new GuestMemfdListener() {};

  /** A file; one whose client is not told has another one. */
  record File(GuestMemfd first, Ops client, boolean told, boolean leavesDirectMap) {
    long pages() {
      return first.size() / PAGE;
    }
  }

  /** References that are held; {@code by} is closed to give them back. */
  record Held(Object by, int pfn, int refs, int accessible, boolean guest) {}

  /** A virtual machine, and whether its mappings hold safe references. */
  record Vm(VirtualMachine vm, boolean keepsReferences) {}

  final Injector injector = new Injector();
  final HostMemory host;
  final ConversionProtocol protocol;
  final List<File> files = new ArrayList<>();
  final List<HostMapping> mappings = new ArrayList<>();
  final List<Held> held = new ArrayList<>();
  final List<Folio> locked = new ArrayList<>();
  final List<Vm> vms = new ArrayList<>();
  final List<MemoryParcels> lenders = new ArrayList<>();

  /** Conversions that may be pending. */
  final List<CompletableFuture<Void>> later = new ArrayList<>();

  /** What is open, the last opened first. */
  private final Deque<AutoCloseable> open = new ArrayDeque<>();

  /** Takes the memory that a step is not to have. */
  private final GuestMemfd hog;

  private final boolean recorded;

  /** Whether the host knows its holders. */
  final boolean tracked;

  Bench(ConversionProtocol protocol, boolean lruBatches, boolean recorded, boolean tracked) {
    this.protocol = protocol;
    this.recorded = recorded;
    this.tracked = tracked;
    HostMemory.Builder builder =
        HostMemory.builder((long) FRAMES * PAGE).raceHook(injector).idleStrategy(Bench::idle);
    if (tracked) {
      builder.trackHolders().poisonViews();
    }
    host = (lruBatches ? builder.lruBatches(1, 3) : builder).build();
    hog = GuestMemfd.builder(host).size((long) FRAMES * PAGE).build();
  }

  private static void idle(int round, long maxNanos) {
    if (round > LONG_WAIT) {
      throw new AssertionError("waits, though there is no other thread to wait for");
    }
    if (round < 100) {
      Thread.onSpinWait();
    } else {
      LockSupport.parkNanos(Math.min(maxNanos, 20_000));
    }
  }

  // ---- what scenarios open ----

  GuestMemfd.Builder describe(int pages, CreateFlag... flags) {
    GuestMemfd.Builder builder =
        GuestMemfd.builder(host)
            .size((long) pages * PAGE)
            .flags(flags)
            .protocol(protocol)
            .retryPolicy(RetryPolicy.failAtOnce());
    return recorded ? builder.listener(DEAF) : builder;
  }

  /** A file with a client that fails, accessible at first. */
  GuestMemfd file(int pages) {
    return file(pages, b -> b);
  }

  GuestMemfd file(int pages, UnaryOperator<GuestMemfd.Builder> more, CreateFlag... flags) {
    Ops client = new Ops(injector);
    CreateFlag[] all = flags.length == 0 ? new CreateFlag[] {MMAP, INIT_SHARED} : flags;
    return known(more.apply(describe(pages, all).ops(client)).build(), client, all);
  }

  GuestMemfd known(GuestMemfd memfd, Ops client, CreateFlag... flags) {
    return known(memfd, client, true, flags);
  }

  /** A file with another client. */
  GuestMemfd known(GuestMemfd memfd, CreateFlag... flags) {
    return known(memfd, new Ops(injector), false, flags);
  }

  private GuestMemfd known(GuestMemfd memfd, Ops client, boolean told, CreateFlag... flags) {
    boolean leaves = Set.of(flags).contains(CreateFlag.NO_DIRECT_MAP);
    files.add(new File(memfd, client, told, leaves));
    return opened(memfd);
  }

  <T extends AutoCloseable> T opened(T resource) {
    open.push(resource);
    return resource;
  }

  HostMapping mapped(HostMapping mapping) {
    mappings.add(mapping);
    return opened(mapping);
  }

  Folio grabbed(Folio folio, HolderKind kind) {
    hold(folio, folio.pfn(), kind);
    return opened(folio);
  }

  void hold(Object by, int pfn, HolderKind kind) {
    boolean guest = kind == HolderKind.SAFE;
    held.add(new Held(by, pfn, guest ? 0 : 1, kind == HolderKind.ACCESSIBLE ? 1 : 0, guest));
  }

  HostReference referenced(HostReference reference) {
    for (int i = 0; i < reference.pages(); i++) {
      held.add(new Held(reference, reference.pfn(i), reference.isPinned() ? 1024 : 1, 0, false));
    }
    return opened(reference);
  }

  void letGo(Object by) {
    held.removeIf(h -> h.by == by || by.equals(h.by));
  }

  // ---- closing ----

  boolean isOpen(AutoCloseable resource) {
    return open.contains(resource);
  }

  /** Closes something, unless that has been tried before: whatever it throws, it is closed then. */
  void close(AutoCloseable resource) throws Exception {
    if (open.remove(resource)) {
      letGo(resource);
      mappings.removeIf(m -> m == resource);
      resource.close();
    }
  }

  AutoCloseable lastOpened() {
    return open.peek();
  }

  // ---- memory ----

  /** Leaves so many free frames. */
  void leave(int frames) {
    host.drainLru();
    int taken = Insides.free(host) - frames;
    if (taken > 0) {
      hog.allocate(0, (long) taken * PAGE);
      host.drainLru();
    }
  }

  /** Gives back what {@link #leave} took. */
  void leaveAll() {
    if (hog.cachedPages() > 0) {
      hog.punchHole(0, hog.size());
      host.drainLru();
    }
  }

  /** Forgets the files of a scenario, all of whose objects have been closed. */
  void forget() {
    files.clear();
    vms.clear();
    lenders.clear();
    later.clear();
    locked.clear();
  }

  void end() {
    hog.close();
    host.close();
  }

  // ---- what a guest-side holder holds ----

  /** What a guest-side holder holds of a folio that is in its file. */
  int guestRefs() {
    return holds(Step.REF) || holds(Step.REF_AND_SAFE) ? 1 : 0;
  }

  /** Every guest-side holder is counted once, whatever the protocol is told. */
  int guestSafe() {
    return 1;
  }

  boolean guestLocks() {
    return holds(Step.LOCK);
  }

  private boolean holds(Step step) {
    return protocol.guestDrops().contains(step);
  }
}
