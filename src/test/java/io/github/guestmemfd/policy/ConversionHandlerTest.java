package io.github.guestmemfd.policy;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.kvm.Access;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.ExitHandler;
import io.github.guestmemfd.kvm.GuestProgram;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.IdleStrategy;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What a handler does with exits, on one thread. */
class ConversionHandlerTest extends VmFixture {
  private static final IdleStrategy NO_IDLING =
      (round, nanos) -> {
        throw new AssertionError("idles");
      };

  private final Vcpu vcpu = vm.createVcpu();

  /** Converts what it is told to, and writes down what it hears. */
  private static final class Scripted implements ConversionPolicy {
    final List<String> heard = new ArrayList<>();
    Optional<GpaRange> answer = Optional.empty();
    List<GpaRange> first = List.of();

    @Override
    public String id() {
      return "scripted";
    }

    @Override
    public List<GpaRange> beforeFirstRun(GpaRange memory) {
      return first;
    }

    @Override
    public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
      heard.add("fault " + number(pages) + " " + attribute);
      return answer;
    }

    @Override
    public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
      heard.add("hypercall " + number(range) + " " + attribute);
      return answer;
    }

    @Override
    public void converted(GpaRange range, MemoryAttribute attribute) {
      heard.add("converted " + number(range) + " " + attribute);
    }
  }

  /** Writes down the attempts. */
  private static final class Attempts implements ConversionObserver {
    final List<String> seen = new ArrayList<>();
    private int begun;

    @Override
    public void begin(GpaRange range, MemoryAttribute attribute) {
      begun++;
    }

    @Override
    public void end(GpaRange range, MemoryAttribute attribute, Errno errno, BusyGuestPage busy) {
      begun--;
      assertEquals(0, begun, "each begin has its end");
      seen.add(
          number(range)
              + " "
              + attribute
              + " "
              + errno
              + (busy.folio().offset() < 0
                  ? ""
                  : " " + (busy.gpa() - GPA) / PAGE + " held by " + busy.folio().pinnedHolders()));
    }
  }

  private final Scripted scripted = new Scripted();
  private final Attempts attempts = new Attempts();

  /** Pages from one to before another, counted from GPA. */
  private static GpaRange pages(long from, long to) {
    return new GpaRange(GPA + from * PAGE, (to - from) * PAGE);
  }

  private static String number(GpaRange range) {
    return (range.gpa() - GPA) / PAGE + "-" + (range.end() - GPA) / PAGE;
  }

  private ConversionHandler.Builder with(ConversionPolicy policy) {
    return ConversionHandler.builder(vm, policy)
        .retries(0)
        .idleStrategy(NO_IDLING)
        .observer(attempts);
  }

  private HostMapping window(GuestMemfd memfd) {
    return closing(memfd.mmap(0, memfd.size(), Protection.READ, Protection.WRITE));
  }

  private MemoryAttribute attribute(long page) {
    return vm.memoryAttribute(GPA + page * PAGE).orElseThrow();
  }

  /** Runs a guest to its end. */
  private void run(GuestProgram guest, ExitHandler handler) {
    assertEquals(Optional.empty(), vcpu.run(guest, handler));
  }

  private static VcpuExit.MemoryFault fault(long page, MemoryAttribute attribute) {
    return new VcpuExit.MemoryFault(GPA + page * PAGE, PAGE, attribute, Access.READ, Errno.EFAULT);
  }

  /** The exit with a fault whose conversion was refused, without a page in the way. */
  private static VcpuExit refused(long page, MemoryAttribute attribute, Errno errno) {
    return new VcpuExit.MemoryFault(GPA + page * PAGE, PAGE, attribute, Access.READ, errno);
  }

  // ---- each policy with a guest ----

  /** A guest that says what it wants: it runs under every policy. */
  @ParameterizedTest
  @CsvSource({
    "eager, KEEP, PPPPP", "eager, DISCARD, PPPPP",
    "on-fault, KEEP, SPPSS", "on-fault, DISCARD, SPPSS",
    "batched, KEEP, SPPSS", "batched, DISCARD, SPPSS",
    "hypercall, KEEP, SPPSS", "hypercall, DISCARD, SPPSS",
  })
  void aGuestThatSaysWhatItWants(String id, PrivatePages onShared, String attributes) {
    GuestMemfd memfd = bound(5);
    HostMapping window = window(memfd);
    ConversionHandler handler =
        with(ConversionPolicy.byId(id).orElseThrow()).onShared(onShared).build();
    handler.start(pages(0, 5));
    run(
        guest -> {
          assertEquals(Errno.OK, guest.mapGpaRange(GPA + PAGE, 2, PRIVATE));
          guest.write(GPA + PAGE, 8, 42, PRIVATE);
          guest.write(GPA + 2L * PAGE, 8, 1, PRIVATE);
          assertEquals(Errno.OK, guest.mapGpaRange(GPA + 2L * PAGE, 1, SHARED));
          guest.write(GPA + 2L * PAGE + 8, 8, 7, SHARED);
          assertEquals(7, window.getLong(2L * PAGE + 8), "the host sees it");
          assertEquals(onShared == PrivatePages.KEEP ? 1 : 0, window.getLong(2L * PAGE));
          assertEquals(Errno.OK, guest.mapGpaRange(GPA + 2L * PAGE, 1, PRIVATE));
          assertEquals(7, guest.read(GPA + 2L * PAGE + 8, 8, PRIVATE));
          assertEquals(42, guest.read(GPA + PAGE, 8, PRIVATE));
        },
        handler);
    StringBuilder actual = new StringBuilder();
    for (int page = 0; page < 5; page++) {
      actual.append(attribute(page).name().charAt(0));
    }
    assertEquals(attributes, actual.toString());
  }

  /** A guest that says nothing. */
  @ParameterizedTest
  @ValueSource(strings = {"eager", "on-fault", "batched", "hypercall"})
  void aGuestThatSaysNothing(String id) {
    bound(5);
    ConversionHandler handler = with(ConversionPolicy.byId(id).orElseThrow()).build();
    handler.start(pages(0, 5));
    MemoryAttribute used = other(attribute(0));
    Optional<VcpuExit> exit =
        vcpu.run(
            guest -> {
              for (int page = 0; page < 3; page++) {
                guest.write(GPA + (long) page * PAGE, 8, 42, used);
              }
            },
            handler);
    switch (id) {
      case "on-fault" -> {
        assertEquals(Optional.empty(), exit);
        assertEquals(List.of("0-1 PRIVATE OK", "1-2 PRIVATE OK", "2-3 PRIVATE OK"), attempts.seen);
      }
      case "batched" -> {
        assertEquals(Optional.empty(), exit);
        assertEquals(List.of("0-1 PRIVATE OK", "1-2 PRIVATE OK", "0-5 PRIVATE OK"), attempts.seen);
      }
      default ->
          assertEquals(
              Optional.of(new VcpuExit.MemoryFault(GPA, PAGE, used, Access.WRITE, Errno.EFAULT)),
              exit,
              "an error of the guest");
    }
  }

  @Test
  void aHostWithoutBytes() {
    try (HostMemory large = HostMemory.metadataOnly(1L << 30);
        GuestMemfd memfd =
            vm.createGuestMemfd(
                GuestMemfd.builder(large)
                    .size(1L << 40)
                    .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED))) {
      vm.bind(0, 0, memfd.size(), memfd, 0);
      ConversionHandler handler =
          with(ConversionPolicy.batched()).onShared(PrivatePages.DISCARD).build();
      handler.start(new GpaRange(0, memfd.size()));
      long block = 1L << 39;
      run(
          guest -> {
            for (int page = 0; page < 512; page++) {
              guest.touch(block + (long) page * PAGE, Access.WRITE, PRIVATE);
            }
            guest.touch(block, Access.WRITE, SHARED);
          },
          handler);
      assertEquals(4, attempts.seen.size(), "two pages, their block, and one page back");
      assertTrue(memfd.isAccessible(block));
      assertFalse(memfd.isAccessible(block + PAGE));
      assertEquals(512, memfd.cachedPages());
    }
  }

  // ---- what becomes of private content ----

  @Test
  void whatIsKeptIsThere() {
    GuestMemfd memfd = bound(1);
    HostMapping window = window(memfd);
    run(
        guest -> {
          guest.write(GPA, 8, 42, PRIVATE);
          assertEquals(42, guest.read(GPA, 8, SHARED));
        },
        with(ConversionPolicy.onFault()).build());
    assertEquals(42, window.getLong(0));
  }

  @Test
  void whatIsDiscardedIsZero() {
    GuestMemfd memfd = bound(3);
    HostMapping window = window(memfd);
    window.putLong(0, 1);
    window.putLong(2L * PAGE, 3);
    scripted.answer = Optional.of(pages(0, 3));
    run(
        guest -> {
          vm.setMemoryAttributes(GPA + PAGE, PAGE, PRIVATE);
          guest.write(GPA + PAGE, 8, 2, PRIVATE);
          assertEquals(0, guest.read(GPA + PAGE, 8, SHARED));
        },
        with(scripted).onShared(PrivatePages.DISCARD).build());
    assertEquals(0, window.getLong(PAGE));
    assertEquals(1, window.getLong(0), "what was shared before stays");
    assertEquals(3, window.getLong(2L * PAGE));
    assertEquals(List.of("0-3 SHARED OK"), attempts.seen);
  }

  /** The host never sees it, not even before the conversion is over. */
  @Test
  void itIsDiscardedBeforeTheHostCanSeeIt() {
    List<Long> seen = new ArrayList<>();
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public Errno prepareAccessible(Folio folio) {
                seen.add(folio.buffer().getLong(0));
                return Errno.OK;
              }
            });
    vm.bind(0, GPA, PAGE, memfd, 0);
    run(
        guest -> {
          guest.write(GPA, 8, 42, PRIVATE);
          seen.clear();
          guest.read(GPA, 8, SHARED);
        },
        with(ConversionPolicy.onFault()).onShared(PrivatePages.DISCARD).build());
    assertFalse(seen.contains(42L), seen.toString());
  }

  /** Over two files and a memslot with an offset. */
  @Test
  void itIsDiscardedInEveryFile() {
    GuestMemfd one = file(4);
    GuestMemfd two = file(4);
    vm.bind(0, GPA, 2L * PAGE, one, 2L * PAGE);
    vm.bind(1, GPA + 2L * PAGE, 2L * PAGE, two, 0);
    one.makeInaccessible(0, one.size());
    two.makeInaccessible(0, two.size());
    one.allocate(0, one.size());
    two.allocate(0, two.size());
    scripted.answer = Optional.of(pages(1, 3));
    run(
        guest -> assertEquals(Errno.OK, guest.mapGpaRange(GPA + PAGE, 2, SHARED)),
        with(scripted).onShared(PrivatePages.DISCARD).build());
    assertEquals(3, one.cachedPages());
    assertEquals(3, two.cachedPages());
    assertTrue(one.isAccessible(3L * PAGE) && two.isAccessible(0));
    assertFalse(one.isAccessible(2L * PAGE) || two.isAccessible(PAGE));
  }

  @Test
  void aPunchThatIsRefusedIsTheAnswer() {
    GuestMemfd memfd =
        closing(vm.createGuestMemfd(describe(1).protocol(ConversionProtocol.safeOnly())));
    vm.bind(0, GPA, PAGE, memfd, 0);
    memfd.makeInaccessible(0, PAGE);
    scripted.answer = Optional.of(pages(0, 1));
    ConversionHandler handler = with(scripted).onShared(PrivatePages.DISCARD).build();
    try (Folio folio = memfd.grab(0)) {
      folio.buffer().putLong(0, 42);
      run(guest -> assertEquals(Errno.EAGAIN, guest.mapGpaRange(GPA, 1, SHARED)), handler);
      assertEquals(PRIVATE, attribute(0), "nothing is converted");
      assertEquals(42, folio.buffer().getLong(0), "or lost");
      Optional<VcpuExit> exit = vcpu.run(guest -> guest.touch(GPA, Access.READ, SHARED), handler);
      assertEquals(Optional.of(refused(0, SHARED, Errno.EBUSY)), exit, "the vCPU cannot go on");
    }
    assertEquals(1, memfd.cachedPages());
    assertEquals(List.of("0-1 SHARED EBUSY", "0-1 SHARED EBUSY"), attempts.seen);
    run(guest -> assertEquals(Errno.OK, guest.mapGpaRange(GPA, 1, SHARED)), handler);
    assertEquals(0, memfd.cachedPages());
  }

  @Test
  void aPunchThatIsRefusedIsTriedAgainForAFault() {
    GuestMemfd memfd =
        closing(vm.createGuestMemfd(describe(1).protocol(ConversionProtocol.safeOnly())));
    vm.bind(0, GPA, PAGE, memfd, 0);
    memfd.makeInaccessible(0, PAGE);
    Folio folio = memfd.grab(0);
    ConversionHandler handler =
        with(ConversionPolicy.onFault())
            .onShared(PrivatePages.DISCARD)
            .retries(1)
            .idleStrategy((round, nanos) -> folio.close())
            .build();
    assertTrue(handler.handle(vcpu, fault(0, SHARED)));
    assertEquals(List.of("0-1 SHARED EBUSY", "0-1 SHARED OK"), attempts.seen);
  }

  /** A range that cannot be converted loses nothing: its memslots are looked at first. */
  @Test
  void nothingIsDiscardedWithoutMemory() {
    GuestMemfd memfd = bound(2);
    memfd.makeInaccessible(0, memfd.size());
    memfd.allocate(0, memfd.size());
    scripted.answer = Optional.of(pages(0, 3));
    run(
        guest -> assertEquals(Errno.OK, guest.mapGpaRange(GPA, 1, SHARED)),
        with(scripted).onShared(PrivatePages.DISCARD).build());
    assertEquals(List.of("0-3 SHARED ENOENT", "0-1 SHARED OK"), attempts.seen);
    assertEquals(1, memfd.cachedPages());
  }

  // ---- refusals ----

  @Test
  void aHypercallThatIsRefusedIsTheGuestsToRepeat() {
    GuestMemfd memfd = bound(4);
    HostReference pin = window(memfd).pin(2L * PAGE, PAGE);
    run(
        guest -> {
          assertEquals(Errno.EAGAIN, guest.mapGpaRange(GPA, 4, PRIVATE));
          assertEquals(SHARED, attribute(0), "nothing is converted");
          pin.close();
          assertEquals(Errno.OK, guest.mapGpaRange(GPA, 4, PRIVATE));
        },
        with(ConversionPolicy.hypercallOnly()).retries(1000).build());
    assertEquals(List.of("0-4 PRIVATE EAGAIN 2 held by 1", "0-4 PRIVATE OK"), attempts.seen);
  }

  @Test
  void aFaultIsTriedAgain() {
    GuestMemfd memfd = bound(1);
    HostReference pin = window(memfd).pin(0, PAGE);
    run(
        guest -> guest.touch(GPA, Access.WRITE, PRIVATE),
        with(ConversionPolicy.onFault())
            .retries(3)
            .idleStrategy(
                (round, nanos) -> {
                  if (round == 2) {
                    pin.close();
                  }
                })
            .build());
    String refused = "0-1 PRIVATE EAGAIN 0 held by 1";
    assertEquals(List.of(refused, refused, refused, "0-1 PRIVATE OK"), attempts.seen);
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 2})
  void afterItsAttemptsTheExitGoesOn(int retries) {
    GuestMemfd memfd = bound(1);
    List<Integer> rounds = new ArrayList<>();
    List<VcpuExit> others = new ArrayList<>();
    try (HostReference pin = window(memfd).pin(0, PAGE)) {
      assertTrue(pin.isPinned());
      Optional<VcpuExit> exit =
          vcpu.run(
              guest -> guest.touch(GPA, Access.READ, PRIVATE),
              with(ConversionPolicy.onFault())
                  .retries(retries)
                  .idleStrategy((round, nanos) -> rounds.add(round))
                  .otherwise(
                      (v, e) -> {
                        others.add(e);
                        return others.size() < 2;
                      })
                  .build());
      assertEquals(Optional.of(others.get(1)), exit);
      for (VcpuExit other : others) {
        VcpuExit.MemoryFault fault = assertInstanceOf(VcpuExit.MemoryFault.class, other);
        assertEquals(Errno.EAGAIN, fault.errno());
        BusyGuestPage busy = Objects.requireNonNull(fault.busy());
        assertEquals(GPA, busy.gpa());
        assertEquals(1, busy.folio().pinnedHolders());
        assertEquals(0, busy.folio().unsafeHolders());
      }
    }
    assertEquals(retries == 0 ? List.of() : List.of(0, 1, 0, 1), rounds);
    assertEquals(2 * (1 + retries), attempts.seen.size());
    run(guest -> guest.touch(GPA, Access.READ, PRIVATE), with(ConversionPolicy.onFault()).build());
    assertMemoryFault(
        vcpu.tryTouch(GPA, Access.READ, SHARED), vcpu, GPA, SHARED, Access.READ, Errno.EFAULT);
  }

  /** A file that refuses at once, and a holder who lets go a moment later. */
  @Test
  void byDefaultAFaultIsTriedAgainForAWhile() {
    GuestMemfd memfd = bound(1);
    HostReference pin = window(memfd).pin(0, PAGE);
    run(
        guest -> guest.touch(GPA, Access.WRITE, PRIVATE),
        ConversionHandler.builder(vm, ConversionPolicy.onFault())
            .observer(attempts)
            .idleStrategy(
                (round, nanos) -> {
                  if (round == 2) {
                    pin.close();
                  }
                })
            .build());
    String refused = "0-1 PRIVATE EAGAIN 0 held by 1";
    assertEquals(List.of(refused, refused, refused, "0-1 PRIVATE OK"), attempts.seen);
  }

  @Test
  void byDefaultTheWhileEnds() {
    GuestMemfd memfd = bound(1);
    try (HostReference pin = window(memfd).pin(0, PAGE)) {
      assertTrue(pin.isPinned());
      long begun = System.nanoTime();
      VcpuExit exit =
          vcpu.run(
                  guest -> guest.touch(GPA, Access.WRITE, PRIVATE),
                  ConversionHandler.builder(vm, ConversionPolicy.onFault())
                      .idleStrategy((round, nanos) -> LockSupport.parkNanos(10_000_000))
                      .build())
              .orElseThrow();
      assertTrue(System.nanoTime() - begun >= 100_000_000, "patient");
      assertTrue(
          exit.toString()
              .endsWith("refused, gpa 0x100000: offset 0x0 held by 0 unsafe, 1 pinned, 0 safe]"),
          exit.toString());
    }
  }

  /**
   * The file's patience is that of the handler: what has been waited for it is not waited again.
   */
  @Test
  void byDefaultAPatientFileIsAskedOnce() {
    GuestMemfd memfd =
        closing(
            vm.createGuestMemfd(
                describe(1).retryPolicy(ConversionProtocol.atomicPair().retryPolicy())));
    vm.bind(0, GPA, PAGE, memfd, 0);
    try (HostReference pin = window(memfd).pin(0, PAGE)) {
      assertTrue(pin.isPinned());
      ConversionHandler handler =
          ConversionHandler.builder(vm, ConversionPolicy.onFault())
              .observer(attempts)
              .idleStrategy(NO_IDLING)
              .build();
      assertTrue(vcpu.run(guest -> guest.touch(GPA, Access.READ, PRIVATE), handler).isPresent());
      assertEquals(List.of("0-1 PRIVATE EAGAIN 0 held by 1"), attempts.seen);
    }
  }

  @Test
  void aVcpuThatHasNotFaultedCannotFail() {
    assertThrows(
        IllegalStateException.class, () -> vcpu.failMemoryFault(Errno.EAGAIN, new BusyGuestPage()));
    vcpu.requestExit();
    assertFalse(vcpu.tryTouch(GPA, Access.READ, SHARED));
    assertThrows(IllegalStateException.class, () -> vcpu.failMemoryFault(Errno.EAGAIN, null));
  }

  @Test
  void aLargerRangeThatIsRefusedLeavesWhatWasUsed() {
    GuestMemfd memfd = bound(4);
    scripted.answer = Optional.of(pages(0, 4));
    try (HostReference pin = window(memfd).pin(3L * PAGE, PAGE)) {
      assertTrue(pin.isPinned());
      run(guest -> guest.touch(GPA + PAGE, Access.WRITE, PRIVATE), with(scripted).build());
      assertEquals(Errno.OK, hypercall(with(scripted).build(), 2, 3));
      scripted.answer = Optional.of(pages(2, 4));
      assertEquals(
          Errno.EAGAIN,
          hypercall(with(scripted).build(), 0, 4),
          "does not convert what is not said");
    }
    assertEquals(
        List.of(
            "0-4 PRIVATE EAGAIN 3 held by 1",
            "1-2 PRIVATE OK",
            "0-4 PRIVATE EAGAIN 3 held by 1",
            "2-3 PRIVATE OK",
            "2-4 PRIVATE EAGAIN 3 held by 1"),
        attempts.seen);
    assertEquals(
        List.of(
            "fault 1-2 PRIVATE",
            "converted 1-2 PRIVATE",
            "hypercall 2-3 PRIVATE",
            "converted 2-3 PRIVATE",
            "hypercall 0-4 PRIVATE"),
        scripted.heard);
  }

  private Errno hypercall(ConversionHandler handler, long from, long to) {
    Errno[] answer = new Errno[1];
    run(guest -> answer[0] = guest.mapGpaRange(GPA + from * PAGE, to - from, PRIVATE), handler);
    return answer[0];
  }

  @Test
  void thePolicyHearsOfThePiecesThatWereDone() {
    GuestMemfd one = file(2);
    GuestMemfd two = file(2);
    vm.bind(0, GPA, 2L * PAGE, one, 0);
    vm.bind(1, GPA + 2L * PAGE, 2L * PAGE, two, 0);
    scripted.answer = Optional.of(pages(1, 4));
    try (HostReference pin = window(two).pin(PAGE, PAGE)) {
      assertTrue(pin.isPinned());
      assertEquals(Errno.EAGAIN, hypercall(with(scripted).build(), 1, 4));
    }
    assertEquals(List.of("hypercall 1-4 PRIVATE", "converted 1-2 PRIVATE"), scripted.heard);
    assertEquals(List.of("1-4 PRIVATE EAGAIN 3 held by 1"), attempts.seen);
  }

  @ParameterizedTest
  @EnumSource
  void attemptsEndAtAnInterrupt(PrivatePages onShared) {
    GuestMemfd memfd = bound(1);
    try (HostReference pin = window(memfd).pin(0, PAGE)) {
      assertTrue(pin.isPinned());
      Optional<VcpuExit> exit =
          vcpu.run(
              guest -> guest.touch(GPA, Access.READ, PRIVATE),
              with(ConversionPolicy.onFault())
                  .onShared(onShared)
                  .retries(Integer.MAX_VALUE)
                  .idleStrategy(
                      (round, nanos) -> {
                        assertTrue(round <= 3, "goes on");
                        if (round == 3) {
                          Thread.currentThread().interrupt();
                        }
                      })
                  .build());
      assertEquals(Optional.of(refused(0, PRIVATE, Errno.EINTR)), exit);
      assertTrue(Thread.interrupted(), "the status stays");
    }
  }

  // ---- what is no conversion ----

  @Test
  void otherExitsGoToTheOtherHandler() {
    GuestMemfd memfd = bound(1);
    scripted.answer = Optional.of(pages(0, 1));
    List<VcpuExit> others = new ArrayList<>();
    ConversionHandler handler =
        with(scripted).otherwise((v, exit) -> others.add(exit) && v == vcpu).build();
    List<VcpuExit> exits =
        List.of(
            new VcpuExit.Mmio(0, 8, Access.READ, 0),
            new VcpuExit.Interrupted(),
            new VcpuExit.MemoryFault(GPA, PAGE, PRIVATE, Access.READ, Errno.EAGAIN),
            new VcpuExit.MemoryFault(GPA, PAGE, PRIVATE, Access.READ, Errno.EHWPOISON),
            fault(1, PRIVATE)); // no memslot
    exits.forEach(exit -> assertTrue(handler.handle(vcpu, exit)));
    memfd.close();
    assertTrue(handler.handle(vcpu, fault(0, PRIVATE)), "its file has gone");
    assertEquals(exits, others.subList(0, 5));
    assertEquals(6, others.size());
    assertEquals(List.of(), scripted.heard);
    ConversionHandler alone = with(scripted).build();
    exits.forEach(exit -> assertFalse(alone.handle(vcpu, exit)));
  }

  @Test
  void aPageThatSomebodyElseHasConvertedIsNoFault() {
    bound(1);
    assertTrue(with(scripted).build().handle(vcpu, fault(0, SHARED)));
    assertEquals(List.of(), scripted.heard);
    assertEquals(List.of(), attempts.seen);
  }

  @Test
  void aHypercallWithoutConversionSucceeds() {
    bound(1);
    assertEquals(Errno.OK, hypercall(with(scripted).build(), 0, 1));
    assertEquals(SHARED, attribute(0));
    assertEquals(List.of("hypercall 0-1 PRIVATE"), scripted.heard);
    assertEquals(List.of(), attempts.seen);
  }

  // ---- what the guest is told ----

  /** As for the 32-bit hole that OVMF asks for on TDX; whatever the policy. */
  @ParameterizedTest
  @ValueSource(strings = {"eager", "on-fault", "batched", "hypercall"})
  void whereThereIsNoMemoryOnlySharedMakesSense(String id) {
    bound(2);
    ConversionHandler handler = with(ConversionPolicy.byId(id).orElseThrow()).build();
    run(
        guest -> {
          assertAnswer(Errno.OK, guest, 0xC000_0000L, 16, SHARED, 0xC001_0000L);
          assertAnswer(Errno.EINVAL, guest, 0xC000_0000L, 16, PRIVATE, 0xC000_0000L);
          assertAnswer(Errno.OK, guest, 0, 1L << 50, SHARED, 1L << 62);
          assertAnswer(Errno.EINVAL, guest, GPA, 3, PRIVATE, GPA);
          assertAnswer(Errno.EINVAL, guest, GPA - PAGE, 1, PRIVATE, GPA - PAGE);
          assertAnswer(Errno.EINVAL, guest, -2L * PAGE, 1, SHARED, -2L * PAGE);
          assertAnswer(Errno.EINVAL, guest, GPA, 1L << 51, SHARED, GPA);
        },
        handler);
    assertEquals(SHARED, attribute(0));
  }

  private static void assertAnswer(
      Errno errno, Vcpu guest, long gpa, long pages, MemoryAttribute attribute, long upTo) {
    String what = pages + " pages " + attribute + " from 0x" + Long.toHexString(gpa);
    assertEquals(errno, guest.mapGpaRange(gpa, pages, attribute), what);
    assertEquals(upTo, guest.convertedUpTo(), what);
  }

  @Test
  void holesAreNotConverted() {
    GuestMemfd memfd = file(4);
    memfd.makeInaccessible(0, memfd.size());
    vm.bind(0, GPA + 2L * PAGE, PAGE, memfd, 0);
    vm.bind(1, GPA + 4L * PAGE, 2L * PAGE, memfd, PAGE);
    ConversionHandler handler = with(ConversionPolicy.hypercallOnly()).build();
    run(guest -> assertAnswer(Errno.OK, guest, GPA, 8, SHARED, GPA + 8L * PAGE), handler);
    run(
        guest -> assertAnswer(Errno.EINVAL, guest, GPA + 2L * PAGE, 4, PRIVATE, GPA + 2L * PAGE),
        handler);
    assertEquals(List.of("2-3 SHARED OK", "4-6 SHARED OK"), attempts.seen);
    assertEquals(3L * PAGE, memfd.firstInaccessible(0, memfd.size()), "not the page without slot");
  }

  /** The monitor meets whatever there is; the guest hears what guests know. */
  @ParameterizedTest
  @EnumSource(Errno.class)
  void theGuestHearsWhatGuestsKnowAndTheObserverTheTruth(Errno errno) {
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                return errno;
              }
            });
    vm.bind(0, GPA, PAGE, memfd, 0);
    scripted.answer = Optional.of(pages(0, 1));
    Errno told =
        switch (errno) {
          case OK -> Errno.OK;
          case EAGAIN, EBUSY, EINTR -> Errno.EAGAIN;
          default -> Errno.EINVAL;
        };
    assertEquals(told, hypercall(with(scripted).build(), 0, 1));
    assertEquals(List.of("0-1 PRIVATE " + errno), attempts.seen);
  }

  @Test
  void aFileThatIsGoneIsAnErrorOfTheGuest() {
    bound(1).close();
    scripted.answer = Optional.of(pages(0, 1));
    assertEquals(Errno.EINVAL, hypercall(with(scripted).build(), 0, 1));
    assertEquals(List.of("0-1 PRIVATE EBADF"), attempts.seen);
  }

  // ---- how far it got ----

  /** Two files: what of the first has been done is not done again. */
  @Test
  void aGuestGoesOnWhereTheHypercallStopped() {
    GuestMemfd one = file(2);
    GuestMemfd two = file(2);
    vm.bind(0, GPA, 2L * PAGE, one, 0);
    vm.bind(1, GPA + 2L * PAGE, 2L * PAGE, two, 0);
    HostReference pin = window(two).pin(PAGE, PAGE);
    ConversionHandler handler = with(ConversionPolicy.hypercallOnly()).build();
    run(
        guest -> {
          long end = GPA + 4L * PAGE;
          int asked = 0;
          for (long at = GPA; at < end; at = guest.convertedUpTo(), asked++) {
            Errno errno = guest.mapGpaRange(at, (end - at) / PAGE, PRIVATE);
            assertEquals(asked == 0 ? Errno.EAGAIN : Errno.OK, errno);
            if (errno == Errno.EAGAIN) {
              pin.close();
            }
          }
          assertEquals(2, asked);
        },
        handler);
    assertEquals(List.of("0-4 PRIVATE EAGAIN 3 held by 1", "2-4 PRIVATE OK"), attempts.seen);
  }

  /** What the policy wants is not what the guest has asked for: the address is in what it asked. */
  @Test
  void theAddressReachedIsOneThatTheGuestKnows() {
    GuestMemfd one = file(2);
    GuestMemfd two = file(2);
    vm.bind(0, GPA, 2L * PAGE, one, 0);
    vm.bind(1, GPA + 2L * PAGE, 2L * PAGE, two, 0);
    scripted.answer = Optional.of(pages(0, 4));
    ConversionHandler handler = with(scripted).build();
    try (HostReference first = window(one).pin(0, PAGE);
        HostReference last = window(two).pin(PAGE, PAGE)) {
      assertTrue(first.isPinned() && last.isPinned());
      run(guest -> assertAnswer(Errno.OK, guest, GPA + PAGE, 2, SHARED, GPA + 3L * PAGE), handler);
      run(guest -> assertAnswer(Errno.EAGAIN, guest, GPA, 1, PRIVATE, GPA), handler);
      scripted.answer = Optional.of(pages(3, 4)); // elsewhere
      run(guest -> assertAnswer(Errno.EAGAIN, guest, GPA, 2, PRIVATE, GPA + 2L * PAGE), handler);
    }
  }

  /** Holes of eight TiB, by nodes and not by page; the policy is asked by GiB. */
  @ParameterizedTest
  @CsvSource({
    "eager, KEEP",
    "eager, DISCARD",
    "on-fault, DISCARD",
    "batched, KEEP",
    "batched, DISCARD",
    "hypercall, KEEP",
    "hypercall, DISCARD",
  })
  void terabytesOfNothingTakeNoTime(String id, PrivatePages onShared) {
    long size = 1L << 43;
    try (HostMemory large = HostMemory.metadataOnly(1L << 20);
        GuestMemfd memfd =
            vm.createGuestMemfd(
                GuestMemfd.builder(large)
                    .size(size)
                    .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED))) {
      vm.bind(0, 0, size / 2, memfd, 0);
      vm.bind(1, size / 2, size / 2, memfd, size / 2);
      ConversionHandler handler =
          ConversionHandler.builder(vm, ConversionPolicy.byId(id).orElseThrow())
              .onShared(onShared)
              .build();
      run(
          guest -> {
            for (int round = 0; round < 5; round++) {
              assertAnswer(Errno.OK, guest, 0, size / PAGE, PRIVATE, size);
              assertAnswer(Errno.OK, guest, 0, size / PAGE, SHARED, size);
            }
          },
          handler);
    }
  }

  @Test
  void aLargeRangeIsDoneInPieces() {
    long gib = 1L << 30;
    long size = 4 * gib;
    try (HostMemory large = HostMemory.metadataOnly(1L << 20);
        GuestMemfd memfd =
            vm.createGuestMemfd(
                GuestMemfd.builder(large)
                    .size(size)
                    .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                    .retryPolicy(RetryPolicy.failAtOnce()))) {
      vm.bind(0, 0, size, memfd, 0);
      ConversionHandler handler = with(ConversionPolicy.hypercallOnly()).build();
      try (HostMapping window = memfd.mmap(0, size, Protection.READ, Protection.WRITE);
          HostReference pin = window.pin(2 * gib, PAGE)) {
        assertTrue(pin.isPinned());
        run(
            guest ->
                assertAnswer(
                    Errno.EAGAIN, guest, gib - PAGE, (2 * gib) / PAGE + 2, PRIVATE, 2 * gib),
            handler);
      }
      assertEquals(gib - PAGE, memfd.firstInaccessible(0, size));
      assertEquals(2 * gib, memfd.firstAccessible(gib - PAGE, size - gib + PAGE));
      assertEquals(3, attempts.seen.size(), attempts.seen.toString());
      run(
          guest -> assertAnswer(Errno.OK, guest, 2 * gib, gib / PAGE + 1, PRIVATE, 3 * gib + PAGE),
          handler);
    }
  }

  // ---- interrupts ----

  /** The first piece is done, the guest is told where it ended, and the vCPU then leaves it. */
  @Test
  void anInterruptEndsAHypercallBetweenPieces() {
    long gib = 1L << 30;
    try (HostMemory large = HostMemory.metadataOnly(1L << 20);
        GuestMemfd memfd =
            vm.createGuestMemfd(
                GuestMemfd.builder(large)
                    .size(4 * gib)
                    .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED))) {
      vm.bind(0, 0, memfd.size(), memfd, 0);
      List<Long> upTo = new ArrayList<>();
      List<VcpuExit> others = new ArrayList<>();
      Optional<VcpuExit> exit =
          vcpu.run(
              guest -> {
                Thread.currentThread().interrupt();
                for (long at = 0; at < 4 * gib; at = guest.convertedUpTo()) {
                  assertEquals(Errno.EAGAIN, guest.mapGpaRange(at, (4 * gib - at) / PAGE, PRIVATE));
                  upTo.add(guest.convertedUpTo());
                }
              },
              with(ConversionPolicy.eager()).otherwise((v, e) -> !others.add(e)).build());
      assertTrue(Thread.interrupted(), "the status stays");
      assertEquals(Optional.of(new VcpuExit.Interrupted()), exit);
      assertEquals(List.of(new VcpuExit.Interrupted()), others);
      assertEquals(List.of(gib), upTo);
      assertEquals(gib, memfd.firstAccessible(0, memfd.size()));
    }
  }

  /** Between two punches. */
  @Test
  void anInterruptEndsDiscarding() {
    int[] punches = {0};
    GuestMemfd memfd =
        file(
            6,
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                if (punches[0]++ == 0) {
                  Thread.currentThread().interrupt();
                }
                return Errno.OK;
              }
            });
    vm.bind(0, GPA, memfd.size(), memfd, 0);
    for (long page : new long[] {1, 3, 5}) {
      punches[0] = 1;
      memfd.makeInaccessible(page * PAGE, PAGE);
    }
    punches[0] = 0;
    Optional<VcpuExit> exit =
        vcpu.run(
            guest -> {
              assertAnswer(Errno.EAGAIN, guest, GPA, 6, SHARED, GPA);
              guest.touch(GPA, Access.READ, SHARED);
            },
            with(ConversionPolicy.hypercallOnly()).onShared(PrivatePages.DISCARD).build());
    assertTrue(Thread.interrupted(), "the status stays");
    assertEquals(Optional.of(new VcpuExit.Interrupted()), exit);
    assertEquals(1, memfd.metrics().punches());
    assertEquals(List.of("0-6 SHARED EINTR"), attempts.seen);
    assertEquals(PRIVATE, attribute(1), "nothing is converted before all is discarded");
  }

  /**
   * A vCPU is in the middle of discarding; a second thread converts a page that it has not come to;
   * a third interrupts it. The punch that is under way is finished, what has become shared keeps
   * its content, and the guest that asks again gets the rest.
   */
  @Test
  void threeThreadsWhileARangeIsDiscarded() throws Exception {
    CountDownLatch isDiscarding = new CountDownLatch(1);
    CountDownLatch goOn = new CountDownLatch(1);
    boolean[] holds = {false};
    GuestMemfd memfd =
        file(
            6,
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                if (holds[0] && offset == 3L * PAGE) {
                  holds[0] = false;
                  isDiscarding.countDown();
                  awaitUninterruptibly(goOn);
                }
                return Errno.OK;
              }
            });
    vm.bind(0, GPA, memfd.size(), memfd, 0);
    for (long page : new long[] {1, 3, 5}) {
      try (Folio folio = memfd.grab(page * PAGE)) {
        folio.buffer().putLong(0, 40 + page);
      }
      memfd.makeInaccessible(page * PAGE, PAGE);
    }
    holds[0] = true;
    ConversionHandler handler =
        with(ConversionPolicy.hypercallOnly()).onShared(PrivatePages.DISCARD).build();
    FutureTask<Boolean> discards =
        new FutureTask<>(
            () -> {
              Optional<VcpuExit> exit =
                  vcpu.run(
                      guest -> {
                        assertAnswer(Errno.EAGAIN, guest, GPA, 6, SHARED, GPA);
                        guest.touch(GPA, Access.READ, SHARED);
                      },
                      handler);
              assertEquals(Optional.of(new VcpuExit.Interrupted()), exit);
              return Thread.interrupted();
            });
    FutureTask<Void> converts =
        new FutureTask<>(
            () -> {
              memfd.makeAccessible(5L * PAGE, PAGE);
              return null;
            });
    Thread discarding = start(discards);
    try {
      assertTrue(isDiscarding.await(10, TimeUnit.SECONDS));
      start(converts);
      converts.get(10, TimeUnit.SECONDS); // another page: waits for no one
      assertEquals(PRIVATE, attribute(1), "discarded, and not yet shared");
      discarding.interrupt();
    } finally {
      goOn.countDown();
    }
    assertTrue(discards.get(10, TimeUnit.SECONDS), "the status stays");
    assertEquals(List.of("0-6 SHARED EINTR"), attempts.seen);
    assertEquals(2, memfd.metrics().punches());
    run(guest -> assertAnswer(Errno.OK, guest, GPA, 6, SHARED, GPA + 6L * PAGE), handler);
    assertEquals(4, memfd.metrics().punches(), "what is private still, and nothing else");
    for (long page = 0; page < 6; page++) {
      try (Folio folio = memfd.grab(page * PAGE)) {
        assertEquals(page == 5 ? 45 : 0, folio.buffer().getLong(0), "page " + page);
      }
    }
  }

  private static Thread start(FutureTask<?> task) {
    Thread thread = new Thread(task);
    thread.setDaemon(true);
    thread.start();
    return thread;
  }

  private static void awaitUninterruptibly(CountDownLatch latch) {
    boolean interrupted = false;
    while (latch.getCount() > 0) {
      try {
        latch.await();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  // ---- ranges ----

  @Test
  void anAnswerIsCutToTheMemoryAroundTheFault() {
    GuestMemfd memfd = file(6);
    vm.bind(0, GPA, PAGE, memfd, 0); // a gap after it
    vm.bind(1, GPA + 2L * PAGE, 2L * PAGE, memfd, PAGE);
    vm.bind(2, GPA + 4L * PAGE, PAGE, memfd, 4L * PAGE);
    scripted.answer = Optional.of(pages(-8, 8));
    run(guest -> guest.touch(GPA + 3L * PAGE, Access.READ, PRIVATE), with(scripted).build());
    scripted.answer = Optional.of(pages(3, 5));
    run(guest -> guest.touch(GPA + 4L * PAGE, Access.READ, SHARED), with(scripted).build());
    assertEquals(List.of("2-5 PRIVATE OK", "3-5 SHARED OK"), attempts.seen);
    assertEquals(SHARED, attribute(0));
  }

  @Test
  void anAnswerWithoutThePagesIsLoud() {
    bound(2);
    scripted.answer = Optional.of(pages(1, 2));
    ConversionHandler handler = with(scripted).build();
    IllegalStateException e =
        assertThrows(IllegalStateException.class, () -> handler.handle(vcpu, fault(0, PRIVATE)));
    assertTrue(e.getMessage().startsWith("scripted: expected a range that contains gpa 0x100000"));
  }

  @Test
  void aVcpuOfAnotherVirtualMachineIsLoud() {
    Vcpu other = new VirtualMachine().createVcpu();
    ConversionHandler handler = with(scripted).build();
    assertThrows(
        IllegalArgumentException.class, () -> handler.handle(other, new VcpuExit.Interrupted()));
    assertThrows(IllegalArgumentException.class, () -> with(scripted).retries(-1));
  }

  // ---- the start ----

  @Test
  void theStartConvertsWhatThePolicyWants() {
    bound(4);
    scripted.first = List.of(pages(0, 1), pages(2, 4));
    with(scripted).build().start(pages(0, 4));
    assertEquals(List.of("0-1 PRIVATE OK", "2-4 PRIVATE OK"), attempts.seen);
    assertEquals(List.of("converted 0-1 PRIVATE", "converted 2-4 PRIVATE"), scripted.heard);
    assertEquals(SHARED, attribute(1));
  }

  @Test
  void aStartThatIsRefusedCanBeRepeated() {
    GuestMemfd memfd = bound(4);
    HostReference pin = window(memfd).pin(0, PAGE);
    ConversionHandler handler = with(ConversionPolicy.eager()).build();
    refused(GuestMemfdException.class, Errno.EAGAIN, () -> handler.start(pages(0, 4)));
    assertEquals(SHARED, attribute(3));
    with(ConversionPolicy.eager())
        .retries(1)
        .idleStrategy((round, nanos) -> pin.close())
        .build()
        .start(pages(0, 4));
    assertEquals(PRIVATE, attribute(3));
  }

  @Test
  void aStartOutsideTheMemoryIsLoud() {
    bound(4);
    scripted.first = List.of(pages(0, 5));
    assertThrows(IllegalStateException.class, () -> with(scripted).build().start(pages(0, 4)));
    assertEquals(List.of(), attempts.seen);
  }

  // ---- observers that throw ----

  @ParameterizedTest
  @EnumSource
  void anObserverThatThrowsAtTheBeginStopsIt(PrivatePages onShared) {
    bound(1);
    scripted.answer = Optional.of(pages(0, 1));
    IllegalStateException thrown = new IllegalStateException("observer");
    ConversionHandler handler =
        with(scripted)
            .onShared(onShared)
            .observer(
                new ConversionObserver() {
                  @Override
                  public void begin(GpaRange range, MemoryAttribute attribute) {
                    throw thrown;
                  }
                })
            .build();
    assertSame(thrown, assertThrows(IllegalStateException.class, () -> hypercall(handler, 0, 1)));
    assertEquals(SHARED, attribute(0));
    assertEquals(List.of("hypercall 0-1 PRIVATE"), scripted.heard);
  }

  @ParameterizedTest
  @EnumSource
  void anObserverThatThrowsAtTheEndLosesNothing(PrivatePages onShared) {
    bound(1);
    scripted.answer = Optional.of(pages(0, 1));
    IllegalStateException thrown = new IllegalStateException("observer");
    ConversionHandler handler =
        with(scripted)
            .onShared(onShared)
            .observer(
                new ConversionObserver() {
                  @Override
                  public void end(
                      GpaRange range, MemoryAttribute attribute, Errno errno, BusyGuestPage busy) {
                    if (attribute == PRIVATE) {
                      throw thrown;
                    }
                  }
                })
            .build();
    assertSame(thrown, assertThrows(IllegalStateException.class, () -> hypercall(handler, 0, 1)));
    assertEquals(PRIVATE, attribute(0));
    assertEquals(List.of("hypercall 0-1 PRIVATE", "converted 0-1 PRIVATE"), scripted.heard);
    assertTrue(handler.handle(vcpu, fault(0, SHARED)), "the range is not locked any more");
  }

  @ParameterizedTest
  @EnumSource
  void aCallbackThatThrowsEndsTheAttempt(PrivatePages onShared) {
    RuntimeException thrown = new RuntimeException("callback");
    boolean[] throwing = {true};
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                if (throwing[0]) {
                  throw thrown;
                }
                return Errno.OK;
              }
            });
    vm.bind(0, GPA, PAGE, memfd, 0);
    scripted.answer = Optional.of(pages(0, 1));
    ConversionHandler handler = with(scripted).onShared(onShared).build();
    assertSame(thrown, assertThrows(RuntimeException.class, () -> hypercall(handler, 0, 1)));
    throwing[0] = false;
    assertEquals(Errno.OK, hypercall(handler, 0, 1));
    assertEquals(List.of("0-1 PRIVATE ECANCELED", "0-1 PRIVATE OK"), attempts.seen);
  }

  @Test
  void whatIsInTheWayOfTheFirstConversionIsSaid() {
    GuestMemfd memfd = file(4, GuestMemfdOps.NONE);
    vm.bind(0, GPA, 4 * PAGE, memfd, 0);
    scripted.first = List.of(pages(0, 4));
    ConversionHandler handler = with(scripted).retries(0).build();
    try (Folio held = memfd.grab(PAGE, HolderKind.UNSAFE)) {
      assertEquals(PAGE, held.offset());
      GuestMemfdException refused =
          assertThrows(GuestMemfdException.class, () -> handler.start(pages(0, 4)));
      assertTrue(
          refused.getMessage().contains("held by 1 unsafe, 0 pinned, 0 safe"),
          refused.getMessage());
    }
    scripted.first = List.of(pages(4, 5));
    GuestMemfdException missing =
        assertThrows(GuestMemfdException.class, () -> handler.start(pages(0, 5)));
    assertEquals(
        "ENOENT: conversion of "
            + pages(4, 5)
            + " before the first run: no memslot at "
            + Hex.of(pages(4, 5).gpa()),
        missing.getMessage());
  }

  @Test
  void aPolicyThatAnswersNullIsNamed() {
    vm.bind(0, GPA, PAGE, file(1, GuestMemfdOps.NONE), 0);
    scripted.answer = null;
    ConversionHandler handler = with(scripted).build();
    assertEquals(
        "policy scripted: onHypercall answered null",
        assertThrows(NullPointerException.class, () -> hypercall(handler, 0, 1)).getMessage());
    Vcpu vcpu = vm.createVcpu();
    assertEquals(
        "policy scripted: onMemoryFault answered null",
        assertThrows(
                NullPointerException.class,
                () -> vcpu.run(guest -> guest.write(GPA, 8, 1, PRIVATE), handler))
            .getMessage());
    scripted.first = null;
    assertEquals(
        "policy scripted: beforeFirstRun answered null",
        assertThrows(NullPointerException.class, () -> handler.start(pages(0, 1))).getMessage());
  }
}
