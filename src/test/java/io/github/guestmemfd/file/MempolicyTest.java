package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.MemoryPolicy.Mode.BIND;
import static io.github.guestmemfd.abi.MemoryPolicy.Mode.DEFAULT;
import static io.github.guestmemfd.abi.MemoryPolicy.Mode.INTERLEAVE;
import static io.github.guestmemfd.abi.MemoryPolicy.Mode.LOCAL;
import static io.github.guestmemfd.abi.MemoryPolicy.Mode.PREFERRED;
import static io.github.guestmemfd.abi.Protection.READ;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.MemoryPolicy.Mode;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.fixtures.InCallback;
import io.github.guestmemfd.fixtures.Worker;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * NUMA policies. The answers of mappings with policies of their own are those that Linux 6.18 gave
 * for a guest_memfd when it was called, those of a file that keeps policies what it gave for a
 * memfd, which keeps them in the same way.
 */
class MempolicyTest extends RaceFixture {
  private static final MemoryPolicy ON_0 = new MemoryPolicy(BIND, 1);

  private final Deque<HostMapping> closedAtTheEnd = new ArrayDeque<>();

  private GuestMemfd keeping(int pages) {
    return file(pages, b -> b.traits(Set.of(FileTrait.SHARED_POLICY)));
  }

  private HostMapping closing(HostMapping map) {
    closedAtTheEnd.push(map);
    return map;
  }

  @AfterEach
  void close() {
    closedAtTheEnd.forEach(HostMapping::close);
  }

  private static Errno mbind(HostMapping map, long offset, long length, Mode mode, long nodes) {
    try {
      map.mbind(offset, length, new MemoryPolicy(mode, nodes));
      return Errno.OK;
    } catch (GuestMemfdException e) {
      return e.errno();
    }
  }

  private static Mode at(HostMapping map, int page) {
    return map.getMempolicy((long) page * PAGE).mode();
  }

  /** In this order: what comes later is wrong too. */
  @ParameterizedTest
  @CsvSource({
    "1, 4096, BIND, 0, EINVAL",
    "1, 0, BIND, 1, EINVAL",
    "0, 0, BIND, 0, OK",
    "0, -4096, BIND, 1, EINVAL",
    "0, -1, BIND, 1, OK", // rounded up, it is 0
    "0, -140737488351232, BIND, 1, EINVAL", // what a process has room for, below 0
    "0, -140737488355328, BIND, 1, EFAULT", // so that it does not end below its start
    "0, 9223372036854775807, BIND, 1, EFAULT",
    "0, 65536, BIND, 0, EINVAL",
    "0, 65536, BIND, 1, EFAULT",
    "-4096, 8192, BIND, 1, EFAULT",
    "0, 65536, DEFAULT, 0, OK",
    "-4096, 8192, DEFAULT, 0, OK",
    "0, 4096, DEFAULT, 1, EINVAL",
    "0, 4096, LOCAL, 1, EINVAL",
    "0, 4096, LOCAL, 0, OK",
    "0, 4096, PREFERRED, 0, OK",
    "0, 4096, PREFERRED, 2, EINVAL",
    "0, 4096, PREFERRED, 3, OK",
    "0, 4096, INTERLEAVE, 0, EINVAL",
    "0, 4096, PREFERRED_MANY, 1, OK",
    "0, 4096, WEIGHTED_INTERLEAVE, 1, OK",
    "0, 4096, BIND, 2, EINVAL",
    "0, 1, BIND, 1, OK",
  })
  void answers(long offset, long length, Mode mode, long nodes, Errno expected) {
    HostMapping map = map(file(8));
    assertEquals(expected, mbind(map, offset, length, mode, nodes));
    if (expected != Errno.OK) {
      assertEquals(MemoryPolicy.DEFAULT, map.getMempolicy(0), "nothing has changed");
    }
  }

  @ParameterizedTest
  @EnumSource
  void whatIsSetIsSaidBack(Mode mode) {
    HostMapping map = map(file(4));
    boolean takesNodes = mode != DEFAULT && mode != LOCAL;
    map.mbind(PAGE, PAGE, new MemoryPolicy(mode, takesNodes ? 3 : 0));
    assertEquals(new MemoryPolicy(mode, takesNodes ? 1 : 0), map.getMempolicy(PAGE + 5));
    assertEquals(MemoryPolicy.DEFAULT, map.getMempolicy(0));
    assertEquals(MemoryPolicy.DEFAULT, map.getMempolicy(2L * PAGE));
    map.mbind(PAGE, PAGE, new MemoryPolicy(PREFERRED, 0));
    assertEquals(LOCAL, at(map, 1));
  }

  @Test
  void whereNothingIsMappedThereIsNone() {
    HostMapping map = map(file(4));
    map.munmap(PAGE, PAGE);
    for (long offset : new long[] {-1, Long.MIN_VALUE, PAGE, 4L * PAGE, Long.MAX_VALUE}) {
      GuestMemfdException e =
          assertThrows(GuestMemfdException.class, () -> map.getMempolicy(offset));
      assertEquals(Errno.EFAULT, e.errno());
    }
    assertEquals(Errno.EFAULT, mbind(map, 0, 4L * PAGE, BIND, 1));
    assertEquals(DEFAULT, at(map, 0));
    assertEquals(Errno.OK, mbind(map, 2L * PAGE, 2L * PAGE, BIND, 1));
    assertEquals(Errno.OK, mbind(map, 0, 4L * PAGE, DEFAULT, 0));
    assertEquals(DEFAULT, at(map, 3));
    for (long[] hole : new long[][] {{PAGE, PAGE}, {4L * PAGE, PAGE}, {-PAGE, PAGE}}) {
      assertEquals(Errno.EFAULT, mbind(map, hole[0], hole[1], DEFAULT, 0), "nothing is mapped");
    }
    map.close();
    assertThrows(IllegalStateException.class, () -> map.getMempolicy(0));
    assertThrows(IllegalStateException.class, () -> map.mbind(0, PAGE, ON_0));
    assertThrows(IllegalStateException.class, () -> map.mbind(1, PAGE, ON_0), "before the offset");
  }

