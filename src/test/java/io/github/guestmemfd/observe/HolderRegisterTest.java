package io.github.guestmemfd.observe;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A host that tracks its holders names them: kind, place, thread and line. */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class HolderRegisterTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private final HostMemory host = HostMemory.builder(64L * PAGE).trackHolders().build();

  @AfterEach
  void nobodyIsLeft() {
    assertEquals(List.of(), host.holders());
    host.close();
  }

  private GuestMemfd file(int pages, UnaryOperator<GuestMemfd.Builder> more) {
    return more.apply(
            GuestMemfd.builder(host)
                .size((long) pages * PAGE)
                .flags(MMAP, INIT_SHARED)
                .retryPolicy(RetryPolicy.failAtOnce()))
        .build();
  }

  private GuestMemfd file(int pages) {
    return file(pages, b -> b);
  }

  /** The line that calls this, as a holder taken on it names it. */
  private static String here() {
    StackTraceElement caller =
        StackWalker.getInstance()
            .walk(s -> s.skip(1).findFirst().orElseThrow())
            .toStackTraceElement();
    return "by " + Thread.currentThread().getName() + " at " + line(caller);
  }

  private static String line(StackTraceElement frame) {
    return frame.getFileName() + ":" + frame.getLineNumber();
  }

  private List<String> holders() {
    return host.holders().stream().map(TrackedHolder::toString).toList();
  }

  // ---- every kind is listed, and leaves ----

  @Test
  void everyKindIsListedWithTheLineThatTookItAndLeaves() {
    List<String> expected = new ArrayList<>();
    GuestMemfd memfd = file(4);
    expected.add("opened ");
    GuestMemfd dup = memfd.dup();
    expected.add("opened ");
    HostMapping window = memfd.mmap(PAGE, 3L * PAGE, READ, WRITE);
    expected.add("mapped at offsets 0x1000 to 0x4000 ");
    HostReference pin = window.pin(0, 1);
    expected.add("pinned at offset 0x1000 ");
    HostReference plain = window.getUserPages(PAGE + 8, PAGE);
    expected.add("referenced at offsets 0x2008 to 0x3008 ");
    Folio safe = memfd.grab(5);
    expected.add("grabbed as safe at offset 0x0 ");
    Folio unsafe = memfd.grab(0, HolderKind.UNSAFE);
    expected.add("grabbed as unsafe at offset 0x0 ");
    int pfn = memfd.tryGrab(PAGE + 5, HolderKind.ACCESSIBLE);
    expected.add("grabbed as accessible at offset 0x1000 ");
    List<TrackedHolder> all = host.holders();
    assertEquals(expected.size(), all.size(), () -> host.dump());
    for (int i = 0; i < all.size(); i++) {
      TrackedHolder holder = all.get(i);
      assertTrue(holder.toString().startsWith(expected.get(i)), holder.toString());
      assertEquals(Thread.currentThread().getName(), holder.threadName());
      assertEquals(memfd.stat().ino(), holder.ino());
      assertEquals(HolderRegisterTest.class.getName(), holder.site().getClassName());
      assertFalse(holder.stack().get(0).getClassName().endsWith("GuestMemfd"));
    }
    assertTrue(
        holders()
            .get(0)
            .endsWith(
                "by "
                    + Thread.currentThread().getName()
                    + " at "
                    + "HolderRegisterTest.java:"
                    + host.holders().get(0).site().getLineNumber()));

    memfd.put(pfn, HolderKind.ACCESSIBLE);
    unsafe.close();
    safe.close();
    plain.close();
    pin.close();
    window.close();
    dup.close();
    assertEquals(1, holders().size());
    memfd.close();
    memfd.close(); // nothing happens
  }

  @Test
  void theLineIsTheCallersAndNoOther() {
    try (GuestMemfd memfd = file(1)) {
      List<Folio> grabbed = new ArrayList<>();
      String line = here();
      grabbed.add(memfd.grab(0));
      String next = line.replaceAll("\\d+$", "") + (lineNumber(line) + 1);
      assertTrue(holders().get(1).endsWith(next), holders() + " and not " + next);
      grabbed.forEach(Folio::close);
    }
  }

  private static int lineNumber(String line) {
    return Integer.parseInt(line.substring(line.lastIndexOf(':') + 1));
  }

  /** A method of the library that something of the JDK calls: the line is who had it called. */
  @Test
  void theLineIsNotTheJdks() {
    try (GuestMemfd memfd = file(1)) {
      List<Folio> grabbed = List.of(0L).stream().map(memfd::grab).toList();
      assertEquals("HolderRegisterTest.java", host.holders().get(1).site().getFileName());
      grabbed.forEach(Folio::close);
    }
  }

  @Test
  void whatIsRefusedIsNotListed() {
    try (GuestMemfd memfd = file(2);
        HostMapping window = memfd.mmap(0, 2L * PAGE, READ)) {
      memfd.makeInaccessible(0, PAGE);
      List<String> before = holders();
      assertThrows(GuestMemfdException.class, () -> memfd.grab(0, HolderKind.UNSAFE));
      assertTrue(memfd.tryGrab(0, HolderKind.ACCESSIBLE) < 0);
      assertTrue(memfd.tryGrab(-1, HolderKind.SAFE) < 0);
      assertThrows(GuestMemfdException.class, () -> window.pin(0, 1));
      assertThrows(GuestMemfdException.class, () -> window.pinFully(PAGE, 2L * PAGE));
      assertThrows(GuestMemfdException.class, () -> memfd.mmap(1, 1));
      assertThrows(IllegalStateException.class, () -> memfd.put(1, HolderKind.UNSAFE));
      assertEquals(before, holders());
    }
  }

  /** What a callback is shown is no holder. */
  @Test
  void aFolioShownToACallbackIsNotListed() {
    List<Integer> seen = new ArrayList<>();
    GuestMemfdOps ops =
        new GuestMemfdOps() {
          @Override
          public Errno prepareAccessible(Folio folio) {
            seen.add(host.holders().size());
            return Errno.OK;
          }

          @Override
          public void freeFolio(Folio folio) {
            seen.add(host.holders().size());
          }
        };
    try (GuestMemfd memfd = file(1, b -> b.ops(ops))) {
      memfd.grab(0).close();
      memfd.punchHole(0, PAGE);
    }
    assertEquals(List.of(1, 1), seen);
  }

  /** A put names a kind; of several, the own thread's goes first. */
  @Test
  void aPutTakesTheOwnThreadsHolder() {
    try (GuestMemfd memfd = file(1)) {
      int mine = memfd.tryGrab(0, HolderKind.UNSAFE);
      int theirs = CompletableFuture.supplyAsync(() -> memfd.tryGrab(0, HolderKind.UNSAFE)).join();
      assertEquals(mine, theirs);
      memfd.put(mine, HolderKind.UNSAFE);
      TrackedHolder left = host.holders().get(1);
      assertFalse(left.threadName().equals(Thread.currentThread().getName()), left::toString);
      memfd.put(mine, HolderKind.UNSAFE); // by another thread than took it
      assertEquals(1, host.holders().size());
    }
  }

  /** A callback that throws when the last reference goes does not leave the holder behind. */
  @Test
  void aPutWhoseCallbackThrowsLeaves() {
    GuestMemfdOps ops =
        new GuestMemfdOps() {
          @Override
          public void freeFolio(Folio folio) {
            throw new IllegalStateException("by the test");
          }
        };
    GuestMemfd memfd = file(3, b -> b.ops(ops));
    HostMapping window = memfd.mmap(0, 3L * PAGE, READ, WRITE);
    int raw = memfd.tryGrab(0, HolderKind.UNSAFE);
    Folio folio = memfd.grab(PAGE);
    HostReference pin = window.pin(2L * PAGE, 1);
    memfd.punchHole(0, 3L * PAGE);
    assertThrows(IllegalStateException.class, () -> memfd.put(raw, HolderKind.UNSAFE));
    assertThrows(IllegalStateException.class, folio::close);
    assertThrows(IllegalStateException.class, pin::close);
    assertEquals(2, host.holders().size(), host::dump);
    window.close();
    memfd.close();
  }

  // ---- who is in the way ----

  @Test
  void aBlockedConversionNamesItsHolders() throws Exception {
    try (GuestMemfd memfd = file(4);
        HostMapping window = memfd.mmap(0, 4L * PAGE, READ, WRITE)) {
      CountDownLatch pinned = new CountDownLatch(1);
      CountDownLatch over = new CountDownLatch(1);
      Thread device =
          new Thread(
              () -> {
                try (HostReference pin = window.pin(PAGE, 2L * PAGE)) {
                  pinned.countDown();
                  over.await();
                  assertTrue(pin.isOpen());
                } catch (InterruptedException e) {
                  throw new AssertionError(e);
                }
              },
              "vcpu-0");
      device.start();
      pinned.await();
      Folio elsewhere = memfd.grab(3L * PAGE, HolderKind.UNSAFE);
      Folio safe = memfd.grab(PAGE);
      ConversionBlockedException e =
          assertThrows(
              ConversionBlockedException.class, () -> memfd.makeInaccessible(0, 4L * PAGE));
      assertTrue(
          e.getMessage()
              .matches(
                  "(?s).*busy folio at offset 0x1000 held by 0 unsafe, 1 pinned, 1 safe\n"
                      + "  pinned at offsets 0x1000 to 0x3000 by vcpu-0"
                      + " at HolderRegisterTest\\.java:\\d+\n"
                      + "  grabbed as safe at offset 0x1000 by .* at HolderRegisterTest\\.java:\\d+"),
          e.getMessage());
      assertEquals(2, e.busyFolio().holders().size());
      BusyFolio busy = new BusyFolio();
      memfd.tryMakeInaccessible(2L * PAGE, PAGE, busy);
      assertEquals(
          List.of(TrackedHolder.Kind.PIN), busy.holders().stream().map(h -> h.kind()).toList());
      safe.close();
      elsewhere.close();
      over.countDown();
      device.join();
      memfd.tryMakeInaccessible(0, 4L * PAGE, busy);
      assertEquals(List.of(), busy.holders());
    }
  }

  /** An orphan is held at the same offset, and does not block a conversion. */
  @Test
  void anOrphansHolderIsNotNamed() {
    try (GuestMemfd memfd = file(1);
        Folio orphan = memfd.grab(0, HolderKind.UNSAFE)) {
      memfd.punchHole(0, PAGE);
      try (Folio other = memfd.grab(0, HolderKind.ACCESSIBLE)) {
        BusyFolio busy = new BusyFolio();
        assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE, busy));
        assertEquals(
            List.of(TrackedHolder.Kind.ACCESSIBLE),
            busy.holders().stream().map(TrackedHolder::kind).toList());
        assertFalse(other.isOrphan());
      }
      assertTrue(orphan.isOrphan());
    }
  }

  @Test
  void aRefusedPunchNamesItsHolders() {
    ConversionProtocol waits =
        ConversionProtocol.all().stream()
            .filter(p -> !p.mayPunch(2, 1))
            .findFirst()
            .orElseThrow(() -> new AssertionError("no protocol has a punch wait"));
    try (GuestMemfd memfd = file(1, b -> b.protocol(waits));
        Folio safe = memfd.grab(0)) {
      GuestMemfdException e =
          assertThrows(GuestMemfdException.class, () -> memfd.punchHole(0, PAGE));
      assertEquals(Errno.EBUSY, e.errno());
      assertTrue(e.getMessage().contains("grabbed as safe at offset 0x0 by "), e.getMessage());
      assertFalse(safe.isOrphan());
    }
  }

  @Test
  void aHostThatIsClosedTooEarlyNamesWhatIsLeft() {
    GuestMemfd memfd = file(1);
    HostMapping window = memfd.mmap(0, PAGE, READ, WRITE);
    HostReference leaked = window.pin(0, 1);
    window.close();
    memfd.close();
    GuestMemfdException e = assertThrows(GuestMemfdException.class, host::close);
    assertEquals(Errno.EBUSY, e.errno());
    assertTrue(e.getMessage().contains("pinned at offset 0x0 by "), e.getMessage());
    assertTrue(
        e.getMessage()
            .contains("aHostThatIsClosedTooEarlyNamesWhatIsLeft(HolderRegisterTest.java:"),
        e.getMessage());
    leaked.close();
  }

  @Test
  void aPendingConversionIsListedAndNamesWhomItWaitsFor() {
    try (GuestMemfd memfd = file(2, b -> b.retryPolicy(RetryPolicy.completeLater()))) {
      Folio holder = memfd.grab(PAGE, HolderKind.UNSAFE);
      CompletableFuture<Void> later = memfd.makeInaccessibleLater(0, 2L * PAGE);
      assertEquals(
          EnumSet.of(
              TrackedHolder.Kind.DESCRIPTOR,
              TrackedHolder.Kind.UNSAFE,
              TrackedHolder.Kind.PENDING_CONVERSION),
          Set.copyOf(host.holders().stream().map(TrackedHolder::kind).toList()));
      assertTrue(
          later.toString().contains("pending, offset 0x1000: 0 mapped, 1 unsafe"),
          later.toString());
      assertTrue(
          later.toString().contains("\n  grabbed as unsafe at offset 0x1000 by "),
          later.toString());
      holder.close();
      later.join();
      assertTrue(later.toString().endsWith(": done"), later.toString());
      assertEquals(1, host.holders().size(), host::dump);
      memfd.makeAccessible(0, 2L * PAGE);

      Folio again = memfd.grab(PAGE, HolderKind.UNSAFE);
      CompletableFuture<Void> undone = memfd.makeInaccessibleLater(0, 2L * PAGE);
      memfd.punchHole(0, PAGE);
      assertThrows(CompletionException.class, undone::join);
      assertTrue(undone.toString().endsWith(": failed"), undone.toString());
      CompletableFuture<Void> cancelled = memfd.makeInaccessibleLater(0, 2L * PAGE);
      assertEquals(3, host.holders().size(), host::dump);
      cancelled.cancel(false);
      assertEquals(2, host.holders().size(), host::dump);
      again.close();
    }
  }

  /** What depends on the conversion that a put completes sees that the holder is gone. */
  @Test
  void whoLetsGoIsNotListedWhenTheConversionCompletes() {
    try (GuestMemfd memfd = file(3, b -> b.retryPolicy(RetryPolicy.completeLater()));
        HostMapping window = memfd.mmap(0, 3L * PAGE, READ, WRITE)) {
      int raw = memfd.tryGrab(0, HolderKind.UNSAFE);
      Folio folio = memfd.grab(PAGE, HolderKind.UNSAFE);
      HostReference pin = window.pin(2L * PAGE, 1);
      List<Runnable> puts =
          List.of(() -> memfd.put(raw, HolderKind.UNSAFE), folio::close, pin::close);
      for (int page = 0; page < 3; page++) {
        long offset = (long) page * PAGE;
        List<String> seen = new ArrayList<>();
        CompletableFuture<Void> seeing =
            memfd
                .makeInaccessibleLater(offset, PAGE)
                .thenRun(
                    () ->
                        host.holders().stream()
                            .filter(h -> h.offset() == offset)
                            .filter(h -> h.length() <= PAGE)
                            .forEach(h -> seen.add(h.toString())));
        puts.get(page).run();
        seeing.join();
        assertEquals(List.of(), seen);
      }
    }
  }

  /** Of a put and of a grab by what depends on it, it is the grab that is left. */
  @Test
  void whatIsGrabbedWhenAConversionCompletesIsWhatIsLeft() {
    try (GuestMemfd memfd = file(1, b -> b.retryPolicy(RetryPolicy.completeLater()))) {
      int raw = memfd.tryGrab(0, HolderKind.UNSAFE);
      List<Integer> again = new ArrayList<>();
      CompletableFuture<Void> grabbing =
          memfd
              .makeInaccessibleLater(0, PAGE)
              .thenRun(
                  () -> {
                    memfd.makeAccessible(0, PAGE);
                    again.add(memfd.tryGrab(0, HolderKind.UNSAFE));
                  });
      memfd.put(raw, HolderKind.UNSAFE);
      grabbing.join();
      assertEquals(List.of(raw), again);
      TrackedHolder left = host.holders().get(1);
      assertTrue(left.site().getMethodName().startsWith("lambda$"), host::dump);
      memfd.put(raw, HolderKind.UNSAFE);
    }
  }

  // ---- for people ----

  @Test
  void theDumpIsATreeOfFilesHoldersAndLines() {
    try (GuestMemfd one = file(1);
        GuestMemfd two = file(2);
        Folio folio = two.grab(PAGE)) {
      String[] lines = host.dump().split("\n");
      assertEquals(host.toString(), lines[0]);
      assertEquals("  " + one, lines[1]);
      assertTrue(lines[2].startsWith("    opened by "), lines[2]);
      assertTrue(lines[3].startsWith("      at "), lines[3]);
      int second = List.of(lines).indexOf("  " + two);
      assertTrue(second > 3, host::dump);
      assertTrue(host.dump().contains("\n    grabbed as safe at offset 0x1000 by "), host::dump);
      assertTrue(
          host.dump().contains("theDumpIsATreeOfFilesHoldersAndLines(HolderRegisterTest.java:"),
          host::dump);
      assertEquals(PAGE, folio.offset());
    }
  }

  @Test
  void aHostThatDoesNotTrackSaysHowTo() {
    try (HostMemory plain = HostMemory.ofBytes(PAGE);
        GuestMemfd memfd = GuestMemfd.builder(plain).size(PAGE).flags(MMAP, INIT_SHARED).build();
        Folio folio = memfd.grab(0, HolderKind.UNSAFE)) {
      assertThrows(IllegalStateException.class, plain::holders);
      assertTrue(plain.dump().contains("trackHolders()"), plain::dump);
      BusyFolio busy = new BusyFolio();
      memfd.tryMakeInaccessible(0, PAGE, busy);
      assertEquals(List.of(), busy.holders());
      assertEquals(0, busy.offset());
      assertFalse(folio.isOrphan());
    }
  }
}
