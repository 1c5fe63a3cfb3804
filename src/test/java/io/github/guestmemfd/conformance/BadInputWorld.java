package io.github.guestmemfd.conformance;

import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;

import io.github.guestmemfd.AddressSpace;
import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.ClientCall;
import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdListener;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.Metrics;
import io.github.guestmemfd.PfnWalker;
import io.github.guestmemfd.PopulateHook;
import io.github.guestmemfd.abi.AttributeRange;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.FolioHolders;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.NoScheduler;
import io.github.guestmemfd.gunyah.MemoryParcels;
import io.github.guestmemfd.kvm.Access;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.ExitHandler;
import io.github.guestmemfd.kvm.GuestProgram;
import io.github.guestmemfd.kvm.HostRam;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.MachineOps;
import io.github.guestmemfd.kvm.MemoryAttributeRange;
import io.github.guestmemfd.kvm.MemoryAttributesException;
import io.github.guestmemfd.kvm.MemoryUse;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import io.github.guestmemfd.kvm.VcpuExitException;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmMetrics;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.platform.CcaGuest;
import io.github.guestmemfd.platform.HardwareCall;
import io.github.guestmemfd.platform.HardwareFaults;
import io.github.guestmemfd.platform.PkvmGuest;
import io.github.guestmemfd.platform.PkvmHypervisor;
import io.github.guestmemfd.platform.PlatformGuest;
import io.github.guestmemfd.platform.Populated;
import io.github.guestmemfd.platform.Rmm;
import io.github.guestmemfd.platform.Rmp;
import io.github.guestmemfd.platform.SnpGuest;
import io.github.guestmemfd.platform.TdxGuest;
import io.github.guestmemfd.platform.TdxModule;
import io.github.guestmemfd.policy.ConversionHandler;
import io.github.guestmemfd.policy.ConversionObserver;
import io.github.guestmemfd.policy.ConversionPolicy;
import io.github.guestmemfd.policy.GpaRange;
import io.github.guestmemfd.policy.PinnedSharedMemory;
import io.github.guestmemfd.policy.SharedMemoryListener;
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.KeptLock;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.Scheduler;
import io.github.guestmemfd.spi.Wait;
import io.github.guestmemfd.testing.GuestSlot;
import io.github.guestmemfd.testing.GuestVersusConversion;
import io.github.guestmemfd.testing.Interleavings;
import io.github.guestmemfd.testing.PunchVersusGrab;
import io.github.guestmemfd.testing.RacePoints;
import io.github.guestmemfd.testing.ReferenceVersusConversion;
import io.github.guestmemfd.trace.ModelExecutor;
import io.github.guestmemfd.trace.Recorder;
import io.github.guestmemfd.trace.Replay;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.TraceExecutor;
import io.github.guestmemfd.trace.Verb;
import java.io.StringWriter;
import java.io.Writer;
import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.Executor;
import java.util.concurrent.ThreadFactory;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.zip.CRC32;

/** A host with a file and all that can be made of it, for one call or many that are refused. */
final class BadInputWorld {
  static final long PAGE = HostMemory.PAGE_SIZE;
  static final int FRAMES = 24;
  static final long SIZE = 4 * PAGE;
  static final long GPA = 16 * PAGE;

  final Deque<AutoCloseable> open = new ArrayDeque<>();
  final HostMemory host = HostMemory.ofBytes(FRAMES * PAGE);
  final VirtualMachine vm = new VirtualMachine();
  final GuestMemfdOps ops;
  final GuestMemfd memfd;
  final GuestMemfd watched;
  final GuestMemfd other;
  final GuestMemfd closed;
  final HostMapping map;
  final Vcpu vcpu;
  private final FrameTable frames;
  private Recorder recorder; // made when it is asked for: it has a thread

  /** Pages: shared with content, a shared hole, private with content, a private hole. */
  BadInputWorld() {
    this(GuestMemfdOps.NONE);
  }

