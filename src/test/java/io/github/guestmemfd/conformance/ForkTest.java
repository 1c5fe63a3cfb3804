package io.github.guestmemfd.conformance;

import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.AddressSpace;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.kvm.HostRam;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Two processes over one file: what a child inherits, and what each does to the other. */
class ForkTest extends ConformanceFixture {
  private static final long SHARED_AT_FIRST = 3;

  private AddressSpace parent;
  private GuestMemfd memfd;
  private HostMapping map;

  @BeforeEach
  void map() {
    parent = host.addressSpace();
    memfd = file(16, SHARED_AT_FIRST);
    map = map(memfd);
    map.putLong(0, 1);
  }

  private AddressSpace fork() {
    return closing(parent.fork());
  }

  private static boolean isMapped(HostMapping mapping, int page) {
    return PageTable.held(Insides.entry(mapping, page)) != 0;
  }

  private static void isSigSegv(HostMapping mapping, long offset) {
    assertThatThrownBy(() -> mapping.getByte(offset)).isInstanceOf(SigSegvException.class);
  }

  // ---- content and entries ----

  @Test
  void bothSeeOneContent() {
    HostMapping child = fork().inherited(map);
    assertThat(child.getLong(0)).isEqualTo(1);
    child.putLong(0, 2);
    child.putLong(PAGE, 3);
    assertThat(map.getLong(0)).isEqualTo(2);
    assertThat(map.getLong(PAGE)).isEqualTo(3);
    assertThat(memfd.cachedPages()).isEqualTo(2);
  }

  @Test
  void theChildHasEntriesOfItsOwnAndNoneAtFirst() {
    long faults = memfd.metrics().faults();
    HostMapping child = fork().inherited(map);
    assertThat(isMapped(child, 0)).isFalse();
    child.getLong(0);
    assertThat(memfd.metrics().faults() - faults).isEqualTo(1);
    child.madvise(0, PAGE, Advice.DONTNEED);
    assertThat(isMapped(child, 0)).isFalse();
    assertThat(isMapped(map, 0)).isTrue();
    assertThat(child.getLong(0)).isEqualTo(1);
  }

  @Test
  void aPunchByEitherTakesBothEntries() {
    HostMapping child = fork().inherited(map);
    child.getLong(0);
    memfd.punchHole(0, PAGE);
    assertThat(isMapped(child, 0)).isFalse();
    assertThat(isMapped(map, 0)).isFalse();
    assertThat(child.getLong(0)).isZero();
    child.putLong(0, 9);
    assertThat(map.getLong(0)).isEqualTo(9);
    child.madvise(0, PAGE, Advice.REMOVE);
    assertThat(isMapped(map, 0)).isFalse();
    assertThat(map.getLong(0)).isZero();
  }

  @Test
  void aConversionTakesBothEntries() {
    HostMapping child = fork().inherited(map);
    child.getLong(0);
    memfd.makeInaccessible(0, PAGE);
    assertSigbus(() -> child.getLong(0), 0);
    assertSigbus(() -> map.getLong(0), 0);
    memfd.makeAccessible(0, PAGE);
    child.putLong(0, 5);
    assertThat(map.getLong(0)).isEqualTo(5);
  }

  // ---- what is inherited ----

  @Test
  void holesProtectionsAndAdviceAreInherited() {
    map.putLong(8 * PAGE, 8);
    map.munmap(PAGE, PAGE);
    map.mprotect(2 * PAGE, PAGE, READ);
    map.madvise(8 * PAGE, PAGE, Advice.HUGEPAGE);
    HostMapping child = fork().inherited(map);
    assertThat(child.toString()).isEqualTo(map.toString());
    isSigSegv(child, PAGE);
    assertThatThrownBy(() -> child.putByte(2 * PAGE, (byte) 1))
        .isInstanceOf(SigSegvException.class);
    assertThat(errno(() -> child.mremap(8 * PAGE, 2 * PAGE, 3 * PAGE))).isEqualTo(Errno.EFAULT);
    assertThat(child.getLong(8 * PAGE)).isEqualTo(8);
  }

