package io.github.guestmemfd.faults;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static io.github.guestmemfd.abi.HolderKind.ACCESSIBLE;
import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.PfnWalker;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FallocMode;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.gunyah.MemoryParcels;
import io.github.guestmemfd.kvm.Access;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;

/** What the fault matrix plays: together these make every call that the library has. */
final class Scenarios {
  private static final CreateFlag[] SECRET = {MMAP, INIT_SHARED, NO_DIRECT_MAP};

  private Scenarios() {}

  static List<ScenarioKind> all() {
    return List.of(
        new ScenarioKind("conversion", Conversion::new),
        new ScenarioKind("first use", FirstUse::new),
        new ScenarioKind("punch", Punch::new),
        new ScenarioKind("holders", Holders::new),
        new ScenarioKind("patient conversion", PatientConversion::new),
        new ScenarioKind("later conversion", LaterConversion::new),
        new ScenarioKind("accesses", Accesses::new),
        new ScenarioKind("references", References::new),
        new ScenarioKind("holders, recorded", Holders::new).recorded(),
        new ScenarioKind("later conversion, recorded", LaterConversion::new).recorded(),
        new ScenarioKind("accesses, recorded", Accesses::new).recorded(),
        new ScenarioKind("references, recorded", References::new).recorded(),
        new ScenarioKind("parts of a mapping", Parts::new),
        new ScenarioKind("parts of a mapping, recorded", Parts::new).recorded(),
        new ScenarioKind("processes", Processes::new),
        new ScenarioKind("calls of later kernels", LaterKernels::new),
        new ScenarioKind("windows and initial content", Windows::new),
        new ScenarioKind("machine without memslots", EmptyMachine::new)
            .withoutClient()
            .without(Fault.Kind.NO_MEMORY),
        new ScenarioKind("descriptors", Descriptors::new),
        new ScenarioKind("folio lock", FolioLock::new).onlyIf(p -> !locks(p)),
        new ScenarioKind("direct map", DirectMap::new).remembersFrames(),
        new ScenarioKind("walker", Walker::new).usesUpFrames(),
        new ScenarioKind("LRU batches", LruBatches::new).withLruBatches(),
        new ScenarioKind("virtual machine", b -> new Machine(b, false)),
        new ScenarioKind("virtual machine with references", b -> new Machine(b, true))
            .onlyIf(Scenarios::survivesConversion),
        new ScenarioKind("parcels", Parcels::new).withoutClient().onlyIf(p -> !locks(p)));
  }

  /** Whether a guest-side holder has the folio lock. */
  private static boolean locks(ConversionProtocol protocol) {
    return protocol.guestDrops().contains(Step.LOCK);
  }

  /** Whether a folio that only the guest holds can be converted. */
  private static boolean survivesConversion(ConversionProtocol protocol) {
    int refs = 1;
    int safe = 0;
    for (Step step : protocol.guestDrops()) {
      refs += step == Step.REF || step == Step.REF_AND_SAFE ? 1 : 0;
      safe += step == Step.SAFE || step == Step.REF_AND_SAFE ? 1 : 0;
    }
    return safe == 1 && protocol.mayTurnInaccessible(refs, safe);
  }

  /** One file of four pages, mapped. */
  abstract static class OneFile extends Scenario {
    GuestMemfd f;
    HostMapping w;

    OneFile(Bench bench, RetryPolicy policy, CreateFlag... flags) {
      super(bench);
      whole(
          "create",
          () -> {
            f = bench.file(4, b -> b.retryPolicy(policy), flags);
            return OK;
          });
      whole(
          "mmap",
          () -> {
            w = bench.mapped(f.mmap(0, f.size(), READ, WRITE));
            return OK;
          });
    }

    OneFile(Bench bench, CreateFlag... flags) {
      this(bench, RetryPolicy.failAtOnce(), flags);
    }

    final void write(int page, long value) {
      some(
          "write page " + page,
          () -> {
            w.putLong((long) page * PAGE, value);
            return OK;
          });
    }

