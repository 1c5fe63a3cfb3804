package io.github.guestmemfd.explore;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.testing.Interleavings;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Of several calls for one frame one answers OK. */
class MemoryFailuresTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int BOUND = Integer.getInteger("explore.preemptions", 1);

  private static final class World {
    final HostMemory host = HostMemory.ofBytes(4L * PAGE);
    final GuestMemfd memfd =
        GuestMemfd.builder(host)
            .size(2L * PAGE)
            .flags(MMAP, INIT_SHARED)
            .retryPolicy(RetryPolicy.failAtOnce())
            .build();
    final HostMapping window = memfd.mmap(0, 2L * PAGE, Protection.READ, Protection.WRITE);
    final int pfn;
    final List<Errno> answers = Collections.synchronizedList(new ArrayList<>());

    World() {
      window.putLong(0, 1);
      try (HostReference reference = window.getUserPages(0, 8)) {
        pfn = reference.pfn(0);
      }
    }

    void fail() {
      answers.add(host.pfnWalker().memoryFailure(pfn));
    }

    void end() {
      long ok = answers.stream().filter(e -> e == Errno.OK).count();
      if (ok > 1 || (ok == 0 && !answers.contains(Errno.EINTR))) {
        throw new AssertionError("expected one OK, actual " + answers);
      }
      if (ok == 0) {
        fail(); // what was interrupted is tried again
        if (!answers.contains(Errno.OK)) {
          throw new AssertionError("none has answered OK: " + answers);
        }
      }
      window.close();
      if (memfd.isOpen()) {
        memfd.close();
      }
    }
  }

  private static Interleavings<World> two() {
    return Interleavings.of(World::new).thread("a", World::fail).thread("b", World::fail);
  }

  private static void explore(Interleavings<World> of) {
    assertThat(of.atEnd(World::end).maxPreemptions(BOUND).explore().complete()).isTrue();
  }

  @Test
  void alone() {
    explore(two());
  }

  @Test
  void withAPunch() {
    explore(two().thread("c", w -> w.memfd.punchHole(0, PAGE)));
  }

  @Test
  void withAThird() {
    explore(two().thread("c", World::fail));
  }

  @Test
  void withAMigration() {
    explore(two().thread("c", w -> w.host.pfnWalker().migrate(w.pfn)));
  }

  @Test
  void withAClose() {
    explore(
        two()
            .thread(
                "c",
                w -> {
                  w.window.close();
                  w.memfd.close();
                }));
  }

  @Test
  void withAnInterrupt() {
    explore(two().interrupt("a"));
  }
}
