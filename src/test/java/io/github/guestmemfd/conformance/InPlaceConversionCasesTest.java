package io.github.guestmemfd.conformance;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.Access;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.util.List;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * What the self-test of the in-place conversion series looks at, by the names of its cases, under
 * every protocol that claims to be sound.
 */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class InPlaceConversionCasesTest extends ConformanceFixture {
  private static final long GPA = 0x1_0000_0000L;
  private static final int MMAP = 1;
  private static final int SHARED_AT_FIRST = 3;
  private static final long PAGES = 4;

  private final Vcpu vcpu = vm.createVcpu();

  @Retention(RetentionPolicy.RUNTIME)
  @ParameterizedTest(name = "{0}")
  @MethodSource("soundProtocols")
  private @interface UnderEachSoundProtocol {}

  static List<ConversionProtocol> soundProtocols() {
    return ConversionProtocol.all().stream().filter(ConversionProtocol::isSound).toList();
  }

  /** A file of four pages, bound for the guest, and mapped by the host. */
  private final class Shared {
    final GuestMemfd memfd;
    final HostMapping map;

    Shared(ConversionProtocol protocol, long flags) {
      memfd = closing(vm.createGuestMemfd(describe(PAGES * PAGE, flags).protocol(protocol)));
      map = map(memfd);
      vm.bind(0, GPA, PAGES * PAGE, memfd, 0);
    }

    /** The host reads what was there and writes something else; so does the guest. */
    void assertShared(long page, int found, int hostWrites, int guestWrites) {
      long at = page * PAGE;
      assertThat(memfd.isAccessible(at)).isTrue();
      assertThat(map.getByte(at)).isEqualTo((byte) found);
      map.putByte(at, (byte) hostWrites);
      assertThat(vcpu.read(GPA + at, 1, SHARED)).isEqualTo(hostWrites);
      vcpu.write(GPA + at, 1, guestWrites, SHARED);
      assertThat(map.getByte(at)).isEqualTo((byte) guestWrites);
      assertMemoryFault(page, PRIVATE);
    }

    /** The host gets a SIGBUS; the guest reads what was there and writes something else. */
    void assertPrivate(long page, int found, int guestWrites) {
      long at = page * PAGE;
      assertThat(memfd.isAccessible(at)).isFalse();
      assertSigbus(() -> map.getByte(at), at);
      assertSigbus(() -> map.putByte(at, (byte) 1), at);
      assertThat(vcpu.read(GPA + at, 1, PRIVATE)).isEqualTo(found);
      vcpu.write(GPA + at, 1, guestWrites, PRIVATE);
      assertMemoryFault(page, SHARED);
    }

    private void assertMemoryFault(long page, MemoryAttribute view) {
      long gpa = GPA + page * PAGE;
      assertThat(vcpu.tryTouch(gpa, Access.READ, view)).isFalse();
      assertThat(vcpu.exit())
          .isEqualTo(new VcpuExit.MemoryFault(gpa, PAGE, view, Access.READ, Errno.EFAULT));
    }

    void convert(long page, long pages, MemoryAttribute to) {
      vm.setMemoryAttributes(GPA + page * PAGE, pages * PAGE, to);
    }
  }

  /** init_private: a file that starts private turns shared and private again, content and all. */
  @UnderEachSoundProtocol
  void initPrivate(ConversionProtocol protocol) {
    Shared s = new Shared(protocol, MMAP);
    s.assertPrivate(0, 0, 'A');
    s.convert(0, 1, SHARED);
    s.assertShared(0, 'A', 'B', 'C');
    s.convert(0, 1, PRIVATE);
    s.assertPrivate(0, 'C', 'D');
    s.assertPrivate(1, 0, 'E');
  }

  /** init_shared: the same from the other side. */
  @UnderEachSoundProtocol
  void initShared(ConversionProtocol protocol) {
    Shared s = new Shared(protocol, SHARED_AT_FIRST);
    s.assertShared(0, 0, 'A', 'B');
    s.convert(0, 1, PRIVATE);
    s.assertPrivate(0, 'B', 'C');
    s.convert(0, 1, SHARED);
    s.assertShared(0, 'C', 'D', 'E');
    s.assertShared(1, 0, 'F', 'G');
  }

  /** indexing: each page in turn is private, and the others are not. */
  @UnderEachSoundProtocol
  void indexing(ConversionProtocol protocol) {
    Shared s = new Shared(protocol, SHARED_AT_FIRST);
    for (int i = 0; i < PAGES; i++) {
      s.assertShared(i, 0, 'A', 10 + i);
    }
    for (int test = 0; test < PAGES; test++) {
      s.convert(test, 1, PRIVATE);
      for (int i = 0; i < PAGES; i++) {
        if (i == test) {
          s.assertPrivate(i, 10 + i, 10 + i);
        } else {
          s.assertShared(i, 10 + i, 'B', 10 + i);
        }
      }
      s.convert(test, 1, SHARED);
      s.assertShared(test, 10 + test, 'C', 10 + test);
    }
  }

  /** before_allocation_shared: private pages turn shared before anything is there. */
  @UnderEachSoundProtocol
  void beforeAllocationShared(ConversionProtocol protocol) {
    Shared s = new Shared(protocol, MMAP);
    s.convert(0, PAGES, SHARED);
    assertThat(s.memfd.cachedPages()).isZero();
    for (int i = 0; i < PAGES; i++) {
      s.assertShared(i, 0, 'A', 'B');
    }
  }

  /** before_allocation_private: shared pages turn private before anything is there. */
  @UnderEachSoundProtocol
  void beforeAllocationPrivate(ConversionProtocol protocol) {
    Shared s = new Shared(protocol, SHARED_AT_FIRST);
    s.convert(0, PAGES, PRIVATE);
    assertThat(s.memfd.cachedPages()).isZero();
    for (int i = 0; i < PAGES; i++) {
      s.assertPrivate(i, 0, 'A');
    }
  }

  /** unallocated_folios: a range with holes before, between and behind its folios. */
  @UnderEachSoundProtocol
  void unallocatedFolios(ConversionProtocol protocol) {
    for (int present = 0; present < PAGES; present++) {
      Shared s = new Shared(protocol, SHARED_AT_FIRST);
      s.assertShared(present, 0, 'A', 'B');
      s.convert(0, PAGES, PRIVATE);
      assertThat(s.memfd.cachedPages()).isEqualTo(1);
      s.assertPrivate(present, 'B', 'C');
      s.convert(0, PAGES, SHARED);
      for (int i = 0; i < PAGES; i++) {
        s.assertShared(i, i == present ? 'C' : 0, 'D', 'E');
      }
      vm.unbind(0);
    }
  }

  /** truncate: a punched page is zero, and of the attribute that it was. */
  @UnderEachSoundProtocol
  void truncate(ConversionProtocol protocol) {
    Shared s = new Shared(protocol, SHARED_AT_FIRST);
    s.assertShared(0, 0, 'A', 'B');
    s.memfd.punchHole(0, PAGES * PAGE);
    s.assertShared(0, 0, 'C', 'D');
    s.convert(0, PAGES, PRIVATE);
    s.assertPrivate(0, 'D', 'E');
    s.memfd.punchHole(0, PAGES * PAGE);
    assertThat(s.memfd.cachedPages()).isZero();
    s.assertPrivate(0, 0, 'F');
    s.convert(0, PAGES, SHARED);
    s.assertShared(0, 'F', 'G', 'H');
  }

  /**
   * forked_accesses: another process, with page tables of its own, sees the same content, and loses
   * it at the same moment. Here it is on a thread of its own.
   */
  @UnderEachSoundProtocol
  void forkedAccesses(ConversionProtocol protocol) throws InterruptedException {
    Shared s = new Shared(protocol, SHARED_AT_FIRST);
    HostMapping child = closing(host.addressSpace().fork()).inherited(s.map);
    s.map.putByte(0, (byte) 'A');
    inAnotherThread(
        () -> {
          assertThat(child.getByte(0)).isEqualTo((byte) 'A');
          child.putByte(0, (byte) 'B');
        });
    s.assertShared(0, 'B', 'C', 'D');
    s.convert(0, 1, PRIVATE);
    inAnotherThread(() -> assertSigbus(() -> child.getByte(0), 0));
    s.assertPrivate(0, 'D', 'E');
    s.convert(0, 1, SHARED);
    inAnotherThread(
        () -> {
          assertThat(child.getByte(0)).isEqualTo((byte) 'E');
          child.putByte(0, (byte) 'F');
        });
    s.assertShared(0, 'F', 'G', 'H');
  }

  private static void inAnotherThread(Runnable body) throws InterruptedException {
    Throwable[] thrown = new Throwable[1];
    Thread thread = new Thread(body);
    thread.setUncaughtExceptionHandler((t, e) -> thrown[0] = e);
    thread.start();
    thread.join();
    assertThat(thrown[0]).isNull();
  }

  /**
   * elevated_refcount: what the host holds by GUP cannot turn private; the answer names the page,
   * and nothing has changed, nor for its neighbours.
   */
  @UnderEachSoundProtocol
  void elevatedRefcount(ConversionProtocol protocol) {
    Shared s = new Shared(protocol, SHARED_AT_FIRST);
    for (int i = 0; i < PAGES; i++) {
      s.assertShared(i, 0, 'A', 10 + i);
    }
    for (int held = 0; held < PAGES; held++) {
      for (boolean pinned : new boolean[] {false, true}) {
        try (HostReference reference =
            pinned ? s.map.pin(held * PAGE, PAGE) : s.map.getUserPages(held * PAGE, 1)) {
          BusyFolio busy = new BusyFolio();
          assertThat(s.memfd.tryMakeInaccessible(0, PAGES * PAGE, busy)).isEqualTo(Errno.EAGAIN);
          assertThat(busy.offset()).isEqualTo(held * PAGE);
          assertThat(s.memfd.tryMakeInaccessible(held * PAGE, PAGE, busy)).isEqualTo(Errno.EAGAIN);
          for (int i = 0; i < PAGES; i++) {
            s.assertShared(i, 10 + i, 'B', 10 + i);
          }
          assertThat(reference.buffer().get(0)).isEqualTo((byte) (10 + held));
          assertThat(s.memfd.tryMakeAccessible(0, PAGES * PAGE)).isEqualTo(Errno.OK);
        }
        s.convert(0, PAGES, PRIVATE);
        s.assertPrivate(held, 10 + held, 10 + held);
        s.convert(0, PAGES, SHARED);
      }
    }
  }
}
