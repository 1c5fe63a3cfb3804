package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Queue;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentLinkedQueue;

/**
 * Guests, host holders and a converter at random.
 *
 * <p>The checker does not use the counts. The converter is the only thread that changes pages, and
 * plays the guest in those that it has made inaccessible. It writes a secret there, which it erases
 * before it gives the page back, so that a host holder that ever reads one still has access to the
 * page. It writes a word that every host holder overwrites whenever it can. And it keeps track of a
 * third word, which no other thread writes.
 */
final class Stress {
  private static final int PAGES = 4;
  private static final long MILLIS = 700;
  private static final int CONVERSIONS = 200;

  private final Stage stage;
  private final ConversionProtocol protocol;
  private final SplittableRandom seeds;
  private final boolean mayRefuse;
  private final Queue<String> problems = new ConcurrentLinkedQueue<>();
  private volatile boolean over;

  /**
   * Prepares a run.
   *
   * @param mayRefuse whether guests that come and go may keep a conversion from succeeding
   */
  Stress(Stage stage, ConversionProtocol protocol, long seed, boolean mayRefuse) {
    this.stage = stage;
    this.protocol = protocol;
    this.seeds = new SplittableRandom(seed);
    this.mayRefuse = mayRefuse;
  }

  void run() throws InterruptedException {
    RetryPolicy policy = RetryPolicy.spinThenWait(64, Duration.ofMillis(1));
    try (Scene scene = new Scene(stage, protocol, policy, PAGES)) {
      enter("converter", random -> new Converter(scene, random).run());
      enter("host", random -> host(scene, random));
      enter("host", random -> host(scene, random));
      enter("guest", random -> guest(scene.memfd, random));
      stage.letRace(MILLIS);
      over = true;
      stage.clear();
    }
    if (!problems.isEmpty()) {
      throw Rule.SOUNDNESS.broken(String.join(", ", problems));
    }
    over = false;
    policy =
        mayRefuse
            ? protocol.retryPolicy()
            : RetryPolicy.spinThenWait(64, Duration.ofMillis(Stage.PATIENCE_MILLIS));
    try (Scene scene = new Scene(stage, protocol, policy, PAGES)) {
      enter("guest", random -> guest(scene.memfd, random));
      enter("guest", random -> guest(scene.memfd, random));
      stage.run("converter", self -> convert(scene.memfd, seeds.split()));
      over = true;
      stage.clear();
      Rule.COMPLETENESS.check(
          scene.memfd.tryMakeInaccessible(0, scene.memfd.size()) == Errno.OK,
          "a conversion is refused when the guests are gone");
    }
  }

  private interface Body {
    void run(SplittableRandom random);
  }

  private void enter(String name, Body body) {
    SplittableRandom random = seeds.split();
    stage.enter(name, Set.of(), self -> body.run(random));
  }

  /** Mostly a short wait, sometimes long enough for other threads to do a lot. */
  private void dawdle(SplittableRandom random) {
    int spins = random.nextInt(4) == 0 ? 1_000 : 50;
    for (int i = random.nextInt(spins); i > 0 && !over; i--) {
      Thread.onSpinWait();
    }
  }

  private static long page(SplittableRandom random) {
    return (long) random.nextInt(PAGES) * Scene.PAGE;
  }

  // ---- guests ----

  private void guest(GuestMemfd memfd, SplittableRandom random) {
    while (!over) {
      int pfn = memfd.tryGrab(page(random), HolderKind.SAFE);
      dawdle(random);
      Scene.letGo(() -> memfd.put(pfn, HolderKind.SAFE));
    }
  }

  // ---- host holders ----

  private void host(Scene scene, SplittableRandom random) {
    while (!over) {
      long offset = page(random);
      try {
        switch (random.nextInt(4)) {
          case 0 -> use(scene.window.getUserPages(offset, 16), random);
          case 1 -> use(scene.window.pin(offset, 16), random);
          case 2 -> {
            try (Folio folio = scene.memfd.grab(offset, HolderKind.UNSAFE)) {
              dawdle(random);
              intrude(folio.buffer());
            }
          }
          default -> {
            scene.window.putLong(offset + Scene.WRITE_AT, Scene.INTRUSION);
            seen(scene.window.getLong(offset + Scene.READ_AT));
          }
        }
      } catch (GuestMemfdException e) {
        if (e.errno() != Errno.EFAULT) {
          throw e;
        }
      }
    }
  }

