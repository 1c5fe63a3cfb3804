package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Meanwhile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/**
 * The JVM has no memory for a node of a tree: ENOMEM, which says so, and nothing is left behind.
 */
class NoMemoryTest extends HostFixture {
  private final OutOfMemoryError planned = new OutOfMemoryError("planned");

  /** The first node that the call makes cannot be had. */
  private GuestMemfdException withoutMemory(Executable call) {
    return withoutMemory(Object[].class, call);
  }

  /** The first leaf or node of a kind that the call makes cannot be had. */
  private GuestMemfdException withoutMemory(Class<?> nodes, Executable call) {
    GuestMemfdException[] thrown = new GuestMemfdException[1];
    Meanwhile.beforeWriteTo(
        nodes,
        1,
        () -> {
          throw planned;
        },
        () -> thrown[0] = refused(Errno.ENOMEM, call));
    assertSame(planned, rootOf(thrown[0]));
    assertTrue(
        thrown[0].getMessage().contains("the JVM, not the host, is out of memory"),
        thrown[0]::getMessage);
    return thrown[0];
  }

  private static Throwable rootOf(Throwable e) {
    Throwable root = e;
    while (root.getCause() != null) {
      root = root.getCause();
    }
    return root;
  }

  @Test
  void aPageIsNotFilled() throws Exception {
    GuestMemfd memfd = file(2);
    withoutMemory(() -> memfd.grab(0));
    assertEquals(0, host.used());
    assertEquals(0, memfd.cachedPages());
    memfd.grab(0).close();
    assertQuiet(memfd);
  }

  @Test
  void aRangeIsNotLocked() throws Exception {
    GuestMemfd memfd = file(2);
    withoutMemory(() -> memfd.makeInaccessible(0, PAGE));
    assertTrue(memfd.isAccessible(0));
    assertQuiet(memfd);
  }

  @Test
  void aPageIsNotMapped() throws Exception {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    memfd.allocate(0, PAGE);
    memfd.grab(0).close();
    withoutMemory(long[][].class, () -> window.getLong(0));
    assertEquals(0, memfd.holders(0).mapped());
    assertEquals(0, memfd.holders(0).unsafe(), "the reference is given back");
    assertEquals(0, window.getLong(0));
    assertQuiet(memfd);
  }

  /** The reason is forgotten by the next call. */
  @Test
  void anotherRefusalHasItsOwnReason() {
    GuestMemfd memfd = file(2);
    withoutMemory(() -> memfd.grab(0));
    GuestMemfdException e = refused(Errno.ENOMEM, () -> file(100).allocate(0, 100L * PAGE));
    assertTrue(e.getMessage().contains("expected more free memory"), e::getMessage);
    assertNotEquals(planned, e.getCause());
  }
}
