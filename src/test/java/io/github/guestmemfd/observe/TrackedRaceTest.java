package io.github.guestmemfd.observe;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Threads take, give back and convert, while others look who holds what. No holder is forgotten.
 */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class TrackedRaceTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int PAGES = 4;
  private static final List<HolderKind> KINDS = List.of(HolderKind.values());

  private final HostMemory host = HostMemory.builder(16L * PAGE).trackHolders().build();
  private final GuestMemfd memfd =
      GuestMemfd.builder(host)
          .size((long) PAGES * PAGE)
          .flags(MMAP, INIT_SHARED)
          .retryPolicy(RetryPolicy.completeLater())
          .build();
  private final HostMapping window = memfd.mmap(0, (long) PAGES * PAGE, READ, WRITE);

  private void holds(SplittableRandom random) {
    for (int i = 0; i < 2_000; i++) {
      long at = (long) random.nextInt(PAGES) * PAGE;
      switch (random.nextInt(5)) {
        case 0, 1 -> {
          HolderKind kind = KINDS.get(random.nextInt(KINDS.size()));
          int pfn = memfd.tryGrab(at, kind);
          if (pfn > 0) {
            memfd.put(pfn, kind);
          }
        }
        case 2 -> {
          try (HostReference pin = window.pin(at, PAGE)) {
            assertEquals(1, pin.pages());
          } catch (GuestMemfdException e) {
            assertEquals(Errno.EFAULT, e.errno());
          }
        }
        case 3 -> memfd.punchHole(at, PAGE);
        default -> {
          for (TrackedHolder holder : host.holders()) {
            assertTrue(holder.toString().contains("TrackedRaceTest.java:"), holder.toString());
          }
        }
      }
    }
  }

  private void converts(SplittableRandom random) {
    BusyFolio busy = new BusyFolio();
    for (int i = 0; i < 2_000; i++) {
      long at = (long) random.nextInt(PAGES) * PAGE;
      switch (random.nextInt(4)) {
        case 0 -> memfd.tryMakeInaccessible(at, PAGE, busy);
        case 1 -> memfd.tryMakeAccessible(at, PAGE);
        case 2 ->
            assertTrue(
                memfd.makeInaccessibleLater(at, PAGE).toString().startsWith("conversion of"));
        default -> memfd.holders(at);
      }
      for (TrackedHolder holder : busy.holders()) {
        assertTrue(holder.kind() != TrackedHolder.Kind.DESCRIPTOR, holder.toString());
      }
    }
  }

  @Test
  void whenAllIsQuietTheRestIsListedAndNothingElse() {
    List<CompletableFuture<Void>> threads = new ArrayList<>();
    SplittableRandom seeds = new SplittableRandom(20260805);
    for (int n = 0; n < 4; n++) {
      SplittableRandom random = seeds.split();
      boolean converter = n == 0;
      threads.add(
          CompletableFuture.runAsync(
              () -> {
                if (converter) {
                  converts(random);
                } else {
                  holds(random);
                }
              }));
    }
    threads.forEach(CompletableFuture::join);
    memfd.makeAccessible(0, (long) PAGES * PAGE); // undoes what is pending
    assertEquals(
        List.of(TrackedHolder.Kind.DESCRIPTOR, TrackedHolder.Kind.MAPPING),
        host.holders().stream().map(TrackedHolder::kind).toList(),
        host::dump);
    window.close();
    memfd.close();
    assertEquals(List.of(), host.holders());
    host.close();
  }
}