  @Test
  void whatIsAdvisedDontForkIsNotInherited() {
    map.madvise(0, PAGE, Advice.DONTFORK);
    map.putLong(PAGE, 3);
    HostMapping child = fork().inherited(map);
    isSigSegv(child, 0);
    assertThat(child.getLong(PAGE)).isEqualTo(3);
    assertThat(map.getLong(0)).isEqualTo(1);
    map.madvise(0, PAGE, Advice.DOFORK);
    assertThat(fork().inherited(map).getLong(0)).isEqualTo(1);
  }

  @Test
  void adviceAboutAForkAnswersAndSplits() {
    assertThat(errno(() -> map.madvise(0, PAGE, Advice.WIPEONFORK))).isEqualTo(Errno.EINVAL);
    map.madvise(0, PAGE, Advice.KEEPONFORK);
    map.madvise(0, PAGE, Advice.DOFORK);
    map.munmap(4 * PAGE, PAGE);
    assertThat(errno(() -> map.madvise(3 * PAGE, 3 * PAGE, Advice.DONTFORK)))
        .isEqualTo(Errno.ENOMEM);
    assertThat(errno(() -> map.madvise(4 * PAGE, PAGE, Advice.WIPEONFORK))).isEqualTo(Errno.ENOMEM);
    HostMapping child = fork().inherited(map);
    isSigSegv(child, 3 * PAGE); // what is mapped has been advised
    isSigSegv(child, 5 * PAGE);
    assertThat(errno(() -> map.mremap(2 * PAGE, 2 * PAGE, 3 * PAGE))).isEqualTo(Errno.EFAULT);
    map.madvise(0, 4 * PAGE, Advice.DOFORK);
    closing(map.mremap(2 * PAGE, 2 * PAGE, 3 * PAGE)); // alike again
  }

  /** As for what munmap has taken in parts: nothing is there, and the file is not held. */
  @Test
  void ofWhatIsNotInheritedAtAllEveryAnswerIsThatOfAHole() {
    GuestMemfd other = file(2, SHARED_AT_FIRST);
    HostMapping whole = map(other);
    whole.putLong(0, 7);
    whole.madvise(0, 2 * PAGE, Advice.DONTFORK);
    HostMapping child = fork().inherited(whole);
    isSigSegv(child, 0);
    assertThat(errno(() -> child.madvise(0, PAGE, Advice.DONTNEED))).isEqualTo(Errno.ENOMEM);
    assertThat(errno(() -> child.mprotect(0, PAGE, READ))).isEqualTo(Errno.ENOMEM);
    assertThat(errno(() -> child.mremap(0, PAGE, PAGE))).isEqualTo(Errno.EFAULT);
    assertThat(errno(() -> child.getUserPages(0, PAGE))).isEqualTo(Errno.EFAULT);
    child.munmap(0, PAGE);
    whole.close();
    other.close();
    assertThat(other.reopen()).isEmpty();
  }

  @Test
  void onlyWhatTheParentHadIsInherited() {
    HostMapping closed = map(memfd);
    closed.close();
    AddressSpace child = fork();
    HostMapping later = map(memfd);
    assertThat(child.mappings()).containsExactly(child.inherited(map));
    assertThat(parent.mappings()).containsExactly(map, later);
    assertThat(child.inherited(map).addressSpace()).isSameAs(child);
    for (HostMapping other : List.of(closed, later, child.inherited(map))) {
      assertThatThrownBy(() -> child.inherited(other))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("expected a mapping that the parent of AddressSpace[id=1");
    }
  }

  @Test
  void aChildForksToo() {
    AddressSpace child = fork();
    AddressSpace grandchild = closing(child.fork());
    HostMapping of = grandchild.inherited(child.inherited(map));
    child.close();
    of.putLong(0, 6);
    assertThat(map.getLong(0)).isEqualTo(6);
    assertThat(grandchild.id()).isEqualTo(2);
  }

  // ---- each for itself ----

