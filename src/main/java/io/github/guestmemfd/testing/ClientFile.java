package io.github.guestmemfd.testing;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdListener;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.time.Duration;
import java.util.Set;
import java.util.function.LongUnaryOperator;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A file, its client, and a wrapper that checks the client's answers. What may hang if the client
 * is wrong runs on a thread of its own.
 */
final class ClientFile implements AutoCloseable {
  static final int PAGE = HostMemory.PAGE_SIZE;
  static final int PAGES = 4;

  /** Four pages at the start of a file, which are elsewhere in the guest. */
  static final GuestSlot NEAR = new GuestSlot(0x7_0000_5000L, 0, (long) PAGES * PAGE);

  private static final long FIRST_TOKEN = 0x1000;

  private final Stage stage;
  private final ClientHooks hooks;
  private final GuestMemfdOps client;
  private final Probe probe = new Probe();
  private final Serving serving;
  final ClientWatch watched;
  final GuestMemfd memfd;
  final HostMapping window;
  private long token = FIRST_TOKEN;
  private boolean closed;

  /** A file of four pages, accessible and in use. */
  ClientFile(Stage stage, ClientHooks hooks) {
    this(stage, hooks, Serving.NONE, NEAR);
    fill();
  }

  /** A file that ends with a slot and one page, and has no folios yet. */
  ClientFile(Stage stage, ClientHooks hooks, Serving serving, GuestSlot slot) {
    this(stage, hooks, serving, slot, hooks.ops(slot));
  }

  ClientFile(
      Stage stage, ClientHooks hooks, Serving serving, GuestSlot slot, GuestMemfdOps client) {
    this(stage, hooks, serving, slot, client, null);
  }

  ClientFile(
      Stage stage,
      ClientHooks hooks,
      Serving serving,
      GuestSlot slot,
      GuestMemfdOps client,
      @Nullable GuestMemfdListener listener) {
    this.stage = stage;
    this.hooks = hooks;
    this.serving = serving;
    this.client = client;
    watched = new ClientWatch(stage, client);
    long end = slot.offset() + slot.length();
    GuestMemfd.Builder builder =
        GuestMemfd.builder(stage.host)
            .size(slot.offset() == 0 ? end : end + PAGE)
            .flags(MMAP, INIT_SHARED)
            .ops(watched)
            .protocol(probe)
            .retryPolicy(RetryPolicy.spinThenWait(64, Duration.ofMillis(100)));
    memfd = (listener == null ? builder : builder.listener(listener)).build();
    window = memfd.mmap(0, memfd.size(), READ, WRITE);
  }

  /** Writes to each of the four pages its number, counted from 1, as the host. */
  void fill() {
    run(
        "first use",
        () -> {
          for (int i = 0; i < PAGES; i++) {
            window.putLong(at(i), i + 1L);
          }
          return Errno.OK;
        });
  }

  static long at(int page) {
    return (long) page * PAGE;
  }

  // ---- the content, by a reference of its own ----

  /** What is at the start of a page of the file; null if it has none. */
  @Nullable Long content(long offset) {
    if (memfd.holders(offset).isHole()) {
      return null;
    }
    try (Folio folio = memfd.grab(offset)) {
      return folio.buffer().getLong(0);
    }
  }

  /** Writes a number to the start and the end of a page. */
  void write(long offset, long number) {
    try (Folio folio = memfd.grab(offset)) {
      folio.buffer().putLong(0, number).putLong(PAGE - Long.BYTES, number);
    }
  }

  long freshToken() {
    return token++;
  }

  // ---- the guest ----

  /** Lets the guest use a page, on a thread of its own. */
  ClientTurn startUse(long offset, Set<Integer> stops) {
    String story = "a use of the page at offset " + Hex.of(offset);
    return new ClientTurn(
        stage,
        story,
        stops,
        self -> {
          hooks.use(client, memfd, offset);
          return true;
        });
  }

  /** Lets the guest access a page, on a thread of its own. */
  ClientTurn startAccess(long offset, LongUnaryOperator number) {
    String story = "an access of the guest to the page at offset " + Hex.of(offset);
    return new ClientTurn(
        stage, story, Set.of(), self -> hooks.access(client, memfd, offset, number));
  }

  /** Lets the guest access a page; it stands at {@link Party#HOLDING} in the middle of that. */
  ClientTurn startHeldAccess(long offset, LongUnaryOperator number) {
    return new ClientTurn(
        stage,
        "an access of the guest to the page at offset " + Hex.of(offset),
        Set.of(Party.AT_HOLDING),
        self ->
            hooks.access(
                client,
                memfd,
                offset,
                old -> {
                  self.reach(Party.HOLDING);
                  return number.applyAsLong(old);
                }));
  }

  /** Starts an operation, on a thread of its own; it is done if it has answered OK. */
  ClientTurn start(String story, Set<Integer> stops, Supplier<Errno> operation) {
    return new ClientTurn(stage, story, stops, self -> operation.get() == Errno.OK);
  }

  /** The guest uses a page, on the calling thread. */
  void useHere(long offset) {
    hooks.use(client, memfd, offset);
  }

  /** The guest accesses a page, on the calling thread. */
  boolean accessHere(long offset, LongUnaryOperator number) {
    return hooks.access(client, memfd, offset, number);
  }

  /** The guest uses a page while nothing else happens. */
  void use(long offset, String story) {
    ClientTurn use = startUse(offset, Set.of());
    use.join(story);
    watched.assertNoProblem();
    Throwable e = use.thrown();
    if (e != null) {
      throw Rule.SERVES.broken(story + ": " + use.story + " threw", e);
    }
  }

