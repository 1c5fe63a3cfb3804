package io.github.guestmemfd.testing;

import static io.github.guestmemfd.testing.ClientFile.PAGE;
import static io.github.guestmemfd.testing.ClientFile.PAGES;
import static io.github.guestmemfd.testing.ClientFile.at;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.spi.Announce;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.LongUnaryOperator;
import org.junit.jupiter.api.Assumptions;
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
 *
 *   @Override
 *   protected boolean access(
 *       GuestMemfdOps client, GuestMemfd memfd, long offset, LongUnaryOperator number) {
 *     return ((MyClient) client).accessOfTheGuest(offset, number); // by what is mapped
 *   }
 * }
 * }</pre>
 *
 * <p>Each failure names the rule that is broken:
 *
 * <ul>
 *   <li>NO_GRIP: the client drops its references on a range in {@code invalidateBegin} or {@code
 *       invalidateEnd}, and all references in {@code release}.
 *   <li>STANDSTILL: when {@code invalidateBegin} has answered OK, no access of the guest to the
 *       range is under way, and none begins before {@code invalidateEnd}. Invalidations of several
 *       ranges may be under way at once.
 *   <li>FOLLOWS: the guest uses the page that the file has at that offset now. A frame that was
 *       freed may be another file's at once.
 *   <li>SERVES: while no operation on a page is under way the guest can use it, whatever was
 *       refused, interrupted or out of memory before, and however often.
 *   <li>NO_THROW: {@code invalidateEnd}, {@code makeShared}, {@code freeFolio} and {@code release}
 *       do not throw.
 *   <li>UNDO: the client can undo what it has prepared, content included.
 *   <li>NO_WAIT: no callback calls an operation that may wait for pages.
 *   <li>AGREEMENT: the client agrees, unless it is interrupted or an access of the guest is under
 *       way; to {@code makePrivate} of one page as often as it is asked.
 *   <li>PASSES_ON: a client with others behind it passes on all callbacks and every refusal, and
 *       ends exactly what was begun.
 *   <li>SCRUBS: what the client says that it scrubs, the host does not read.
 * </ul>
 *
 * <p>Two methods must be there, {@link #ops()} and {@link #use}; without {@link #use} only the
 * callbacks themselves are tested. {@link #access} adds the most: without it what the guest reads
 * and writes is not seen, and the tests that need it are reported as skipped. The others are for
 * what not all clients do: {@link #ops(GuestSlot)} for slots, {@link #passingOn} for clients in
 * front of others, {@link #scrubsSharedPages} and {@link #scrubsFreedFrames}, and {@link
 * #announcesItsSteps} for a run of every order.
 *
 * <p>The files are of four pages, accessible or inaccessible, and of more than 2^32 bytes, under
 * the default protocol. Threads are stopped at the race points of the library and at the edges of
 * the client's callbacks: what lies between two of them is run in one, unless the client announces
 * its own steps. Not found are mistakes that need weakly ordered memory (use jcstress), more than
 * two threads, or a state that the contract does not come to. Needs junit-jupiter-api on the class
 * path; the library does not depend on it.
 */
public abstract class GuestMemfdOpsContract {
  private static final long STRESS_MILLIS = 300;
  private static final String NO_ACCESS =
      "override access(), so that what the guest reads and writes is seen";

  private final ClientHooks hooks =
      new ClientHooks() {
        @Override
        public GuestMemfdOps ops(GuestSlot slot) {
          return GuestMemfdOpsContract.this.ops(slot);
        }

        @Override
        public Optional<GuestMemfdOps> passingOn(GuestSlot slot, List<GuestMemfdOps> next) {
          return GuestMemfdOpsContract.this.passingOn(slot, next);
        }

        @Override
        public void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {
          GuestMemfdOpsContract.this.use(client, memfd, offset);
        }

        @Override
        public boolean access(
            GuestMemfdOps client, GuestMemfd memfd, long offset, LongUnaryOperator number) {
          return GuestMemfdOpsContract.this.access(client, memfd, offset, number);
        }
      };

  /** For subclasses. */
  protected GuestMemfdOpsContract() {}

  // ---- the client ----

  /**
   * The client under test.
   *
   * @return a new client, for a new file
   */
  protected abstract GuestMemfdOps ops();

  /**
   * The client under test, whose guest has the pages of its file in a slot. By default {@link
   * #ops()}, for clients that know pages by their offsets alone.
   *
   * @param slot where they are; its guest address is never the offset
   * @return a new client, for a new file
   */
  protected GuestMemfdOps ops(GuestSlot slot) {
    return ops();
  }

  /**
   * The client under test in front of others: it passes every callback on to them. By default it
   * has none behind it, and there is nothing to pass on.
   *
   * @param slot as for {@link #ops(GuestSlot)}
   * @param next one client, or two
   * @return a new client, for a new file; empty if it passes nothing on, or not to so many
   */
  protected Optional<GuestMemfdOps> passingOn(GuestSlot slot, List<GuestMemfdOps> next) {
    return Optional.empty();
  }

  /**
   * Makes the client take what it takes when its guest uses a page: for instance a folio, kept in a
   * page table. By default nothing. Called by several threads.
   *
   * @param client what {@link #ops} returned
   * @param memfd the file, to grab the folio from
   * @param offset the first byte of the page
   */
  protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {}

  /**
   * Lets the guest access the first 8 bytes of a page, by what the client has mapped: reads the
   * number that is there, little-endian, calls {@code number} with it, and writes what that
   * returns. To the client this is one access: it is under way while {@code number} runs, as long
   * as that takes. A client whose accesses take one number only calls {@code number} between two of
   * them, and then the second must not be lost.
   *
   * <p>A page that is not mapped is mapped as for {@link #use}, or the answer is false. Called by
   * several threads.
   *
   * @param client what {@link #ops} returned
   * @param memfd the file
   * @param offset the first byte of the page
   * @param number makes the number to write of the one that was read
   * @return whether the guest has done it; by default, and where the page is not mapped or not of
   *     the attribute that the guest is for, false
   */
  protected boolean access(
      GuestMemfdOps client, GuestMemfd memfd, long offset, LongUnaryOperator number) {
    return false;
  }

  /**
   * Whether the client scrubs a page before the host can have it.
   *
   * @return true if nothing that the guest wrote may be in a page that was made accessible; false
   *     by default: a conversion keeps content
   */
  protected boolean scrubsSharedPages() {
    return false;
  }

  /**
   * Whether the client scrubs a frame before it is free.
   *
   * @return true if nothing that the guest wrote may be in a frame when {@code freeFolio} returns;
   *     false by default: the library zeroes a frame before it is used again, but until then the
   *     host's direct map may show it
   */
  protected boolean scrubsFreedFrames() {
    return false;
  }

  /**
   * Whether {@link Interleavings} may run the client: it announces its accesses to words that
   * threads share by {@link Announce}, or makes them under a lock that it does not hold while it
   * calls the library.
   *
   * @return true if so; false by default, and then the test of every order is reported as skipped
   */
  protected boolean announcesItsSteps() {
    return false;
  }

  /**
   * The seed of {@link #stress}, which a failure names.
   *
   * @return a new seed each time by default; override this to reproduce a failure
   */
  protected long seed() {
    return ThreadLocalRandom.current().nextLong();
  }

  // ---- references ----

  /** Punched folios are freed: the client does not keep them as orphans. */
  @Test
  public final void punchesLeaveNothingHeld() {
    try (Stage stage = new Stage();
        ClientFile file = new ClientFile(stage, hooks)) {
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
          ClientFile file = new ClientFile(stage, hooks)) {
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
          ClientFile file = new ClientFile(stage, hooks)) {
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
        ClientFile file = new ClientFile(stage, hooks)) {
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

  /**
   * A private page is made private at each fault of the guest, however often, and turns shared when
   * it is converted; then it can be made private again.
   */
  @Test
  public final void pagesAreMadePrivateAgain() {
    try (Stage stage = new Stage();
        ClientFile file = new ClientFile(stage, hooks)) {
      for (int round = 0; round < 2; round++) {
        file.run("makeInaccessible", () -> file.convert(0, PAGES, true));
        for (int fault = 0; fault < 3 * PAGES; fault++) {
          int page = fault % PAGES;
          file.run("fault " + fault + " on a private page", () -> file.makePrivate(page));
        }
        file.useAll();
        file.run("makeAccessible", () -> file.convert(0, PAGES, false));
        file.assertNothingHeld("makeAccessible");
        file.run("back", () -> file.convert(0, PAGES, false));
      }
      file.end();
    }
  }

  // ---- refusals ----

  /** If another party refuses a conversion, at any callback, the client undoes its part. */
  @Test
  public final void refusalsAreUndone() {
    for (boolean inaccessible : new boolean[] {true, false}) {
      boolean refused = true;
      for (int at = 0; refused; at++) {
        try (Stage stage = new Stage();
            ClientFile file = new ClientFile(stage, hooks)) {
          if (!inaccessible) {
            file.run("makeInaccessible", () -> file.convert(0, PAGES, true));
          }
          file.useAll();
          String story =
              (inaccessible ? "makeInaccessible" : "makeAccessible") + " refused at callback " + at;
          file.watched.refuseAt(at);
          refused = file.attempt(story, () -> file.convert(0, PAGES, inaccessible)) != Errno.OK;
          if (refused) {
            assertUndone(file, inaccessible, story);
            file.useAll("after " + story);
            file.run("the same again", () -> file.convert(0, PAGES, inaccessible));
          }
          assertAccessible(file, !inaccessible, story);
        }
      }
    }
  }

  private static void assertUndone(ClientFile file, boolean accessible, String story) {
    assertAccessible(file, accessible, story);
    for (int i = 0; accessible && i < PAGES; i++) { // or else the client decides what is in there
      long found = file.window.getLong(at(i));
      Rule.UNDO.check(
          found == i + 1,
          story + ": expected content " + (i + 1) + " in page " + i + ", actual " + found);
    }
  }

  private static void assertAccessible(ClientFile file, boolean accessible, String story) {
    for (int i = 0; i < PAGES; i++) {
      Rule.UNDO.check(
          file.memfd.isAccessible(at(i)) == accessible,
          story + ": the attribute of page " + i + " is not " + accessible);
    }
  }

  /** Callbacks call nothing that may wait, also if they do not look at what it answers. */
  @Test
  public final void callbacksDoNotWait() {
    new ClientCalls(hooks).callbacksDoNotWait();
  }

  /** A client in front of others passes on their refusals, and ends what has begun. */
  @Test
  public final void refusalsArePassedOn() {
    new ClientChain(hooks, 1).refusals();
    new ClientChain(hooks, 2).refusals();
    new ClientChain(hooks, 1).refusedFaults();
    new ClientChain(hooks, 2).refusedFaults();
  }

  // ---- the guest's pages ----

  /** The guest's addresses are not offsets, and offsets need more than 32 bits. */
  @Test
  public final void slotsMayBeFarAway() {
    ClientPlaces places = new ClientPlaces(hooks);
    places.aFarSlot(false);
    places.aFarSlot(true);
  }

  /** After a punch or a conversion the guest uses the pages that the file has then. */
  @Test
  public final void theGuestFollowsItsFile() {
    ClientPlaces places = new ClientPlaces(hooks);
    ClientScenes.OPERATIONS.forEach(places::conversions);
    ClientScenes.OPERATIONS.forEach(places::theSameVcpu);
  }

  /** The client uses no frame that has been freed: another file may have it at once. */
  @Test
  public final void framesAreUsedAgain() {
    ClientPlaces places = new ClientPlaces(hooks);
    places.framesAreUsedAgain(false);
    places.framesAreUsedAgain(true);
  }

  /** When the host is full, a use fails; when it is no more, uses succeed. */
  @Test
  public final void theHostMayBeFull() {
    new ClientPlaces(hooks).aFullHost();
  }

  /** What the guest does often does not add up. */
  @Test
  public final void usesDoNotAddUp() {
    new ClientPlaces(hooks).often();
  }

  /** Two files with a client each have nothing to do with each other. */
  @Test
  public final void filesAreIndependent() {
    new ClientPlaces(hooks).twoFiles();
  }

  /** The host does not find what the client says that it scrubs. */
  @Test
  public final void whatIsScrubbedIsGone() {
    ClientPlaces places = new ClientPlaces(hooks);
    if (scrubsSharedPages()) {
      places.sharedPagesAreScrubbed();
    }
    if (scrubsFreedFrames()) {
      places.freedFramesAreScrubbed();
    }
  }

  // ---- several threads ----

  /** A fault and an operation on its page, each stopped at each of its steps. */
  @Test
  public final void faultsMeetOperations() {
    ClientOrders orders = new ClientOrders(hooks);
    ClientScenes.OPERATIONS.forEach(orders::faultsAgainst);
  }

  /** A fault meets two operations at once; one that is interrupted leaves nothing. */
  @Test
  public final void faultsMeetTwoOperations() {
    ClientOrders orders = new ClientOrders(hooks);
    ClientScenes.OPERATIONS.forEach(orders::aFaultAndTwoInvalidations);
    ClientScenes.OPERATIONS.forEach(orders::anInterruptedFault);
  }

  /** Between begin and end the guest uses no page of the range. */
  @Test
  public final void theGuestStandsStill() {
    ClientOrders orders = orders();
    ClientScenes.OPERATIONS.forEach(orders::theGuestStandsStill);
    ClientScenes.OPERATIONS.forEach(orders::twoAtOnce);
  }

  /** An access that is under way is waited for, or the operation refused. */
  @Test
  public final void accessesUnderWayAreWaitedFor() {
    ClientOrders orders = orders();
    ClientScenes.OPERATIONS.forEach(operation -> orders.anAccessUnderWay(operation, false));
    ClientScenes.OPERATIONS.forEach(operation -> orders.anAccessUnderWay(operation, true));
  }

  private ClientOrders orders() {
    ClientOrders orders = new ClientOrders(hooks);
    Assumptions.assumeFalse(orders.serving.isNone(), NO_ACCESS);
    return orders;
  }

  /** Two of a fault, an access and a punch of its page, in every order of their steps. */
  @Test
  public final void everyOrderOfAFaultAndAPunch() {
    Assumptions.assumeTrue(
        announcesItsSteps(), "override announcesItsSteps(), if every order may be run");
    new ClientCalls(hooks).everyOrder();
  }

  /**
   * Three threads use, convert and punch pages for some time, while another file takes the frames
   * that are free; then the client holds nothing.
   *
   * @throws InterruptedException if the test is interrupted
   */
  @Test
  public final void stress() throws InterruptedException {
    long seed = seed();
    SplittableRandom seeds = new SplittableRandom(seed);
    try (Stage stage = new Stage();
        ClientFile file = new ClientFile(stage, hooks)) {
      Crowd crowd = new Crowd(file);
      for (int i = 0; i < 3; i++) {
        SplittableRandom random = seeds.split();
        stage.enter("thread " + i, Set.of(), self -> crowd.stress(random));
      }
      stage.enter("another file", Set.of(), self -> crowd.watch(stage));
      stage.letRace(STRESS_MILLIS);
      crowd.over = true;
      try {
        stage.clear();
      } finally {
        file.watched.assertNoProblem(); // it says more than what an operation threw
      }
      file.useAll("after a stress of three threads");
      file.end();
    } catch (RuntimeException | AssertionError e) {
      throw new AssertionError("seed " + seed + "L: " + e.getMessage(), e);
    }
  }

  /** The threads of {@link #stress}. */
  private static final class Crowd {
    private final ClientFile file;
    volatile boolean over;

    Crowd(ClientFile file) {
      this.file = file;
    }

    void stress(SplittableRandom random) {
      while (!over) {
        int from = random.nextInt(PAGES);
        int pages = 1 + random.nextInt(PAGES - from);
        try {
          switch (random.nextInt(5)) {
            case 0 -> file.convert(from, pages, true);
            case 1 -> file.convert(from, pages, false);
            case 2 -> file.punch(from, pages);
            case 3 -> file.accessHere(at(from), old -> old + 1);
            default -> file.useHere(at(from));
          }
        } catch (GuestMemfdException e) {
          // refused: only what is left at the end counts
        }
      }
    }

    void watch(Stage stage) {
      try (Witness witness = new Witness(stage.host)) {
        while (!over) {
          for (int page = 0; page < PAGES; page++) {
            witness.take(page);
          }
          witness.assertIntact("three threads use, convert and punch", ClientScenes.ZAP);
          for (int page = 0; page < PAGES; page++) {
            witness.giveBack(page);
          }
        }
      }
    }
  }
}
