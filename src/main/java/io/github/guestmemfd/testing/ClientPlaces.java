package io.github.guestmemfd.testing;

import static io.github.guestmemfd.testing.ClientFile.PAGE;
import static io.github.guestmemfd.testing.ClientFile.PAGES;
import static io.github.guestmemfd.testing.ClientFile.at;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/** Where the guest's pages are: far slots, frames that are used again, a host that is full. */
final class ClientPlaces extends ClientScenes {
  /** More than any quota of a test's client. */
  private static final int MANY = 300;

  private static final long SECRET = 0x5EC2E7_5EC2E7L;

  ClientPlaces(ClientHooks hooks) {
    super(hooks);
  }

  // ---- far slots ----

  /** The guest address and the offset differ, and pages are 2^31 and 2^32 bytes apart. */
  void aFarSlot(boolean inaccessible) {
    long base = 0x1_8000_3000L;
    GuestSlot slot = new GuestSlot(0x3_4000_7000L, base, (1L << 32) + 4L * PAGE);
    long[] offsets = {
      base, base + PAGE, base + (1L << 31), base + (1L << 32), base + (1L << 32) + 3L * PAGE
    };
    play(
        stage -> {
          try (ClientFile file = new ClientFile(stage, hooks, serving, slot)) {
            String where = "in " + slot;
            if (inaccessible) {
              file.run("makeInaccessible", () -> file.convertBytes(0, file.memfd.size(), true));
            }
            List<Long> left = new ArrayList<>();
            for (long offset : offsets) {
              left.add(offset);
              file.assertServed(offset, where);
            }
            for (long offset : offsets) {
              file.assertServed(offset, where + ", after other pages of it have been used");
            }
            punchAlone(
                stage,
                file,
                left,
                base + (1L << 32),
                1,
                where); // the low bits are those of another
            punchAlone(stage, file, left, base + (1L << 31), 1, where);
            punchAlone(stage, file, left, base - PAGE, 2, where); // begins before the slot
            punchAlone(stage, file, left, base + (1L << 32) + 3L * PAGE, 2, where); // ends after it
            for (long offset : offsets) {
              file.assertServed(offset, where + ", after a punch");
            }
            file.run(
                "a conversion of a range of more than 2^32 bytes",
                () -> file.convertBytes(slot.offset(), slot.length(), !inaccessible));
            for (long offset : offsets) {
              file.assertServed(
                  offset, where + ", after a conversion of a range of more than 2^32 bytes");
            }
            punchAlone(stage, file, left, 0, (int) (file.memfd.size() / PAGE), where);
            file.end();
          }
        });
  }

  /** A punch takes the pages of its range from the guest, and no others. */
  private void punchAlone(
      Stage stage, ClientFile file, List<Long> left, long offset, int pages, String where) {
    long length = (long) pages * PAGE;
    String story = where + ", after punchHole" + Hex.range(offset, length);
    file.run("punchHole" + Hex.range(offset, length), () -> file.punchBytes(offset, length));
    List<Long> punched =
        left.stream().filter(page -> page >= offset && page - offset < length).toList();
    left.removeAll(punched);
    file.assertNoOrphans(story);
    for (long page : left) {
      file.assertFollowed(page, story);
    }
    try (Witness witness = new Witness(stage.host).takeAll()) {
      for (long page : punched) {
        long written = file.freshToken();
        boolean done = file.access(page, old -> written, story);
        witness.assertIntact(story, ZAP);
        Rule.FOLLOWS.check(
            !done || !file.memfd.holders(page).isHole(),
            story + " the guest accesses the page at offset " + Hex.of(page) + ". " + ZAP);
      }
    }
  }

  // ---- frames that are used again ----

  /** Another file takes the frames at once: before the end of the punch, and keeps them. */
  void framesAreUsedAgain(boolean inaccessible) {
    play(
        stage -> {
          try (ClientFile file = file(stage, inaccessible);
              Witness witness = new Witness(stage.host)) {
            file.useAll();
            String story = "a punch of pages 1 and 2, whose frames another file took at once";
            file.watched.beforeEnd =
                (offset, length) -> stage.run("another file", self -> witness.takeAll());
            file.run("punchHole of pages 1 and 2", () -> file.punch(1, 2));
            file.watched.leaveEdges();
            witness.assertIntact(story, ZAP);
            reach(file, witness, story);
            file.run("makeAccessible", () -> file.convert(0, PAGES, false));
            file.run("makeInaccessible", () -> file.convert(0, PAGES, true));
            reach(file, witness, story + ", and two conversions");
            file.closeAnyhow();
            witness.assertIntact(story + ", and the end of the file", ZAP);
          }
        });
  }

