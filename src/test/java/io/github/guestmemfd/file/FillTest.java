package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static io.github.guestmemfd.abi.CreateFlag.WRITE;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.PopulateHook;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.Interleavings;
import io.github.guestmemfd.testing.RacePoints;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What puts content into pages without a mapping: write, and populate with its hook. */
class FillTest extends VmFixture {
  private final List<String> told = new ArrayList<>();

  private final GuestMemfdOps client =
      new GuestMemfdOps() {
        @Override
        public Errno prepareAccessible(Folio folio) {
          told.add("accessible " + folio.offset() / PAGE + " " + folio.buffer().getLong(0));
          return Errno.OK;
        }

        @Override
        public Errno prepareInaccessible(Folio folio) {
          told.add("inaccessible " + folio.offset() / PAGE);
          return Errno.OK;
        }
      };

  private GuestMemfd made(int pages, GuestMemfdOps ops, CreateFlag... flags) {
    return closing(
        GuestMemfd.builder(host).size((long) pages * PAGE).flags(flags).ops(ops).build());
  }

  /** So many pages, each with its number from 1 on at its start and its end. */
  private static ByteBuffer content(int pages) {
    ByteBuffer bytes = ByteBuffer.allocate(pages * PAGE).order(ByteOrder.LITTLE_ENDIAN);
    for (int page = 0; page < pages; page++) {
      bytes.putLong(page * PAGE, page + 1).putLong(page * PAGE + PAGE - 8, page + 1);
    }
    return bytes;
  }

  private static long first(GuestMemfd memfd, int page) {
    try (Folio folio = memfd.grab((long) page * PAGE)) {
      assertEquals(folio.buffer().getLong(0), folio.buffer().getLong(PAGE - 8), "a part of a page");
      return folio.buffer().getLong(0);
    }
  }

  private static Errno errno(Runnable call) {
    try {
      call.run();
      return Errno.OK;
    } catch (GuestMemfdException e) {
      return e.errno();
    }
  }

  // ---- write ----

  @Test
  void writesHolesAndPagesThatAreThere() {
    GuestMemfd memfd = made(4, client, MMAP, INIT_SHARED, WRITE);
    HostMapping window = closing(memfd.mmap(0, 4L * PAGE, Protection.READ, Protection.WRITE));
    window.putLong(2L * PAGE, 77);
    memfd.allocate(3L * PAGE, PAGE);
    told.clear();
    ByteBuffer bytes = content(3);
    assertEquals(3 * PAGE, memfd.write(PAGE, bytes));
    assertFalse(bytes.hasRemaining());
    assertThat(told).containsExactly("accessible 1 1", "accessible 3 3"); // once, with the content
    for (int page = 1; page < 4; page++) {
      assertEquals(page, window.getLong((long) page * PAGE));
      assertEquals(page, first(memfd, page));
    }
    assertEquals(3, memfd.cachedPages());
    assertThat(told).hasSize(2);
    assertEquals(0, memfd.write(0, ByteBuffer.allocate(0)));
  }

  @ParameterizedTest
  @CsvSource({
    // offset, bytes: answers in order
    "0, 1, EINVAL",
    "0, 4095, EINVAL",
    "1, 4096, EINVAL",
    "-4096, 4096, EINVAL",
    "16384, 4096, EINVAL",
    "12288, 8192, EINVAL",
    "0x7ffffffffffff000, 8192, EINVAL",
    "0, 4096, OK",
    "12288, 4096, OK",
  })
  void errorsOfWriteInOrder(String at, int bytes, Errno expected) {
    long offset = Long.decode(at);
    GuestMemfd memfd = made(4, GuestMemfdOps.NONE, MMAP, INIT_SHARED, WRITE);
    GuestMemfd readOnly = made(4, GuestMemfdOps.NONE, MMAP, INIT_SHARED);
    ByteBuffer buffer = ByteBuffer.allocate(bytes);
    assertEquals(expected, errno(() -> memfd.write(offset, buffer)));
    assertEquals(expected == Errno.OK ? 0 : bytes, buffer.remaining());
    assertEquals(Errno.ENODEV, errno(() -> readOnly.write(offset, ByteBuffer.allocate(bytes))));
    GuestMemfd closed = readOnly.dup();
    closed.close();
    assertEquals(Errno.EBADF, errno(() -> closed.write(offset, ByteBuffer.allocate(bytes))));
    assertEquals(expected == Errno.OK ? 1 : 0, memfd.cachedPages());
  }