  /**
   * A world whose file has a client.
   *
   * @param client called back
   */
  BadInputWorld(GuestMemfdOps client) {
    ops = vm.ops(client);
    memfd = opened(describe().ops(ops).build());
    watched = opened(memfd.dup());
    other = opened(describe().size(PAGE).build());
    closed = memfd.dup();
    closed.close();
    vm.adopt(memfd, ops);
    vm.bind(0, GPA, SIZE, memfd, 0);
    map = opened(memfd.mmap(0, SIZE + PAGE, READ, WRITE));
    map.putLong(0, 0x1111);
    map.putLong(2 * PAGE, 0x2222);
    memfd.makeInaccessible(2 * PAGE, 2 * PAGE);
    vcpu = vm.createVcpu();
    vcpu.touch(GPA, Access.READ, SHARED);
    frames = Insides.frames(host);
  }

  private Recorder recorder() {
    if (recorder == null) {
      recorder = opened(Recorder.to(new StringWriter(), 1024, IdleStrategy.spinThenPark()));
    }
    return recorder;
  }

  GuestMemfd.Builder describe() {
    return GuestMemfd.builder(host).size(SIZE).flags(3).retryPolicy(RetryPolicy.failAtOnce());
  }

  <T extends AutoCloseable> T opened(T resource) {
    open.push(resource);
    return resource;
  }

  /** Everything that a refusal has to leave alone. */
  record State(
      long used,
      long poisoned,
      FileStat stat,
      List<Long> cached,
      List<Boolean> accessible,
      List<Long> counts,
      List<Long> contents,
      List<Long> done,
      List<Memslot> memslots) {

    String difference(State after) {
      List<String> all = new ArrayList<>();
      for (var part : State.class.getRecordComponents()) {
        try {
          Object was = part.getAccessor().invoke(this);
          Object is = part.getAccessor().invoke(after);
          if (!was.equals(is)) {
            all.add(part.getName() + " from " + was + " to " + is);
          }
        } catch (ReflectiveOperationException e) {
          throw new LinkageError(e.getMessage(), e);
        }
      }
      return all.toString();
    }
  }

  State state() {
    List<Long> cached = new ArrayList<>();
    List<Boolean> accessible = new ArrayList<>();
    for (long at = 0; at < SIZE; at += PAGE) {
      cached.add(watched.cachedPages(at, PAGE));
      accessible.add(watched.isAccessible(at));
    }
    List<Long> counts = new ArrayList<>();
    List<Long> contents = new ArrayList<>();
    ByteBuffer page = ByteBuffer.allocate((int) PAGE);
    for (int pfn = 1; pfn <= FRAMES; pfn++) {
      counts.add(frames.counts(pfn));
      if (frames.counts(pfn) > 0) {
        page.clear();
        host.directMap().read(pfn, 0, page);
        CRC32 crc = new CRC32();
        crc.update(page.array());
        contents.add(crc.getValue());
      }
    }
    Metrics m = watched.metrics();
    List<Long> done =
        List.of(
            m.conversionsToInaccessible(),
            m.conversionsToAccessible(),
            m.pendingBegun(),
            m.pendingCompleted(),
            m.pendingUndone(),
            m.punches(),
            m.firstUses(),
            m.memoryFailures());
    List<Memslot> memslots = new ArrayList<>();
    for (long gpa : new long[] {0, PAGE, GPA - PAGE, GPA, GPA + SIZE, 1L << 43}) {
      vm.memslotAt(gpa).ifPresent(memslots::add);
    }
    return new State(
        host.used(),
        host.poisoned(),
        watched.stat(),
        cached,
        accessible,
        counts,
        contents,
        done,
        memslots);
  }

  /** Gives back what a call returned; what it was given is closed with the world. */
  void release(Object result) throws Exception {
    Object inside = result instanceof Optional<?> optional ? optional.orElse(null) : result;
    boolean ours =
        inside == host || inside == memfd || inside == other || inside == watched || inside == map;
    ours |= inside instanceof ModelExecutor; // it would close the host, which is ours
    if (inside instanceof AutoCloseable resource && !ours) {
      close(resource);
    }
  }