    final void guestWrites(int page, long value) {
      some(
          "guest writes page " + page,
          () -> {
            try (Folio folio = f.grab((long) page * PAGE)) {
              folio.buffer().putLong(0, value);
            }
            return OK;
          });
    }

    final void expect(int page, long value) {
      some("read page " + page, () -> same(value, w.getLong((long) page * PAGE)));
    }

    final void inaccessible(int page, int pages) {
      whole(
          "make pages " + page + " to " + (page + pages) + " inaccessible",
          () -> {
            f.makeInaccessible((long) page * PAGE, (long) pages * PAGE);
            return OK;
          });
    }

    final void accessible(int page, int pages) {
      whole(
          "make pages " + page + " to " + (page + pages) + " accessible",
          () -> {
            f.makeAccessible((long) page * PAGE, (long) pages * PAGE);
            return OK;
          });
    }

    final void close(String name, Supply<? extends AutoCloseable> what) {
      some(
          name,
          () -> {
            bench.close(what.get());
            return OK;
          });
    }
  }

  interface Supply<T> {
    T get();
  }

  // ---- the file ----

  /** A page, and a range with one ready folio, one not ready, and a hole, there and back. */
  private static final class Conversion extends OneFile {
    Conversion(Bench bench) {
      super(bench, SECRET);
      write(0, 10);
      write(1, 11);
      some(
          "allocate",
          () -> {
            f.allocate(2L * PAGE, PAGE);
            return OK;
          });
      inaccessible(0, 1);
      whole("try a range", () -> f.tryMakeInaccessible(0, 4L * PAGE).name());
      guestWrites(0, 20);
      guestWrites(2, 22);
      some("read what is inaccessible", () -> same(7L, w.tryGetLong(0, 7)));
      some("touch what is inaccessible", () -> same(0L, w.getLong(PAGE)));
      accessible(1, 1);
      whole("try a range back", () -> f.tryMakeAccessible(0, 4L * PAGE).name());
      whole("once more", () -> f.tryMakeAccessible(0, 4L * PAGE).name());
      expect(0, 20);
      expect(1, 11);
      whole(
          "with a report",
          () -> {
            BusyFolio busy = new BusyFolio();
            Errno errno = f.tryMakeInaccessible(PAGE, 2L * PAGE, busy);
            return busy.offset() < 0 ? errno.name() : busy.toString();
          });
      whole("attribute", () -> same(false, f.isAccessible(PAGE)));
      some("first accessible", () -> same(3L * PAGE, f.firstAccessible(PAGE, 3L * PAGE)));
      some("first inaccessible", () -> same((long) PAGE, f.firstInaccessible(0, 4L * PAGE)));
    }
  }

  /** Every way in which a folio is used for the first time. */
  private static final class FirstUse extends OneFile {
    FirstUse(Bench bench) {
      super(bench, MMAP, NO_DIRECT_MAP);
      guestWrites(0, 1);
      accessible(1, 3);
      write(1, 2);
      some(
          "populate",
          () -> {
            w.madvise(2L * PAGE, PAGE, Advice.POPULATE_WRITE);
            return OK;
          });
      some(
          "grab for the host",
          () -> {
            int pfn = f.tryGrab(3L * PAGE, UNSAFE);
            if (pfn < 0) {
              return Errno.ofResult(pfn).name();
            }
            f.put(pfn, UNSAFE);
            return OK;
          });
    }
  }

  /** Whole files, parts, with orphans, with a holder in the way of those that ask. */
  private static final class Punch extends OneFile {
    private Folio orphan;