  @Test
  void noReleasedKernelHasTheFlag() {
    assertEquals(
        Errno.EINVAL, errno(() -> GuestMemfd.builder(host).size(PAGE).flags(8).build().close()));
    for (VmType type : VmType.values()) {
      VirtualMachine machine = VirtualMachine.builder().type(type).build();
      assertEquals(
          type.hasPrivateMemory() ? Errno.EINVAL : Errno.OK,
          errno(
              () ->
                  machine
                      .createGuestMemfd(GuestMemfd.builder(host).size(PAGE).flags(WRITE))
                      .close()));
    }
  }

  /** What cannot be written ends the write: it is short, or an error if it is the first page. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aPrivatePageEndsAWrite(boolean removed) {
    GuestMemfd memfd =
        removed
            ? made(3, client, MMAP, INIT_SHARED, WRITE, NO_DIRECT_MAP)
            : made(3, client, MMAP, INIT_SHARED, WRITE);
    memfd.makeInaccessible(PAGE, 2L * PAGE);
    first(memfd, 1);
    ByteBuffer bytes = content(3);
    assertEquals(PAGE, memfd.write(0, bytes));
    assertEquals(2 * PAGE, bytes.remaining());
    Errno present = removed ? Errno.EEXIST : Errno.EFAULT;
    assertEquals(present, errno(() -> memfd.write(PAGE, bytes)));
    assertEquals(Errno.EFAULT, errno(() -> memfd.write(2L * PAGE, content(1))), "a hole");
    assertEquals(0, first(memfd, 1));
    assertEquals(2, memfd.cachedPages(), "nothing was allocated");
  }

  @Test
  void memoryThatIsShortEndsAWrite() {
    GuestMemfd memfd = made(100, GuestMemfdOps.NONE, MMAP, INIT_SHARED, WRITE);
    ByteBuffer bytes = content(100);
    assertEquals(64 * PAGE, memfd.write(0, bytes)); // all that the host has
    assertEquals(Errno.ENOMEM, errno(() -> memfd.write(64L * PAGE, bytes)));
    assertEquals(64, first(memfd, 63));
  }

  @Test
  void aWriteIsInterruptible() throws Exception {
    GuestMemfd memfd = made(3, GuestMemfdOps.NONE, MMAP, INIT_SHARED, WRITE);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_FOLIO_LOCK, 1);
    Worker<Integer> write = Worker.start(() -> memfd.write(0, content(3)));
    gate.awaitReached();
    write.interrupt(); // after the page that it is at
    gate.release();
    assertThat(write.result()).isIn(PAGE, 2 * PAGE);
    Worker<Errno> again =
        Worker.start(
            () -> {
              Thread.currentThread().interrupt();
              return errno(() -> memfd.write(0, content(3)));
            });
    assertEquals(Errno.EINTR, again.result());
  }

  /** A client that refuses or throws: the page is zero at its next use. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aClientThatRefusesAWrite(boolean throwing) {
    AtomicBoolean on = new AtomicBoolean(true);
    GuestMemfd memfd =
        made(
            2,
            new GuestMemfdOps() {
              @Override
              public Errno prepareAccessible(Folio folio) {
                if (!on.get()) {
                  return Errno.OK;
                }
                if (throwing) {
                  throw new IllegalStateException("thrown");
                }
                return Errno.EPERM;
              }
            },
            MMAP,
            INIT_SHARED,
            WRITE);
    if (throwing) {
      assertThrows(IllegalStateException.class, () -> memfd.write(0, content(2)));
    } else {
      assertEquals(Errno.EPERM, errno(() -> memfd.write(0, content(2))));
    }
    on.set(false);
    assertEquals(0, first(memfd, 0));
    assertEquals(2 * PAGE, memfd.write(0, content(2)));
    assertEquals(2, first(memfd, 1));
  }

  @Test
  void insideACallbackThereIsNoWrite() {
    GuestMemfd memfd = made(2, GuestMemfdOps.NONE, MMAP, INIT_SHARED, WRITE);
    List<Errno> answers = new ArrayList<>();
    GuestMemfd other =
        made(
            1,
            new GuestMemfdOps() {
              @Override
              public Errno prepareAccessible(Folio folio) {
                answers.add(errno(() -> memfd.write(0, content(1))));
                answers.add(errno(() -> memfd.populate(0, PAGE, null, f -> Errno.OK)));
                return Errno.OK;
              }
            },
            MMAP,
            INIT_SHARED);
    first(other, 0);
    assertThat(answers).containsExactly(Errno.EDEADLK, Errno.EDEADLK);
  }

  /** A conversion waits for the page that is being written, and takes it as a whole. */
  @Test
  void aConversionWaitsForAWriteOfThePage() throws Exception {
    RacePoints.Gate gate = races.gate();
    GuestMemfd memfd =
        made(
            1,
            new GuestMemfdOps() {
              @Override
              public Errno prepareAccessible(Folio folio) {
                gate.pass();
                return Errno.OK;
              }
            },
            MMAP,
            INIT_SHARED,
            WRITE);
    Worker<Integer> write;
    Worker<Errno> conversion;
    try (gate) {
      write = Worker.start(() -> memfd.write(0, content(1)));
      gate.awaitReached();
      conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
      probe.awaitWaiting(conversion);
    }
    assertEquals(PAGE, write.result());
    assertEquals(Errno.OK, conversion.result());
    assertEquals(1, first(memfd, 0));
  }