  /** Whether everything that calls are made on can still be used. */
  boolean isWhole() {
    return memfd.isOpen() && other.isOpen() && !map.isClosed() && open.size() < 64;
  }

  void close() throws Exception {
    while (!open.isEmpty()) {
      close(open.pop());
    }
  }

  private static void close(AutoCloseable resource) throws Exception {
    try {
      resource.close();
    } catch (IllegalStateException e) {
      // it is closed already
    } catch (AssertionError e) {
      if (!(resource instanceof RacePoints || resource instanceof RacePoints.Gate)) {
        throw e; // those say that no thread came to a point
      }
    }
  }

  // ---- values ----

  private static final long[] LONGS = {
    Long.MIN_VALUE,
    -PAGE,
    -1,
    0,
    1,
    2,
    PAGE - 1,
    PAGE,
    PAGE + 1,
    SIZE - 1,
    SIZE,
    SIZE + 1,
    SIZE + PAGE,
    GPA,
    1L << 43,
    1L << 52,
    Long.MAX_VALUE - PAGE + 1,
    Long.MAX_VALUE
  };

  private static final int[] INTS = {
    Integer.MIN_VALUE,
    -(int) PAGE,
    -1,
    0,
    1,
    2,
    3,
    8,
    9,
    FRAMES,
    FRAMES + 1,
    (int) PAGE - 1,
    (int) PAGE,
    (int) PAGE + 1,
    Integer.MAX_VALUE - (int) PAGE + 1,
    Integer.MAX_VALUE
  };

  private static List<Function<BadInputWorld, Object>> orNull(
      List<Function<BadInputWorld, Object>> some) {
    List<Function<BadInputWorld, Object>> all = new ArrayList<>(some);
    all.add(w -> null);
    return all;
  }

  private static List<Function<BadInputWorld, Object>> constants(Object[] values) {
    List<Function<BadInputWorld, Object>> all = new ArrayList<>();
    for (Object value : values) {
      all.add(w -> value);
    }
    return all;
  }

  private static final ConversionPolicy POLICY = ConversionPolicy.onFault();

  private static final Map<Class<?>, List<Function<BadInputWorld, Object>>> MAKERS =
      new HashMap<>();

  @SafeVarargs
  @SuppressWarnings("varargs")
  private static void make(Class<?> type, Function<BadInputWorld, Object>... makers) {
    MAKERS.put(type, List.of(makers));
  }

