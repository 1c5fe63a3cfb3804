package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.ACCESSIBLE;
import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * A lookup in one file that comes late, and counts itself on a frame which has become another
 * file's, of another protocol. Until it finds that out it is counted there, as what its own
 * protocol says. It hides no holder there, takes nothing away, and leaves nothing behind.
 */
class LateLookupElsewhereTest extends ProtocolFixture {

  static Stream<Arguments> pairs() {
    return ConversionProtocol.all().stream()
        .filter(late -> late.guestTakes().get(0) != Step.LOCK) // which looks up without counting
        .flatMap(late -> ConversionProtocol.all().stream().map(to -> Arguments.of(late, to)));
  }

  /** A lookup in one file, and the other file that has the frame by the time it is counted. */
  private final class Late {
    final GuestMemfd other;
    final int pfn;
    private final GuestMemfd own;
    private final HolderKind kind;
    private final RacePoints.Gate loaded;
    private final Worker<Integer> lookup;

    Late(ConversionProtocol late, ConversionProtocol to, HolderKind kind) throws Exception {
      this.kind = kind;
      own = file(1, late);
      pfn = write(own, 0, 1);
      loaded = races.hold(RacePoint.AFTER_SLOT_LOAD);
      lookup = Worker.start(() -> own.tryGrab(0, kind));
      loaded.awaitReached();
      own.punchHole(0, PAGE);
      other = file(1, to);
      assertEquals(pfn, write(other, 0, SECRET), "the frame freed last is the first to be used");
    }

    /** Lets it count itself, and not yet look again. */
    RacePoints.Gate count() throws InterruptedException {
      RacePoints.Gate counted = races.hold(RacePoint.BEFORE_SLOT_RELOAD);
      loaded.release();
      counted.awaitReached();
      return counted;
    }

    /** Lets it look again, and start over. */
    void end(RacePoints.Gate counted) throws Exception {
      counted.release();
      own.put(lookup.result(), kind);
    }
  }

  @ParameterizedTest
  @MethodSource("pairs")
  void hidesNoHolder(ConversionProtocol from, ConversionProtocol to) throws Exception {
    for (HolderKind kind : HolderKind.values()) {
      Late late = new Late(from, to, kind);
      HostMapping window = map(late.other);
      HostReference plain = window.getUserPages(0, PAGE);
      RacePoints.Gate counted = late.count();
      BusyFolio busy = new BusyFolio();
      if (to.isSound()) {
        assertEquals(Errno.EAGAIN, late.other.tryMakeInaccessible(0, PAGE, busy), kind::name);
      }
      plain.close();
      window.madvise(0, PAGE, Advice.DONTNEED); // the entry by which it was found
      for (HolderKind each : HolderKind.values()) {
        assertEquals(late.pfn, late.other.tryGrab(0, each));
        late.other.put(late.pfn, each);
      }
      late.end(counted);
      assertCounts(1, 0, late.pfn);
      assertQuiet(late.other);
      window.close();
      late.other.close();
      late.own.close();
      assertEquals(0, host.used());
    }
  }

  /** The other file ends, or drops the page, while it is counted there: taking back is all. */
  @ParameterizedTest
  @MethodSource("pairs")
  void keepsNoFrame(ConversionProtocol from, ConversionProtocol to) throws Exception {
    for (HolderKind kind : List.of(SAFE, UNSAFE, ACCESSIBLE)) {
      for (boolean wanted : new boolean[] {false, true}) {
        Late late = new Late(from, to, kind);
        RacePoints.Gate counted = late.count();
        boolean held = wanted && !to.guestDrops().contains(Step.LOCK); // the end waits for that
        if (held) {
          assertEquals(late.pfn, late.other.tryGrab(0, SAFE));
        }
        late.other.close();
        late.end(counted);
        if (held) {
          assertEquals(1, Counts.safe(frames().counts(late.pfn)));
          late.other.put(late.pfn, SAFE);
        }
        late.own.close();
        assertEquals(0, host.used(), kind + (held ? ", and there is a holder" : ""));
      }
    }
  }
}
