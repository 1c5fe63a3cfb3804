package io.github.guestmemfd.file;

import static io.github.guestmemfd.conversion.Step.LOCK;
import static io.github.guestmemfd.conversion.Step.REF;
import static io.github.guestmemfd.conversion.Step.SAFE;
import static io.github.guestmemfd.conversion.Step.UNLOCK;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.spi.RacePoint;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** How guest-side holders take what their protocol says, step by step, and give it back. */
class GuestRefsTest extends ProtocolFixture {

  /** Takes the lock for the time of the other steps. */
  private static final class UnderLock extends Like {
    UnderLock() {
      super(ConversionProtocol.bothCounters());
    }

    @Override
    public List<Step> guestTakes() {
      return List.of(LOCK, REF, SAFE, UNLOCK);
    }

    @Override
    public List<Step> guestDrops() {
      return List.of(SAFE, REF);
    }
  }

  /** A race point at which the hook throws. */
  private @Nullable RacePoint throwing;

  @Override
  protected void passes(RacePoint point, long index) {
    if (point == throwing) {
      throw new IllegalStateException("planned");
    }
    super.passes(point, index);
  }

  private long counts(GuestMemfd memfd) {
    return frames().counts(memfd.holders(0).pfn());
  }

  @Test
  void everyStepIsTakenAndGivenBack() {
    GuestMemfd memfd = file(1, new UnderLock());
    try (Folio folio = memfd.grab(0)) {
      assertCounts(2, 1, folio.pfn());
      assertFalse(frames().isLocked(folio.pfn()));
    }
    assertEquals(Counts.CACHE_REF, counts(memfd));
  }

  /** Whatever throws at whatever step, nothing is held afterwards. */
  @ParameterizedTest
  @ValueSource(strings = {"BEFORE_GUEST_LOCK", "BETWEEN_REF_AND_SAFE"})
  void whatThrowsInTheMiddleHoldsNothing(RacePoint point) {
    GuestMemfd memfd = file(1, new UnderLock());
    memfd.grab(0).close();
    throwing = point;
    assertThrows(IllegalStateException.class, () -> memfd.grab(0));
    assertFalse(CallbackContext.isInTheMiddleOfAny());
    assertEquals(Counts.CACHE_REF, counts(memfd));
    assertFalse(frames().isLocked(memfd.holders(0).pfn()));
  }

  @Test
  void aWaitForTheLockCanBeInterrupted() throws Exception {
    GuestMemfd memfd = file(1, new UnderLock());
    int pfn = write(memfd, 0, 1);
    frames().lock(pfn);
    Worker<Boolean> vcpu =
        Worker.start(
            () -> {
              refused(Errno.EINTR, () -> memfd.grab(0));
              return Thread.interrupted();
            });
    probe.awaitWaiting(vcpu);
    vcpu.interrupt();
    assertEquals(true, vcpu.result());
    frames().unlock(pfn);
    assertEquals(Counts.CACHE_REF, counts(memfd));
  }

  /** Whatever it holds by then, it holds nothing afterwards. */
  @ParameterizedTest
  @MethodSource("thatLock")
  void aCallbackDoesNotWaitForTheLock(ConversionProtocol protocol) {
    AtomicInteger answer = new AtomicInteger();
    GuestMemfd[] other = new GuestMemfd[1];
    GuestMemfdOps ops =
        new GuestMemfdOps() {
          @Override
          public Errno invalidateBegin(long offset, long length) {
            answer.set(other[0].tryGrab(0, HolderKind.SAFE));
            return Errno.OK;
          }
        };
    GuestMemfd memfd = file(1, b -> b.ops(ops));
    other[0] = file(1, protocol);
    other[0].grab(0).close();
    memfd.grab(0).close();
    memfd.punchHole(0, PAGE);
    assertEquals(-Errno.EDEADLK.code(), answer.get());
    assertEquals(Counts.CACHE_REF, counts(other[0]));
  }

  static List<ConversionProtocol> thatLock() {
    return List.of(new UnderLock(), new LockLast(), ConversionProtocol.lockOnly());
  }

  /** The folio leaves its place before it is locked: nothing is held of it, and the next is got. */
  @ParameterizedTest
  @MethodSource("thatLock")
  void aFolioThatHasLeftItsPlaceIsGivenBack(ConversionProtocol protocol) {
    GuestMemfd memfd = file(1, b -> b.protocol(new PunchesPass(protocol)));
    int old = write(memfd, 0, 42);
    races.at(
        RacePoint.BEFORE_GUEST_LOCK,
        () -> {
          memfd.punchHole(0, PAGE);
          memfd.allocate(0, PAGE);
        });
    try (Folio folio = memfd.grab(0)) {
      assertEquals(0, folio.buffer().getLong(0));
      assertFalse(folio.isOrphan());
      assertEquals(PAGE, host.used(), "the frame that has left is free");
    }
    assertFalse(frames().isLocked(old));
    assertFalse(frames().isLocked(memfd.holders(0).pfn()));
    assertEquals(Counts.CACHE_REF, counts(memfd));
  }

  /** Lets folios go that are held. */
  private static final class PunchesPass extends Like {
    PunchesPass(ConversionProtocol original) {
      super(original);
    }

    @Override
    public boolean mayPunch(int refs, int safe) {
      return true;
    }
  }

  /** Keeps the lock, which it takes last. */
  private static final class LockLast extends Like {
    LockLast() {
      super(ConversionProtocol.bothCounters());
    }

    @Override
    public List<Step> guestTakes() {
      return List.of(REF, SAFE, LOCK);
    }

    @Override
    public List<Step> guestDrops() {
      return List.of(LOCK, SAFE, REF);
    }
  }

  @Test
  void whatThrowsBeforeTheLastStepHoldsNothing() {
    GuestMemfd memfd = file(1, new LockLast());
    memfd.grab(0).close();
    throwing = RacePoint.BEFORE_GUEST_LOCK;
    assertThrows(IllegalStateException.class, () -> memfd.grab(0));
    assertEquals(Counts.CACHE_REF, counts(memfd));
  }
}