  static {
    make(HostMemory.class, w -> w.host);
    make(HostMemory.Builder.class, w -> HostMemory.builder(PAGE));
    make(GuestMemfd.class, w -> w.memfd, w -> w.other, w -> w.closed);
    make(GuestMemfd.Builder.class, w -> w.describe());
    make(
        HostMapping.class,
        w -> w.map,
        w -> w.opened(w.memfd.mmap(PAGE, 2 * PAGE, READ)),
        w -> w.opened(w.memfd.mmap(0, PAGE)),
        w -> {
          HostMapping gone = w.memfd.mmap(0, PAGE, READ, WRITE);
          gone.close();
          return gone;
        });
    make(
        AddressSpace.class,
        w -> w.opened(w.host.addressSpace().fork()),
        w -> {
          AddressSpace ended = w.host.addressSpace().fork();
          ended.close();
          return ended;
        });
    make(
        HostReference.class,
        w -> w.opened(w.map.pin(100, PAGE)),
        w -> {
          HostReference gone = w.map.getUserPages(0, PAGE);
          gone.close();
          return gone;
        });
    make(
        Folio.class,
        w -> w.opened(w.memfd.grab(0)),
        w -> w.opened(w.memfd.grab(0, HolderKind.UNSAFE)),
        w -> {
          Folio gone = w.memfd.grab(0);
          gone.close();
          return gone;
        });
    make(PfnWalker.class, w -> w.host.pfnWalker());
    make(PfnWalker.Scan.class, w -> new PfnWalker.Scan(0, 0));
    make(io.github.guestmemfd.DirectMap.class, w -> w.host.directMap());
    make(BusyFolio.class, w -> new BusyFolio());
    make(BusyGuestPage.class, w -> new BusyGuestPage());
    make(FolioHolders.class, w -> w.memfd.holders(0));
    make(TrackedHolder.class, w -> tracked());
    make(
        MemoryPolicy.class,
        w -> MemoryPolicy.DEFAULT,
        w -> new MemoryPolicy(MemoryPolicy.Mode.BIND, 0),
        w -> new MemoryPolicy(MemoryPolicy.Mode.INTERLEAVE, -1));
    make(Set.class, w -> Set.of(), w -> Set.of(FileTrait.SHARED_POLICY));
    make(FileStat.class, w -> w.memfd.stat());
    make(Metrics.class, w -> w.memfd.metrics());
    make(AttributeRange.class, w -> new AttributeRange(0, PAGE, true));
    make(
        MemoryAttributes2.class,
        w -> new MemoryAttributes2(0, PAGE, MemoryAttributes2.PRIVATE),
        w -> new MemoryAttributes2(PAGE + 1, PAGE, 0).flags(1));
    make(MemoryAttributeRange.class, w -> new MemoryAttributeRange(GPA, PAGE, SHARED));
    make(Counters.class, w -> new Counters<>(Errno.class));
    make(Counters.Reading.class, w -> new Counters<>(Errno.class).read());
    make(GuestMemfdOps.class, w -> GuestMemfdOps.NONE, w -> w.ops);
    make(MachineOps.class, w -> new SnpGuest(new Rmp()));
    make(ClientCall.Body.class, w -> (ClientCall.Body) () -> Errno.OK);
    make(
        io.github.guestmemfd.abi.GuestMemfdException.class,
        w -> thrown(() -> w.map.getByte(3 * PAGE)));
    make(SigBusException.class, w -> thrown(() -> w.map.getByte(3 * PAGE)));
    make(SigSegvException.class, w -> thrown(() -> w.opened(w.memfd.mmap(0, PAGE)).getByte(0)));
    make(ConversionBlockedException.class, w -> blocked(w));
    make(
        MemoryAttributesException.class,
        w -> thrown(() -> w.vm.setMemoryAttributes(-1, 1, SHARED)));
    make(ConversionObserver.class, w -> new ConversionObserver() {});
    make(
        GuestVersusConversion.class,
        w -> new GuestVersusConversion(ConversionProtocol.atomicPair()));
    make(
        ReferenceVersusConversion.class,
        w -> new ReferenceVersusConversion(ConversionProtocol.atomicPair()));
    make(
        PunchVersusGrab.class,
        w -> new PunchVersusGrab(ConversionProtocol.atomicPair(), GuestMemfdOps.NONE));
    make(RuntimeException.class, w -> thrown(() -> w.map.getByte(3 * PAGE)));
    make(ConversionProtocol.class, w -> ConversionProtocol.lastPut());
    make(ForwardingProtocol.class, w -> new ForwardingProtocol(ConversionProtocol.timedWait()) {});
    make(RetryPolicy.class, w -> RetryPolicy.spin(1));
    make(FrameAccess.class, w -> w.memfd.frameAccess());
    make(InterruptedException.class, w -> Wait.deadlock()); // sets no interrupt status
    make(MemoryParcels.class, w -> parcels(w));
    make(Rmp.class, w -> new Rmp());
    make(TdxModule.class, w -> new TdxModule());
    make(PkvmHypervisor.class, w -> new PkvmHypervisor());
    make(Rmm.class, w -> new Rmm());
    make(HardwareFaults.class, w -> new Rmp().faults());
    make(HardwareCall.class, w -> TdxModule.Call.AUG);
    make(Populated.class, w -> new Populated(PAGE, Errno.OK, Errno.EIO));
    make(SnpGuest.class, w -> w.client(new SnpGuest(new Rmp())));
    make(TdxGuest.class, w -> w.client(new TdxGuest(new TdxModule(), w.vm)));
    make(PkvmGuest.class, w -> w.client(new PkvmGuest(new PkvmHypervisor())));
    make(CcaGuest.class, w -> w.client(new CcaGuest(new Rmm())));
    make(PlatformGuest.class, w -> w.client(new CcaGuest(new Rmm())));
    make(VirtualMachine.class, w -> w.vm);
    make(VirtualMachine.Builder.class, w -> VirtualMachine.builder());
    make(Vcpu.class, w -> w.vcpu);
    make(
        VcpuExit.class,
        w -> new VcpuExit.MemoryFault(GPA, PAGE, SHARED, Access.READ, Errno.EFAULT),
        w -> new VcpuExit.Hypercall(GPA + 1, -1, SHARED),
        w -> new VcpuExit.Interrupted());
    make(
        VcpuExit.MemoryFault.class,
        w -> new VcpuExit.MemoryFault(0, 0, SHARED, Access.READ, Errno.OK));
    make(VcpuExit.Mmio.class, w -> new VcpuExit.Mmio(-1, 8, Access.READ, 0));
    make(VcpuExit.Hypercall.class, w -> new VcpuExit.Hypercall(-1, -1, SHARED));
    make(VcpuExit.Interrupted.class, w -> new VcpuExit.Interrupted());
    make(VcpuExitException.class, w -> thrown(() -> w.vcpu.read(0, 1, SHARED)));
    make(VmMetrics.class, w -> w.vm.metrics());
    make(HostMapping.Window.class, w -> (HostMapping.Window) (at, bytes) -> bytes.get(0));
    make(
        Memslot.class,
        w -> w.vm.memslotAt(GPA).orElseThrow(),
        w -> new Memslot(1, 3, 2 * GPA, PAGE, PAGE, null, -1),
        w -> new Memslot(2, 4, 2 * GPA, PAGE, 1, w.other, 0),
        w -> new Memslot(2, -1, -1, -1, -1, w.closed, -1),
        w -> new Memslot(0, 0, GPA, SIZE, 0, null, 0));
    make(
        PopulateHook.class,
        w -> (PopulateHook) folio -> Errno.OK,
        w -> (PopulateHook) folio -> Errno.EIO);
    make(SharedMemoryListener.class, w -> w.opened(new PinnedSharedMemory(w.vm, PAGE)));
    make(PinnedSharedMemory.class, w -> w.opened(new PinnedSharedMemory(w.vm, PAGE)));
    make(MemoryUse.class, w -> w.vm.memoryUse());
    make(HostRam.class, w -> w.opened(w.vm.mapHostRam(w.host, PAGE)));
    make(BitSet.class, w -> new BitSet(), w -> BitSet.valueOf(new long[] {-1}));
    make(VcpuExit.HostFault.class, w -> new VcpuExit.HostFault(-1, -1, Access.READ));
    make(ExitHandler.class, w -> (ExitHandler) (v, e) -> false);
    make(GuestProgram.class, w -> (GuestProgram) v -> v.touch(-1, Access.READ, SHARED));
    make(ConversionPolicy.class, w -> POLICY);
    make(ConversionHandler.class, w -> ConversionHandler.builder(w.vm, POLICY).build());
    make(ConversionHandler.Builder.class, w -> ConversionHandler.builder(w.vm, POLICY));
    make(GuestSlot.class, w -> new GuestSlot(GPA, PAGE, SIZE));
    make(GpaRange.class, w -> new GpaRange(GPA, PAGE), w -> new GpaRange(GPA, SIZE));
    make(IdleStrategy.class, w -> IdleStrategy.busySpin());
    make(RaceHook.class, w -> (RaceHook) (p, i) -> {});
    make(RacePoints.class, w -> w.opened(new RacePoints(Duration.ofMillis(1))));
    make(
        RacePoints.Gate.class,
        w -> w.opened(w.opened(new RacePoints(Duration.ofMillis(1))).gate()));
    make(RacePoints.Action.class, w -> (RacePoints.Action) () -> {});
    make(Recorder.class, w -> w.recorder());
    make(
        Trace.class,
        w -> Trace.parse("f", List.of("# guest_memfd trace 1", "create m0 size=0 flags=0 = ok")));
    make(Trace.Call.class, w -> Trace.Call.of(Verb.CREATE, "m0", "size=4096", "flags=3"));
    make(TraceExecutor.class, w -> model());
    make(ModelExecutor.class, w -> model());
    make(Replay.Difference.class, w -> new Replay.Difference(0, "", "", ""));
    make(Replay.Result.class, w -> new Replay.Result(0, List.of()));
    make(GuestMemfdListener.class, w -> new GuestMemfdListener() {});
    make(Writer.class, w -> new StringWriter());
    make(Path.class, w -> Path.of("target", "no", "such", "directory", "f"));
    make(
        Duration.class,
        w -> Duration.ZERO,
        w -> Duration.ofNanos(-1),
        w -> Duration.ofSeconds(Long.MAX_VALUE),
        w -> Duration.ofSeconds(Long.MIN_VALUE));
    make(Class.class, w -> Errno.class);
    make(Enum.class, w -> Errno.EINVAL);
    make(Object.class, w -> new Object(), w -> w.vm);
    make(Instant.class, w -> Instant.EPOCH);
    make(StackTraceElement.class, w -> new StackTraceElement("x", "x", null, -1));
    make(String.class, w -> "", w -> "x", w -> "\0");
    make(List.class, w -> List.of(), w -> Arrays.asList((Object) null), w -> List.of("", "x"));
    make(String[].class, w -> new String[0], w -> new String[] {"x", null});
    make(Executor.class, w -> (Executor) Runnable::run);
    make(Supplier.class, w -> (Supplier<Object>) () -> 1);
    make(Callable.class, w -> (Callable<Object>) () -> 1);
    make(BooleanSupplier.class, w -> (BooleanSupplier) () -> true);
    make(Runnable.class, w -> (Runnable) () -> {});
    make(Optional.class, w -> Optional.empty());
    make(Interleavings.Act.class, w -> (Interleavings.Act<Object>) x -> {});
    make(Interleavings.Call.class, w -> (Interleavings.Call<Object>) x -> "called");
    make(Mutex.class, w -> new Mutex());
    make(KeptLock.class, BadInputWorld::keptLock);
    make(Thread.class, w -> new Thread(() -> {}));
    make(Scheduler.class, w -> new NoScheduler());
    make(Interleavings.class, w -> Interleavings.of(() -> w).thread("one", x -> {}));
    make(
        Interleavings.Report.class,
        w -> new Interleavings.Report(1, 1, true, false, 1, Optional.empty(), Optional.empty()));
    make(Wait.class, w -> Wait.upTo(IdleStrategy.busySpin(), 0));
    make(Wait.Blocking.class, w -> (Wait.Blocking) nanos -> false);
    make(ThreadFactory.class, w -> (ThreadFactory) r -> null, w -> (ThreadFactory) Thread::new);
    make(byte[].class, w -> new byte[0], w -> new byte[8], w -> new byte[3 * (int) PAGE]);
    make(int[].class, w -> new int[0], w -> new int[] {-1, 0, 1, Integer.MAX_VALUE});
    make(
        ByteBuffer.class,
        w -> ByteBuffer.allocate(0),
        w -> ByteBuffer.allocate(8),
        w -> ByteBuffer.allocate(8).asReadOnlyBuffer(),
        w -> ByteBuffer.allocate(0).asReadOnlyBuffer(),
        w -> ByteBuffer.allocateDirect(8),
        w -> ByteBuffer.allocate(16).position(15),
        w -> ByteBuffer.allocate(6 * (int) PAGE),
        w -> ByteBuffer.allocate(6 * (int) PAGE).asReadOnlyBuffer());
  }

