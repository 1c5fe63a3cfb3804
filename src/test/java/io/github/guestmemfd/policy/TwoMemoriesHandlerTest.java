package io.github.guestmemfd.policy;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.HostRam;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.MemoryUse;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.MemslotFlag;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A monitor of a machine with two memories: discards, listeners, and what is used twice. */
class TwoMemoriesHandlerTest extends VmFixture {
  private static final int PAGES = 4;

  private final List<String> told = new ArrayList<>();
  private Vcpu vcpu;
  private HostRam ram;
  private GuestMemfd first;
  private GuestMemfd second;

  /** Two memslots, over one piece of the host's memory and a file each. */
  @BeforeEach
  void machine() {
    vm = VirtualMachine.builder().type(VmType.SNP).raceHook(races).idleStrategy(probe).build();
    vcpu = vm.createVcpu();
    ram = closing(vm.mapHostRam(host, 2L * PAGES * PAGE));
    first = privateFile(GuestMemfdOps.NONE);
    second = privateFile(GuestMemfdOps.NONE);
    slot(0, first);
    slot(1, second);
  }

  private GuestMemfd privateFile(GuestMemfdOps client) {
    return closing(vm.createGuestMemfd(GuestMemfd.builder(host).size((long) PAGES * PAGE), client));
  }

  private void slot(int number, GuestMemfd memfd) {
    long at = (long) number * PAGES * PAGE;
    vm.setUserMemoryRegion2(
        new Memslot(
            number,
            MemslotFlag.bits(MemslotFlag.GUEST_MEMFD),
            GPA + at,
            (long) PAGES * PAGE,
            ram.userAddress() + at,
            memfd,
            0));
  }

  private ConversionHandler.Builder handler() {
    return ConversionHandler.builder(vm, new OwnPolicy()).idleStrategy(probe);
  }

  private static long page(int number) {
    return GPA + (long) number * PAGE;
  }

  /** The guest uses a page, and its monitor converts it. */
  private void use(ConversionHandler handler, int page, long number, MemoryAttribute attribute) {
    assertThat(vcpu.run(v -> v.write(page(page), 8, number, attribute), handler)).isEmpty();
  }

  private Errno ask(ConversionHandler handler, int page, int pages, MemoryAttribute attribute) {
    Errno[] answer = new Errno[1];
    assertThat(vcpu.run(v -> answer[0] = v.mapGpaRange(page(page), pages, attribute), handler))
        .isEmpty();
    return answer[0];
  }

  private SharedMemoryListener listener(String name, Errno answer) {
    return new SharedMemoryListener() {
      @Override
      public Errno populated(GpaRange range) {
        told.add(name + "+" + (range.gpa() - GPA) / PAGE + "/" + range.size() / PAGE);
        return answer;
      }

      @Override
      public void discarded(GpaRange range) {
        told.add(name + "-" + (range.gpa() - GPA) / PAGE + "/" + range.size() / PAGE);
      }
    };
  }

  // ---- discards ----

  @ParameterizedTest
  @CsvSource({
    // to shared, to private: what the guest finds when it comes back to shared, and to private, and
    // pages used twice at the end
    "KEEP, KEEP, 1, 2, 1",
    "DISCARD, KEEP, 1, 0, 1",
    "KEEP, DISCARD, 0, 2, 0",
    "DISCARD, DISCARD, 0, 0, 0",
  })
  void memoryIsDiscardedOneWayBothWaysOrNever(
      PrivatePages onShared, SharedPages onPrivate, long shared, long secret, int twice) {
    ConversionHandler handler = handler().onShared(onShared).onPrivate(onPrivate).build();
    use(handler, 0, 1, SHARED);
    use(handler, 0, 2, PRIVATE);
    assertEquals(
        onPrivate == SharedPages.KEEP ? PAGE : 0, vm.memoryUse().doubled(), "while it is private");
    assertThat(vcpu.run(v -> assertEquals(shared, v.read(page(0), 8, SHARED)), handler)).isEmpty();
    assertEquals(
        onShared == PrivatePages.KEEP ? PAGE : 0, vm.memoryUse().doubled(), "while it is shared");
    assertThat(vcpu.run(v -> assertEquals(secret, v.read(page(0), 8, PRIVATE)), handler)).isEmpty();
    assertEquals((long) twice * PAGE, vm.memoryUse().doubled());
  }