  /** The guest accesses a page while nothing else happens; it may be refused. */
  boolean access(long offset, LongUnaryOperator number, String story) {
    ClientTurn access = startAccess(offset, number);
    access.join(story);
    watched.assertNoProblem();
    Throwable e = access.mistake();
    if (e != null) {
      throw Rule.FOLLOWS.broken(story + ": " + access.story + " threw", e);
    }
    return access.isDone();
  }

  /** The guest uses a page and writes to it; the file has then what it wrote. */
  void assertServed(long offset, String story) {
    use(offset, story);
    assertFollowed(offset, story);
  }

  /** The guest writes to a page that it has used; the file has then what it wrote. */
  void assertFollowed(long offset, String story) {
    Long before = content(offset);
    long[] seen = {before == null ? 0 : before};
    long written = freshToken();
    boolean done =
        access(
            offset,
            old -> {
              seen[0] = old;
              return written;
            },
            story);
    assertOfItsAttribute(offset, done, story);
    if (!done) {
      Rule.SERVES.check(
          !serving.serves(memfd.isAccessible(offset)),
          story
              + ": the guest has used the page at offset "
              + Hex.of(offset)
              + ", and an access to it is answered false. Does the client look for it by another"
              + " number than it maps it by, or count an invalidation that is over, or a quota that"
              + " it has not given back?");
      return;
    }
    Long after = content(offset);
    if (after == null) {
      throw Rule.FOLLOWS.broken(
          story
              + ": the guest has accessed the page at offset "
              + Hex.of(offset)
              + ", and the file has no page there. Does the client grab by another offset than it"
              + " is asked for?");
    }
    Rule.FOLLOWS.check(
        (before == null || seen[0] == before) && after == written && !Witness.isFrom(seen[0]),
        story
            + ": the guest reads "
            + Hex.of(seen[0])
            + " from the page at offset "
            + Hex.of(offset)
            + " and writes "
            + Hex.of(written)
            + "; the file has "
            + (before == null ? "a hole" : Hex.of(before))
            + " there before and "
            + Hex.of(after)
            + " after. What the client has mapped is not the page that the file has at that offset"
            + " now");
  }

  /** A guest for pages of one attribute does not use those of the other. */
  void assertOfItsAttribute(long offset, boolean accessed, String story) {
    boolean accessible = memfd.isAccessible(offset);
    Rule.FOLLOWS.check(
        !accessed || serving.isNone() || serving.serves(accessible),
        story
            + ": the guest accesses the page at offset "
            + Hex.of(offset)
            + ", which is "
            + (accessible ? "" : "in")
            + "accessible. In a new file it does not: the page was mapped before it was converted,"
            + " and every conversion takes pages from the guest, either way");
  }

  void useAll() {
    useAll("before anything else has happened");
  }

  void useAll(String story) {
    for (int i = 0; i < PAGES; i++) {
      use(at(i), story);
    }
  }

  // ---- operations ----

  Errno convert(int from, int pages, boolean inaccessible) {
    return convertBytes(at(from), at(pages), inaccessible);
  }

  Errno convertBytes(long offset, long length, boolean inaccessible) {
    return inaccessible
        ? memfd.tryMakeInaccessible(offset, length)
        : memfd.tryMakeAccessible(offset, length);
  }

  /** What a fault of the guest on a private page does, of a kernel that converts in place. */
  Errno makePrivate(int page) {
    int pfn = memfd.tryGetPfn(at(page));
    return pfn > 0 ? Errno.OK : Errno.ofResult(pfn);
  }

  Errno punch(int from, int pages) {
    return punchBytes(at(from), at(pages));
  }

  Errno punchBytes(long offset, long length) {
    memfd.punchHole(offset, length);
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
    ClientTurn turn =
        new ClientTurn(
            stage,
            story,
            Set.of(),
            self -> {
              errno[0] = operation.get();
              return true;
            });
    turn.join("though no other thread uses the file");
    watched.assertNoProblem();
    Throwable thrown = turn.thrown();
    if (thrown instanceof GuestMemfdException e) {
      return e.errno();
    }
    if (thrown != null) {
      throw Rule.AGREEMENT.broken(story + " failed", thrown);
    }
    return errno[0];
  }

  // ---- what is held ----

  /** Fails if the client keeps a folio that has left the file. */
  void assertNoOrphans(String story) {
    long orphans = stage.host.used() / PAGE - memfd.cachedPages();
    Rule.NO_GRIP.check(
        orphans == 0,
        story
            + ": the client holds "
            + orphans
            + " pages that are not in the file any more. Either not all of the range was let go of"
            + " (its first page, its last, what the slot has of it) in time, or a page was got"
            + " before the invalidation and mapped after it: take the sequence number before the"
            + " grab, and look at it again, under the client's lock, where the page is mapped");
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

  /** Closes the file, and asserts that nothing is left of it. */
  void end() {
    close(0);
  }

  /** Closes the file, of which so many bytes must be left. */
  void close(long expected) {
    closeAnyhow();
    Rule.NO_GRIP.check(
        stage.host.used() == expected,
        stage.host.used() + " bytes are in use after release, expected " + expected);
  }

  /** Closes the file beside others. */
  void closeAnyhow() {
    closed = true;
    watched.leaveEdges();
    attempt(
        "close",
        () -> {
          window.close();
          memfd.close();
          return Errno.OK;
        });
  }

  @Override
  public void close() {
    if (!closed) {
      closeAnyhow();
    }
  }

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
}