  @Test
  void munmapMprotectAndMremapAreOfOneProcess() {
    AddressSpace space = fork();
    HostMapping child = space.inherited(map);
    child.munmap(0, PAGE);
    isSigSegv(child, 0);
    assertThat(map.getLong(0)).isEqualTo(1);
    map.mprotect(PAGE, PAGE, READ);
    child.putLong(PAGE, 2);
    HostMapping moved = child.mremap(PAGE, PAGE, PAGE);
    assertThat(moved.addressSpace()).isSameAs(space);
    assertThat(map.getLong(PAGE)).isEqualTo(2);
    map.close();
    assertThat(moved.getLong(0)).isEqualTo(2);
  }

  @Test
  void theChildOutlivesTheParentsDescriptorAndMapping() {
    HostMapping child = fork().inherited(map);
    map.close();
    memfd.close();
    assertThat(child.getLong(0)).isEqualTo(1);
    assertThat(child.getLong(PAGE)).isZero();
    child.putLong(PAGE, 1);
    child.madvise(PAGE, PAGE, Advice.REMOVE);
    assertThat(child.getLong(PAGE)).isZero();
  }

  @Test
  void anExitClosesAllMappingsOfTheProcess() {
    AddressSpace space = fork();
    HostMapping child = space.inherited(map);
    HostMapping own = space.mmap(memfd, PAGE, PAGE, MapType.SHARED, READ, WRITE);
    map.close();
    space.close();
    assertThat(child.isClosed()).isTrue();
    assertThat(own.isClosed()).isTrue();
    assertThat(space.mappings()).isEmpty();
    space.close();
    assertThatThrownBy(space::fork)
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("the process has ended");
    assertThatThrownBy(() -> space.mmap(memfd, 0, PAGE, MapType.SHARED, READ))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("the process has ended");
    memfd.close();
    assertThat(memfd.reopen()).isEmpty(); // nothing that was refused holds it
  }

  /** By a descriptor that was sent by SCM_RIGHTS. */
  @Test
  void anotherProcessMapsByADescriptor() {
    AddressSpace other = fork();
    other.inherited(map).close();
    try (GuestMemfd sent = memfd.dup()) {
      HostMapping its = other.mmap(sent, 0, 16 * PAGE, MapType.SHARED, READ, WRITE);
      assertThat(its.getLong(0)).isEqualTo(1);
      its.putLong(0, 0x78);
      sent.allocate(0, 16 * PAGE);
      sent.punchHole(PAGE, PAGE);
    }
    assertThat(map.getLong(0)).isEqualTo(0x78);
    assertThat(memfd.cachedPages()).isEqualTo(15);
  }

  // ---- references ----

  @Test
  void aReferenceIsOfThePageAndOutlivesTheProcess() {
    AddressSpace space = fork();
    map.putByte(0, (byte) 0x21);
    try (HostReference reference = space.inherited(map).getUserPages(0, PAGE)) {
      space.close();
      memfd.punchHole(0, PAGE);
      map.putByte(0, (byte) 0x22);
      assertThat(reference.buffer(0).get(0)).isEqualTo((byte) 0x21);
    }
  }

  @Test
  void aForkLeavesAPinAsItIs() {
    try (HostReference pin = map.pin(0, PAGE)) {
      HostMapping child = fork().inherited(map);
      child.putByte(0, (byte) 0x42);
      assertThat(pin.buffer(0).get(0)).isEqualTo((byte) 0x42); // no copy on write
      assertThat(errno(() -> memfd.makeInaccessible(0, PAGE))).isEqualTo(Errno.EAGAIN);
    }
    memfd.makeInaccessible(0, PAGE);
  }

  /** Anonymous memory would be copied when it is written: it is not inherited. */
  @Test
  void memoryOfTheHostIsNotInherited() {
    try (HostRam ram = vm.mapHostRam(host, 2 * PAGE)) {
      ram.madvise(0, 2 * PAGE, Advice.DOFORK);
      ram.madvise(0, 2 * PAGE, Advice.WIPEONFORK);
      isSigSegv(fork().inherited(ram.mapping()), 0);
    }
  }
}