  private static ModelExecutor model() {
    return new ModelExecutor(ConversionProtocol.atomicPair(), KernelProfile.LINUX_6_18);
  }

  private static RuntimeException thrown(Runnable call) {
    try {
      call.run();
    } catch (RuntimeException e) {
      return e;
    }
    throw new AssertionError("nothing was thrown");
  }

  private static ConversionBlockedException blocked(BadInputWorld w) {
    try (Folio holder = w.memfd.grab(0, HolderKind.UNSAFE)) {
      return (ConversionBlockedException)
          thrown(() -> w.memfd.makeInaccessible(holder.offset(), PAGE));
    }
  }

  private static TrackedHolder tracked() {
    try (HostMemory host = HostMemory.builder(PAGE).trackHolders().build();
        GuestMemfd memfd = GuestMemfd.builder(host).size(PAGE).build()) {
      assert memfd.isOpen();
      return host.holders().get(0);
    }
  }

  /** One that no thread is thought to hold. */
  private static KeptLock keptLock(BadInputWorld w) {
    KeptLock lock = Objects.requireNonNull(LockOrder.kept(w, 1));
    lock.giveBack();
    return lock;
  }

  private static MemoryParcels parcels(BadInputWorld w) {
    MemoryParcels parcels = new MemoryParcels(w.describe());
    w.opened(parcels.memfd());
    return parcels;
  }

