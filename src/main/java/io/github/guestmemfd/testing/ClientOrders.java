package io.github.guestmemfd.testing;

import static io.github.guestmemfd.testing.ClientFile.PAGES;
import static io.github.guestmemfd.testing.ClientFile.at;

import io.github.guestmemfd.abi.Errno;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** Faults, accesses and operations at the same time, each stopped at each of its steps. */
final class ClientOrders extends ClientScenes {
  private static final int TARGET = 1;

  ClientOrders(ClientHooks hooks) {
    super(hooks);
  }

  // ---- a fault and an operation ----

  /**
   * A fault stops at each of its steps, an operation at each of its own, and then first the fault
   * and then the operation comes to its end. (A fault that is stopped while a whole operation runs
   * is among these.)
   */
  void faultsAgainst(Operation operation) {
    play(
        stage -> {
          List<String> ofFault = stepsOfFault(stage, operation);
          List<String> ofOperation = stepsOfOperation(stage, operation);
          for (int fault = 0; fault < ofFault.size(); fault++) {
            for (int at = 0; at <= ofOperation.size(); at++) {
              meet(stage, operation, fault, ofFault, at, ofOperation);
              stage.clear();
            }
          }
        });
  }

  private List<String> stepsOfFault(Stage stage, Operation operation) {
    try (ClientFile file = file(stage, operation)) {
      return steps(file.startUse(at(TARGET), NO_STOPS));
    }
  }

  private List<String> stepsOfOperation(Stage stage, Operation operation) {
    try (ClientFile file = file(stage, operation)) {
      return steps(file.start(operation.name(), NO_STOPS, () -> operation.run(file, TARGET, 2)));
    }
  }

  private static List<String> steps(ClientTurn turn) {
    join("a run without others", turn);
    return turn.steps();
  }

  private void meet(
      Stage stage,
      Operation operation,
      int faultAt,
      List<String> ofFault,
      int operationAt,
      List<String> ofOperation) {
    boolean whole = operationAt == ofOperation.size();
    String name = operation.on(TARGET, 2);
    String story =
        "a use of page "
            + TARGET
            + " stood at "
            + ofFault.get(faultAt)
            + (whole
                ? " while " + name + " ran"
                : " and ran on while " + name + " stood at " + ofOperation.get(operationAt));
    try (ClientFile file = file(stage, operation)) {
      ClientTurn fault = file.startUse(at(TARGET), Set.of(faultAt)).awaitStill();
      Set<Integer> stops = whole ? NO_STOPS : Set.of(operationAt);
      ClientTurn running = file.start(name, stops, () -> operation.run(file, TARGET, 2));
      running.rests();
      fault.goOn();
      fault.rests();
      running.goOn();
      join(story, fault, running);
      settle(stage, file, story);
    }
  }

  // ---- the guest between begin and end ----

  /**
   * From the answer to invalidateBegin to invalidateEnd the guest does not use the range. Some
   * pages of it are as wanted already, so that a conversion has several invalidations, each of
   * which ends by itself.
   */
  void theGuestStandsStill(Operation operation) {
    theGuestStandsStill(operation, -1);
    for (int already = 0; !operation.isPunch() && already < PAGES - 1; already++) {
      theGuestStandsStill(operation, already); // a punch is told of its range in one
    }
  }

  private void theGuestStandsStill(Operation operation, int already) {
    play(
        stage -> {
          try (ClientFile file = file(stage, operation)) {
            if (already >= 0) {
              file.run("a first page", () -> operation.run(file, already, 1));
            }
            file.useAll();
            Intruder intruder = new Intruder(file);
            file.watched.afterBegin = intruder::begun;
            file.watched.beforeEnd = intruder::ending;
            String name = operation.on(0, PAGES);
            ClientTurn running = file.start(name, NO_STOPS, () -> operation.run(file, 0, PAGES));
            running.join("while the guest accesses the pages");
            intruder.joinAll(name);
            settle(stage, file, name);
          }
        });
  }