  /** What the guest had mapped before a conversion is not what it has after it. */
  void conversions(Operation operation) {
    conversions(operation, 0);
    conversions(operation, 1);
  }

  private void conversions(Operation operation, int first) {
    play(
        stage -> {
          try (ClientFile file = file(stage, operation)) {
            file.useAll();
            for (int i = 0; i < PAGES; i++) {
              file.assertFollowed(at(i), "a new file");
            }
            String name = operation.on(first, 2);
            file.run(name, () -> operation.run(file, first, 2));
            try (Witness witness = new Witness(stage.host).takeAll()) {
              reach(file, witness, name);
            }
            for (int i = 0; i < PAGES; i++) {
              file.assertServed(at(i), "after " + name);
            }
            settle(stage, file, name);
          }
        });
  }

  /** One vCPU has used a page before an operation, and does so after it. */
  void theSameVcpu(Operation operation) {
    play(
        stage -> {
          try (ClientFile file = file(stage, operation);
              Witness witness = new Witness(stage.host)) {
            String name = operation.on(0, PAGES);
            String story = "an access of a vCPU after " + name + ", before which it had one, too";
            long written = file.freshToken();
            ClientTurn vcpu =
                new ClientTurn(
                    stage,
                    story,
                    Set.of(Party.AT_HOLDING),
                    self -> {
                      file.useHere(at(1));
                      file.accessHere(at(1), old -> old);
                      self.reach(Party.HOLDING);
                      return file.accessHere(at(1), old -> written);
                    });
            vcpu.awaitStill();
            file.run(name, () -> operation.run(file, 0, PAGES));
            witness.takeAll();
            join(story, vcpu);
            witness.assertIntact(story, "flush what each vCPU remembers of its pages");
            Rule.FOLLOWS.check(
                !vcpu.isDone() || Long.valueOf(written).equals(file.content(at(1))),
                story
                    + ": what it writes is not in the file: flush what each vCPU remembers of its"
                    + " pages");
          }
        });
  }

  // ---- a host that is full, quotas ----

  /** A grab that fails maps nothing, and costs nothing. */
  void aFullHost() {
    play(
        stage -> {
          try (ClientFile file = file(stage, serving.inaccessible())) {
            file.useAll();
            file.run("punchHole of page 1", () -> file.punch(1, 1));
            try (Witness witness = new Witness(stage.host).takeAll()) {
              for (int i = 0; i < MANY; i++) {
                ClientTurn use = file.startUse(at(1), NO_STOPS);
                join("a use of a page while the host has no frame left (grab answers ENOMEM)", use);
                if (i == 0) {
                  String story = "a use of page 1, for which the host had no frame (ENOMEM)";
                  boolean done = file.access(at(1), old -> 7, story);
                  witness.assertIntact(story, "what a failed grab has answered is no frame");
                  Rule.FOLLOWS.check(
                      !done || !file.memfd.holders(at(1)).isHole(),
                      story
                          + ": the guest accesses it all the same. A grab that fails must leave"
                          + " nothing mapped");
                }
                stage.clear();
              }
            }
            String story =
                "after " + MANY + " uses failed for lack of memory, and there is memory again";
            for (int i = 0; i < PAGES; i++) {
              file.assertServed(at(i), story);
            }
          }
        });
  }

  /** Whatever the guest does often costs nothing in the end. */
  void often() {
    play(
        stage -> {
          try (ClientFile file = file(stage, serving.inaccessible())) {
            String story = "after " + MANY + " uses and punches of a page";
            file.watched.afterEnd =
                (offset, length) ->
                    file.assertNoOrphans(
                        "at the moment when invalidateEnd of a punch has returned");
            ClientTurn turn =
                file.start(
                    story,
                    NO_STOPS,
                    () -> {
                      for (int i = 0; i < MANY; i++) {
                        file.useHere(at(1));
                        file.memfd.punchHole(at(1), PAGE);
                      }
                      return Errno.OK;
                    });
            join(story, turn);
            refused(turn, story);
            file.assertServed(at(1), story);
            String again = "after " + MANY + " uses of a page that is mapped";
            ClientTurn uses =
                file.start(
                    again,
                    NO_STOPS,
                    () -> {
                      for (int i = 0; i < MANY; i++) {
                        file.useHere(at(1));
                      }
                      return Errno.OK;
                    });
            join(again, uses);
            refused(uses, again);
            for (int i = 0; i < PAGES; i++) {
              file.assertServed(at(i), again);
            }
            file.run("punchHole of everything", () -> file.punch(0, PAGES));
            file.assertNoOrphans(again);
            file.end();
          }
        });
  }