  private void use(HostReference reference, SplittableRandom random) {
    try (reference) {
      dawdle(random);
      intrude(reference.buffer());
    }
  }

  private void intrude(ByteBuffer buffer) {
    buffer.putLong(Scene.WRITE_AT, Scene.INTRUSION);
    seen(buffer.getLong(Scene.READ_AT));
  }

  private void seen(long value) {
    if (value == Scene.SECRET) {
      problem("the host has read what the guest wrote to an inaccessible page");
    }
  }

  private void problem(String text) {
    if (problems.size() < 10) {
      problems.add(text);
    }
    over = true;
  }

  // ---- the converter ----

  private final class Converter {
    private final GuestMemfd memfd;
    private final SplittableRandom random;

    /** The third word of each page. */
    private final long[] expected = new long[PAGES];

    Converter(Scene scene, SplittableRandom random) {
      this.memfd = scene.memfd;
      this.random = random;
      expected[0] = Scene.CONTENT;
    }

    void run() {
      while (!over) {
        int from = random.nextInt(PAGES);
        int to = from + 1 + random.nextInt(PAGES - from);
        long offset = (long) from * Scene.PAGE;
        long length = (long) (to - from) * Scene.PAGE;
        Errno errno = memfd.tryMakeInaccessible(offset, length);
        if (errno == Errno.OK) {
          for (int i = from; i < to; i++) {
            begin(i);
          }
          dawdle(random);
          for (int i = from; i < to; i++) {
            end(i);
          }
          memfd.makeAccessible(offset, length);
        } else if (errno != Errno.EAGAIN) {
          problem("a conversion answered " + errno);
        } else {
          for (int i = from; i < to; i++) {
            if (!memfd.isAccessible((long) i * Scene.PAGE)) {
              problem("page " + i + " is inaccessible after a refusal");
            }
          }
        }
      }
    }

    private void begin(int page) {
      if (random.nextInt(8) == 0) {
        try {
          memfd.punchHole((long) page * Scene.PAGE, Scene.PAGE);
          expected[page] = 0;
        } catch (GuestMemfdException e) {
          if (e.errno() != Errno.EBUSY) {
            throw e;
          }
        }
      }
      try (Folio folio = memfd.grab((long) page * Scene.PAGE)) {
        ByteBuffer buffer = folio.buffer();
        check(buffer, page);
        expected[page] = random.nextLong();
        buffer
            .putLong(Scene.READ_AT, Scene.SECRET)
            .putLong(Scene.WRITE_AT, Scene.OWN)
            .putLong(Scene.CONTENT_AT, expected[page]);
      }
    }

    private void end(int page) {
      try (Folio folio = memfd.grab((long) page * Scene.PAGE)) {
        ByteBuffer buffer = folio.buffer();
        if (buffer.getLong(Scene.WRITE_AT) != Scene.OWN) {
          problem("the host has overwritten what the guest wrote to an inaccessible page");
        }
        check(buffer, page);
        buffer.putLong(Scene.READ_AT, 0);
      }
    }

    private void check(ByteBuffer buffer, int page) {
      long found = buffer.getLong(Scene.CONTENT_AT);
      if (found != expected[page]) {
        problem("page " + page + ": expected content " + expected[page] + ", actual " + found);
      }
    }
  }

  /** Once only guests are left, every conversion has to succeed. */
  private void convert(GuestMemfd memfd, SplittableRandom random) {
    for (int i = 0; i < CONVERSIONS; i++) {
      int from = random.nextInt(PAGES);
      long offset = (long) from * Scene.PAGE;
      long length = (1L + random.nextInt(PAGES - from)) * Scene.PAGE;
      Errno errno = memfd.tryMakeInaccessible(offset, length);
      Rule.COMPLETENESS.check(
          errno == Errno.OK || (mayRefuse && errno == Errno.EAGAIN),
          "with guests that come and go, conversion " + i + " answered " + errno);
      memfd.makeAccessible(offset, length);
    }
  }
}
