package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.Protection.READ;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.Worker;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Callbacks that call the library: what may wait is refused. */
class CallbackContextTest extends RaceFixture {
  /** Where the callback is called from. */
  enum When {
    BEGIN,
    END,
    PREPARE_INACCESSIBLE,
    PREPARE_ACCESSIBLE,
    FIRST_USE_ACCESSIBLE,
    FIRST_USE_INACCESSIBLE,
    FREE,
    PUNCH_BEGIN
  }

  private Runnable inside = () -> {};
  private int calls;

  private Errno run() {
    calls++;
    inside.run();
    return Errno.OK;
  }

  private GuestMemfdOps ops(When when) {
    return new GuestMemfdOps() {
      @Override
      public Errno invalidateBegin(long offset, long length) {
        return when == When.BEGIN || when == When.PUNCH_BEGIN ? run() : Errno.OK;
      }

      @Override
      public void invalidateEnd(long offset, long length) {
        if (when == When.END) {
          run();
        }
      }

      @Override
      public Errno prepareAccessible(Folio folio) {
        return when == When.PREPARE_ACCESSIBLE || when == When.FIRST_USE_ACCESSIBLE
            ? run()
            : Errno.OK;
      }

      @Override
      public Errno prepareInaccessible(Folio folio) {
        return when == When.PREPARE_INACCESSIBLE || when == When.FIRST_USE_INACCESSIBLE
            ? run()
            : Errno.OK;
      }

      @Override
      public void freeFolio(Folio folio) {
        if (when == When.FREE) {
          run();
        }
      }
    };
  }

  private void operate(When when, GuestMemfd memfd) {
    switch (when) {
      case BEGIN, END, PREPARE_INACCESSIBLE -> memfd.makeInaccessible(0, 2L * PAGE);
      case PREPARE_ACCESSIBLE -> memfd.makeAccessible(0, 2L * PAGE);
      case FIRST_USE_ACCESSIBLE, FIRST_USE_INACCESSIBLE -> memfd.grab(0).close();
      case FREE, PUNCH_BEGIN -> memfd.punchHole(0, PAGE);
    }
  }

  private void prepareFor(When when, GuestMemfd memfd) {
    switch (when) {
      case FIRST_USE_ACCESSIBLE -> memfd.allocate(0, PAGE);
      case FIRST_USE_INACCESSIBLE -> {
        memfd.makeInaccessible(0, PAGE);
        memfd.allocate(0, PAGE);
      }
      case PREPARE_ACCESSIBLE -> {
        memfd.grab(0).close();
        memfd.makeInaccessible(0, PAGE);
      }
      default -> memfd.grab(0).close();
    }
  }

  @ParameterizedTest
  @EnumSource(When.class)
  void nothingThatWaitsIsLetThrough(When when) throws Exception {
    GuestMemfd memfd = file(8, b -> b.ops(ops(when)));
    HostMapping window = map(memfd);
    prepareFor(when, memfd);
    Folio other = memfd.grab(5L * PAGE);
    GuestMemfd second = memfd.dup();
    HostMapping secondWindow = memfd.mmap(0, PAGE, READ);
    long cached = memfd.cachedPages();
    calls = 0;
    inside =
        () -> {
          inside = () -> {};
          refused(Errno.EDEADLK, () -> memfd.makeInaccessible(0, PAGE));
          refused(Errno.EDEADLK, () -> memfd.makeInaccessible(5L * PAGE, PAGE));
          refused(Errno.EDEADLK, () -> memfd.makeAccessible(0, PAGE));
          refused(Errno.EDEADLK, () -> memfd.punchHole(0, PAGE));
          refused(Errno.EDEADLK, () -> memfd.allocate(6L * PAGE, PAGE));
          refused(Errno.EDEADLK, () -> memfd.grab(0));
          refused(Errno.EDEADLK, () -> window.madvise(0, PAGE, Advice.DONTNEED));
          refused(Errno.EDEADLK, () -> window.madvise(0, PAGE, Advice.REMOVE));
          refused(Errno.EDEADLK, other::lock);
          second.close(); // waits for nothing
          refused(Errno.EDEADLK, secondWindow::close);
          if (when != When.FIRST_USE_INACCESSIBLE) { // there the access is a SIGBUS
            refused(Errno.EDEADLK, () -> window.putLong(0, 1));
            refused(Errno.EDEADLK, () -> window.get(0, new byte[8], 0, 8));
            refused(Errno.EDEADLK, () -> window.getUserPages(0, PAGE));
            refused(Errno.EDEADLK, () -> window.madvise(0, PAGE, Advice.POPULATE_READ));
          }
          // Questions are allowed, and so is the use of a page that is ready.
          assertTrue(memfd.isAccessible(5L * PAGE));
          assertEquals(cached, memfd.cachedPages() + (when == When.FREE ? 1 : 0));
          memfd.grab(5L * PAGE).close();
        };
    Worker.start(
            () -> {
              operate(when, memfd);
              return null;
            })
        .result();
    assertTrue(calls > 0, "the callback was not called");
    other.close();
    second.close();
    secondWindow.close();
    assertQuiet(memfd);
  }

