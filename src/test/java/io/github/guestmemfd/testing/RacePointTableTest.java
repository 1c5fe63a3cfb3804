package io.github.guestmemfd.testing;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.Access;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.RacePoint;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The table of docs/race-points.md: each operation, run by one thread with a hook that records. */
@Timeout(300)
class RacePointTableTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final Path DOCUMENT = Path.of("docs/race-points.md");
  private static final Pattern ROW = Pattern.compile("\\| (.+) \\| (none|`.+`) \\|");
  private static final Pattern POINT = Pattern.compile("`([A-Z_]+)`");

  /** A row of the table: what is done before, and what is recorded. */
  @FunctionalInterface
  private interface Row {
    Step prepare(World world);
  }

  @FunctionalInterface
  private interface Step {
    void run();
  }

  /** A host with a hook that records, and what a row makes in it. */
  private static final class World implements AutoCloseable {
    final List<String> passed = new ArrayList<>();
    private final Deque<AutoCloseable> open = new ArrayDeque<>();
    final HostMemory host = HostMemory.builder(16L * PAGE).raceHook(this::at).build();
    final VirtualMachine vm = VirtualMachine.builder().raceHook(this::at).build();

    private void at(RacePoint point, long index) {
      passed.add(point.name());
    }

    private <T extends AutoCloseable> T closing(T resource) {
      open.push(resource);
      return resource;
    }

    GuestMemfd file() {
      return file(ConversionProtocol.atomicPair());
    }

    GuestMemfd file(ConversionProtocol protocol) {
      return closing(describe(protocol).build());
    }

    GuestMemfd.Builder describe(ConversionProtocol protocol) {
      return GuestMemfd.builder(host)
          .size(PAGE)
          .flags(MMAP, INIT_SHARED)
          .protocol(protocol)
          .retryPolicy(RetryPolicy.failAtOnce());
    }

    /** A file whose page is there, prepared and zeroed. */
    GuestMemfd ready() {
      return ready(ConversionProtocol.atomicPair());
    }

    GuestMemfd ready(ConversionProtocol protocol) {
      GuestMemfd memfd = file(protocol);
      memfd.grab(0).close();
      return memfd;
    }

    /** A file of three pages that are there. */
    GuestMemfd three(ConversionProtocol protocol) {
      GuestMemfd memfd = closing(describe(protocol).size(3L * PAGE).build());
      memfd.allocate(0, 3L * PAGE);
      return memfd;
    }

    HostMapping map(GuestMemfd memfd) {
      return closing(memfd.mmap(0, PAGE, Protection.READ, Protection.WRITE));
    }

    /** A mapping in which the page has been touched. */
    HostMapping touched(GuestMemfd memfd) {
      HostMapping window = map(memfd);
      window.putLong(0, 1);
      return window;
    }

    Vcpu vcpu(GuestMemfd memfd) {
      vm.bind(0, 0, PAGE, memfd, 0);
      return vm.createVcpu();
    }

    GuestMemfd ofVm() {
      return closing(vm.createGuestMemfd(describe(ConversionProtocol.atomicPair())));
    }

    @Override
    public void close() {
      while (!open.isEmpty()) {
        try {
          open.pop().close();
        } catch (Exception e) {
          throw new AssertionError(e);
        }
      }
      host.close();
    }
  }

  private static final Map<String, Row> ROWS = new LinkedHashMap<>();

  private static void row(String operation, Row row) {
    assertThat(ROWS.put(operation, row)).isNull();
  }

  static {
    // ---- the guest's side ----
    row(
        "`allocate` of a hole",
        w -> {
          GuestMemfd memfd = w.file();
          return () -> memfd.allocate(0, PAGE);
        });
    row(
        "`allocate` of a page that is there",
        w -> {
          GuestMemfd memfd = w.ready();
          return () -> memfd.allocate(0, PAGE);
        });
    row(
        "`grab` of a hole",
        w -> {
          GuestMemfd memfd = w.file();
          return () -> w.closing(memfd.grab(0));
        });
    row(
        "`grab` of a page that was allocated and not used",
        w -> {
          GuestMemfd memfd = w.file();
          memfd.allocate(0, PAGE);
          return () -> w.closing(memfd.grab(0));
        });
    row(
        "`grab` of a page in use",
        w -> {
          GuestMemfd memfd = w.ready();
          return () -> w.closing(memfd.grab(0));
        });
    row(
        "`grab` of a page in use, kind `UNSAFE`",
        w -> {
          GuestMemfd memfd = w.ready();
          return () -> w.closing(memfd.grab(0, HolderKind.UNSAFE));
        });
    row(
        "`tryRead` of a page in use",
        w -> {
          GuestMemfd memfd = w.ready();
          return () -> memfd.tryRead(0, ByteBuffer.allocate(8));
        });
    row(
        "`Folio.close`",
        w -> {
          Folio folio = w.ready().grab(0);
          return folio::close;
        });
    for (ConversionProtocol protocol : ConversionProtocol.all()) {
      if (protocol != ConversionProtocol.atomicPair()) {
        row(
            "`grab` of a page in use, protocol `" + protocol.id() + "`",
            w -> {
              GuestMemfd memfd = w.ready(protocol);
              return () -> w.closing(memfd.grab(0));
            });
        row(
            "`Folio.close`, protocol `" + protocol.id() + "`",
            w -> {
              Folio folio = w.ready(protocol).grab(0);
              return folio::close;
            });
      }
    }

    row(
        "`tryGetPfn` of a private page in use",
        w -> {
          GuestMemfd memfd =
              w.closing(
                  w.describe(ConversionProtocol.atomicPair()).ops(new GuestMemfdOps() {}).build());
          memfd.makeInaccessible(0, PAGE);
          memfd.tryGetPfn(0);
          return () -> memfd.tryGetPfn(0);
        });

    // ---- the host's side ----
    row(
        "access through a mapping, of a hole",
        w -> {
          HostMapping window = w.map(w.file());
          return () -> window.putLong(0, 1);
        });
    row(
        "access through a mapping, of a page not mapped yet",
        w -> {
          HostMapping window = w.map(w.ready());
          return () -> window.putLong(0, 1);
        });
    row(
        "store or bulk load through a mapping, of a mapped page",
        w -> {
          HostMapping window = w.touched(w.ready());
          return () -> window.putLong(0, 1);
        });
    row(
        "load of a number through a mapping, of a mapped page",
        w -> {
          HostMapping window = w.touched(w.ready());
          return () -> window.getLong(0);
        });
    row(
        "`getUserPages` or `pin` of a page not mapped yet",
        w -> {
          HostMapping window = w.map(w.ready());
          return () -> w.closing(window.pin(0, PAGE));
        });
    row(
        "`getUserPages` or `pin` of a mapped page",
        w -> {
          HostMapping window = w.touched(w.ready());
          return () -> w.closing(window.pin(0, PAGE));
        });
    row(
        "`munmap` of a part",
        w -> {
          HostMapping window = w.touched(w.ready());
          return () -> window.munmap(0, PAGE);
        });
    row(
        "`mprotect`",
        w -> {
          HostMapping window = w.touched(w.ready());
          return () -> window.mprotect(0, PAGE);
        });
    row(
        "`AddressSpace.fork` with one mapping",
        w -> {
          w.map(w.ready());
          return () -> w.closing(w.host.addressSpace().fork());
        });
    row(
        "`mremap` of a mapped page",
        w -> {
          HostMapping window = w.touched(w.ready());
          return () -> w.closing(window.mremap(0, PAGE, PAGE));
        });
    row(
        "`HostReference.close`",
        w -> {
          HostReference pin = w.map(w.ready()).pin(0, PAGE);
          return pin::close;
        });
    row(
        "`madvise` with `POPULATE_READ` or `POPULATE_WRITE`, of a page not mapped yet",
        w -> {
          HostMapping window = w.map(w.ready());
          return () -> window.madvise(0, PAGE, Advice.POPULATE_WRITE);
        });
    row(
        "`madvise` with `DONTNEED`",
        w -> {
          HostMapping window = w.touched(w.ready());
          return () -> window.madvise(0, PAGE, Advice.DONTNEED);
        });
    row(
        "`madvise` with `REMOVE`",
        w -> {
          HostMapping window = w.touched(w.ready());
          return () -> window.madvise(0, PAGE, Advice.REMOVE);
        });
    row(
        "`HostMapping.close`",
        w -> {
          HostMapping window = w.touched(w.ready());
          return window::close;
        });

    // ---- range operations ----
    row(
        "`makeInaccessible`",
        w -> {
          GuestMemfd memfd = w.ready();
          return () -> memfd.makeInaccessible(0, PAGE);
        });
    row(
        "`makeInaccessible` of a hole",
        w -> {
          GuestMemfd memfd = w.file();
          return () -> memfd.makeInaccessible(0, PAGE);
        });
    row(
        "`makeInaccessible`, protocol `last-put`",
        w -> {
          GuestMemfd memfd = w.ready(ConversionProtocol.lastPut());
          return () -> memfd.makeInaccessible(0, PAGE);
        });
    row(
        "`makeInaccessible` of two pages, protocol `last-put`",
        w -> {
          GuestMemfd memfd = w.three(ConversionProtocol.lastPut());
          return () -> memfd.makeInaccessible(PAGE, 2L * PAGE);
        });
    row(
        "`makeInaccessible` of three pages, of which the one in the middle is so already",
        w -> {
          GuestMemfd memfd = w.three(ConversionProtocol.atomicPair());
          memfd.makeInaccessible(PAGE, PAGE);
          return () -> memfd.makeInaccessible(0, 3L * PAGE);
        });
    row(
        "`makeInaccessible` of a page that is held: refused at once",
        w -> {
          GuestMemfd memfd = w.ready();
          w.closing(w.map(memfd).pin(0, PAGE));
          return () -> assertThat(memfd.tryMakeInaccessible(0, PAGE)).isEqualTo(Errno.EAGAIN);
        });
    row(
        "`makeInaccessible` of a page that is held: looks again once, then refused",
        w -> {
          GuestMemfd memfd =
              w.closing(
                  w.describe(ConversionProtocol.atomicPair())
                      .retryPolicy(RetryPolicy.spin(1))
                      .build());
          w.closing(w.map(memfd).pin(0, PAGE));
          return () -> assertThat(memfd.tryMakeInaccessible(0, PAGE)).isEqualTo(Errno.EAGAIN);
        });
    row(
        "`makeInaccessible` or `makeAccessible` of what is so already",
        w -> {
          GuestMemfd memfd = w.ready();
          return () -> memfd.makeAccessible(0, PAGE);
        });
    row(
        "`makeAccessible`",
        w -> {
          GuestMemfd memfd = w.ready();
          memfd.makeInaccessible(0, PAGE);
          return () -> memfd.makeAccessible(0, PAGE);
        });
    row(
        "`makeInaccessibleLater` of a page that is held: left pending",
        w -> {
          GuestMemfd memfd = w.closing(later(w));
          w.closing(w.map(memfd).pin(0, PAGE));
          return () -> assertThat(memfd.makeInaccessibleLater(0, PAGE)).isNotDone();
        });
    row(
        "the `HostReference.close` that completes a pending conversion",
        w -> {
          GuestMemfd memfd = w.closing(later(w));
          HostReference pin = w.map(memfd).pin(0, PAGE);
          CompletableFuture<Void> pending = memfd.makeInaccessibleLater(0, PAGE);
          return () -> {
            pin.close();
            assertThat(pending).isCompleted();
          };
        });
    row(
        "`cancel` of a pending conversion",
        w -> {
          GuestMemfd memfd = w.closing(later(w));
          w.closing(w.map(memfd).pin(0, PAGE));
          CompletableFuture<Void> pending = memfd.makeInaccessibleLater(0, PAGE);
          return () -> assertThat(pending.cancel(false)).isTrue();
        });
    row(
        "`punchHole`",
        w -> {
          GuestMemfd memfd = w.ready();
          return () -> memfd.punchHole(0, PAGE);
        });
    row(
        "`punchHole` of a page that a guest holds, protocol `safe-only`: refused",
        w -> {
          GuestMemfd memfd = w.ready(ConversionProtocol.safeOnly());
          w.closing(memfd.grab(0));
          return () ->
              assertThat(
                      catchThrowableOfType(
                          GuestMemfdException.class, () -> memfd.punchHole(0, PAGE)))
                  .extracting(GuestMemfdException::errno)
                  .isEqualTo(Errno.EBUSY);
        });
    row(
        "`GuestMemfd.close`, the last",
        w -> {
          GuestMemfd memfd = w.ready();
          return memfd::close;
        });

    // ---- frame numbers, the host ----
    row(
        "`PfnWalker.scan` or `migrate` of a folio",
        w -> {
          int pfn = pfn(w.ready());
          return () -> w.host.pfnWalker().migrate(pfn);
        });
    row(
        "`PfnWalker.memoryFailure` of a folio",
        w -> {
          int pfn = pfn(w.ready());
          return () -> w.host.pfnWalker().memoryFailure(pfn);
        });
    row("`HostMemory.close`", w -> w.host::close);

    // ---- a virtual machine ----
    row(
        "access of a vCPU, of a page not mapped yet",
        w -> {
          GuestMemfd memfd = w.ofVm();
          memfd.grab(0).close();
          Vcpu vcpu = w.vcpu(memfd);
          return () -> vcpu.write(0, 8, 1, SHARED);
        });
    row(
        "access of a vCPU, of a mapped page",
        w -> {
          Vcpu vcpu = w.vcpu(w.ofVm());
          vcpu.write(0, 8, 1, SHARED);
          return () -> vcpu.write(0, 8, 2, SHARED);
        });
    row(
        "access of a vCPU, of a page of the other attribute",
        w -> {
          Vcpu vcpu = w.vcpu(w.ofVm());
          return () -> assertThat(vcpu.tryTouch(0, Access.READ, PRIVATE)).isFalse();
        });
    row(
        "`preFault` of a page that is there",
        w -> {
          GuestMemfd memfd = w.ofVm();
          memfd.grab(0).close();
          w.vcpu(memfd);
          return () -> w.vm.preFault(0, PAGE);
        });
    row(
        "`setMemoryAttributes` of a mapped page",
        w -> {
          w.vcpu(w.ofVm()).write(0, 8, 1, SHARED);
          return () -> w.vm.setMemoryAttributes(0, PAGE, PRIVATE);
        });
    row(
        "`unbind` of a memslot with a mapped page",
        w -> {
          w.vcpu(w.ofVm()).write(0, 8, 1, SHARED);
          return () -> w.vm.unbind(0);
        });
  }

  private static GuestMemfd later(World w) {
    return w.describe(ConversionProtocol.atomicPair())
        .retryPolicy(RetryPolicy.completeLater())
        .build();
  }

  private static int pfn(GuestMemfd memfd) {
    try (Folio folio = memfd.grab(0)) {
      return folio.pfn();
    }
  }

  /** What an operation passes. */
  private static List<String> points(Row row) {
    try (World world = new World()) {
      Step step = row.prepare(world);
      world.passed.clear();
      step.run();
      return List.copyOf(world.passed);
    }
  }

  /** The table as it must be. */
  private static Map<String, List<String>> actual() {
    Map<String, List<String>> table = new LinkedHashMap<>();
    for (Map.Entry<String, Row> row : ROWS.entrySet()) {
      table.put(row.getKey(), points(row.getValue()));
    }
    return table;
  }

  /** The table as it is in the document. */
  private static Map<String, List<String>> documented() throws IOException {
    Map<String, List<String>> table = new LinkedHashMap<>();
    for (String line : Files.readAllLines(DOCUMENT)) {
      Matcher row = ROW.matcher(line);
      if (row.matches()) {
        List<String> points =
            POINT.matcher(row.group(2)).results().map((MatchResult m) -> m.group(1)).toList();
        assertThat(table.put(row.group(1), points)).as(line).isNull();
      }
    }
    return table;
  }

  private static String cell(List<String> points) {
    return points.isEmpty()
        ? "none"
        : points.stream().collect(Collectors.joining("`, `", "`", "`"));
  }

  private static String text(Map<String, List<String>> table) {
    return table.entrySet().stream()
        .map(row -> "| " + row.getKey() + " | " + cell(row.getValue()) + " |")
        .collect(Collectors.joining("\n"));
  }

  @Test
  void theTableSaysWhatIsPassed() throws Exception {
    assertThat(text(documented())).isEqualTo(text(actual()));
  }

  @Test
  void noPointIsMissing() throws Exception {
    Set<RacePoint> missing = EnumSet.allOf(RacePoint.class);
    documented()
        .values()
        .forEach(points -> points.forEach(p -> missing.remove(RacePoint.valueOf(p))));
    assertThat(missing).isEmpty();
  }
}