  /** A platform's guest that runs; some have a mapped page in a file of their own. */
  private PlatformGuest client(PlatformGuest guest) {
    GuestMemfd file = opened(describe().size(PAGE).ops(guest).build());
    guest.finishLaunch();
    if (!GuestMemfd.isInsideCallback() && host.used() < 8 * PAGE) { // there are 24 frames
      file.makeInaccessible(0, PAGE);
      guest.use(file, 0);
    }
    return guest;
  }

  /** Objects of a class to call methods on; at least one. */
  static List<Function<BadInputWorld, Object>> subjects(Class<?> type) {
    List<Function<BadInputWorld, Object>> made = MAKERS.get(type);
    if (made == null && type.isEnum()) {
      made = constants(type.getEnumConstants());
    }
    if (made == null && ConversionProtocol.class.isAssignableFrom(type)) {
      made = constants(ConversionProtocol.all().stream().filter(type::isInstance).toArray());
    }
    if (made == null || made.isEmpty()) {
      throw new AssertionError("how to make a " + type.getName() + "?");
    }
    return made;
  }

  /** What to pass for a parameter; null is among it unless it is a number. */
  static List<Function<BadInputWorld, Object>> values(Class<?> type) {
    if (type == long.class) {
      return constants(Arrays.stream(LONGS).boxed().toArray());
    }
    if (type == int.class) {
      return constants(Arrays.stream(INTS).boxed().toArray());
    }
    if (type == short.class) {
      return constants(new Object[] {(short) 0, Short.MIN_VALUE});
    }
    if (type == byte.class) {
      return constants(new Object[] {(byte) 0, Byte.MIN_VALUE});
    }
    if (type == boolean.class) {
      return constants(new Object[] {false, true});
    }
    if (type.isArray() && type.getComponentType().isEnum()) {
      Class<?> component = type.getComponentType();
      Object[] all = component.getEnumConstants();
      Object none = Array.newInstance(component, 0);
      Object withNull = Array.newInstance(component, 1);
      Object one = Array.newInstance(component, 1);
      Array.set(one, 0, all[0]);
      return orNull(constants(new Object[] {none, withNull, one, all}));
    }
    return orNull(subjects(type));
  }
}
