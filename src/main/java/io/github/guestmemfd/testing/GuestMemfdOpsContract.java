package io.github.guestmemfd.testing;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.time.Duration;
import java.util.Queue;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;

/**
 * The rules for a client of a file, as tests for JUnit Jupiter. Extend this class, return your
 * {@link GuestMemfdOps}, say how your client uses a page, and run it.
 *
 * <pre>{@code
 * class MyClientTest extends GuestMemfdOpsContract {
 *   @Override
 *   protected GuestMemfdOps ops() {
 *     return new MyClient();
 *   }
 *
 *   @Override
 *   protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {
 *     ((MyClient) client).mapForTheGuest(memfd, offset); // grabs the folio, and keeps it
 *   }
 * }
 * }</pre>
 *
 * <p>The rules: the client drops its references on a range in {@code invalidateBegin} or {@code
 * invalidateEnd}, and all references in {@code release}; {@code invalidateEnd}, {@code freeFolio}
 * and {@code release} do not throw; the client can undo what it has prepared, content included; no
 * callback calls an operation that may wait. Each failure names the rule that is broken: NO_GRIP,
 * NO_THROW, UNDO, NO_WAIT or AGREEMENT.
 *
 * <p>The contract converts and punches parts of a file of four pages, accessible at first, with the
 * default protocol. The client is expected to agree. Needs junit-jupiter-api on the class path; the
 * library does not depend on it.
 */
public abstract class GuestMemfdOpsContract {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int PAGES = 4;
  private static final long SIZE = (long) PAGES * PAGE;
  private static final long STRESS_MILLIS = 300;

  /** For subclasses. */
  protected GuestMemfdOpsContract() {}

  /**
   * The client under test.
   *
   * @return a new client, for a new file
   */
  protected abstract GuestMemfdOps ops();

  /**
   * Makes the client take what it takes when its guest uses a page: for instance a folio, kept in a
   * page table. By default nothing.
   *
   * @param client what {@link #ops} returned
   * @param memfd the file, to grab the folio from
   * @param offset the first byte of the page
   */
  protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {}

  /**
   * The seed of {@link #stress}, which a failure names.
   *
   * @return a new seed each time by default; override this to reproduce a failure
   */
  protected long seed() {
    return ThreadLocalRandom.current().nextLong();
  }

  // ---- tests ----

  /** Punched folios are freed: the client does not keep them as orphans. */
  @Test
  public final void punchesLeaveNothingHeld() {
    try (Stage stage = new Stage();
        File file = new File(stage)) {
      file.useAll();
      file.run("punchHole of the two pages in the middle", () -> file.punch(1, 2));
      Rule.NO_GRIP.check(
          stage.host.used() == 2L * PAGE,
          "after a punch of two of four pages, "
              + stage.host.used() / PAGE
              + " pages are in use, expected 2: the client still holds what was punched");
      file.useAll();
      file.run("punchHole of everything", () -> file.punch(0, PAGES));
      Rule.NO_GRIP.check(
          stage.host.used() == 0, "the client still holds folios after a punch of the whole file");
    }
  }

  /** When a conversion, either way, is over, the client holds no reference. */
  @Test
  public final void conversionsLeaveNothingHeld() {
    for (boolean inaccessible : new boolean[] {true, false}) {
      try (Stage stage = new Stage();
          File file = new File(stage)) {
        if (!inaccessible) {
          file.run("makeInaccessible", () -> file.convert(0, PAGES, true));
        }
        file.useAll();
        String operation = inaccessible ? "makeInaccessible" : "makeAccessible";
        file.run(operation, () -> file.convert(0, PAGES, inaccessible));
        file.assertNothingHeld(operation);
      }
    }
  }

  /** When the file ends, the client drops everything that it holds. */
  @Test
  public final void releaseLetsGoOfEverything() {
    for (int inaccessible = 0; inaccessible <= PAGES; inaccessible += PAGES / 2) {
      try (Stage stage = new Stage();
          File file = new File(stage)) {
        if (inaccessible > 0) {
          int pages = inaccessible;
          file.run("makeInaccessible", () -> file.convert(0, pages, true));
        }
        file.useAll();
        file.end();
      }
    }
  }

  /** A folio that the host holds is freed after the file has ended, and the client is called. */
  @Test
  public final void orphansMayBeFreedAfterRelease() {
    try (Stage stage = new Stage();
        File file = new File(stage)) {
      file.useAll();
      HostReference reference = file.window.getUserPages(0, 8);
      file.close(PAGE);
      file.run(
          "the last put",
          () -> {
            reference.close();
            return Errno.OK;
          });
    }
  }

