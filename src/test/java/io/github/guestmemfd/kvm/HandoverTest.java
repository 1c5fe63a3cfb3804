package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
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
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** A file that is linked into a second virtual machine, and a machine that takes over. */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class HandoverTest {
  private static final long PAGE = 4096;
  private static final long GPA = 0x10_0000;
  private static final long SIZE = 4 * PAGE;

  @AutoClose private final RacePoints races = new RacePoints();
  private final HostMemory host = HostMemory.builder(64 * PAGE).raceHook(races).build();
  private final VirtualMachine source = VirtualMachine.builder().raceHook(races).build();
  private final VirtualMachine target = new VirtualMachine();
  private final GuestMemfd memfd = source.createGuestMemfd(file());
  private @Nullable GuestMemfd linked;

  private GuestMemfd.Builder file() {
    return GuestMemfd.builder(host).size(SIZE).flags(3);
  }

  @AfterEach
  void everythingIsFreed() {
    memfd.close();
    if (linked != null) {
      linked.close();
    }
    assertThat(host.violations()).isEmpty();
    assertEquals(0, host.used());
    host.close();
  }

  /** Both machines have the file, at the same guest addresses. */
  private GuestMemfd handed() {
    source.bind(0, GPA, SIZE, memfd, 0);
    GuestMemfd made = target.linkGuestMemfd(memfd, 0);
    linked = made;
    target.bind(7, GPA, SIZE, made, 0);
    return made;
  }

  private static Errno errno(Executable call) {
    return assertThrows(GuestMemfdException.class, call).errno();
  }

  private static Errno exit(Vcpu vcpu, MemoryAttribute attribute) {
    assertFalse(vcpu.tryRead(GPA, 8, attribute));
    return ((VcpuExit.MemoryFault) vcpu.exit()).errno();
  }

  private static long read(Vcpu vcpu, long gpa, MemoryAttribute attribute) {
    assertTrue(vcpu.tryRead(gpa, 8, attribute), () -> vcpu.exit().toString());
    return vcpu.value();
  }

  // ---- the link ----

  @Test
  void whatIsLinkedIsTheSameMemoryAndAnotherFile() {
    GuestMemfd other = handed();
    assertEquals(memfd.stat().ino(), other.stat().ino());
    assertTrue(other.sameFile(memfd));
    assertFalse(other.sameOpenFile(memfd));
    try (GuestMemfd second = other.dup()) {
      assertTrue(second.sameOpenFile(other));
    }
    Vcpu old = source.createVcpu();
    Vcpu next = target.createVcpu();
    assertTrue(old.tryWrite(GPA, 8, 42, SHARED));
    assertEquals(42, read(next, GPA, SHARED));
    try (HostMapping window = other.mmap(0, PAGE, READ, WRITE)) {
      assertEquals(42, window.getLong(0));
    }
    memfd.makeInaccessible(0, PAGE);
    assertFalse(other.isAccessible(0));
    assertEquals(42, read(next, GPA, PRIVATE));
    assertEquals(Errno.EFAULT, exit(next, SHARED), "attributes are of the pages");
  }

  @Test
  void itsErrorsInOrder() {
    GuestMemfd closed = memfd.dup();
    closed.close();
    assertEquals(Errno.EINVAL, errno(() -> target.linkGuestMemfd(closed, 1)));
    assertThat(
            assertThrows(GuestMemfdException.class, () -> source.linkGuestMemfd(closed, 1))
                .getMessage())
        .contains("expected flags 0x0, actual 0x1");
    assertThat(assertThrows(GuestMemfdException.class, () -> source.linkGuestMemfd(closed, 0)))
        .hasMessageContaining("EINVAL")
        .hasMessageContaining("the descriptor is closed");
    assertThat(assertThrows(GuestMemfdException.class, () -> source.linkGuestMemfd(memfd, 0)))
        .hasMessageContaining("EINVAL")
        .hasMessageContaining("expected a file of another virtual machine");
    try (GuestMemfd foreign = GuestMemfd.builder(host).size(PAGE).build()) {
      assertThat(assertThrows(GuestMemfdException.class, () -> target.linkGuestMemfd(foreign, 0)))
          .hasMessageContaining("EINVAL")
          .hasMessageContaining("expected a file that a virtual machine created");
      source.bind(1, 0, PAGE, foreign, 0); // bound, and yet not one of its files
      assertEquals(Errno.EINVAL, errno(() -> target.linkGuestMemfd(foreign, 0)));
    }
  }

  /** A file as one machine has it is not for the memslots of another. */
  @Test
  void eachMachineBindsItsOwn() {
    GuestMemfd other = handed();
    assertEquals(Errno.EINVAL, errno(() -> target.bind(1, 0, PAGE, memfd, 0)));
    assertEquals(Errno.EINVAL, errno(() -> source.bind(1, 0, PAGE, other, 0)));
    assertEquals(Errno.EINVAL, errno(() -> target.linkGuestMemfd(other, 0)), "it has it already");
    assertEquals(Errno.EINVAL, errno(() -> target.bind(1, 0, PAGE, other, PAGE)), "overlaps");
    try (GuestMemfd again = target.linkGuestMemfd(memfd, 0)) {
      target.bind(1, 0, PAGE, again, PAGE); // linked twice, it is two files
    }
  }

  @Test
  void aLinkCanBeLinkedOn() {
    GuestMemfd other = handed();
    VirtualMachine third = new VirtualMachine();
    try (GuestMemfd last = third.linkGuestMemfd(other, 0)) {
      third.bind(0, GPA, SIZE, last, 0);
      Vcpu vcpu = third.createVcpu();
      assertTrue(vcpu.tryWrite(GPA, 8, 1, SHARED));
      memfd.makeInaccessible(0, PAGE);
      assertEquals(Errno.EFAULT, exit(vcpu, SHARED), "it follows the file too");
      other.close();
      memfd.close();
      assertEquals(1, read(vcpu, GPA, PRIVATE), "and has the pages alone");
    }
    assertEquals(0, host.used());
  }

  // ---- second operations ----

  @Test
  void aConversionAndAPunchAreOfBothMachines() {
    GuestMemfd other = handed();
    Vcpu old = source.createVcpu();
    Vcpu next = target.createVcpu();
    for (GuestMemfd by : List.of(memfd, other)) {
      assertTrue(old.tryWrite(GPA, 8, 42, SHARED));
      assertEquals(42, read(next, GPA, SHARED));
      by.makeInaccessible(0, PAGE);
      assertEquals(Errno.EFAULT, exit(old, SHARED));
      assertEquals(Errno.EFAULT, exit(next, SHARED));
      by.makeAccessible(0, PAGE);
      by.punchHole(0, PAGE);
      assertEquals(0, read(next, GPA, SHARED));
      assertEquals(0, read(old, GPA, SHARED));
    }
  }

  /** A link that comes when an invalidation has begun is not told of its end. */
  @Test
  void aLinkDuringAConversion() throws Exception {
    source.bind(0, GPA, SIZE, memfd, 0);
    Vcpu old = source.createVcpu();
    assertTrue(old.tryWrite(GPA, 8, 42, SHARED));
    RacePoints.Gate gate = races.hold(RacePoint.AFTER_COMMIT);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    gate.awaitReached();
    GuestMemfd made = target.linkGuestMemfd(memfd, 0);
    linked = made;
    target.bind(7, GPA, SIZE, made, 0);
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    Vcpu next = target.createVcpu();
    assertEquals(42, read(next, GPA, PRIVATE));
    memfd.makeAccessible(0, PAGE);
    assertEquals(Errno.EFAULT, exit(next, PRIVATE));
    assertEquals(42, read(next, GPA, SHARED));
  }

  @Test
  void theSourceClosesFirst() {
    GuestMemfd other = handed();
    Vcpu old = source.createVcpu();
    Vcpu next = target.createVcpu();
    assertTrue(old.tryWrite(GPA, 8, 42, SHARED));
    HostMapping window = memfd.mmap(0, PAGE, READ);
    memfd.close();
    assertEquals(42, read(old, GPA, SHARED), "the mapping holds it");
    window.close();
    assertEquals(Errno.EFAULT, exit(old, SHARED), "its file is gone");
    assertThat(memfd.reopen()).isEmpty();
    assertEquals(42, read(next, GPA, SHARED), "the pages are not");
    other.punchHole(0, PAGE);
    assertEquals(0, read(next, GPA, SHARED));
    source.unbind(0);
    other.close();
    assertEquals(Errno.EFAULT, exit(next, SHARED));
    assertEquals(0, host.used());
  }

  @Test
  void orTheTargetDoes() {
    GuestMemfd other = handed();
    Vcpu old = source.createVcpu();
    Vcpu next = target.createVcpu();
    assertTrue(next.tryWrite(GPA, 8, 42, SHARED));
    other.close();
    assertEquals(Errno.EFAULT, exit(next, SHARED));
    assertEquals(42, read(old, GPA, SHARED));
    memfd.makeInaccessible(0, PAGE);
    assertEquals(42, read(old, GPA, PRIVATE));
    try (GuestMemfd again = target.linkGuestMemfd(memfd, 0)) {
      target.unbind(7);
      target.bind(7, GPA, SIZE, again, 0);
      assertEquals(42, read(next, GPA, PRIVATE));
    }
  }

  /** The second client is told once, whichever machines there are, and once of the end. */
  @Test
  void theContractOfTheSecondClientIsIntact() {
    List<String> told = new ArrayList<>();
    GuestMemfdOps client =
        new GuestMemfdOps() {
          @Override
          public Errno invalidateBegin(long offset, long length) {
            told.add("begin");
            return offset == PAGE ? Errno.EBUSY : Errno.OK;
          }

          @Override
          public void invalidateEnd(long offset, long length) {
            told.add("end");
          }

          @Override
          public Errno prepareAccessible(Folio folio) {
            told.add("shared");
            return Errno.OK;
          }

          @Override
          public Errno prepareInaccessible(Folio folio) {
            told.add("private");
            return Errno.OK;
          }

          @Override
          public void freeFolio(Folio folio) {
            told.add("free");
          }

          @Override
          public void release() {
            told.add("release");
          }
        };
    GuestMemfd made = source.createGuestMemfd(file(), client);
    GuestMemfd other = target.linkGuestMemfd(made, 0);
    source.bind(0, GPA, SIZE, made, 0);
    target.bind(0, GPA, SIZE, other, 0);
    Vcpu next = target.createVcpu();
    assertTrue(next.tryWrite(GPA, 8, 1, SHARED));
    made.makeInaccessible(0, PAGE);
    assertEquals(Errno.EBUSY, other.tryMakeInaccessible(PAGE, PAGE));
    assertEquals(1, read(next, GPA, PRIVATE), "a refusal has ended the invalidation for both");
    assertTrue(source.createVcpu().tryRead(GPA, 8, PRIVATE));
    made.close();
    assertThat(told).containsExactly("shared", "begin", "private", "end", "begin");
    other.close();
    assertThat(told.subList(5, told.size())).containsExactly("release", "free");
  }

  // ---- the move ----

  @Test
  void theSourceIsDeadAndTheTargetHasAll() {
    GuestMemfd other = handed();
    Vcpu old = source.createVcpu();
    assertTrue(old.tryWrite(GPA, 8, 42, SHARED));
    target.moveContextFrom(source);
    assertTrue(source.isDead());
    assertFalse(target.isDead());
    assertEquals(Errno.EIO, exit(old, SHARED));
    assertEquals(Errno.EIO, exit(old, PRIVATE));
    assertEquals(Errno.EIO, errno(source::createVcpu));
    assertEquals(Errno.EIO, errno(() -> source.createGuestMemfd(file())));
    assertEquals(Errno.EIO, errno(() -> source.unbind(0)));
    assertEquals(Errno.EIO, errno(() -> source.bind(1, 0, PAGE, memfd, 0)));
    assertEquals(Errno.EIO, errno(() -> source.preFault(GPA, PAGE)));
    assertEquals(Errno.EIO, errno(() -> source.getDirtyLog(0)));
    assertEquals(Errno.EIO, errno(() -> source.populate(GPA, PAGE, null, f -> Errno.OK)));
    assertEquals(Errno.EIO, errno(() -> source.linkGuestMemfd(other, 0)));
    assertEquals(Errno.EIO, errno(() -> source.moveContextFrom(target)));
    Vcpu next = target.createVcpu();
    assertEquals(42, read(next, GPA, SHARED));
    memfd.makeInaccessible(0, PAGE);
    assertEquals(42, read(next, GPA, PRIVATE), "descriptors of the source still are some");
  }

  @Test
  void itsErrorsInOrderAndNothingHasChanged() {
    GuestMemfd other = handed();
    VirtualMachine typed = VirtualMachine.builder().type(VmType.SNP).build();
    assertEquals(Errno.EINVAL, errno(() -> typed.moveContextFrom(source)));
    assertEquals(Errno.EINVAL, errno(() -> source.moveContextFrom(source)));
    List<Runnable> mismatches =
        List.of(
            () -> target.unbind(7),
            () -> target.bind(7, GPA, PAGE, other, 0),
            () -> target.bind(7, GPA + PAGE, SIZE, other, 0),
            () -> target.setUserMemoryRegion2(new Memslot(7, 0, GPA, SIZE, 0, null, 0)),
            () -> {
              target.bind(7, GPA, 2 * PAGE, other, 0);
              target.bind(8, GPA + 2 * PAGE, 2 * PAGE, other, 2 * PAGE);
            });
    for (Runnable mismatch : mismatches) {
      List<Memslot> before = new ArrayList<>();
      target.nextMemslot(0).ifPresent(before::add);
      if (!before.isEmpty()) {
        target.unbind(7);
      } else {
        target.bind(7, GPA, PAGE, other, 0);
      }
      try {
        mismatch.run();
      } catch (GuestMemfdException e) {
        assertEquals(Errno.EINVAL, e.errno()); // it has been unbound already
      }
      assertEquals(Errno.EINVAL, errno(() -> target.moveContextFrom(source)));
      assertFalse(source.isDead());
      for (int slot = 7; slot <= 8; slot++) {
        if (target.memslotAt(GPA + (slot - 7) * 2L * PAGE).isPresent()
            || target.nextMemslot(0).isPresent()) {
          int made = target.nextMemslot(0).orElseThrow().slot();
          target.unbind(made);
        }
      }
    }
    try (GuestMemfd stranger = target.createGuestMemfd(file())) {
      target.bind(7, GPA, SIZE, stranger, 0);
      assertThat(assertThrows(GuestMemfdException.class, () -> target.moveContextFrom(source)))
          .hasMessageContaining("expected memslots that match");
      target.unbind(7);
    }
    target.bind(7, GPA, SIZE, other, 0);
    other.close();
    assertEquals(Errno.EINVAL, errno(() -> target.moveContextFrom(source)), "its file is gone");
    assertTrue(source.createVcpu().tryWrite(GPA, 8, 1, SHARED), "the source lives");
  }

  /** A host has one kernel. Between two the attributes would be the files', and the machine's. */
  @Test
  void machinesOfTwoKernelsHaveNoHandover() {
    VirtualMachine from =
        VirtualMachine.builder()
            .type(VmType.SW_PROTECTED)
            .kernelProfile(KernelProfile.IN_PLACE)
            .build();
    VirtualMachine to =
        VirtualMachine.builder()
            .type(VmType.SW_PROTECTED)
            .kernelProfile(KernelProfile.LINUX_6_19)
            .build();
    to.setMemoryAttributes(GPA, PAGE, PRIVATE);
    try (GuestMemfd theirs = from.createGuestMemfd(GuestMemfd.builder(host).size(SIZE))) {
      assertThat(assertThrows(GuestMemfdException.class, () -> to.linkGuestMemfd(theirs, 0)))
          .hasMessageContaining("EINVAL")
          .hasMessageContaining("expected a machine of Linux 6.19, as this one, actual one of 7.4");
    }
    assertEquals(Errno.EINVAL, errno(() -> to.moveContextFrom(from)));
    assertFalse(from.isDead());
    assertThat(to.memoryAttribute(GPA)).contains(PRIVATE);
  }

  /** Attributes of the machine go over; the source has none left. */
  @Test
  void attributesOfAMachineGoOver() {
    VirtualMachine from = VirtualMachine.builder().type(VmType.SW_PROTECTED).build();
    VirtualMachine to = VirtualMachine.builder().type(VmType.SW_PROTECTED).build();
    try (GuestMemfd theirs = from.createGuestMemfd(GuestMemfd.builder(host).size(SIZE));
        GuestMemfd ours = to.linkGuestMemfd(theirs, 0)) {
      from.bind(0, GPA, SIZE, theirs, 0);
      to.bind(0, GPA, SIZE, ours, 0);
      from.setMemoryAttributes(GPA, PAGE, PRIVATE);
      from.setMemoryAttributes(GPA + 2 * PAGE, PAGE, PRIVATE);
      to.setMemoryAttributes(GPA + PAGE, PAGE, PRIVATE); // forgotten
      assertTrue(from.createVcpu().tryWrite(GPA, 8, 42, PRIVATE));
      Vcpu next = to.createVcpu();
      assertTrue(next.tryWrite(GPA + PAGE, 8, 1, PRIVATE));
      to.moveContextFrom(from);
      assertEquals(
          List.of(
              new MemoryAttributeRange(GPA, PAGE, PRIVATE),
              new MemoryAttributeRange(GPA + PAGE, PAGE, SHARED),
              new MemoryAttributeRange(GPA + 2 * PAGE, PAGE, PRIVATE),
              new MemoryAttributeRange(GPA + 3 * PAGE, PAGE, SHARED)),
          to.memoryAttributes(GPA, SIZE));
      assertEquals(42, read(next, GPA, PRIVATE));
      assertFalse(next.tryRead(GPA + PAGE, 8, PRIVATE), "what was mapped as private is not now");
      assertEquals(Errno.EIO, errno(() -> from.setMemoryAttributes(GPA, PAGE, SHARED)));
      assertThat(assertThrows(GuestMemfdException.class, () -> to.moveContextFrom(from)))
          .hasMessageContaining("EINVAL")
          .hasMessageContaining("the source is dead");
      assertThat(to.memoryAttribute(GPA)).as("once").contains(PRIVATE);
      assertEquals(SHARED, from.memoryAttribute(GPA).orElseThrow());
    }
  }

  @Test
  void referencesOfTheSourceAreGivenBack() {
    VirtualMachine from = VirtualMachine.builder().keepReferences().build();
    try (GuestMemfd theirs = from.createGuestMemfd(file());
        GuestMemfd ours = target.linkGuestMemfd(theirs, 0)) {
      from.bind(0, GPA, SIZE, theirs, 0);
      target.bind(0, GPA, SIZE, ours, 0);
      from.createVcpu().tryWrite(GPA, 8, 1, SHARED);
      assertEquals(1, theirs.holders(0).safe());
      target.moveContextFrom(from);
      assertEquals(0, ours.holders(0).safe());
    }
  }

  // ---- races with the move ----

  @Test
  void aFaultUnderWayFindsTheMachineDead() throws Exception {
    handed();
    Vcpu old = source.createVcpu();
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK);
    Worker<Errno> fault = Worker.start(() -> exit(old, SHARED));
    gate.awaitReached();
    target.moveContextFrom(source);
    gate.release();
    assertEquals(Errno.EIO, fault.result());
  }

  @Test
  void anAccessUnderWayIsWaitedFor() throws Exception {
    handed();
    Vcpu old = source.createVcpu();
    assertTrue(old.tryWrite(GPA, 8, 1, SHARED));
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Boolean> write = Worker.start(() -> old.tryWrite(GPA, 8, 2, SHARED));
    gate.awaitReached();
    Worker<Void> move =
        Worker.start(
            () -> {
              target.moveContextFrom(source);
              return null;
            });
    while (!source.isDead()) {
      Thread.onSpinWait();
    }
    VirtualMachine third = new VirtualMachine();
    assertEquals(Errno.EBUSY, errno(() -> third.moveContextFrom(source)), "it is being moved");
    assertEquals(Errno.EBUSY, errno(() -> target.moveContextFrom(third)));
    assertFalse(move.isDone());
    gate.release();
    write.result();
    move.result();
    assertEquals(Errno.EIO, exit(old, SHARED));
    assertThat(read(target.createVcpu(), GPA, SHARED)).isIn(1L, 2L);
  }

  /** What is thrown in that wait loses nothing: the source is dead, and the target has all. */
  @Test
  void aMoveThatThrowsIsDoneAllTheSame() throws Exception {
    WaitProbe probe = new WaitProbe();
    HostMemory small = HostMemory.builder(PAGE).raceHook(races).idleStrategy(probe).build();
    VirtualMachine.Builder typed = VirtualMachine.builder().type(VmType.SW_PROTECTED);
    VirtualMachine to = typed.build();
    VirtualMachine from = typed.raceHook(races).build();
    from.setMemoryAttributes(GPA, PAGE, PRIVATE);
    try (GuestMemfd theirs = from.createGuestMemfd(GuestMemfd.builder(small).size(PAGE));
        GuestMemfd ours = to.linkGuestMemfd(theirs, 0)) {
      from.bind(0, GPA, PAGE, theirs, 0);
      to.bind(0, GPA, PAGE, ours, 0);
      Vcpu old = from.createVcpu();
      assertTrue(old.tryWrite(GPA, 8, 1, PRIVATE));
      RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
      Worker<Boolean> write = Worker.start(() -> old.tryWrite(GPA, 8, 2, PRIVATE));
      gate.awaitReached();
      Worker<String> move =
          Worker.start(
              () ->
                  assertThrows(OutOfMemoryError.class, () -> to.moveContextFrom(from))
                      .getMessage());
      probe.awaitWaiting(move);
      probe.fail(move, new OutOfMemoryError("planned"));
      gate.release();
      assertTrue(write.result());
      assertEquals("planned", move.result());
      assertEquals(Errno.EIO, exit(old, PRIVATE));
      assertEquals(2, read(to.createVcpu(), GPA, PRIVATE));
    }
    small.close();
  }

  @Test
  void itIsRefusedInsideACallback() {
    handed();
    Errno[] answer = {Errno.OK};
    try (HostMapping window = memfd.mmap(0, PAGE, READ, WRITE)) {
      window.window(
          0, 8, READ, (at, bytes) -> answer[0] = errno(() -> target.moveContextFrom(source)));
    }
    assertEquals(Errno.EDEADLK, answer[0]);
    assertFalse(source.isDead());
  }
}
