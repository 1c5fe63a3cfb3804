package io.github.guestmemfd;

import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** A view that is used after its reference is gone sees poison, and does no harm. */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class PoisonViewsTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long POISON = 0xAAAAAAAAAAAAAAAAL;
  private static final long SECRET = 0x5ec2e7;

  private final HostMemory host =
      HostMemory.builder(4L * PAGE).poisonViews().trackHolders().build();

  @AfterEach
  void nothingIsLeft() {
    assertEquals(List.of(), host.violations());
    host.close();
  }

  private GuestMemfd file(int pages, UnaryOperator<GuestMemfd.Builder> more) {
    return more.apply(
            GuestMemfd.builder(host)
                .size((long) pages * PAGE)
                .flags(3)
                .retryPolicy(RetryPolicy.failAtOnce()))
        .build();
  }

  /** A view of a page with a number in it, whose reference is gone. */
  private static ByteBuffer stale(GuestMemfd memfd, long number) {
    try (HostMapping window = memfd.mmap(0, PAGE, READ, WRITE);
        HostReference reference = window.pin(0, PAGE)) {
      window.putLong(0, number);
      ByteBuffer view = reference.buffer();
      assertEquals(number, view.getLong(0));
      return view;
    }
  }

  static List<ConversionProtocol> protocols() {
    return ConversionProtocol.all();
  }

  @ParameterizedTest
  @MethodSource("protocols")
  void afterAConversionAViewSeesPoisonAndTheGuestItsContent(ConversionProtocol protocol) {
    try (GuestMemfd memfd = file(1, b -> b.protocol(protocol))) {
      ByteBuffer view = stale(memfd, 42);
      memfd.makeInaccessible(0, PAGE);
      assertEquals(POISON, view.getLong(0), protocol.id());
      assertEquals(POISON, view.getLong(PAGE - 8), protocol.id());
      try (Folio folio = memfd.grab(0)) {
        assertEquals(42, folio.buffer().getLong(0), protocol.id());
        folio.buffer().putLong(0, SECRET);
        assertEquals(POISON, view.getLong(0), protocol.id());
        view.putLong(0, 666);
        assertEquals(SECRET, folio.buffer().getLong(0), protocol.id());
      }
      assertEquals(PAGE, host.used());
      assertEquals(List.of(), host.violations(), protocol.id());
      memfd.makeAccessible(0, PAGE);
      try (HostMapping window = memfd.mmap(0, PAGE, READ)) {
        assertEquals(SECRET, window.getLong(0));
      }
    }
  }

  /** The frame that a page has left is not where the next page of the range goes. */
  @Test
  void afterAConversionOfSeveralPagesAViewSeesPoisonAndNoOtherPage() {
    try (GuestMemfd memfd = file(2, b -> b)) {
      ByteBuffer view = stale(memfd, 42);
      try (HostMapping window = memfd.mmap(0, 2L * PAGE, READ, WRITE)) {
        window.putLong(PAGE, SECRET);
      }
      memfd.makeInaccessible(0, 2L * PAGE);
      assertEquals(POISON, view.getLong(0));
      view.putLong(0, 666);
      try (Folio first = memfd.grab(0);
          Folio second = memfd.grab(PAGE)) {
        assertEquals(42, first.buffer().getLong(0));
        assertEquals(SECRET, second.buffer().getLong(0));
      }
      assertEquals(2L * PAGE, host.used());
    }
  }

  /** What a callback throws for one of the frames that are left keeps none of them. */
  @Test
  void aCallbackThatThrowsForAFrameThatIsLeftKeepsNone() {
    AtomicBoolean throwing = new AtomicBoolean(true);
    GuestMemfdOps ops =
        new GuestMemfdOps() {
          @Override
          public void freeFolio(Folio folio) {
            if (throwing.compareAndSet(true, false)) {
              throw new IllegalStateException("by the test");
            }
          }
        };
    try (GuestMemfd memfd = file(2, b -> b.ops(ops))) {
      stale(memfd, 42);
      memfd.grab(PAGE).close();
      assertThrows(IllegalStateException.class, () -> memfd.makeInaccessible(0, 2L * PAGE));
      assertEquals(2L * PAGE, host.used());
      assertEquals(List.of(), host.violations());
      try (Folio folio = memfd.grab(0)) {
        assertEquals(42, folio.buffer().getLong(0));
      }
    }
  }

  @Test
  void afterAPunchAViewSeesPoison() {
    try (GuestMemfd memfd = file(1, b -> b)) {
      ByteBuffer view = stale(memfd, 42);
      memfd.punchHole(0, PAGE);
      assertEquals(POISON, view.getLong(0));
      view.putLong(0, 666);
      try (Folio folio = memfd.grab(0)) { // the same frame
        assertEquals(0, folio.buffer().getLong(0), "a fresh page is zero");
      }
    }
  }

  @Test
  void aFolioThatIsHeldStaysWhereItIs() {
    try (GuestMemfd memfd = file(1, b -> b);
        Folio guest = memfd.grab(0)) {
      guest.buffer().putLong(0, 42);
      memfd.makeInaccessible(0, PAGE);
      assertEquals(42, guest.buffer().getLong(0));
      try (Folio again = memfd.grab(0)) {
        assertEquals(guest.pfn(), again.pfn());
      }
    }
  }

  @Test
  void withoutMemoryAPageStaysWhereItIs() {
    try (GuestMemfd memfd = file(4, b -> b)) {
      ByteBuffer view = stale(memfd, 42);
      memfd.allocate(0, 4L * PAGE);
      memfd.makeInaccessible(0, PAGE);
      assertNotEquals(POISON, view.getLong(0));
      try (Folio folio = memfd.grab(0)) {
        assertEquals(42, folio.buffer().getLong(0));
      }
    }
  }

  /** Whatever a callback answers, the content is where the page is. */
  @Test
  void aRefusedConversionKeepsTheContent() {
    List<String> told = new ArrayList<>();
    GuestMemfdOps refuses =
        new GuestMemfdOps() {
          @Override
          public Errno prepareInaccessible(Folio folio) {
            told.add("inaccessible " + folio.buffer().getLong(0));
            return Errno.EACCES;
          }

          @Override
          public void freeFolio(Folio folio) {
            told.add("free " + folio.buffer().getLong(0));
          }
        };
    try (GuestMemfd memfd = file(1, b -> b.ops(refuses))) {
      ByteBuffer view = stale(memfd, 42);
      assertEquals(Errno.EACCES, memfd.tryMakeInaccessible(0, PAGE));
      assertEquals(List.of("free 42", "inaccessible 42"), told);
      assertEquals(POISON, view.getLong(0));
      assertTrue(memfd.isAccessible(0));
      try (Folio folio = memfd.grab(0, HolderKind.UNSAFE)) {
        assertEquals(42, folio.buffer().getLong(0));
      }
    }
  }

  @Test
  void aConversionThatCompletesLaterMovesToo() {
    try (GuestMemfd memfd = file(2, b -> b.retryPolicy(RetryPolicy.completeLater()))) {
      Folio holder = memfd.grab(0, HolderKind.UNSAFE);
      ByteBuffer view = holder.buffer();
      view.putLong(0, 42);
      var later = memfd.makeInaccessibleLater(0, 2L * PAGE);
      assertEquals(42, view.getLong(0));
      holder.close();
      later.join();
      assertEquals(POISON, view.getLong(0));
    }
  }

  /** No write of a vCPU or of the host is lost when the page moves under it. */
  @Test
  void whatIsWrittenWhileAPageMovesIsNotLost() throws Exception {
    VirtualMachine vm = new VirtualMachine();
    try (GuestMemfd memfd =
            vm.createGuestMemfd(
                GuestMemfd.builder(host)
                    .size(PAGE)
                    .flags(3)
                    .retryPolicy(RetryPolicy.failAtOnce()));
        HostMapping window = memfd.mmap(0, PAGE, READ, WRITE)) {
      vm.bind(0, 0, PAGE, memfd, 0);
      AtomicBoolean over = new AtomicBoolean();
      Worker<Long> guest =
          Worker.start(
              () -> {
                Vcpu vcpu = vm.createVcpu();
                long written = 0;
                while (!over.get()) {
                  written += vcpu.tryGetAndAdd(0, 8, 1, MemoryAttribute.SHARED) ? 1 : 0;
                  written += vcpu.tryGetAndAdd(0, 8, 1, MemoryAttribute.PRIVATE) ? 1 : 0;
                }
                return written;
              });
      Worker<Long> device =
          Worker.start(
              () -> {
                long written = 0;
                while (!over.get()) {
                  try {
                    window.getAndAddLong(8, 1);
                    written++;
                  } catch (SigBusException e) {
                    Thread.onSpinWait();
                  }
                }
                return written;
              });
      int moves = 0;
      for (int i = 0; i < 3_000 || moves <= 10; i++) {
        int before = pfn(memfd);
        if (memfd.tryMakeInaccessible(0, PAGE) == Errno.OK) {
          moves += pfn(memfd) == before ? 0 : 1;
          memfd.makeAccessible(0, PAGE);
        }
      }
      over.set(true);
      long byGuest = guest.result();
      long byDevice = device.result();
      assertEquals(byGuest, window.getLong(0));
      assertEquals(byDevice, window.getLong(8));
    }
  }

  private static int pfn(GuestMemfd memfd) {
    return memfd.holders(0).pfn();
  }
}