    Punch(Bench bench) {
      super(bench, SECRET);
      write(0, 10);
      write(1, 11);
      guestWrites(2, 12);
      inaccessible(2, 1);
      some(
          "grab",
          () -> {
            orphan = bench.grabbed(f.grab(PAGE, UNSAFE), UNSAFE);
            return OK;
          });
      whole(
          "punch a page that is held",
          () -> {
            f.punchHole(PAGE, PAGE);
            return OK;
          });
      some("look at the orphan", () -> same(true, orphan.isOrphan()));
      some("content of the orphan", () -> same(11L, orphan.buffer().getLong(0)));
      close("let go of the orphan", () -> orphan);
      whole(
          "punch past the end",
          () -> {
            f.fallocate(FallocMode.bits(FallocMode.KEEP_SIZE, FallocMode.PUNCH_HOLE), 0, 9L * PAGE);
            return OK;
          });
      expect(0, 0);
      add(
          "allocate",
          Leaves.SOME,
          () -> {
            f.allocate(0, 4L * PAGE);
            return OK;
          });
      if (!locks(bench.protocol)) {
        some(
            "guest grabs",
            () -> {
              orphan = bench.grabbed(f.grab(0), SAFE);
              return OK;
            });
        whole(
            "punch what the guest holds",
            () -> {
              f.punchHole(0, 2L * PAGE);
              return OK;
            });
        close("guest lets go", () -> orphan);
      }
      whole(
          "remove",
          () -> {
            w.madvise(0, 4L * PAGE, Advice.REMOVE);
            return OK;
          });
    }
  }

  /** Holders of each kind, in the way of a conversion or not. */
  private static final class Holders extends OneFile {
    Holders(Bench bench) {
      super(bench);
      long page = 0;
      for (HolderKind kind : HolderKind.values()) {
        long at = page++ * PAGE;
        Folio[] folio = new Folio[1];
        some(
            "grab " + kind,
            () -> {
              folio[0] = bench.grabbed(f.grab(at, kind), kind);
              return OK;
            });
        if (kind != SAFE || !locks(bench.protocol)) {
          whole("convert", () -> f.tryMakeInaccessible(0, 3L * PAGE).name());
          whole("convert back", () -> f.tryMakeAccessible(0, 3L * PAGE).name());
        }
        close("let go of " + kind, () -> folio[0]);
        String held = "try to grab " + kind;
        ByNumber[] byNumber = new ByNumber[1];
        some(
            held,
            () -> {
              int pfn = f.tryGrab(3L * PAGE, kind);
              if (pfn < 0) {
                return Errno.ofResult(pfn).name();
              }
              bench.hold(held, pfn, kind);
              byNumber[0] = bench.opened(new ByNumber(held, pfn, kind));
              return OK;
            });
        close("put " + kind, () -> byNumber[0]);
      }
      inaccessible(0, 4);
    }

    /** A reference that is known by number. */
    private final class ByNumber implements AutoCloseable {
      private final Object name;
      private final int pfn;
      private final HolderKind kind;

      ByNumber(Object name, int pfn, HolderKind kind) {
        this.name = name;
        this.pfn = pfn;
        this.kind = kind;
      }

      @Override
      public void close() {
        bench.letGo(name);
        f.put(pfn, kind);
      }
    }
  }

  /** A conversion that looks again, waits, and gives up. */
  private static final class PatientConversion extends OneFile {
    private Folio folio;

    PatientConversion(Bench bench) {
      super(bench, RetryPolicy.spinThenWait(2, Duration.ofNanos(20_000)));
      write(0, 1);
      write(1, 2);
      some(
          "hold",
          () -> {
            folio = bench.grabbed(f.grab(PAGE, ACCESSIBLE), ACCESSIBLE);
            return OK;
          });
      inaccessible(0, 2);
      close("let go", () -> folio);
      inaccessible(0, 2);
    }
  }

  /** Conversions that complete with the last put, or are undone in each way there is. */
  private static final class LaterConversion extends OneFile {
    private AutoCloseable holder;
    private CompletableFuture<Void> later;

