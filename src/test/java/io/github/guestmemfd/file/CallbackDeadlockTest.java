package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.InCallback;
import io.github.guestmemfd.fixtures.InCallback.Where;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What callbacks do that they must not: wait, in a circle, or answer nothing. */
class CallbackDeadlockTest extends HostFixture {

  /**
   * A's callback converts in B, on another host, whose callback converts in A, where the range is
   * busy on behalf of the same thread: it would wait for itself. With a second thread that goes the
   * other way round, each would wait for the other. So the first step is refused.
   */
  @Test
  void conversionsThatCallEachOtherAreRefused() throws Exception {
    try (HostMemory otherHost = HostMemory.ofBytes(64L * PAGE)) {
      List<GuestMemfd> files = new ArrayList<>();
      List<Errno> answers = new ArrayList<>();
      files.add(file(1, new Converting(files, 1, answers)));
      files.add(
          GuestMemfd.builder(otherHost)
              .size(PAGE)
              .flags(MMAP, INIT_SHARED)
              .retryPolicy(RetryPolicy.failAtOnce())
              .ops(new Converting(files, 0, answers))
              .build());
      run(() -> assertEquals(Errno.EDEADLK, files.get(0).tryMakeInaccessible(0, PAGE)));
      assertEquals(List.of(Errno.EDEADLK), answers, "what the callbacks were told");
      assertTrue(files.get(0).isAccessible(0));
      assertTrue(files.get(1).isAccessible(0));
      answers.clear();
      run(() -> assertEquals(Errno.EDEADLK, files.get(1).tryMakeInaccessible(0, PAGE)));
      assertEquals(List.of(Errno.EDEADLK), answers);
      assertTrue(files.get(0).isAccessible(0));
      assertTrue(files.get(1).isAccessible(0));
      run(() -> files.get(1).close());
    }
  }

  private record Converting(List<GuestMemfd> files, int other, List<Errno> answers)
      implements GuestMemfdOps {
    @Override
    public Errno invalidateBegin(long offset, long length) {
      Errno errno = files.get(other).tryMakeInaccessible(0, PAGE);
      answers.add(errno);
      return errno;
    }
  }

  /** From every callback, nothing that could wait is let in, on another host neither. */
  @ParameterizedTest
  @EnumSource
  void anotherHostIsRefusedToo(Where callback) throws Exception {
    try (HostMemory otherHost = HostMemory.ofBytes(64L * PAGE);
        GuestMemfd other =
            GuestMemfd.builder(otherHost).size(PAGE).flags(MMAP, INIT_SHARED).build()) {
      GuestMemfd secret =
          GuestMemfd.builder(otherHost).size(PAGE).ops(new InCallback(callback)).build();
      secret.grab(0).close();
      List<String> calls = new ArrayList<>();
      InCallback outer = new InCallback(callback);
      GuestMemfd memfd = file(1, outer);
      outer.always(
          () -> {
            calls.add("called");
            assertEquals(Errno.EDEADLK, other.tryMakeInaccessible(0, PAGE));
            assertEquals(Errno.EDEADLK, other.tryMakeAccessible(0, PAGE));
            refused(Errno.EDEADLK, () -> other.punchHole(0, PAGE));
            refused(Errno.EDEADLK, () -> other.allocate(0, PAGE));
            assertEquals(-Errno.EDEADLK.code(), secret.tryGetPfn(0));
            other.dup().close(); // waits for nothing
          });
      run(
          () -> {
            memfd.grab(0).close();
            assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
            assertTrue(memfd.tryGetPfn(0) > 0);
            assertEquals(Errno.OK, memfd.tryMakeAccessible(0, PAGE));
            memfd.punchHole(0, PAGE);
            memfd.close();
            // The thread is inside no callback any more.
            assertEquals(Errno.OK, other.tryMakeInaccessible(0, PAGE));
          });
      assertTrue(calls.size() > 0, "the callback came");
      assertTrue(secret.tryGetPfn(0) > 0);
      secret.close();
      assertEquals(0, other.cachedPages());
    }
  }

  // ---- callbacks that answer null ----

  /** Answers null in one callback, while armed. */
  private static final class Mute implements GuestMemfdOps {
    private final Where callback;
    private boolean armed;

    Mute(Where callback) {
      this.callback = callback;
    }

    private Errno answer(Where which) {
      return armed && which == callback ? null : Errno.OK;
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      return answer(Where.INVALIDATE_BEGIN);
    }

    @Override
    public Errno prepareAccessible(Folio folio) {
      return answer(Where.PREPARE_ACCESSIBLE);
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      return answer(Where.PREPARE_INACCESSIBLE);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = Where.class,
      names = {"INVALIDATE_BEGIN", "PREPARE_ACCESSIBLE", "PREPARE_INACCESSIBLE"})
  void aConversionWithoutAnAnswerChangesNothing(Where callback) throws Exception {
    for (boolean toInaccessible : new boolean[] {true, false}) {
      if (callback == (toInaccessible ? Where.PREPARE_ACCESSIBLE : Where.PREPARE_INACCESSIBLE)) {
        continue; // it would not be asked
      }
      Mute mute = new Mute(callback);
      GuestMemfd memfd = file(2, mute);
      if (!toInaccessible) {
        memfd.makeInaccessible(0, 2L * PAGE);
      }
      write(memfd, 0, SECRET);
      write(memfd, PAGE, SECRET);
      mute.armed = true;
      assertThrows(
          NullPointerException.class,
          () -> {
            Errno errno =
                toInaccessible
                    ? memfd.tryMakeInaccessible(0, 2L * PAGE)
                    : memfd.tryMakeAccessible(0, 2L * PAGE);
            throw new AssertionError("answered " + errno);
          });
      mute.armed = false;
      assertEquals(toInaccessible, memfd.isAccessible(0));
      assertEquals(toInaccessible, memfd.isAccessible(PAGE));
      assertEquals(SECRET, read(memfd, 0));
      assertEquals(2, memfd.cachedPages());
      assertQuiet(memfd);
    }
  }

  @Test
  void aPunchWithoutAnAnswerPunchesNothing() throws Exception {
    Mute mute = new Mute(Where.INVALIDATE_BEGIN);
    GuestMemfd memfd = file(1, mute);
    write(memfd, 0, SECRET);
    mute.armed = true;
    assertThrows(NullPointerException.class, () -> memfd.punchHole(0, PAGE));
    mute.armed = false;
    assertEquals(SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }

  @Test
  void aFirstUseWithoutAnAnswerCanBeTriedAgain() throws Exception {
    Mute mute = new Mute(Where.PREPARE_ACCESSIBLE);
    GuestMemfd memfd = file(1, mute);
    mute.armed = true;
    assertThrows(NullPointerException.class, () -> memfd.grab(0));
    mute.armed = false;
    run(() -> write(memfd, 0, SECRET));
    assertEquals(SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }
}