  @Test
  void whatIsUsedTwice() {
    ConversionHandler handler = handler().build();
    assertEquals(new MemoryUse(0, 0, 0), vm.memoryUse());
    for (int page : new int[] {0, 1, 2, 5}) {
      use(handler, page, 1, SHARED);
    }
    for (int page : new int[] {1, 2, 4}) {
      use(handler, page, 1, PRIVATE);
    }
    assertEquals(new MemoryUse(4L * PAGE, 3L * PAGE, 2L * PAGE), vm.memoryUse());
    assertEquals(7L * PAGE, host.used());
    vm.discardHostMemory(page(1), 4L * PAGE);
    assertEquals(new MemoryUse(2L * PAGE, 3L * PAGE, 0), vm.memoryUse());
    refused(GuestMemfdException.class, Errno.EINVAL, () -> vm.discardHostMemory(1, PAGE));
  }

  /** A range over both memslots is converted, told and discarded at once. */
  @Test
  void aRangeStraddlesMemslots() {
    ConversionHandler handler =
        handler()
            .onShared(PrivatePages.DISCARD)
            .onPrivate(SharedPages.DISCARD)
            .listener(listener("a", Errno.OK))
            .build();
    for (int page = 0; page < 2 * PAGES; page++) {
      use(handler, page, page, SHARED);
    }
    assertEquals(Errno.OK, ask(handler, 2, 4, PRIVATE));
    assertThat(told).containsExactly("a-2/4");
    assertEquals(4L * PAGE, ram.allocated());
    assertThat(vm.memoryAttributes(page(0), 8L * PAGE)).hasSize(3);
    use(handler, 3, 33, PRIVATE);
    use(handler, 4, 44, PRIVATE);
    assertEquals(2, first.cachedPages() + second.cachedPages());
    assertEquals(Errno.OK, ask(handler, 0, 8, SHARED));
    assertThat(told).containsExactly("a-2/4", "a+2/4"); // only what was private
    assertEquals(0, first.cachedPages() + second.cachedPages());
    assertThat(vcpu.run(v -> assertEquals(0, v.read(page(3), 8, SHARED)), handler)).isEmpty();
    assertThat(vcpu.run(v -> assertEquals(7, v.read(page(7), 8, SHARED)), handler)).isEmpty();
  }

