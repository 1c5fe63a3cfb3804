package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.HostFixture;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A frame keeps its bytes when it is freed: they are overwritten before anything can see them. */
class ScrubTest extends HostFixture {

  /** Frees a frame full of one file's private bytes; the next allocation gets it. */
  private int soiledFrame() {
    GuestMemfd secretive = inaccessible(1, b -> b);
    int pfn = write(secretive, 0, SECRET);
    try (Folio folio = secretive.grab(0)) {
      ByteBuffer bytes = folio.buffer();
      while (bytes.hasRemaining()) {
        bytes.putLong(SECRET);
      }
    }
    secretive.close();
    assertEquals(0, host.used());
    return pfn;
  }

  @Test
  void freeFolioSeesZeroesInAPageThatWasNeverUsed() {
    int pfn = soiledFrame();
    List<Integer> freed = new ArrayList<>();
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public void freeFolio(Folio folio) {
                freed.add(folio.pfn());
                ByteBuffer bytes = folio.buffer();
                while (bytes.hasRemaining()) {
                  assertEquals(0, bytes.getLong(), "another file's bytes");
                }
              }
            });
    memfd.allocate(0, PAGE);
    memfd.punchHole(0, PAGE);
    memfd.allocate(0, PAGE);
    memfd.close(); // the other way to free it
    assertEquals(List.of(pfn, pfn), freed, "the frame came to be used again");
  }

  /** Keeps the folios that it is shown. */
  private static final class Keeper implements GuestMemfdOps {
    private final List<Folio> kept = new ArrayList<>();

    @Override
    public Errno prepareAccessible(Folio folio) {
      folio.buffer().getLong(0);
      kept.add(folio);
      return Errno.OK;
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      folio.zero();
      kept.add(folio);
      return Errno.OK;
    }

    @Override
    public void freeFolio(Folio folio) {
      folio.zero();
      kept.add(folio);
    }
  }

  @Test
  void aFolioShownToACallbackIsOfNoUseAfterIt() {
    Keeper keeper = new Keeper();
    GuestMemfd memfd = file(1, keeper);
    memfd.grab(0).close(); // prepares it for the host
    memfd.makeInaccessible(0, PAGE);
    memfd.makeAccessible(0, PAGE);
    memfd.punchHole(0, PAGE);
    assertEquals(4, keeper.kept.size());
    GuestMemfd other = inaccessible(1, b -> b);
    int pfn = write(other, 0, SECRET);
    for (Folio folio : keeper.kept) {
      assertEquals(pfn, folio.pfn(), "the frame has gone to another file");
      assertThrows(IllegalStateException.class, folio::buffer);
      assertThrows(IllegalStateException.class, folio::zero);
      assertThrows(IllegalStateException.class, folio::lock);
      assertThrows(IllegalStateException.class, folio::unlock);
      assertThrows(IllegalStateException.class, folio::close);
    }
    assertEquals(SECRET, read(other, 0));
    assertEquals(PAGE, host.used());
  }

  @Test
  void aFolioIsOfNoUseAfterACallbackThatThrew() {
    List<Folio> kept = new ArrayList<>();
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public Errno prepareAccessible(Folio folio) {
                kept.add(folio);
                throw new ArithmeticException("planned");
              }
            });
    assertThrows(ArithmeticException.class, () -> memfd.grab(0));
    assertThrows(IllegalStateException.class, () -> kept.get(0).buffer());
    assertThrows(IllegalStateException.class, () -> kept.get(0).zero());
  }

  /** How the last reference on a page goes. */
  enum End {
    PUNCH,
    CLOSE,
    LAST_PUT,
    PUNCH_WITH_A_CLIENT_THAT_THROWS
  }

  /**
   * The bytes that were out of the direct map are gone before the frame is in it again: as part of
   * a file that has allocated it, and has not come to zero it for its first use.
   */
  @ParameterizedTest
  @EnumSource
  void aFrameIsZeroedBeforeItReturnsToTheDirectMap(End end) {
    GuestMemfdOps client =
        new GuestMemfdOps() {
          @Override
          public void freeFolio(Folio folio) {
            if (end == End.PUNCH_WITH_A_CLIENT_THAT_THROWS) {
              throw new ArithmeticException("planned");
            }
          }
        };
    GuestMemfd secretive = inaccessible(1, b -> b.flags(NO_DIRECT_MAP).ops(client));
    Folio folio = secretive.grab(0);
    int pfn = folio.pfn();
    for (ByteBuffer bytes = folio.buffer(); bytes.hasRemaining(); ) {
      bytes.putLong(SECRET);
    }
    assertUnreachable(host, pfn);
    if (end != End.LAST_PUT) {
      folio.close();
    }
    switch (end) {
      case PUNCH -> secretive.punchHole(0, PAGE);
      case CLOSE -> secretive.close();
      case LAST_PUT -> {
        secretive.close();
        folio.close();
      }
      default -> assertThrows(ArithmeticException.class, () -> secretive.punchHole(0, PAGE));
    }
    assertUnreachable(host, pfn);
    GuestMemfd other = file(1);
    other.allocate(0, PAGE);
    assertTrue(host.directMap().contains(pfn), "the frame has gone to another file");
    ByteBuffer seen = ByteBuffer.allocate(PAGE);
    host.directMap().read(pfn, 0, seen);
    assertEquals(ByteBuffer.allocate(PAGE), seen.flip(), "a secret");
  }

  private void assertUnreachable(HostMemory of, int pfn) {
    assertFalse(of.directMap().contains(pfn), "frame " + pfn);
    refused(Errno.EFAULT, () -> of.directMap().read(pfn, 0, ByteBuffer.allocate(8)));
    refused(Errno.EFAULT, () -> of.directMap().write(pfn, 0, ByteBuffer.allocate(8)));
  }

  @Test
  void aFreeFrameIsNotInTheDirectMap() {
    int pfn = soiledFrame();
    assertUnreachable(host, pfn);
    GuestMemfd memfd = file(1);
    assertEquals(pfn, write(memfd, 0, 7));
    assertTrue(host.directMap().contains(pfn));
    assertEquals(7, readDirect(pfn));
    memfd.punchHole(0, PAGE);
    assertUnreachable(host, pfn);
  }

  /** Neither a neighbour of used frames nor one for which there is no metadata yet. */
  @Test
  void aFrameThatWasNeverUsedIsNotInTheDirectMap() {
    try (HostMemory fresh = HostMemory.ofBytes(10_000L * PAGE)) {
      for (int pfn : new int[] {1, 5, 4095, 4096, 10_000}) {
        assertUnreachable(fresh, pfn);
      }
      try (GuestMemfd memfd = GuestMemfd.builder(fresh).size(PAGE).build()) {
        int used = write(memfd, 0, SECRET);
        assertTrue(fresh.directMap().contains(used));
        assertUnreachable(fresh, used + 1);
        assertUnreachable(fresh, 10_000);
      }
      assertThrows(IndexOutOfBoundsException.class, () -> fresh.directMap().contains(0));
      assertThrows(IndexOutOfBoundsException.class, () -> fresh.directMap().contains(10_001));
    }
  }
}