    LaterConversion(Bench bench) {
      super(bench, RetryPolicy.completeLater(), SECRET);
      write(0, 1);
      write(1, 2);
      begin();
      close();
      accessible(0, 2);
      begin();
      ending(
          "cancel",
          () -> {
            later.cancel(false);
            return later.isCancelled() ? OK : outcome(later);
          });
      close("let go", () -> holder);
      begin();
      ending(
          "share anew",
          () -> {
            f.makeAccessible(0, PAGE);
            return OK;
          });
      close("let go", () -> holder);
      begin();
      ending(
          "complete exceptionally",
          () -> {
            later.completeExceptionally(new CancellationException());
            return OK;
          });
      close("let go", () -> holder);
      begin();
      ending(
          "punch",
          () -> {
            f.punchHole(PAGE, PAGE);
            return OK;
          });
      close("let go", () -> holder);
      write(1, 3);
      begin();
      ending(
          "convert anew",
          () -> same(Errno.EAGAIN, f.tryMakeInaccessible(0, 2L * PAGE)).equals(OK) ? OK : "other");
      close("let go", () -> holder);
      begin();
      close("unmap", () -> w);
      ending(
          "close the file",
          () -> {
            bench.close(f);
            return same("ECANCELED", outcome(later));
          });
      close("let go", () -> holder);
    }

    private void begin() {
      some(
          "hold",
          () -> {
            holder = bench.referenced(w.getUserPages(PAGE, 8));
            return OK;
          });
      whole(
          "begin",
          () -> {
            later = f.makeInaccessibleLater(0, 2L * PAGE);
            bench.later.add(later);
            return outcome(later);
          });
    }

    private void ending(String name, Body body) {
      add(name, Leaves.ALL_OR_NOTHING_PENDING, body);
    }

    /** The put completes the conversion. If that fails, it is made once more. */
    private void close() {
      ending(
          "let go, which completes it",
          () -> {
            if (bench.isOpen(holder)) {
              bench.close(holder);
              return outcome(later);
            }
            later = f.makeInaccessibleLater(0, 2L * PAGE);
            bench.later.add(later);
            return outcome(later);
          });
    }
  }

  // ---- mappings ----

  /** Every form of an access, each on a page that was punched before. */
  private static final class Accesses extends OneFile {
    Accesses(Bench bench) {
      super(bench);
      byte[] bytes = new byte[2 * PAGE];
      access("putByte", () -> w.putByte(0, (byte) 1));
      access("putShort", () -> w.putShort(0, (short) 1));
      access("putShortRelease", () -> w.putShortRelease(0, (short) 1));
      access("putShortVolatile", () -> w.putShortVolatile(0, (short) 1));
      access("putInt", () -> w.putInt(0, 1));
      access("putIntRelease", () -> w.putIntRelease(0, 1));
      access("putIntVolatile", () -> w.putIntVolatile(0, 1));
      access("putLong", () -> w.putLong(PAGE - 4, 1L << 40 | 1));
      access("putLongRelease", () -> w.putLongRelease(0, 1));
      access("putLongVolatile", () -> w.putLongVolatile(0, 1));
      access("getByte", () -> w.getByte(0));
      access("getShort", () -> w.getShort(0));
      access("getShortAcquire", () -> w.getShortAcquire(0));
      access("getShortVolatile", () -> w.getShortVolatile(0));
      access("getInt", () -> w.getInt(0));
      access("getIntAcquire", () -> w.getIntAcquire(0));
      access("getIntVolatile", () -> w.getIntVolatile(0));
      access("getLong", () -> w.getLong(PAGE - 4));
      access("getLongAcquire", () -> w.getLongAcquire(0));
      access("getLongVolatile", () -> w.getLongVolatile(0));
      access("compareAndSetInt", () -> w.compareAndSetInt(0, 0, 1));
      access("compareAndSetLong", () -> w.compareAndSetLong(0, 0, 1));
      access("getAndAddLong", () -> w.compareAndSetLong(0, 0, w.getAndAddLong(0, 0) + 1));
      access("get bytes", () -> w.get(0, bytes, 0, 2 * PAGE));
      access("get into a buffer", () -> w.get(0, ByteBuffer.wrap(bytes)));
      byte[] ones = new byte[2 * PAGE];
      java.util.Arrays.fill(ones, (byte) 1);
      access("put bytes", () -> w.put(0, ones, 0, 2 * PAGE));
      access("put from a buffer", () -> w.put(0, ByteBuffer.wrap(ones)));
      some("try to put", () -> w.tryPutLong(2L * PAGE, 5) ? OK : "SHORT");
      some("try to get", () -> w.tryGetLong(2L * PAGE, -1) == 5 ? OK : "SHORT");
    }