  /** Discarding is not what a conversion may fail by. */
  @Test
  void whatCannotBeDiscardedStays() {
    vm.unbind(0);
    GuestMemfd stubborn =
        privateFile(
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                return Errno.EBUSY;
              }
            });
    slot(0, stubborn);
    ConversionHandler handler = handler().onShared(PrivatePages.DISCARD).build();
    use(handler, 0, 1, PRIVATE);
    assertEquals(Errno.OK, ask(handler, 0, 1, SHARED));
    use(handler, 0, 2, SHARED);
    assertEquals(PAGE, vm.memoryUse().doubled());
    stubborn.close();
  }

  /** A file that can be mapped has the shared page in the same place. */
  @Test
  void aFileWithBothMemoriesIsNotPunched() {
    vm.unbind(0);
    GuestMemfd both =
        closing(vm.createGuestMemfd(GuestMemfd.builder(host).size((long) PAGES * PAGE).flags(1)));
    slot(0, both);
    ConversionHandler handler =
        handler().onShared(PrivatePages.DISCARD).onPrivate(SharedPages.DISCARD).build();
    use(handler, 0, 5, PRIVATE);
    assertThat(vcpu.run(v -> assertEquals(5, v.read(page(0), 8, SHARED)), handler)).isEmpty();
    assertThat(vcpu.run(v -> assertEquals(5, v.read(page(0), 8, PRIVATE)), handler)).isEmpty();
    assertEquals(0, vm.memoryUse().doubled());
  }

  // ---- listeners ----

  @Test
  void aListenerThatRefusesLeavesThePagePrivate() {
    ConversionHandler handler =
        handler()
            .onShared(PrivatePages.DISCARD)
            .listener(listener("a", Errno.OK))
            .listener(listener("b", Errno.ENOMEM))
            .listener(listener("c", Errno.OK))
            .build();
    use(handler, 0, 7, PRIVATE);
    use(handler, 2, 8, PRIVATE);
    told.clear();
    VcpuExit exit = vcpu.run(v -> v.read(page(0), 8, SHARED), handler).orElseThrow();
    assertEquals(Errno.ENOMEM, ((VcpuExit.MemoryFault) exit).errno());
    assertThat(told).containsExactly("a+0/1", "b+0/1", "a-0/1");
    assertEquals(Errno.EINVAL, ask(handler, 0, 3, SHARED));
    assertThat(told.subList(3, told.size())).containsExactly("a+0/1", "b+0/1", "a-0/1");
    assertEquals(7, read(vcpu, page(0), PRIVATE), "nothing was discarded");
    assertEquals(8, read(vcpu, page(2), PRIVATE));
  }

  /** All are told, whatever one of them throws; what has turned private stays so. */
  @Test
  void aListenerThatThrows() {
    AtomicInteger left = new AtomicInteger(1);
    SharedMemoryListener throwing =
        new SharedMemoryListener() {
          @Override
          public Errno populated(GpaRange range) {
            throw new IllegalStateException("populated");
          }

          @Override
          public void discarded(GpaRange range) {
            if (left.getAndDecrement() > 0) {
              throw new IllegalStateException("discarded");
            }
          }
        };
    ConversionHandler handler =
        handler()
            .onPrivate(SharedPages.DISCARD)
            .listener(listener("a", Errno.OK))
            .listener(throwing)
            .listener(listener("c", Errno.OK))
            .build();
    assertThatThrownBy(() -> use(handler, 0, 7, PRIVATE)).hasMessage("discarded");
    assertThat(told).containsExactly("a-0/1", "c-0/1");
    write(vcpu, page(0), 7, PRIVATE);
    assertThatThrownBy(() -> use(handler, 0, 7, SHARED)).hasMessage("populated");
    assertThat(told).containsExactly("a-0/1", "c-0/1", "a+0/1", "a-0/1");
    assertEquals(7, read(vcpu, page(0), PRIVATE));
    use(handler, 1, 1, PRIVATE); // the range is free, and so is that of another page
    use(handler, 1, 1, PRIVATE);
  }

  @Test
  void listenersAreToldWhatIsSharedWhenTheGuestStarts() {
    ConversionHandler handler =
        ConversionHandler.builder(vm, ConversionPolicy.eager())
            .listener(listener("a", Errno.OK))
            .build();
    vm.setMemoryAttributes(page(2), PAGE, PRIVATE);
    GpaRange memory = new GpaRange(GPA, 2L * PAGES * PAGE);
    handler().listener(listener("b", Errno.OK)).build().start(memory);
    assertThat(told).containsExactly("b+0/2", "b+3/5");
    told.clear();
    handler.start(memory); // all of it turns private
    assertThat(told).containsExactly("a-0/2", "a-3/5");
    vm.setMemoryAttributes(page(0), PAGE, SHARED);
    vm.setMemoryAttributes(page(2), PAGE, SHARED);
    refused(
        GuestMemfdException.class,
        Errno.EBUSY,
        () ->
            handler()
                .listener(listener("c", Errno.OK))
                .listener(listener("d", Errno.EBUSY))
                .build()
                .start(memory));
    assertThat(told).endsWith("c+0/1", "d+0/1", "c-0/1");
  }

  @Test
  void inPlaceThereIsNothingToTellOrDiscard() {
    VirtualMachine inPlace = new VirtualMachine();
    assertThatThrownBy(
            () ->
                ConversionHandler.builder(inPlace, ConversionPolicy.onFault())
                    .onPrivate(SharedPages.DISCARD)
                    .build())
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageStartingWith(
            "expected a virtual machine with two memories for SharedPages.DISCARD");
    assertThatThrownBy(
            () ->
                ConversionHandler.builder(inPlace, ConversionPolicy.onFault())
                    .listener(listener("a", Errno.OK))
                    .build())
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageStartingWith("expected a virtual machine with two memories for a listener");
  }

  // ---- what throws ----

  /** A listener that throws whenever pages are discarded, and may keep what it has. */
  private SharedMemoryListener throwing(String name) {
    return new SharedMemoryListener() {
      @Override
      public Errno populated(GpaRange range) {
        return Errno.OK;
      }

      @Override
      public void discarded(GpaRange range) {
        told.add(name + "-" + (range.gpa() - GPA) / PAGE + "/" + range.size() / PAGE);
        throw new IllegalStateException(name);
      }
    };
  }

  /** The policy and the observer of a handler: what they hear, and what they throw. */
  private final class Hearing implements ConversionObserver {
    final List<String> heard = new ArrayList<>();
    boolean isThrowing;

    final ConversionPolicy policy =
        new ConversionPolicy() {
          @Override
          public String id() {
            return "hearing";
          }

          @Override
          public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
            return Optional.of(pages);
          }

          @Override
          public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
            return Optional.of(range);
          }

          @Override
          public void converted(GpaRange range, MemoryAttribute attribute) {
            heard.add("converted " + (range.gpa() - GPA) / PAGE + " " + attribute);
            if (isThrowing) {
              throw new IllegalStateException("policy");
            }
          }
        };

    @Override
    public void end(GpaRange range, MemoryAttribute attribute, Errno errno, BusyGuestPage busy) {
      heard.add(errno + " up to " + (busy.convertedUpTo() - GPA) / PAGE);
      if (isThrowing) {
        throw new IllegalStateException("observer");
      }
    }

    ConversionHandler.Builder handler() {
      return ConversionHandler.builder(vm, policy).observer(this).idleStrategy(probe);
    }
  }

  /**
   * The page has turned private: the others are told, the host's memory is given back, and observer
   * and policy hear of it. Nothing of what was thrown is lost.
   */
  @Test
  void whatListenersThrowKeepsNothingFromBeingDone() {
    Hearing hearing = new Hearing();
    ConversionHandler handler =
        hearing
            .handler()
            .onPrivate(SharedPages.DISCARD)
            .listener(throwing("a"))
            .listener(listener("b", Errno.OK))
            .listener(throwing("c"))
            .build();
    use(handler, 3, 1, SHARED);
    use(handler, 4, 1, SHARED);
    hearing.isThrowing = true;
    assertThatThrownBy(() -> ask(handler, 3, 2, PRIVATE))
        .hasMessage("a")
        .satisfies(
            e ->
                assertThat(e.getSuppressed())
                    .extracting(Throwable::getMessage)
                    .containsExactly("c", "observer", "policy"));
    assertThat(told).containsExactly("a-3/2", "b-3/2", "c-3/2");
    assertThat(hearing.heard).containsExactly("ECANCELED up to 5", "converted 3 PRIVATE");
    assertThat(vm.memoryAttribute(page(4))).contains(PRIVATE);
    assertEquals(0, ram.allocated(), "the shared copy has been discarded");
    hearing.isThrowing = false;
    assertEquals(Errno.OK, ask(handler, 3, 2, SHARED));
  }

  /** What it has done is not known: it is told to let go, as those before it. */
  @Test
  void aListenerThatThrowsIsToldToLetGo() {
    ConversionHandler handler =
        handler()
            .onShared(PrivatePages.DISCARD)
            .onPrivate(SharedPages.DISCARD)
            .listener(throwing("a"))
            .listener(
                new SharedMemoryListener() {
                  @Override
                  public Errno populated(GpaRange range) {
                    ram.mapping().putLong(range.gpa() - GPA, 1); // it has begun
                    throw new IllegalStateException("populated");
                  }

                  @Override
                  public void discarded(GpaRange range) {
                    told.add("b-" + (range.gpa() - GPA) / PAGE);
                  }
                })
            .build();
    vm.setMemoryAttributes(page(0), PAGE, PRIVATE);
    write(vcpu, page(0), 7, PRIVATE);
    assertThatThrownBy(() -> ask(handler, 0, 1, SHARED))
        .hasMessage("populated")
        .satisfies(e -> assertThat(e.getSuppressed()).hasSize(1));
    assertThat(told).containsExactly("b-0", "a-0/1");
    assertEquals(7, read(vcpu, page(0), PRIVATE), "nothing has changed");
    assertEquals(0, ram.allocated());
  }

  @Test
  void aListenerMustAnswer() {
    ConversionHandler handler = handler().listener(listener("a", null)).build();
    vm.setMemoryAttributes(page(0), PAGE, PRIVATE);
    assertThatThrownBy(() -> ask(handler, 0, 1, SHARED))
        .isInstanceOf(NullPointerException.class)
        .hasMessageContaining("populated answered null");
    assertThat(told).containsExactly("a+0/1", "a-0/1");
    assertThat(vm.memoryAttribute(page(0))).contains(PRIVATE);
  }

  /** One file's client refuses or throws: what is in the other file is discarded all the same. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aClientThatCannotDiscardIsInNoOthersWay(boolean throwsIt) {
    vm.unbind(0);
    boolean[] stubborn = {true};
    GuestMemfd memfd =
        privateFile(
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                if (stubborn[0] && throwsIt) {
                  throw new IllegalStateException("client");
                }
                return stubborn[0] ? Errno.EBUSY : Errno.OK;
              }
            });
    slot(0, memfd);
    Hearing hearing = new Hearing();
    ConversionHandler handler =
        hearing.handler().onShared(PrivatePages.DISCARD).listener(listener("a", Errno.OK)).build();
    vm.setMemoryAttributes(page(0), 2L * PAGES * PAGE, PRIVATE);
    write(vcpu, page(3), 3, PRIVATE);
    write(vcpu, page(4), 4, PRIVATE);
    if (throwsIt) {
      assertThatThrownBy(() -> ask(handler, 0, 8, SHARED)).hasMessage("client");
    } else {
      assertEquals(Errno.OK, ask(handler, 0, 8, SHARED));
    }
    assertThat(vm.memoryAttributes(page(0), 8L * PAGE)).hasSize(1);
    assertThat(vm.memoryAttribute(page(0))).contains(SHARED);
    assertThat(hearing.heard).last().isEqualTo("converted 0 SHARED");
    assertThat(told).containsExactly("a+0/8");
    assertEquals(1, memfd.cachedPages(), "it stays");
    assertEquals(0, second.cachedPages(), "what no listener objects to is discarded");
    stubborn[0] = false;
  }

  /** A page that was punched under a pin is freed by the unpinning, and its client is told. */
  @Test
  void aClientThatThrowsWhenADeviceUnpins() {
    VirtualMachine inPlace = new VirtualMachine();
    List<String> freed = new ArrayList<>();
    GuestMemfd both =
        closing(
            inPlace.createGuestMemfd(
                GuestMemfd.builder(host).size((long) PAGES * PAGE).flags(3),
                new GuestMemfdOps() {
                  @Override
                  public void freeFolio(Folio folio) {
                    freed.add("freed");
                    if (freed.size() <= 2) {
                      throw new IllegalStateException("freed " + freed.size());
                    }
                  }
                }));
    inPlace.bind(0, GPA, 4L * PAGE, both, 0);
    try (PinnedSharedMemory device = new PinnedSharedMemory(inPlace, 1L << 30)) {
      assertEquals(Errno.OK, device.populated(new GpaRange(GPA, 4L * PAGE)));
      both.punchHole(0, 4L * PAGE);
      assertThat(freed).isEmpty();
      assertThatThrownBy(() -> device.discarded(new GpaRange(GPA, 4L * PAGE)))
          .hasMessage("freed 1")
          .satisfies(e -> assertThat(e.getSuppressed()).hasSize(1));
      assertThat(freed).hasSize(4);
      assertEquals(0, device.pinned());
      assertEquals(0, host.used());
    }
  }

  // ---- a device that pins ----

  @Test
  void aDeviceUnpinsWhatTurnsPrivateAndMayRefuse() {
    try (PinnedSharedMemory device = new PinnedSharedMemory(vm, 3L * PAGE)) {
      ConversionHandler handler =
          handler()
              .onShared(PrivatePages.DISCARD)
              .onPrivate(SharedPages.DISCARD)
              .listener(device)
              .build();
      vm.setMemoryAttributes(page(0), 2L * PAGES * PAGE, PRIVATE);
      handler.start(new GpaRange(0, 64L * PAGE + GPA)); // most of it is no memory
      assertEquals(0, device.pinned());
      assertEquals(Errno.OK, ask(handler, 3, 2, SHARED)); // in both memslots
      assertEquals(2L * PAGE, device.pinned());
      assertEquals(2L * PAGE, ram.allocated());
      assertEquals(Errno.EINVAL, ask(handler, 0, 2, SHARED), "beyond the limit");
      assertEquals(2L * PAGE, device.pinned(), "all or none");
      assertThat(vm.memoryAttribute(page(0))).contains(PRIVATE);
      assertEquals(Errno.OK, ask(handler, 3, 1, PRIVATE));
      assertEquals(PAGE, device.pinned());
      assertEquals(PAGE, ram.allocated(), "unpinned before it is discarded");
      assertEquals(PAGE, host.used());
      assertThat(device).hasToString("PinnedSharedMemory[pages=1]");
      ram.close();
      assertEquals(Errno.EINVAL, ask(handler, 0, 1, SHARED), "nothing to pin: EFAULT");
    }
  }

  /** The host reaches what is shared by guest addresses, whichever memory that is. */
  @Test
  void mappingsAndPinsByGuestAddress() {
    write(vcpu, page(1), 11, SHARED);
    try (var window = vm.mmap(page(0), 2L * PAGE, io.github.guestmemfd.abi.Protection.READ);
        HostReference pin = vm.pin(page(1), PAGE)) {
      assertEquals(11, window.getLong(PAGE));
      assertEquals(11, pin.buffer().getLong(0));
    }
    refused(GuestMemfdException.class, Errno.EINVAL, () -> vm.pin(page(3), 2L * PAGE));
    ram.close();
    refused(GuestMemfdException.class, Errno.EFAULT, () -> vm.pin(page(0), PAGE));
    refused(GuestMemfdException.class, Errno.ENOENT, () -> vm.pin(0, PAGE));
  }

  // ---- races ----

  /** Two vCPUs want a page as different things, and a third wants all of them. */
  @Test
  void threeThreadsConvertTheSamePages() throws Exception {
    try (PinnedSharedMemory device = new PinnedSharedMemory(vm, 1L << 30)) {
      ConversionHandler handler =
          handler()
              .onShared(PrivatePages.DISCARD)
              .onPrivate(SharedPages.DISCARD)
              .listener(device)
              .build();
      List<Worker<Void>> guests = new ArrayList<>();
      for (int i = 0; i < 3; i++) {
        int mine = i;
        guests.add(
            Worker.start(
                () -> {
                  Vcpu guest = vm.createVcpu();
                  for (int n = 0; n < 300; n++) {
                    int page = (n * 7 + mine) % 8;
                    MemoryAttribute attribute = (n + mine) % 2 == 0 ? SHARED : PRIVATE;
                    if (mine == 2 && n % 10 == 0) {
                      guest.run(v -> v.mapGpaRange(page(0), 8, attribute), handler);
                    } else {
                      assertThat(guest.run(v -> v.write(page(page), 8, 1, attribute), handler))
                          .isEmpty();
                    }
                  }
                  return null;
                }));
      }
      for (Worker<Void> guest : guests) {
        guest.result();
      }
      long shared =
          vm.memoryAttributes(page(0), 8L * PAGE).stream()
              .filter(r -> r.attribute() == SHARED)
              .mapToLong(r -> r.size())
              .sum();
      assertTrue(device.pinned() <= shared, "nothing private is pinned");
      assertEquals(0, vm.memoryUse().doubled());
      handler.start(new GpaRange(GPA, 8L * PAGE));
      assertEquals(shared, device.pinned());
    }
  }

  /** A vCPU that waits for another's conversion of the page can be interrupted, and tries again. */
  @Test
  void aWaitForTheRangeEndsByAnInterrupt() throws Exception {
    RacePoints.Gate gate = races.gate();
    ConversionHandler handler =
        handler()
            .listener(
                new SharedMemoryListener() {
                  @Override
                  public Errno populated(GpaRange range) {
                    gate.pass();
                    return Errno.OK;
                  }

                  @Override
                  public void discarded(GpaRange range) {}
                })
            .build();
    use(handler, 0, 9, PRIVATE);
    Worker<Object> one;
    try (gate) {
      one = Worker.start(() -> vm.createVcpu().run(v -> v.read(page(0), 8, SHARED), handler));
      gate.awaitReached();
      Worker<Object> two =
          Worker.start(() -> vm.createVcpu().run(v -> v.read(page(0), 8, SHARED), handler));
      probe.awaitWaiting(two);
      two.interrupt();
      assertThat(two.result().toString()).contains("EINTR");
      assertEquals(9, read(vcpu, page(0), PRIVATE), "not converted before all have agreed");
    }
    assertThat(one.result().toString()).isEqualTo("Optional.empty");
    assertFalse(vcpu.tryRead(page(0), 8, PRIVATE));
  }
}