  /** What a world of two threads leaves is the page before or after. */
  private static final class World {
    final HostMemory host = HostMemory.ofBytes(4L * PAGE);
    final GuestMemfd memfd =
        GuestMemfd.builder(host).size(PAGE).flags(MMAP, INIT_SHARED, WRITE).build();

    World(boolean present) {
      if (present) {
        memfd.grab(0).close();
      }
    }

    int write() {
      try {
        return memfd.write(0, content(1));
      } catch (GuestMemfdException e) {
        return -e.errno().code();
      }
    }

    void close() {
      assertThat(first(memfd, 0)).isIn(0L, 1L);
      assertThat(host.violations()).isEmpty();
      memfd.close();
      assertThat(host.used()).isZero();
      host.close();
    }
  }

  @Tag("orders")
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aWriteAgainstConversionPunchAndGrabInEveryOrder(boolean present) {
    List<Interleavings.Act<World>> rivals =
        List.of(
            w -> w.memfd.tryMakeInaccessible(0, PAGE),
            w -> w.memfd.punchHole(0, PAGE),
            w -> w.memfd.grab(0).close(),
            World::write);
    for (Interleavings.Act<World> rival : rivals) {
      Interleavings.Report report =
          Interleavings.of(() -> new World(present))
              .maxPreemptions(3)
              .thread("writer", World::write)
              .thread("other", rival)
              .atEnd(World::close)
              .explore();
      assertThat(report.complete()).isTrue();
    }
  }

  // ---- populate ----

  private PopulateHook hook(Errno... answers) {
    int[] calls = new int[1];
    return folio -> {
      told.add("hook " + folio.offset() / PAGE + " " + folio.buffer().getLong(0));
      return calls[0] < answers.length ? answers[calls[0]++] : Errno.OK;
    };
  }

  @Test
  void theHookComesAfterTheCopyInsteadOfTheClient() {
    GuestMemfd memfd = made(4, client);
    memfd.allocate(PAGE, PAGE);
    ByteBuffer bytes = content(3);
    assertEquals(3L * PAGE, memfd.populate(0, 3L * PAGE, bytes, hook()));
    assertThat(told).containsExactly("hook 0 1", "hook 1 2", "hook 2 3");
    assertFalse(bytes.hasRemaining());
    assertEquals(2, first(memfd, 1));
    assertThat(told).as("it is prepared").hasSize(3);
    assertEquals(PAGE, memfd.populate(3L * PAGE, PAGE, null, hook()));
    assertThat(told).endsWith("hook 3 0");
  }