    private void access(String name, Runnable body) {
      some(
          name,
          () -> {
            body.run();
            return OK;
          });
      whole(
          "punch",
          () -> {
            f.punchHole(0, 2L * PAGE);
            return OK;
          });
    }
  }

  /** Advice, and references through a mapping, by the page table and by the page cache. */
  private static final class References extends OneFile {
    private HostReference plain;
    private HostReference pin;

    References(Bench bench) {
      super(bench);
      advise(Advice.POPULATE_READ, 2);
      advise(Advice.DONTNEED, 4);
      some(
          "get user pages",
          () -> {
            plain = bench.referenced(w.getUserPages(0, 3L * PAGE));
            return shortOf(plain, 3);
          });
      advise(Advice.POPULATE_WRITE, 3);
      some(
          "pin what is mapped",
          () -> {
            pin = bench.referenced(w.pin(PAGE, 2L * PAGE));
            return shortOf(pin, 2);
          });
      whole(
          "pin fully",
          () -> {
            bench.close(bench.referenced(w.pinFully(0, 3L * PAGE)));
            return OK;
          });
      inaccessible(0, 4);
      some(
          "use it",
          () -> {
            pin.buffer(0).putLong(0, 5);
            return same(5L, plain.buffer(1).getLong(0));
          });
      close("unpin", () -> pin);
      advise(Advice.REMOVE, 2);
      close("unmap", () -> w);
      close("let go", () -> plain);
      inaccessible(0, 4);
    }

    /** A reference that is shorter than asked for is given back. */
    private String shortOf(HostReference reference, int pages) throws Exception {
      if (reference.pages() == pages) {
        return OK;
      }
      bench.close(reference);
      return "SHORT";
    }

    private void advise(Advice advice, int pages) {
      add(
          "madvise " + advice,
          advice == Advice.REMOVE ? Leaves.ALL_OR_NOTHING : Leaves.SOME,
          () -> {
            w.madvise(0, (long) pages * PAGE, advice);
            return OK;
          });
    }
  }

  /** Several descriptors, closed in another order than they were opened. */
  private static final class Descriptors extends OneFile {
    private GuestMemfd second;
    private GuestMemfd third;
    private Folio folio;

    Descriptors(Bench bench) {
      super(bench, SECRET);
      write(0, 1);
      inaccessible(1, 1);
      guestWrites(1, 2);
      some(
          "dup",
          () -> {
            second = bench.opened(f.dup());
            return same(true, second.sameFile(f));
          });
      close("close the first", () -> f);
      some("use the closed one", () -> f.tryMakeInaccessible(0, PAGE).name());
      some(
          "reopen",
          () -> {
            third = bench.opened(f.reopen().orElseThrow());
            return OK;
          });
      some(
          "resize",
          () -> {
            second.ftruncate(PAGE);
            return OK;
          });
      some(
          "map privately",
          () -> {
            bench.mapped(second.mmap(0, PAGE, MapType.PRIVATE, READ));
            return OK;
          });
      some("status", () -> same(second.size(), third.stat().size()));
      some("cached pages", () -> same(2L, third.cachedPages()));
      close("close the second", () -> second);
      some(
          "grab",
          () -> {
            folio = bench.grabbed(third.grab(0, UNSAFE), UNSAFE);
            return OK;
          });
      close("close the third", () -> third);
      close("unmap", () -> w);
      some("read an orphan", () -> same(1L, folio.buffer().getLong(0)));
      close("let go of the orphan", () -> folio);
    }
  }

  // ---- folios, frames ----

  /** The host kernel's own accesses. */
  private static final class DirectMap extends OneFile {
    private int pfn;