  /** Accesses pages in the middle of invalidations. */
  private static final class Intruder {
    private final ClientFile file;
    private final List<ClientTurn> accesses = new ArrayList<>();

    Intruder(ClientFile file) {
      this.file = file;
    }

    void begun(long offset, long length) {
      access(offset, "invalidateBegin has answered OK for it");
      access(offset + length - ClientFile.PAGE, "invalidateBegin has answered OK for it");
    }

    void ending(long offset, long length) {
      access(
          offset, "invalidateEnd is about to be called for it, perhaps after that of other ranges");
    }

    private void access(long offset, String when) {
      long written = file.freshToken();
      ClientTurn access = file.startAccess(offset, old -> written);
      accesses.add(access);
      boolean over = access.rests();
      standsStill(!over || !access.isDone(), offset, when);
    }

    void joinAll(String story) {
      join(story, accesses.toArray(new ClientTurn[0]));
    }
  }

  private static void standsStill(boolean holds, long offset, String when) {
    Rule.STANDSTILL.check(
        holds,
        "the guest accesses page "
            + offset / ClientFile.PAGE
            + " when "
            + when
            + ": pages are zapped in invalidateBegin, and none is mapped again before"
            + " invalidateEnd. Invalidations of other ranges may begin and end in between: count"
            + " them, a flag does not do");
  }

  /** Two invalidations of disjoint ranges overlap in time; the end of one is not the other's. */
  void twoAtOnce(Operation operation) {
    twoAtOnce(operation, true);
    twoAtOnce(operation, false);
  }

  private void twoAtOnce(Operation operation, boolean nested) {
    play(
        stage -> {
          try (ClientFile file = file(stage, operation)) {
            file.useAll();
            String first = operation.on(0, 2);
            String second = operation.on(2, 2);
            Set<Integer> stop = Set.of(step(stage, operation, "INVALIDATE_HAS_BEGUN"));
            Set<Long> begun = ConcurrentHashMap.newKeySet();
            file.watched.afterBegin = (offset, length) -> begun.add(offset);
            ClientTurn outer = file.start(first, stop, () -> operation.run(file, 0, 2));
            outer.rests();
            ClientTurn inner = file.start(second, stop, () -> operation.run(file, 2, 2));
            inner.rests();
            boolean both = begun.size() == 2; // or else the client lets one wait for the other
            ClientTurn ends = nested ? inner : outer;
            long held = at(nested ? 0 : 2);
            ends.goOn();
            ends.rests();
            ClientTurn access = file.startAccess(held, old -> old);
            boolean over = access.rests();
            if (both && ends.isOver()) {
              standsStill(
                  !over || !access.isDone(),
                  held,
                  "the invalidation of other pages has ended, and its own has not");
            }
            String story = first + " and " + second + ", of which one began and ended in between";
            join(story, access, outer, inner);
            settle(stage, file, story);
          }
        });
  }

  /** A fault that has its page meets two invalidations, of which the other one ends first. */
  void aFaultAndTwoInvalidations(Operation operation) {
    play(
        stage -> {
          int steps = stepsOfFault(stage, operation).size();
          int begun = step(stage, operation, "INVALIDATE_HAS_BEGUN");
          for (int at = 0; at < steps; at++) {
            try (ClientFile file = file(stage, operation)) {
              ClientTurn fault = file.startUse(at(2), Set.of(at)).awaitStill();
              Set<Integer> stop = Set.of(begun);
              ClientTurn other = file.start("other", stop, () -> operation.run(file, 0, 2));
              other.rests();
              ClientTurn own = file.start("own", stop, () -> operation.run(file, 2, 2));
              own.rests();
              other.goOn();
              other.rests();
              fault.goOn();
              fault.rests();
              own.goOn();
              String story =
                  "a use of page 2 stood at its step "
                      + at
                      + " while "
                      + operation.on(0, 2)
                      + " and "
                      + operation.on(2, 2)
                      + " began, and ran on when the first of them was over";
              join(story, fault, other, own);
              settle(stage, file, story);
            }
            stage.clear();
          }
        });
  }