  @Test
  void aCallbackDoesNotSetIt() {
    HostMapping map = map(file(1));
    InCallback ops = new InCallback(InCallback.Where.INVALIDATE_BEGIN);
    GuestMemfd other = file(1, b -> b.ops(ops));
    ops.once(() -> assertEquals(Errno.EDEADLK, mbind(map, 0, PAGE, BIND, 1)));
    other.makeInaccessible(0, PAGE);
    assertFalse(ops.isArmed());
    assertEquals(DEFAULT, at(map, 0));
  }

  /** Pages that cannot be had: private, past the end, without protection. None is allocated. */
  @Test
  void theRangeNeedNotBeOfPagesThatCanBeHad() {
    for (boolean keeps : new boolean[] {false, true}) {
      GuestMemfd memfd = keeps ? keeping(2) : file(2);
      memfd.makeInaccessible(0, 2L * PAGE);
      HostMapping map = closing(memfd.mmap(0, 4L * PAGE));
      map.mbind(0, 4L * PAGE, ON_0);
      for (int page = 0; page < 4; page++) {
        assertEquals(BIND, at(map, page));
      }
      assertEquals(0, memfd.cachedPages());
    }
  }

  @Test
  void aMappingsOwnGoesWithItsParts() {
    HostMapping map = map(file(8));
    map.mbind(2L * PAGE, 2L * PAGE, ON_0);
    HostMapping moved = closing(map.mremap(2L * PAGE, PAGE, PAGE));
    assertEquals(BIND, at(moved, 0));
    HostMapping copied = closing(map.mremap(3L * PAGE, 0, PAGE));
    assertEquals(BIND, at(copied, 0));
    assertEquals(BIND, at(map, 3));
    map.mprotect(3L * PAGE, PAGE, Protection.READ);
    assertEquals(BIND, at(map, 3));
    map.mbind(4L * PAGE, PAGE, new MemoryPolicy(INTERLEAVE, 1));
    GuestMemfdException e =
        assertThrows(GuestMemfdException.class, () -> map.mremap(3L * PAGE, 2L * PAGE, 4L * PAGE));
    assertEquals(Errno.EFAULT, e.errno(), "areas that are not alike");
    assertThat(map.toString()).contains("by INTERLEAVE");
  }

  @Test
  void theFilesIsOfAllMappingsAndOutlivesThem() {
    GuestMemfd memfd = keeping(8);
    HostMapping map = map(memfd);
    HostMapping part = closing(memfd.mmap(2L * PAGE, 4L * PAGE, READ));
    map.mbind(2L * PAGE, 2L * PAGE, ON_0);
    assertEquals(BIND, at(part, 0));
    assertEquals(BIND, at(part, 1));
    assertEquals(DEFAULT, at(part, 2));
    assertEquals(DEFAULT, at(map, 1));
    map.close();
    part.close();
    memfd.punchHole(0, memfd.size());
    HostMapping again = closing(memfd.mmap(0, 8L * PAGE, READ));
    assertEquals(BIND, at(again, 3));
    HostMapping moved = closing(again.mremap(3L * PAGE, PAGE, PAGE));
    assertEquals(BIND, at(moved, 0));
  }

  /** What a mapping has is compared with, not what the file has. */
  @Test
  void whatWasSetThroughTheMappingBeforeIsLeftAlone() {
    GuestMemfd memfd = keeping(4);
    HostMapping map = map(memfd);
    map.mbind(0, PAGE, ON_0);
    HostMapping other = map(memfd);
    other.mbind(0, PAGE, MemoryPolicy.DEFAULT);
    assertEquals(BIND, at(other, 0), "the other mapping had no policy to take away");
    other.mbind(0, PAGE, new MemoryPolicy(INTERLEAVE, 1));
    assertEquals(INTERLEAVE, at(map, 0));
    map.mbind(0, PAGE, ON_0);
    assertEquals(INTERLEAVE, at(map, 0), "the mapping had this policy");
    other.mbind(0, PAGE, MemoryPolicy.DEFAULT);
    assertEquals(DEFAULT, at(map, 0));
  }

  @Test
  void policiesThatAreSetAtTheSameTimeAreAllThere() throws Exception {
    GuestMemfd memfd = keeping(64);
    HostMapping map = map(memfd);
    HostMapping other = map(memfd);
    Worker<Void> evens =
        Worker.start(
            () -> {
              for (int page = 0; page < 64; page += 2) {
                map.mbind((long) page * PAGE, PAGE, ON_0);
              }
              return null;
            });
    for (int page = 1; page < 64; page += 2) {
      other.mbind((long) page * PAGE, PAGE, new MemoryPolicy(INTERLEAVE, 1));
    }
    evens.result();
    for (int page = 0; page < 64; page++) {
      assertEquals(page % 2 == 0 ? BIND : INTERLEAVE, at(map, page));
    }
  }

  @Test
  void anInterruptEndsItBeforeAnythingHasChanged() {
    HostMapping map = map(file(1));
    Thread.currentThread().interrupt();
    assertEquals(Errno.EINTR, mbind(map, 0, PAGE, BIND, 1));
    assertThat(Thread.interrupted()).isTrue();
    assertEquals(DEFAULT, at(map, 0));
  }
}