    DirectMap(Bench bench) {
      super(bench, SECRET);
      write(0, 1);
      some(
          "write by number",
          () -> {
            pfn = f.tryGrab(0, UNSAFE);
            if (pfn < 0) {
              return Errno.ofResult(pfn).name();
            }
            f.put(pfn, UNSAFE);
            ByteBuffer two = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(0, 2);
            bench.host.directMap().write(pfn, 0, two);
            return OK;
          });
      expect(0, 2);
      inaccessible(0, 1);
      some("it is out", () -> same(false, bench.host.directMap().contains(pfn)));
      some(
          "read what is out",
          () -> {
            bench.host.directMap().read(pfn, 0, ByteBuffer.allocate(8));
            return OK;
          });
      accessible(0, 1);
      some(
          "read by number",
          () -> {
            ByteBuffer into = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
            bench.host.directMap().read(pfn, 0, into);
            return same(2L, into.getLong(0));
          });
    }
  }

  /** Scanning, migration, and memory that fails. */
  private static final class Walker extends OneFile {
    private PfnWalker walker;

    Walker(Bench bench) {
      super(bench);
      write(0, 1);
      write(1, 2);
      inaccessible(1, 1);
      some(
          "scan",
          () -> {
            walker = bench.host.pfnWalker();
            return same(true, walker.scan(1, Bench.FRAMES + 1).folios() >= 2);
          });
      some("scan one", () -> same(true, walker.scan(pfn(0))));
      some("migrate", () -> walker.migrate(pfn(0)).name());
      some("its memory fails", () -> fails(0));
      some("touch it", () -> same(1L, w.getLong(0)));
      some("grab it", () -> Errno.ofResult(Math.min(0, f.tryGrab(0, SAFE))).name());
      some("that of what is inaccessible fails", () -> fails(1));
      whole(
          "punch it",
          () -> {
            f.punchHole(0, 2L * PAGE);
            return OK;
          });
      write(0, 3);
      expect(0, 3);
    }

    private int failed;

    /** A second call says that there is nothing left to do. */
    private String fails(int page) {
      int now = pfn(page);
      Errno errno = walker.memoryFailure(now);
      if (errno == Errno.OK) {
        failed = now;
      }
      return errno == Errno.EHWPOISON && now == failed ? OK : errno.name();
    }

    private int pfn(int page) {
      return io.github.guestmemfd.cache.SlotWord.pfn(
          io.github.guestmemfd.Insides.slot(f, (long) page * PAGE));
    }
  }

  /** Batches that hold folios for a while. */
  private static final class LruBatches extends OneFile {
    LruBatches(Bench bench) {
      super(bench);
      write(0, 1);
      guestWrites(1, 2);
      inaccessible(0, 2);
      write(2, 3);
      some(
          "drain",
          () -> {
            bench.host.drainLru();
            return OK;
          });
      some(
          "allocate",
          () -> {
            f.allocate(0, 4L * PAGE);
            return OK;
          });
      whole(
          "punch",
          () -> {
            f.punchHole(0, 4L * PAGE);
            return OK;
          });
      write(2, 3);
      inaccessible(0, 4);
    }
  }

  // ---- clients ----

  /** Two files behind three memslots, one vCPU. */
  private static final class Machine extends Scenario {
    private static final long GPA = 0x10000;

    private VirtualMachine vm;
    private Vcpu vcpu;
    private GuestMemfd f;
    private GuestMemfd g;
    private HostMapping w;