  /** What was refused is in no other file's page either. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void contentThatWasRefusedLeavesWithItsFrame(boolean punched) {
    GuestMemfd memfd = made(1, GuestMemfdOps.NONE);
    assertEquals(Errno.EIO, errno(() -> memfd.populate(0, PAGE, content(1), hook(Errno.EIO))));
    if (punched) {
      memfd.punchHole(0, PAGE);
    } else {
      memfd.close();
    }
    GuestMemfd next = made(63, GuestMemfdOps.NONE, MMAP, INIT_SHARED);
    for (int page = 0; page < 63; page++) {
      assertEquals(0, first(next, page), "page " + page);
    }
  }

  /** A page that was zeroed, but whose client refused its first use, is zero at the next. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void contentThatWasRefusedTwice(boolean writing) {
    AtomicBoolean on = new AtomicBoolean(true);
    GuestMemfdOps refusing =
        new GuestMemfdOps() {
          @Override
          public Errno prepareAccessible(Folio folio) {
            return on.get() ? Errno.EPERM : Errno.OK;
          }

          @Override
          public Errno prepareInaccessible(Folio folio) {
            return on.get() ? Errno.EPERM : Errno.OK;
          }
        };
    GuestMemfd memfd = writing ? made(1, refusing, MMAP, INIT_SHARED, WRITE) : made(1, refusing);
    assertEquals(Errno.EPERM, errno(() -> memfd.grab(0).close()));
    if (writing) {
      assertEquals(Errno.EPERM, errno(() -> memfd.write(0, content(1))));
    } else {
      assertEquals(Errno.EIO, errno(() -> memfd.populate(0, PAGE, content(1), hook(Errno.EIO))));
    }
    on.set(false);
    assertEquals(0, first(memfd, 0));
  }

  /** What comes before the page that fails is done; that page is as if it had never been used. */
  @Test
  void aHookThatRefusesKeepsThePrefix() {
    GuestMemfd memfd = made(4, client, NO_DIRECT_MAP);
    ByteBuffer bytes = content(4);
    assertEquals(
        2L * PAGE, memfd.populate(0, 4L * PAGE, bytes, hook(Errno.OK, Errno.OK, Errno.EIO)));
    assertEquals(2 * PAGE, bytes.remaining());
    assertEquals(Errno.EEXIST, errno(() -> memfd.populate(PAGE, 3L * PAGE, content(3), hook())));
    assertEquals(
        Errno.EIO, errno(() -> memfd.populate(2L * PAGE, PAGE, content(1), hook(Errno.EIO))));
    told.clear();
    assertEquals(0, first(memfd, 2), "not the content that was refused");
    assertThat(told).containsExactly("inaccessible 2");
    assertThrows(
        IllegalStateException.class,
        () ->
            memfd.populate(
                3L * PAGE,
                PAGE,
                content(1),
                folio -> {
                  throw new IllegalStateException("thrown");
                }));
    assertEquals(PAGE, memfd.populate(3L * PAGE, PAGE, content(1), hook()));
    assertEquals(1, first(memfd, 3));
    GuestMemfd fresh = made(1, client);
    assertThrows(NullPointerException.class, () -> fresh.populate(0, PAGE, null, f -> null));
  }

  @Test
  void errorsOfPopulateInOrder() {
    GuestMemfd memfd = made(4, GuestMemfdOps.NONE, MMAP, INIT_SHARED);
    first(memfd, 0);
    memfd.makeInaccessible(PAGE, PAGE);
    assertEquals(Errno.EEXIST, errno(() -> memfd.populate(0, PAGE, null, hook())), "used, shared");
    assertEquals(Errno.EINVAL, errno(() -> memfd.populate(2L * PAGE, PAGE, null, hook())));
    assertEquals(PAGE, memfd.populate(PAGE, 2L * PAGE, content(2), hook()), "up to a shared page");
    for (long[] range :
        new long[][] {{1, PAGE}, {0, 1}, {0, 0}, {-PAGE, PAGE}, {3L * PAGE, 2L * PAGE}}) {
      assertEquals(Errno.EINVAL, errno(() -> memfd.populate(range[0], range[1], null, hook())));
    }
    assertThrows(
        IllegalArgumentException.class, () -> memfd.populate(0, 2L * PAGE, content(1), hook()));
    GuestMemfd closed = memfd.dup();
    closed.close();
    assertEquals(Errno.EBADF, errno(() -> closed.populate(0, PAGE, null, hook())));
    assertThat(told).containsExactly("hook 1 1");
  }

