package io.github.guestmemfd.testing;

import static io.github.guestmemfd.testing.ClientFile.PAGES;
import static io.github.guestmemfd.testing.ClientFile.at;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Hex;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A client that passes its callbacks on to others, which refuse. */
final class ClientChain extends ClientScenes {

  /** A client that is passed callbacks. */
  private static final class Next implements GuestMemfdOps {
    private final String name;
    private final List<String> open = new ArrayList<>();
    private @Nullable String wrong;

    private final RefuseOnce answers = new RefuseOnce();
    private int prepared;
    private int madePrivate;
    private int madeShared;
    private int freed;
    private int releases;

    Next(String name) {
      this.name = name;
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      Errno errno = answers.answer();
      if (errno == Errno.OK) {
        open.add(Hex.range(offset, length));
      }
      return errno;
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      if (!open.remove(Hex.range(offset, length))) {
        wrong =
            name
                + " is told of the end of an invalidation"
                + Hex.range(offset, length)
                + " that it has not agreed to";
      }
    }

    @Override
    public Errno prepareAccessible(Folio folio) {
      prepared++;
      return Errno.OK;
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      prepared++;
      return answers.answer();
    }

    @Override
    public Errno makePrivate(Folio folio) {
      madePrivate++;
      return answers.answer();
    }

    @Override
    public void makeShared(Folio folio) {
      madeShared++;
    }

    @Override
    public void freeFolio(Folio folio) {
      freed++;
    }

    @Override
    public void release() {
      releases++;
    }

    void assertPaired(String story) {
      String mistake = wrong;
      if (mistake != null) {
        throw Rule.PASSES_ON.broken(story + ": " + mistake);
      }
      Rule.PASSES_ON.check(
          open.isEmpty(),
          story + ": " + name + " agreed to invalidations and is not told of their end: " + open);
    }
  }

  private final int clients;

  /** A chain that ends in so many clients. */
  ClientChain(ClientHooks hooks, int clients) {
    super(hooks);
    this.clients = clients;
  }

  /** Lets each of them refuse, each callback, and all of them at once; if there are so many. */
  void refusals() {
    for (int which = 0; which <= clients; which++) { // the last one: all of them
      for (boolean thrown : new boolean[] {false, true}) {
        boolean refused = true;
        for (int after = 0; refused; after++) {
          List<Next> next = next();
          GuestMemfdOps client = hooks.passingOn(ClientFile.NEAR, List.copyOf(next)).orElse(null);
          if (client == null) {
            return;
          }
          refused = refuse(next, client, which, after, thrown);
        }
      }
    }
  }

  /** Lets each of them refuse, and then throw, when a page is to be made private. */
  void refusedFaults() {
    for (int which = 0; which < clients; which++) {
      for (boolean thrown : new boolean[] {false, true}) {
        List<Next> next = next();
        GuestMemfdOps client = hooks.passingOn(ClientFile.NEAR, List.copyOf(next)).orElse(null);
        if (client == null) {
          return;
        }
        refuseFault(next.get(which), client, thrown);
      }
    }
  }

  private void refuseFault(Next refuser, GuestMemfdOps client, boolean thrown) {
    play(
        stage -> {
          try (ClientFile file = new ClientFile(stage, hooks, serving, ClientFile.NEAR, client)) {
            file.fill();
            file.run("makeInaccessible", () -> file.convert(0, PAGES, true));
            refuser.answers.refuse(0, thrown);
            Errno errno = file.attempt("a fault", () -> file.makePrivate(1));
            Rule.PASSES_ON.check(
                errno != Errno.OK, "makePrivate of " + refuser.name + ": its refusal is lost");
            file.run("a fault again", () -> file.makePrivate(1));
          }
        });
  }

  private List<Next> next() {
    List<Next> next = new ArrayList<>();
    for (int i = 0; i < clients; i++) {
      next.add(new Next("client " + (i + 1) + " of " + clients + " behind it"));
    }
    return next;
  }

  /** Lets them refuse once, and returns whether any did. */
  private boolean refuse(
      List<Next> next, GuestMemfdOps client, int which, int after, boolean thrown) {
    String who = which == clients ? "every client behind it" : "client " + (which + 1);
    String story =
        "makeInaccessible, of which "
            + who
            + (thrown ? " throws at" : " refuses")
            + " callback "
            + after;
    play(
        stage -> {
          try (ClientFile file = new ClientFile(stage, hooks, serving, ClientFile.NEAR, client)) {
            file.fill();
            file.useAll();
            for (int i = 0; i < clients; i++) {
              if (which == i || which == clients) {
                next.get(i).answers.refuse(after, thrown);
              }
            }
            convertAll(file, next, story);
            file.end();
          }
        });
    for (Next n : next) {
      told(n, n.prepared > 0, "prepareInaccessible");
      told(n, n.madePrivate > 0, "makePrivate");
      told(n, n.madeShared > 0, "makeShared");
      told(n, n.freed > 0, "freeFolio");
      told(n, n.releases == 1, "release (once)");
    }
    return refusals(next) > 0;
  }

  private static void convertAll(ClientFile file, List<Next> next, String story) {
    // Page 1 first, so that the conversion of all has two invalidations.
    Errno first = file.attempt(story, () -> file.convert(1, 1, true));
    answered(story, first, refusals(next) > 0);
    next.forEach(n -> n.assertPaired(story));
    int before = refusals(next);
    Errno all = file.attempt(story, () -> file.convert(0, PAGES, true));
    answered(story, all, refusals(next) > before);
    next.forEach(n -> n.assertPaired(story));
    next.forEach(n -> n.answers.refuse(-1, false));
    for (int i = 0; i < PAGES; i++) {
      file.assertServed(at(i), "after " + story);
    }
    file.run("makeInaccessible again", () -> file.convert(0, PAGES, true));
    file.run("punchHole of page 0", () -> file.punch(0, 1));
    next.forEach(n -> n.assertPaired(story));
    file.run("a fault on page 1", () -> file.makePrivate(1));
    file.run("makeAccessible", () -> file.convert(1, 1, false));
    next.forEach(n -> n.assertPaired(story));
  }

  private static void told(Next next, boolean holds, String callback) {
    Rule.PASSES_ON.check(holds, next.name + " was not told of " + callback);
  }

  private static int refusals(List<Next> next) {
    return next.stream().mapToInt(n -> n.answers.refusals()).sum();
  }

  private static void answered(String story, Errno errno, boolean refused) {
    Rule.PASSES_ON.check(
        !refused || errno != Errno.OK, story + ": the refusal is lost, the operation answered OK");
  }
}
