package io.github.guestmemfd.testing;

import static io.github.guestmemfd.testing.ClientFile.PAGE;
import static io.github.guestmemfd.testing.ClientFile.PAGES;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdListener;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.jspecify.annotations.Nullable;

/** What a client calls: inside its callbacks, and step by step. */
final class ClientCalls extends ClientScenes {
  private static final int MAX_PREEMPTIONS = 2;
  private static final int MAX_ORDERS = 3000;

  ClientCalls(ClientHooks hooks) {
    super(hooks);
  }

  // ---- calls inside callbacks ----

  /** Hears what is answered EDEADLK. */
  private static final class Deadlocks implements GuestMemfdListener {
    private final Queue<String> calls = new ConcurrentLinkedQueue<>();

    private void heard(String call, boolean deadlock) {
      if (deadlock && GuestMemfd.isInsideCallback()) {
        calls.add(call + " inside " + GuestMemfd.currentCallback().orElse("a callback"));
      }
    }

    private static boolean isDeadlock(@Nullable RuntimeException failure) {
      return failure instanceof GuestMemfdException e && e.errno() == Errno.EDEADLK;
    }

    @Override
    public void convert(
        GuestMemfd memfd,
        boolean inaccessible,
        long offset,
        long length,
        @Nullable Errno errno,
        long busyOffset) {
      heard(inaccessible ? "makeInaccessible" : "makeAccessible", errno == Errno.EDEADLK);
    }

    @Override
    public void fallocate(
        GuestMemfd memfd, int mode, long offset, long length, @Nullable RuntimeException failure) {
      heard("fallocate", isDeadlock(failure));
    }
  }

  void callbacksDoNotWait() {
    Deadlocks heard = new Deadlocks();
    try (Stage stage = new Stage();
        ClientFile file =
            new ClientFile(
                stage, hooks, serving, ClientFile.NEAR, hooks.ops(ClientFile.NEAR), heard)) {
      file.fill();
      for (Operation operation : OPERATIONS) {
        file.useAll();
        file.run(operation.name(), () -> operation.run(file, 0, PAGES));
      }
    }
    String call = heard.calls.poll();
    if (call != null) {
      throw Rule.NO_WAIT.broken(call + " was answered EDEADLK, and the client took no notice");
    }
  }

  // ---- every order ----

  /** One page of a file that a guest may use, while it is punched and its frame used again. */
  private final class World {
    private final HostMemory host = HostMemory.ofBytes(PAGE);
    private final GuestMemfdOps client = hooks.ops(new GuestSlot(0x5000, 0, PAGE));
    private final GuestMemfd memfd =
        GuestMemfd.builder(host)
            .size(PAGE)
            .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
            .ops(client)
            .retryPolicy(RetryPolicy.failAtOnce())
            .build();
    private final Witness witness = new Witness(host);

    /** A page that is there, that the client serves, and that the guest uses already or not. */
    World(boolean used) {
      memfd.allocate(0, PAGE);
      if (!serving.accessible() && serving.inaccessible()) {
        memfd.makeInaccessible(0, PAGE);
      }
      if (used) {
        fault();
      }
    }

    void fault() {
      try {
        hooks.use(client, memfd, 0);
      } catch (GuestMemfdException e) {
        // refused: only what is left at the end counts
      }
    }

    boolean access() {
      try {
        return hooks.access(client, memfd, 0, old -> 7);
      } catch (GuestMemfdException e) {
        return false; // there is no frame for it
      }
    }

    /** After a use of the page, another one does no harm, and the guest can access it. */
    void goesOn() {
      hooks.use(client, memfd, 0);
      Rule.SERVES.check(
          access() || serving.isNone(), "the guest cannot access a page that it has used");
    }

    void punch() {
      memfd.punchHole(0, PAGE);
    }

    /** A punch, and another file that has the frame then. */
    void punchAndReuse() {
      punch();
      witness.take(0);
    }

    void end() {
      long others = host.used() / PAGE - memfd.cachedPages() - witness.pages();
      Rule.NO_GRIP.check(others == 0, "the client holds a page that is not in the file any more");
      witness.takeAll();
      boolean done = access();
      witness.assertIntact("a punch", ZAP);
      Rule.FOLLOWS.check(
          !done || !memfd.holders(0).isHole(), "the guest has a page mapped that is punched");
      witness.close();
      memfd.close();
      host.close();
    }
  }

  void everyOrder() {
    Interleavings<World> fault =
        Interleavings.of(() -> new World(false))
            .thread("fault", World::fault)
            .thread("punch", World::punch)
            .atEnd(World::end);
    everyOrder(
        fault,
        "a use of a page and a punch of it do not go together in this order. Take the sequence"
            + " number before the grab, and look at it again where the page is mapped, under one"
            + " lock with that");
    Interleavings<World> access =
        Interleavings.of(() -> new World(true))
            .thread("access", w -> w.access())
            .thread("punch", World::punchAndReuse)
            .atEnd(World::end);
    everyOrder(
        access,
        "an access of the guest and a punch of its page do not go together in this order. Announce"
            + " the access, and look at the entry again after that; in invalidateBegin take the"
            + " entry away, and wait for the accesses after that");
    Interleavings<World> uses =
        Interleavings.of(() -> new World(false))
            .thread("use", World::fault)
            .thread("access", w -> w.access())
            .atEnd(
                w -> {
                  w.goesOn();
                  w.end();
                });
    everyOrder(
        uses,
        "a use of a page by one vCPU and an access to it by another do not go together in this"
            + " order. Let the page be seen only when the guest may access it");
  }

  private static void everyOrder(Interleavings<World> scenario, String hint) {
    scenario
        .maxPreemptions(MAX_PREEMPTIONS)
        .maxOrders(MAX_ORDERS)
        .find()
        .counterexample()
        .ifPresent(
            table -> {
              throw Rule.FOLLOWS.broken(hint + "\n" + table);
            });
  }
}