  @Test
  void refusalsSayWhatIsWrong() {
    GuestMemfd memfd = made(2, GuestMemfdOps.NONE, MMAP, INIT_SHARED, WRITE);
    first(memfd, 0);
    assertThat(why(() -> memfd.populate(0, PAGE, null, hook()))).endsWith("the page has been used");
    assertThat(why(() -> memfd.populate(PAGE, PAGE, null, hook())))
        .endsWith("the page is accessible");
    memfd.makeInaccessible(PAGE, PAGE);
    assertThat(why(() -> memfd.write(PAGE, content(1)))).endsWith("the page is inaccessible");
    assertThat(why(() -> memfd.populate(PAGE, PAGE, null, hook(Errno.EEXIST))))
        .endsWith("callback populated [offset=0x1000, length=4096] answered EEXIST");
    GuestMemfd removed = made(1, GuestMemfdOps.NONE, MMAP, INIT_SHARED, WRITE, NO_DIRECT_MAP);
    first(removed, 0);
    removed.makeInaccessible(0, PAGE);
    assertThat(why(() -> removed.write(0, content(1))))
        .endsWith("the page is out of the direct map");
  }

  private static String why(Executable call) {
    return assertThrows(GuestMemfdException.class, call).getMessage();
  }

  /** A fault of the guest waits for a page that is being handed over. */
  @Test
  void aGrabWaitsForThePopulationOfThePage() throws Exception {
    RacePoints.Gate gate = races.gate();
    GuestMemfd memfd = made(1, client);
    Worker<Long> population;
    Worker<Long> grab;
    try (gate) {
      population =
          Worker.start(
              () ->
                  memfd.populate(
                      0,
                      PAGE,
                      content(1),
                      folio -> {
                        gate.pass();
                        return Errno.OK;
                      }));
      gate.awaitReached();
      grab = Worker.start(() -> first(memfd, 0));
      probe.awaitWaiting(grab);
      Worker<Errno> second = Worker.start(() -> errno(() -> memfd.populate(0, PAGE, null, hook())));
      probe.awaitWaiting(second);
      gate.release();
      assertEquals(Errno.EEXIST, second.result(), "the second of two");
    }
    assertEquals((long) PAGE, population.result());
    assertEquals(1, grab.result());
    assertThat(told).isEmpty();
  }

  // ---- by guest address ----

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void populatesByGuestAddress(boolean typed) {
    vm = typed ? VirtualMachine.builder().type(VmType.SNP).build() : new VirtualMachine();
    GuestMemfd memfd =
        closing(vm.createGuestMemfd(GuestMemfd.builder(host).size(4L * PAGE), client));
    vm.bind(0, GPA, 2L * PAGE, memfd, PAGE);
    if (typed) {
      assertEquals(Errno.EINVAL, errno(() -> vm.populate(GPA, PAGE, content(1), hook())), "shared");
      vm.setMemoryAttributes(GPA, 2L * PAGE, PRIVATE);
    }
    ByteBuffer bytes = content(4);
    assertEquals(2L * PAGE, vm.populate(GPA, 4L * PAGE, bytes, hook()), "cut to the memslot");
    assertEquals(2 * PAGE, bytes.remaining());
    assertThat(told).containsExactly("hook 1 1", "hook 2 2");
    assertEquals(2, read(vm.createVcpu(), GPA + PAGE, PRIVATE));
    assertEquals(Errno.EEXIST, errno(() -> vm.populate(GPA, PAGE, null, hook())));
    assertEquals(Errno.EINVAL, errno(() -> vm.populate(0, PAGE, null, hook())), "no memslot");
    assertEquals(Errno.EINVAL, errno(() -> vm.populate(GPA + 1, PAGE, null, hook())));
    vm.setUserMemoryRegion2(new io.github.guestmemfd.kvm.Memslot(1, 0, 2 * GPA, PAGE, 0, null, 0));
    assertEquals(Errno.EINVAL, errno(() -> vm.populate(2 * GPA, PAGE, null, hook())), "no file");
    memfd.close();
    assertEquals(Errno.EFAULT, errno(() -> vm.populate(GPA, PAGE, null, hook())));
    assertTrue(typed || vm.memoryAttribute(2 * GPA).get() == SHARED);
  }
}