    Machine(Bench bench, boolean keepsReferences) {
      super(bench);
      whole(
          "create",
          () -> {
            VirtualMachine.Builder builder = VirtualMachine.builder().raceHook(bench.injector);
            vm = (keepsReferences ? builder.keepReferences() : builder).build();
            vcpu = vm.createVcpu();
            bench.vms.add(new Bench.Vm(vm, keepsReferences));
            Ops client = new Ops(bench.injector);
            f = bench.known(vm.createGuestMemfd(describe(4), client), client);
            Ops other = new Ops(bench.injector);
            var ops = vm.ops(other);
            g = bench.known(describe(2).ops(ops).build(), other);
            vm.adopt(g, ops);
            w = bench.mapped(f.mmap(0, f.size(), READ, WRITE));
            return OK;
          });
      whole(
          "bind",
          () -> {
            bind(0, GPA, 2L * PAGE, f, 0);
            bind(1, GPA + 2L * PAGE, 2L * PAGE, f, 2L * PAGE);
            bind(2, GPA + 4L * PAGE, 2L * PAGE, g, 0);
            return OK;
          });
      some("write", () -> done(vcpu.tryWrite(GPA, 8, 1, SHARED)));
      some("read", () -> read(GPA, 1, SHARED));
      some("write over two pages", () -> done(vcpu.tryWrite(GPA + PAGE - 4, 8, -1, SHARED)));
      some("fetch", () -> done(vcpu.tryFetch(GPA + PAGE - 4, 8, SHARED)));
      some("replace", () -> done(vcpu.tryCompareAndSet(GPA + 8, 8, 0, 1, SHARED)));
      some("add", () -> done(vcpu.tryGetAndAdd(GPA + 16, 4, 0, SHARED)));
      some("touch", () -> done(vcpu.tryTouch(GPA + 3L * PAGE, Access.WRITE, SHARED)));
      some("wrong view", () -> done(vcpu.tryTouch(GPA + 3L * PAGE, Access.WRITE, PRIVATE)));
      some("prefault", () -> vm.preFault(GPA, 6L * PAGE) == 6L * PAGE ? OK : "SHORT");
      some(
          "the host writes",
          () -> {
            w.putLong(2L * PAGE, 3);
            return OK;
          });
      whole("convert", () -> attributes(GPA + PAGE, 3, PRIVATE));
      some("write privately", () -> done(vcpu.tryWrite(GPA + PAGE, 8, 7, PRIVATE)));
      some(
          "write bytes privately",
          () -> done(vcpu.tryWrite(GPA + PAGE, ByteBuffer.allocate(2 * PAGE), PRIVATE)));
      some(
          "read bytes privately",
          () -> done(vcpu.tryRead(GPA + PAGE, ByteBuffer.allocate(2 * PAGE), PRIVATE)));
      some("convert two files", () -> attributes(GPA, 6, PRIVATE));
      some(
          "convert two files back",
          () -> {
            vm.setMemoryAttributes(GPA, 6L * PAGE, SHARED);
            return OK;
          });
      whole("convert later", () -> convertLater(PRIVATE));
      whole("convert later back", () -> convertLater(SHARED));
      some("a program", this::program);
      whole(
          "punch",
          () -> {
            f.punchHole(0, 2L * PAGE);
            return OK;
          });
      some("prefault one", () -> vm.preFault(GPA, PAGE) == PAGE ? OK : "SHORT");
      some("hypercall", () -> same(true, vcpu.tryMapGpaRange(1, 1, PRIVATE)));
      some("memslot", () -> same(f, vm.memslotAt(GPA).orElseThrow().memfd()));
      some("next memslot", () -> same(f, vm.nextMemslot(GPA - 1).orElseThrow().memfd()));
      whole(
          "unbind",
          () -> {
            if (vm.memslotAt(GPA).isPresent()) {
              vm.unbind(0);
            }
            return OK;
          });
      some(
          "unbind by a size of 0",
          () -> {
            if (vm.memslotAt(GPA + 2L * PAGE).isPresent()) {
              vm.setUserMemoryRegion2(1, 0, 0, null, 0);
            }
            return OK;
          });
      some("nothing there", () -> same(Optional.empty(), vm.memoryAttribute(GPA)));
      some(
          "ask it to leave",
          () -> {
            vcpu.requestExit();
            return vcpu.tryTouch(GPA + 4L * PAGE, Access.READ, SHARED)
                ? "touched"
                : vcpu.exit() instanceof VcpuExit.Interrupted ? OK : vcpu.exit().toString();
          });
    }

    private GuestMemfd.Builder describe(int pages) {
      return bench.describe(pages, MMAP, INIT_SHARED);
    }

