package io.github.guestmemfd.testing;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The example of docs/guide.md. */
class InterleavingsExampleTest {
  /** A file of one page, which is there. */
  private static final class World {
    final HostMemory host = HostMemory.ofBytes(1 << 20);
    final GuestMemfd memfd = GuestMemfd.builder(host).size(4096).flags(MMAP, INIT_SHARED).build();

    World() {
      memfd.grab(0).close(); // the page is there, and ready
    }

    void close() {
      assertEquals(List.of(), host.violations());
      memfd.close();
      host.close(); // refuses if anything is left
    }
  }

  @Test
  void aGrabAgainstAConversionInEveryOrder() {
    Interleavings.Report report =
        Interleavings.of(World::new)
            .thread("guest", w -> w.memfd.grab(0).close())
            .thread("vmm", w -> w.memfd.tryMakeInaccessible(0, 4096))
            .atEnd(World::close)
            .explore();
    assertTrue(report.complete());
  }
}