  /** A fault that waits for an operation is interrupted, and leaves nothing behind. */
  void anInterruptedFault(Operation operation) {
    play(
        stage -> {
          try (ClientFile file = file(stage, operation)) {
            Set<Integer> stop = Set.of(step(stage, operation, "INVALIDATE_HAS_BEGUN"));
            String name = operation.on(TARGET, 2);
            ClientTurn running = file.start(name, stop, () -> operation.run(file, TARGET, 2));
            running.rests();
            ClientTurn fault = file.startUse(at(TARGET), NO_STOPS);
            fault.rests();
            fault.interrupt();
            fault.rests();
            running.goOn();
            String story = "a use of page " + TARGET + " that was interrupted during " + name;
            join(story, fault, running);
            settle(stage, file, story);
          }
        });
  }

  /** The number of a step of an operation on two pages. */
  private int step(Stage stage, Operation operation, String name) {
    int step = stepsOfOperation(stage, operation).indexOf(name);
    if (step < 0) {
      throw new AssertionError("no step " + name + " in " + operation);
    }
    return step;
  }

  // ---- an access under way ----

  /**
   * An access of the guest stands in its middle. An operation waits for it, or is refused; or what
   * the access does afterwards reaches the page that the file has then.
   */
  void anAccessUnderWay(Operation operation, boolean interrupted) {
    if (!serving.serves(!operation.inaccessibleBefore())) {
      return; // no access to be in the middle of
    }
    play(
        stage -> {
          try (ClientFile file = file(stage, operation)) {
            file.useAll();
            long written = file.freshToken();
            String name = operation.on(0, PAGES);
            String story =
                name
                    + (interrupted ? ", interrupted," : "")
                    + " while the guest is accessing page 2";
            ClientTurn access = file.startHeldAccess(at(2), old -> written).awaitStill();
            Errno[] answer = {Errno.OK};
            ClientTurn running =
                file.start(name, NO_STOPS, () -> answer[0] = operation.run(file, 0, PAGES));
            boolean over = running.rests();
            if (!over && interrupted) {
              running.interrupt();
              over = running.rests();
            }
            try (Witness witness = new Witness(stage.host)) {
              if (over) {
                witness.takeAll();
              }
              access.goOn();
              access.join("in " + story);
              witness.assertIntact(
                  story,
                  "invalidateBegin answers OK only when the accesses under way are over, or EINTR");
            }
            if (over && access.isDone()) {
              Long content = file.content(at(2));
              Rule.STANDSTILL.check(
                  Long.valueOf(written).equals(content),
                  story
                      + ": the operation is over"
                      + (running.isDone() ? "" : " (refused)")
                      + ", then the guest writes "
                      + written
                      + ", and the file has "
                      + content
                      + ": the access went on in the frame that was the page's before."
                      + " invalidateBegin answers OK only when the accesses under way are over, or"
                      + " EINTR");
            }
            join(story, access, running);
            file.watched.assertNoProblem();
            if (!running.isDone()) {
              contentIsThere(file, story, written);
              for (int i = 0; i < PAGES; i++) {
                file.assertServed(at(i), "after " + story);
              }
              file.run(name + " again", () -> operation.run(file, 0, PAGES));
            }
            settle(stage, file, story);
          }
        });
  }

  private static void contentIsThere(ClientFile file, String story, long written) {
    for (int i = 0; i < PAGES; i++) {
      Long content = file.content(at(i));
      Rule.UNDO.check(
          content != null && (content == i + 1L || content == written),
          story + ", refused: the content of page " + i + " is " + content);
    }
  }
}