    private void bind(int slot, long gpa, long size, GuestMemfd memfd, long offset) {
      if (vm.memslotAt(gpa).isEmpty()) {
        vm.bind(slot, gpa, size, memfd, offset);
      }
    }

    private String done(boolean done) {
      return done ? OK : outcome(vcpu.exit());
    }

    private String read(long gpa, long value, MemoryAttribute attribute) {
      return vcpu.tryRead(gpa, 8, attribute) ? same(value, vcpu.value()) : outcome(vcpu.exit());
    }

    private String attributes(long gpa, int pages, MemoryAttribute attribute) {
      return vm.trySetMemoryAttributes(gpa, (long) pages * PAGE, attribute, new BusyGuestPage())
          .name();
    }

    private String convertLater(MemoryAttribute attribute) {
      CompletableFuture<Void> later = vm.setMemoryAttributesLater(GPA, 2L * PAGE, attribute);
      bench.later.add(later);
      return outcome(later);
    }

    /** Guest code that converts what it needs. */
    private String program() {
      Errno[] failed = {Errno.OK};
      Optional<VcpuExit> exit =
          vcpu.run(
              guest -> {
                guest.write(GPA, 8, 5, SHARED);
                guest.mapGpaRange(GPA + PAGE, 1, SHARED);
                guest.write(GPA + PAGE, ByteBuffer.allocate(8), SHARED);
                guest.read(GPA, ByteBuffer.allocate(8), SHARED);
                guest.touch(GPA + PAGE, Access.EXEC, SHARED);
                guest.fetch(GPA, 4, SHARED);
                guest.compareAndSet(GPA, 4, 5, 5, SHARED);
                guest.getAndAdd(GPA + 5L * PAGE + 8, 8, 0, SHARED);
                guest.write(GPA + 5L * PAGE, 8, guest.read(GPA, 8, SHARED), SHARED);
                guest.read(GPA + 100L * PAGE, 4, SHARED);
              },
              (cpu, why) -> {
                if (why instanceof VcpuExit.Mmio) {
                  cpu.completeMmio(1);
                  return true;
                }
                if (why instanceof VcpuExit.Hypercall call) {
                  Errno errno =
                      vm.tryConvertInPlace(
                          call.gpa(), call.pages() * PAGE, call.attribute(), new BusyGuestPage());
                  cpu.completeHypercall(errno);
                  failed[0] = errno;
                  return errno == Errno.OK;
                }
                if (why instanceof VcpuExit.MemoryFault fault) {
                  cpu.failMemoryFault(fault.errno(), null);
                }
                return false;
              });
      return failed[0] != Errno.OK ? failed[0].name() : exit.map(Scenario::outcome).orElse(OK);
    }
  }

  /** Memory that is lent, and taken back. */
  private static final class Parcels extends Scenario {
    private MemoryParcels parcels;
    private GuestMemfd f;
    private HostMapping w;

    Parcels(Bench bench) {
      super(bench);
      whole(
          "create",
          () -> {
            parcels = new MemoryParcels(bench.describe(4, SECRET));
            bench.lenders.add(parcels);
            f = bench.known(parcels.memfd(), SECRET);
            w = bench.mapped(f.mmap(0, f.size(), READ, WRITE));
            return OK;
          });
      some(
          "write",
          () -> {
            w.putLong(0, 1);
            return OK;
          });
      some(
          "lend",
          () -> {
            parcels.lend(0, 3L * PAGE);
            return OK;
          });
      some(
          "the guest reads",
          () -> {
            ByteBuffer into = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
            return same(true, parcels.read(0, into));
          });
      some("the guest writes", () -> same(true, parcels.write(0, ByteBuffer.allocate(8))));
      whole("convert what is lent", () -> f.tryMakeAccessible(0, PAGE).name());
      some(
          "reclaim",
          () -> {
            parcels.reclaim(0, 2L * PAGE);
            return OK;
          });
      whole("convert", () -> f.tryMakeAccessible(0, 2L * PAGE).name());
      some("read", () -> same(0L, w.getLong(0)));
    }
  }
}
