package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.InvalidationFilter;
import java.nio.ByteBuffer;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** Forwards callbacks to a client, and checks its answers. Its steps are those of a party. */
final class ClientWatch implements GuestMemfdOps {

  /** What a test does at an edge of an invalidation, on the thread of the operation. */
  @FunctionalInterface
  interface Edge {
    void at(long offset, long length);
  }

  private static final Edge NOTHING = (offset, length) -> {};

  private final Stage stage;
  private final GuestMemfdOps client;
  private final Queue<AssertionError> problems = new ConcurrentLinkedQueue<>();

  /** Whether callbacks are kept from the client. */
  volatile boolean muted;

  /** Run when the client has agreed to an invalidation. */
  volatile Edge afterBegin = NOTHING;

  /** Run when the client is about to be told of the end of one. */
  volatile Edge beforeEnd = NOTHING;

  /** Run when the client has returned from the end of one. */
  volatile Edge afterEnd = NOTHING;

  /** Looks at a frame that the client has been told is about to be free. */
  volatile Consumer<ByteBuffer> afterFree = frame -> {};

  private int refuseAfter = -1;
  private boolean undoing;

  ClientWatch(Stage stage, GuestMemfdOps client) {
    this.stage = stage;
    this.client = client;
  }

  /** Refuses once in place of the client, after the client has agreed that many times. */
  void refuseAt(int callback) {
    refuseAfter = callback;
    undoing = false;
  }

  /** Does nothing at the edges of invalidations any more. */
  void leaveEdges() {
    afterBegin = NOTHING;
    beforeEnd = NOTHING;
    afterEnd = NOTHING;
  }

  void assertNoProblem() {
    AssertionError problem = problems.poll();
    if (problem != null) {
      problems.forEach(problem::addSuppressed);
      problems.clear();
      throw problem;
    }
  }

  private @Nullable Errno ask(
      String callback, long offset, long length, Supplier<@Nullable Errno> question) {
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
      return refuse(callback, offset, length);
    }
    return answer;
  }

  /** The client has agreed to this invalidation too, and so its end must be called. */
  private Errno refuse(String callback, long offset, long length) {
    if (callback.equals("invalidateBegin")) {
      tell("invalidateEnd", () -> client.invalidateEnd(offset, length));
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
      boolean waits = e instanceof GuestMemfdException refusal && refusal.errno() == Errno.EDEADLK;
      problems.add((waits ? Rule.NO_WAIT : Rule.NO_THROW).broken(callback + " threw", e));
      throw e;
    }
  }

  private void edge(Runnable edge) {
    try {
      edge.run();
    } catch (AssertionError e) {
      problems.add(e); // and not an exception of the callback
    }
  }

  // A client may answer null, and then the library has to see it.
  @SuppressWarnings("NullAway")
  @Override
  public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
    Errno answer =
        ask(
            "invalidateBegin",
            offset,
            length,
            () -> client.invalidateBegin(offset, length, filter));
    if (answer == Errno.OK && !muted) {
      edge(() -> afterBegin.at(offset, length));
      stage.reach("INVALIDATE_HAS_BEGUN");
    }
    return answer;
  }

  @Override
  public void invalidateEnd(long offset, long length) {
    undoing = false;
    if (!muted) {
      stage.reach("INVALIDATE_IS_ABOUT_TO_END");
      edge(() -> beforeEnd.at(offset, length));
    }
    tell("invalidateEnd", () -> client.invalidateEnd(offset, length));
    if (!muted) {
      edge(() -> afterEnd.at(offset, length));
    }
  }

  @SuppressWarnings("NullAway") // as above
  @Override
  public Errno prepareAccessible(Folio folio) {
    return ask("prepareAccessible", 0, 0, () -> client.prepareAccessible(folio));
  }

  @SuppressWarnings("NullAway") // as above
  @Override
  public Errno prepareInaccessible(Folio folio) {
    return ask("prepareInaccessible", 0, 0, () -> client.prepareInaccessible(folio));
  }

  @SuppressWarnings("NullAway") // as above
  @Override
  public Errno makePrivate(Folio folio) {
    return ask("makePrivate", 0, 0, () -> client.makePrivate(folio));
  }

  @Override
  public void makeShared(Folio folio) {
    tell("makeShared", () -> client.makeShared(folio));
  }

  @Override
  public void freeFolio(Folio folio) {
    tell("freeFolio", () -> client.freeFolio(folio));
    if (!muted) {
      edge(() -> afterFree.accept(folio.buffer()));
    }
  }

  @Override
  public void release() {
    tell("release", client::release);
  }
}
