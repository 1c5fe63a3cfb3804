package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.fixtures.Worker;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** References put once too often, by the calls that carry no object to remember it. */
@Timeout(300)
class PutMisuseTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private final HostMemory host = HostMemory.ofBytes(4L * PAGE);
  private final GuestMemfd memfd =
      GuestMemfd.builder(host).size(PAGE).flags(MMAP, INIT_SHARED).build();

  /** Everything works as if nothing had been, and the file can be closed. */
  private void assertUnharmed() throws Exception {
    Worker.start(
            () -> {
              Folio folio = memfd.grab(0);
              assertEquals(7, folio.buffer().getLong(0));
              folio.close();
              assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
              assertEquals(PAGE, host.used());
              memfd.close();
              assertEquals(0, host.used());
              host.close();
              return null;
            })
        .result();
  }

  private int held(HolderKind kind) {
    int pfn = memfd.tryGrab(0, kind);
    assertTrue(pfn > 0);
    return pfn;
  }

  private void write() {
    Folio folio = memfd.grab(0);
    folio.buffer().putLong(0, 7);
    folio.close();
  }

  /** Only the page cache's own reference is left, and that is not the caller's to drop. */
  @ParameterizedTest
  @EnumSource(HolderKind.class)
  void aSecondPutIsLoudAndHarmless(HolderKind kind) throws Exception {
    write();
    int pfn = held(kind);
    memfd.put(pfn, kind);
    IllegalStateException e = assertThrows(IllegalStateException.class, () -> memfd.put(pfn, kind));
    assertTrue(e.getMessage().contains("frame " + pfn), e.getMessage());
    assertUnharmed();
  }

  @Test
  void aSafePutOfAnUnsafeReferenceIsLoudAndHarmless() throws Exception {
    write();
    int pfn = held(HolderKind.UNSAFE);
    assertThrows(IllegalStateException.class, () -> memfd.put(pfn, HolderKind.SAFE));
    memfd.put(pfn, HolderKind.UNSAFE);
    assertUnharmed();
  }

  /** An orphan's last holder, whose reference is dropped as what it is not. */
  @Test
  void anUnsafePutOfTheLastSafeReferenceIsLoudAndHarmless() throws Exception {
    write();
    int pfn = held(HolderKind.SAFE);
    memfd.punchHole(0, PAGE);
    assertThrows(IllegalStateException.class, () -> memfd.put(pfn, HolderKind.UNSAFE));
    memfd.put(pfn, HolderKind.SAFE);
    assertEquals(0, host.used());
    write();
    assertUnharmed();
  }

  @Test
  void aFolioIsPutOnce() throws Exception {
    write();
    Folio folio = memfd.grab(0);
    folio.close();
    assertThrows(IllegalStateException.class, folio::close);
    assertThrows(IllegalStateException.class, folio::buffer);
    assertThrows(IllegalStateException.class, folio::lock);
    assertUnharmed();
  }
}