  /** If another party refuses a conversion, at any callback, the client undoes its part. */
  @Test
  public final void refusalsAreUndone() {
    for (boolean inaccessible : new boolean[] {true, false}) {
      boolean refused = true;
      for (int at = 0; refused; at++) {
        try (Stage stage = new Stage();
            File file = new File(stage)) {
          if (!inaccessible) {
            file.run("makeInaccessible", () -> file.convert(0, PAGES, true));
          }
          file.useAll();
          String story =
              (inaccessible ? "makeInaccessible" : "makeAccessible") + " refused at callback " + at;
          file.watched.refuseAt(at);
          refused = file.attempt(story, () -> file.convert(0, PAGES, inaccessible)) != Errno.OK;
          if (refused) {
            file.assertAccessible(inaccessible, story);
            file.assertContent(inaccessible, story);
            file.run("the same again", () -> file.convert(0, PAGES, inaccessible));
          }
          file.assertAccessible(!inaccessible, story);
        }
      }
    }
  }

  /**
   * Three threads use, convert and punch pages for some time; then the client holds nothing.
   *
   * @throws InterruptedException if the test is interrupted
   */
  @Test
  public final void stress() throws InterruptedException {
    long seed = seed();
    SplittableRandom seeds = new SplittableRandom(seed);
    try (Stage stage = new Stage();
        File file = new File(stage)) {
      for (int i = 0; i < 3; i++) {
        SplittableRandom random = seeds.split();
        stage.enter("thread " + i, Set.of(), self -> file.stress(random));
      }
      stage.letRace(STRESS_MILLIS);
      file.over = true;
      try {
        stage.clear();
      } finally {
        file.watched.assertNoProblem(); // it says more than what an operation threw
      }
      file.useAll();
      file.end();
    } catch (RuntimeException | AssertionError e) {
      throw new AssertionError("seed " + seed + "L: " + e.getMessage(), e);
    }
  }

  // ---- the file ----

  /** A file, its client, and a wrapper that checks the client's answers. */
  private final class File implements AutoCloseable {
    private final Stage stage;
    private final GuestMemfdOps client = ops();
    private final Probe probe = new Probe();
    final Watched watched = new Watched(client);
    private final GuestMemfd memfd;
    final HostMapping window;
    private volatile boolean over;
    private boolean closed;

    File(Stage stage) {
      this.stage = stage;
      memfd =
          GuestMemfd.builder(stage.host)
              .size(SIZE)
              .flags(MMAP, INIT_SHARED)
              .ops(watched)
              .protocol(probe)
              .retryPolicy(RetryPolicy.spinThenWait(64, Duration.ofMillis(100)))
              .build();
      window = memfd.mmap(0, SIZE, READ, WRITE);
      run(
          "first use",
          () -> {
            for (int i = 0; i < PAGES; i++) {
              window.putLong((long) i * PAGE, i + 1);
            }
            return Errno.OK;
          });
    }

    void useAll() {
      stage.run(
          "use",
          self -> {
            for (int i = 0; i < PAGES; i++) {
              use(client, memfd, (long) i * PAGE);
            }
          });
      watched.assertNoProblem();
    }

    Errno convert(int from, int pages, boolean inaccessible) {
      return inaccessible
          ? memfd.tryMakeInaccessible((long) from * PAGE, (long) pages * PAGE)
          : memfd.tryMakeAccessible((long) from * PAGE, (long) pages * PAGE);
    }

    Errno punch(int from, int pages) {
      memfd.punchHole((long) from * PAGE, (long) pages * PAGE);
      return Errno.OK;
    }

    /** Runs an operation, which must succeed. */
    void run(String story, Supplier<Errno> operation) {
      Errno errno = attempt(story, operation);
      if (errno == Errno.EAGAIN) {
        throw Rule.NO_GRIP.broken(
            story + " answered EAGAIN: the client holds an UNSAFE reference, expected SAFE ones");
      }
      Rule.AGREEMENT.check(errno == Errno.OK, story + " answered " + errno);
    }

    /** Runs an operation, which may be refused, but not because the client breaks a rule. */
    Errno attempt(String story, Supplier<Errno> operation) {
      Errno[] errno = {Errno.OK};
      Throwable thrown = null;
      try {
        stage.run(story, self -> errno[0] = operation.get());
      } catch (GuestMemfdException e) {
        errno[0] = e.errno();
      } catch (RuntimeException | AssertionError e) {
        thrown = e;
      }
      watched.assertNoProblem();
      if (thrown != null) {
        throw Rule.AGREEMENT.broken(story + " failed", thrown);
      }
      return errno[0];
    }

    /** Converts without calling the client, and asserts that only the page cache has references. */
    void assertNothingHeld(String story) {
      watched.muted = true;
      probe.clear();
      run("makeAccessible", () -> convert(0, PAGES, false));
      run("makeInaccessible after " + story, () -> convert(0, PAGES, true));
      Rule.NO_GRIP.check(
          probe.refs == 1 && probe.safe == 0,
          "after "
              + story
              + " a folio has "
              + (probe.refs - 1)
              + " references, "
              + probe.safe
              + " of them safe, expected none: the client still holds it");
      watched.muted = false;
    }

    void assertAccessible(boolean accessible, String story) {
      for (int i = 0; i < PAGES; i++) {
        Rule.UNDO.check(
            memfd.isAccessible((long) i * PAGE) == accessible,
            story + ": the attribute of page " + i + " is not " + accessible);
      }
    }