  /** A first use that is refused must not leave a folio behind. */
  @ParameterizedTest
  @EnumSource(When.class)
  void aHoleStaysAHole(When when) throws Exception {
    GuestMemfd memfd = file(8, b -> b.ops(ops(when)));
    HostMapping window = map(memfd);
    prepareFor(when, memfd);
    calls = 0;
    inside =
        () -> {
          inside = () -> {};
          long cached = memfd.cachedPages();
          refused(Errno.EDEADLK, () -> memfd.grab(7L * PAGE));
          refused(Errno.EDEADLK, () -> window.putLong(6L * PAGE, 1));
          assertEquals(cached, memfd.cachedPages());
        };
    Worker.start(
            () -> {
              operate(when, memfd);
              return null;
            })
        .result();
    assertTrue(calls > 0, "the callback was not called");
    assertQuiet(memfd);
  }

  /** Dropping references is allowed, the last one of an orphan too. */
  @ParameterizedTest
  @EnumSource(When.class)
  void whatDoesNotWaitIsLetThrough(When when) throws Exception {
    GuestMemfd memfd = file(8, b -> b.ops(ops(when)));
    prepareFor(when, memfd);
    Folio orphan = memfd.grab(5L * PAGE);
    memfd.punchHole(5L * PAGE, PAGE);
    calls = 0;
    inside =
        () -> {
          inside = () -> {};
          orphan.close();
        };
    Worker.start(
            () -> {
              operate(when, memfd);
              return null;
            })
        .result();
    assertTrue(calls > 0, "the callback was not called");
    assertQuiet(memfd);
  }

  /** The last callback of all. The file is gone, and says so. */
  @Test
  void releaseCannotBringTheFileBack() throws Exception {
    List<String> seen = new ArrayList<>();
    GuestMemfd[] memfd = new GuestMemfd[1];
    memfd[0] =
        file(
            2,
            b ->
                b.ops(
                    new GuestMemfdOps() {
                      @Override
                      public void release() {
                        refused(Errno.EBADF, () -> memfd[0].makeInaccessible(0, PAGE));
                        refused(Errno.EBADF, () -> memfd[0].grab(0));
                        memfd[0].close(); // a second time, which does nothing
                        assertTrue(memfd[0].reopen().isEmpty());
                        seen.add("release");
                      }

                      @Override
                      public void freeFolio(Folio folio) {
                        seen.add("free");
                      }
                    }));
    memfd[0].allocate(0, 2L * PAGE);
    Worker.start(
            () -> {
              memfd[0].close();
              memfd[0].close();
              return null;
            })
        .result();
    assertEquals(List.of("release", "free", "free"), seen);
  }
}