  private static void refused(ClientTurn turn, String story) {
    Throwable e = turn.thrown();
    if (e instanceof GuestMemfdException) {
      throw Rule.SERVES.broken(
          story + " the client refuses to use a page: does a quota count what was given back?", e);
    }
  }

  // ---- two files ----

  /** Each of two files with a client of its own is left alone by the other. */
  void twoFiles() {
    boolean inaccessible = serving.inaccessible();
    play(
        stage -> {
          try (ClientFile one = file(stage, inaccessible);
              ClientFile two = file(stage, inaccessible)) {
            one.useAll();
            two.useAll();
            String both = "of two files with a client each";
            checkBoth(one, two, both);
            one.run("punchHole of page 1 of one of two files", () -> one.punch(1, 1));
            checkBoth(one, two, both + ", of one of which page 1 was punched");
            two.run(
                "makeAccessible of one of two files", () -> two.convert(0, PAGES, !inaccessible));
            checkBoth(one, two, both + ", of one of which all pages were converted");
            ClientTurn[] inner = new ClientTurn[1];
            one.watched.afterBegin = (offset, length) -> inner[0] = two.startUse(at(1), NO_STOPS);
            one.run("punchHole of page 1", () -> one.punch(1, 1));
            one.watched.leaveEdges();
            ClientTurn use = inner[0];
            if (use != null) {
              join(both + ", of one of which page 1 was being punched", use);
            }
            checkBoth(one, two, both);
            one.closeAnyhow();
            for (int i = 0; i < PAGES; i++) {
              two.assertServed(at(i), both + ", of which the other has ended");
            }
            two.run("punchHole of everything", () -> two.punch(0, PAGES));
            two.assertNoOrphans(both + ", of which the other has ended");
            two.end();
          }
        });
  }

  private static void checkBoth(ClientFile one, ClientFile two, String story) {
    for (int i = 0; i < PAGES; i++) {
      one.assertServed(at(i), story);
      two.assertServed(at(i), story);
      one.assertFollowed(at(i), story);
    }
  }

  // ---- scrubbing ----

  /** The host finds nothing of the guest's in a page that was converted to be accessible. */
  void sharedPagesAreScrubbed() {
    try (Stage stage = new Stage();
        ClientFile file = file(stage, true)) {
      for (int i = 0; i < PAGES - 1; i++) { // the last page is there, and the guest has not used it
        file.use(at(i), "a page that is about to be shared");
      }
      for (int i = 0; i < PAGES; i++) {
        file.write(at(i), SECRET + i);
      }
      file.run("makeAccessible of page 0", () -> file.convert(0, 1, false));
      noSecret(file, 0);
      file.run("makeAccessible of all pages", () -> file.convert(0, PAGES, false));
      for (int i = 0; i < PAGES; i++) {
        noSecret(file, i);
      }
    }
  }

  private static void noSecret(ClientFile file, int page) {
    for (int at : new int[] {0, PAGE - Long.BYTES}) {
      long found = file.window.getLong(at(page) + at);
      Rule.SCRUBS.check(
          found != SECRET + page,
          "page "
              + page
              + " has become accessible, and the host reads at byte "
              + at
              + " what the guest wrote: scrub the whole page in prepareAccessible");
    }
  }

  /** A frame that a punch, or the end, frees has nothing of the guest's in it. */
  void freedFramesAreScrubbed() {
    try (Stage stage = new Stage();
        ClientFile file = file(stage, true)) {
      file.useAll();
      for (int i = 0; i < PAGES; i++) {
        file.write(at(i), SECRET + i);
      }
      file.watched.afterFree = ClientPlaces::noSecret;
      file.run("punchHole of pages 1 and 2", () -> file.punch(1, 2));
      file.closeAnyhow();
    }
  }

  private static void noSecret(ByteBuffer frame) {
    for (int at : new int[] {0, PAGE - Long.BYTES}) {
      long secret = frame.getLong(at) - SECRET;
      Rule.SCRUBS.check(
          secret < 0 || secret >= PAGES,
          "freeFolio has returned, and what the guest wrote to page "
              + secret
              + " is still at byte "
              + at
              + " of the frame: scrub the whole folio in freeFolio, also after release");
    }
  }
}