    void assertContent(boolean accessible, String story) {
      if (!accessible) {
        return; // the client decides what is in there
      }
      for (int i = 0; i < PAGES; i++) {
        long found = window.getLong((long) i * PAGE);
        Rule.UNDO.check(
            found == i + 1,
            story + ": expected content " + (i + 1) + " in page " + i + ", actual " + found);
      }
    }

    void stress(SplittableRandom random) {
      while (!over) {
        int from = random.nextInt(PAGES);
        int pages = 1 + random.nextInt(PAGES - from);
        try {
          switch (random.nextInt(4)) {
            case 0 -> convert(from, pages, true);
            case 1 -> convert(from, pages, false);
            case 2 -> punch(from, pages);
            default -> use(client, memfd, (long) from * PAGE);
          }
        } catch (GuestMemfdException e) {
          // refused: only what is left at the end counts
        }
      }
    }

    /** Closes the file, and asserts that nothing is left of it. */
    void end() {
      close(0);
    }

    void close(long expected) {
      closed = true;
      attempt(
          "close",
          () -> {
            window.close();
            memfd.close();
            return Errno.OK;
          });
      Rule.NO_GRIP.check(
          stage.host.used() == expected,
          stage.host.used() + " bytes are in use after release, expected " + expected);
    }

    @Override
    public void close() {
      if (!closed) {
        end();
      }
    }
  }

  // ---- watching ----

  /** Records the counts that conversions to inaccessible have seen. */
  private static final class Probe implements ConversionProtocol {
    volatile int refs;
    volatile int safe;

    void clear() {
      refs = 0;
      safe = 0;
    }

    @Override
    public String id() {
      return "probe";
    }

    @Override
    public boolean mayTurnInaccessible(int nowRefs, int nowSafe) {
      refs = Math.max(refs, nowRefs);
      safe = Math.max(safe, nowSafe);
      return nowRefs == nowSafe + 1;
    }
  }

  /** Forwards callbacks to the client, and checks its answers. */
  private static final class Watched implements GuestMemfdOps {
    private final GuestMemfdOps client;
    private final Queue<AssertionError> problems = new ConcurrentLinkedQueue<>();

    /** Whether callbacks are kept from the client. */
    volatile boolean muted;

    private int refuseAfter = -1;
    private boolean undoing;

    Watched(GuestMemfdOps client) {
      this.client = client;
    }

    /** Refuses once in place of the client, after the client has agreed that many times. */
    void refuseAt(int callback) {
      refuseAfter = callback;
      undoing = false;
    }

    void assertNoProblem() {
      AssertionError problem = problems.poll();
      if (problem != null) {
        problems.forEach(problem::addSuppressed);
        problems.clear();
        throw problem;
      }
    }

    private Errno ask(String callback, Supplier<Errno> question) {
      if (muted) {
        return Errno.OK;
      }
      Errno answer;
      try {
        answer = question.get();
      } catch (RuntimeException | Error e) {
        if (e instanceof GuestMemfdException refusal && refusal.errno() == Errno.EDEADLK) {
          problems.add(Rule.NO_WAIT.broken(callback + " threw", e));
        } else if (undoing) {
          problems.add(Rule.UNDO.broken(callback + " threw while a conversion was undone", e));
        }
        throw e;
      }
      if (answer == null) {
        problems.add(Rule.AGREEMENT.broken(callback + " answered null, expected an Errno"));
      } else if (answer == Errno.EDEADLK) {
        problems.add(Rule.NO_WAIT.broken(callback + " answered EDEADLK"));
      } else if (answer != Errno.OK && undoing) {
        problems.add(
            Rule.UNDO.broken(callback + " answered " + answer + " while a conversion was undone"));
      }
      if (answer == Errno.OK && refuseAfter >= 0 && refuseAfter-- == 0) {
        undoing = true;
        return refuse(callback);
      }
      return answer;
    }

    /** The client has agreed to this invalidation too, and so its end must be called. */
    private Errno refuse(String callback) {
      if (callback.equals("invalidateBegin")) {
        tell("invalidateEnd", () -> client.invalidateEnd(0, SIZE));
      }
      return Errno.ENOMEM;
    }

    private void tell(String callback, Runnable message) {
      if (muted) {
        return;
      }
      try {
        message.run();
      } catch (RuntimeException | Error e) {
        boolean waits =
            e instanceof GuestMemfdException refusal && refusal.errno() == Errno.EDEADLK;
        problems.add((waits ? Rule.NO_WAIT : Rule.NO_THROW).broken(callback + " threw", e));
        throw e;
      }
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      return ask("invalidateBegin", () -> client.invalidateBegin(offset, length));
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      undoing = false;
      tell("invalidateEnd", () -> client.invalidateEnd(offset, length));
    }

    @Override
    public Errno prepareAccessible(Folio folio) {
      return ask("prepareAccessible", () -> client.prepareAccessible(folio));
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      return ask("prepareInaccessible", () -> client.prepareInaccessible(folio));
    }

    @Override
    public void freeFolio(Folio folio) {
      tell("freeFolio", () -> client.freeFolio(folio));
    }

    @Override
    public void release() {
      tell("release", client::release);
    }
  }
}
