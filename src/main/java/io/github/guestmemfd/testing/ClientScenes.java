package io.github.guestmemfd.testing;

import static io.github.guestmemfd.testing.ClientFile.PAGES;
import static io.github.guestmemfd.testing.ClientFile.at;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import java.util.List;
import java.util.Set;

/** What the scenes of a client with its guest have in common. */
class ClientScenes {
  static final String ZAP =
      "zap the pages in invalidateBegin, wait there for the accesses under way, and drop what the"
          + " client keeps of a folio (its bytes, its frame number) with its reference";

  /** What a test does with pages. */
  record Operation(
      String name, boolean inaccessibleBefore, boolean isPunch, boolean toInaccessible) {
    Errno run(ClientFile file, int from, int pages) {
      return isPunch ? file.punch(from, pages) : file.convert(from, pages, toInaccessible);
    }

    String on(int from, int pages) {
      return name + " of pages " + from + " to " + (from + pages - 1);
    }
  }

  static final List<Operation> OPERATIONS =
      List.of(
          new Operation("punchHole (accessible)", false, true, false),
          new Operation("punchHole (inaccessible)", true, true, false),
          new Operation("makeInaccessible", false, false, true),
          new Operation("makeAccessible", true, false, false));

  final ClientHooks hooks;
  final Serving serving;

  ClientScenes(ClientHooks hooks) {
    this.hooks = hooks;
    this.serving = serving(hooks);
  }

  /** Something that is played on a stage. */
  @FunctionalInterface
  interface Scene {
    void play(Stage stage);
  }

  /**
   * Plays a scene on a host on which a page that turns inaccessible moves, so that a stale view of
   * it is seen. When its files are closed nothing is left.
   */
  static void play(Scene scene) {
    try (Stage stage = new Stage(HostMemory.Builder::poisonViews)) {
      scene.play(stage);
      Rule.NO_GRIP.check(
          stage.host.used() == 0,
          "all files are closed, and "
              + stage.host.used() / ClientFile.PAGE
              + " pages are still in use: the client has forgotten a reference, or drops it later."
              + " Each grab has its close: also where a fault tries again, finds the page mapped,"
              + " or fails; where several invalidations are under way; and of pages that were let"
              + " go of in parts");
    }
  }

  /** Which pages the client serves, in a file in which nothing has happened. */
  private static Serving serving(ClientHooks hooks) {
    boolean[] served = new boolean[2];
    play(
        stage -> {
          try (ClientFile file = new ClientFile(stage, hooks)) {
            file.use(at(1), "a new file");
            served[0] = file.access(at(1), old -> old, "a new file");
            file.run("makeInaccessible", () -> file.convert(0, PAGES, true));
            file.use(at(1), "a file that was converted");
            served[1] = file.access(at(1), old -> old, "a file that was converted");
          }
        });
    return new Serving(served[0], served[1]);
  }

  /** A file of four pages with content, of the attribute that an operation begins with. */
  ClientFile file(Stage stage, Operation operation) {
    return file(stage, operation.inaccessibleBefore);
  }

  ClientFile file(Stage stage, boolean inaccessible) {
    ClientFile file = new ClientFile(stage, hooks, serving, ClientFile.NEAR);
    file.fill();
    if (inaccessible) {
      file.run("makeInaccessible", () -> file.convert(0, PAGES, true));
    }
    return file;
  }

  /**
   * What must hold when everything is over: no orphan is held; another file takes the frames that
   * are free, and the guest does not reach them; and it can use every page again.
   */
  void settle(Stage stage, ClientFile file, String story) {
    file.watched.leaveEdges();
    file.watched.assertNoProblem();
    file.assertNoOrphans(story);
    try (Witness witness = new Witness(stage.host).takeAll()) {
      reach(file, witness, story);
    }
    for (int i = 0; i < PAGES; i++) {
      file.assertServed(at(i), "after " + story);
    }
  }

  /** The guest accesses all pages while another file has all frames that were free. */
  void reach(ClientFile file, Witness witness, String story) {
    for (int i = 0; i < PAGES; i++) {
      long written = file.freshToken();
      boolean done = file.access(at(i), old -> written, "after " + story);
      file.assertOfItsAttribute(at(i), done, "after " + story);
      witness.assertIntact("after " + story + ", page " + i + " was accessed by the guest", ZAP);
      Rule.FOLLOWS.check(
          !done || !file.memfd.holders(at(i)).isHole(),
          "after "
              + story
              + " the guest accesses page "
              + i
              + ", which its file does not have: "
              + ZAP);
      Rule.FOLLOWS.check(
          !done || Long.valueOf(written).equals(file.content(at(i))),
          "after "
              + story
              + " the guest writes to page "
              + i
              + ", and the page of the file does not have it: the guest still uses the frame that"
              + " was the page's before. "
              + ZAP);
    }
  }

  /** Joins turns of which none has thrown what is no refusal. */
  static void join(String story, ClientTurn... turns) {
    for (ClientTurn turn : turns) {
      turn.goOn();
    }
    for (ClientTurn turn : turns) {
      turn.join("in " + story);
    }
    for (ClientTurn turn : turns) {
      Throwable e = turn.mistake();
      if (e != null) {
        throw Rule.SERVES.broken(story + ": " + turn.story + " threw", e);
      }
    }
  }

  static final Set<Integer> NO_STOPS = Set.of();
}
