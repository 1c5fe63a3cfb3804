package io.github.guestmemfd.testing;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;

/** A file on a stage, a mapping of all of it, and the holders that meet on its first page. */
final class Scene implements AutoCloseable {
  static final int PAGE = HostMemory.PAGE_SIZE;

  /** The value that the guest writes where the host must not read. */
  static final long SECRET = 0x5EC2E7_5EC2E7L;

  /** The value that the guest writes where the host must not write. */
  static final long OWN = 0x6E57_6E57L;

  /** The value that a host holder writes whenever it can. */
  static final long INTRUSION = 0xBADBADL;

  /** The value that is in the page from the beginning, and stays there. */
  static final long CONTENT = 0xC0_FFEEL;

  /**
   * Offset in the page of {@code SECRET}; the next two are those of {@code OWN} and {@code
   * CONTENT}.
   */
  static final int READ_AT = 0;

  static final int WRITE_AT = 8;
  static final int CONTENT_AT = 16;

  /** The ways in which the host accesses a page. */
  enum Host {
    PLAIN("a plain reference (GUP)") {
      @Override
      void act(Scene scene, Party self) {
        scene.use(scene.window.getUserPages(0, 16), self);
      }
    },
    PIN("a pin") {
      @Override
      void act(Scene scene, Party self) {
        scene.use(scene.window.pin(0, 16), self);
      }
    },
    GRAB("an UNSAFE grab") {
      @Override
      void act(Scene scene, Party self) {
        try (Folio folio = scene.memfd.grab(0, HolderKind.UNSAFE)) {
          self.reach(Party.HOLDING);
          scene.intrude(folio.buffer());
        }
      }
    },
    ACCESS("an access through a mapping") {
      @Override
      void act(Scene scene, Party self) {
        scene.window.putLong(WRITE_AT, INTRUSION);
        scene.seen(scene.window.getLong(READ_AT));
      }
    },
    BULK("a bulk access through a mapping") {
      @Override
      void act(Scene scene, Party self) {
        byte[] bytes = new byte[2 * Long.BYTES];
        ByteBuffer view = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        view.putLong(WRITE_AT, INTRUSION);
        scene.window.put(READ_AT, bytes, 0, bytes.length);
        scene.window.get(READ_AT, bytes, 0, bytes.length);
        scene.seen(view.getLong(READ_AT));
      }
    };

    final String text;

    Host(String text) {
      this.text = text;
    }

    abstract void act(Scene scene, Party self);
  }

  final Stage stage;
  final Asked protocol;
  final GuestMemfd memfd;
  final HostMapping window;
  private final Queue<String> leaks = new ConcurrentLinkedQueue<>();
  private final List<Party> guests = new ArrayList<>();
  private final List<Party> hosts = new ArrayList<>();

  /** The bytes in use when everything is closed; more than 0 if orphans are still held. */
  private long usedAtTheEnd;

  Scene(Stage stage, ConversionProtocol protocol, RetryPolicy policy, int pages) {
    this(stage, protocol, policy, pages, GuestMemfdOps.NONE);
  }

  Scene(
      Stage stage, ConversionProtocol protocol, RetryPolicy policy, int pages, GuestMemfdOps ops) {
    this.stage = stage;
    this.protocol = new Asked(protocol);
    memfd =
        GuestMemfd.builder(stage.host)
            .size((long) pages * PAGE)
            .flags(MMAP, INIT_SHARED, NO_DIRECT_MAP)
            .protocol(this.protocol)
            .retryPolicy(policy)
            .ops(ops)
            .build();
    window = memfd.mmap(0, memfd.size(), READ, WRITE);
    window.putLong(CONTENT_AT, CONTENT);
  }

  // ---- who takes part ----

  /**
   * The act of a guest: takes the folio, holds it, and drops it. The content does not change while
   * it is held.
   */
  void guestAct(Party self) {
    Folio folio = memfd.grab(0);
    try {
      long before = folio.buffer().getLong(CONTENT_AT);
      self.reach(Party.HOLDING);
      long after = folio.buffer().getLong(CONTENT_AT);
      Rule.NOTHING_LOST.check(
          before == after, "a guest-side holder saw " + before + ", and then " + after);
    } finally {
      letGo(folio::close);
    }
  }

  /** Drops what a guest holds. */
  static void letGo(Runnable put) {
    try {
      put.run();
    } catch (IllegalStateException e) {
      throw Rule.STEPS.broken("a guest-side holder cannot give back what it has taken", e);
    }
  }

  /** The act of a host holder; it may be refused. */
  void hostAct(Host host, Party self) {
    try {
      host.act(this, self);
    } catch (GuestMemfdException e) {
      if (e.errno() != Errno.EFAULT) {
        throw e;
      }
    }
  }

  /** Starts a guest, and returns when it is at its first stop or cannot get there. */
  Party guest(Integer... stops) {
    Party party = stage.enter("guest-side holder", Set.of(stops), this::guestAct);
    guests.add(party);
    return party.awaitStill();
  }

  /** Starts a host holder, and returns when it is at its stop or cannot get there. */
  Party host(Host host, Integer... stops) {
    Party party = stage.enter(host.text, Set.of(stops), self -> hostAct(host, self));
    hosts.add(party);
    return party.awaitStill();
  }

  private void use(HostReference reference, Party self) {
    try (reference) {
      self.reach(Party.HOLDING);
      intrude(reference.buffer());
    }
  }

  private void intrude(ByteBuffer buffer) {
    buffer.putLong(WRITE_AT, INTRUSION);
    seen(buffer.getLong(READ_AT));
  }

  private void seen(long value) {
    if (value == SECRET) {
      leaks.add("the host reads what the guest wrote");
    }
  }

  // ---- conversions ----

  /** A conversion of the first page to inaccessible, by a thread of its own. */
  final class Conversion {
    private final BusyFolio busy = new BusyFolio();
    private final Party party;
    private volatile Errno errno = Errno.ECANCELED;
    private boolean waited;

    private Conversion(Integer... stops) {
      party = stage.enter("conversion", Set.of(stops), self -> run(), this::makeWay);
    }

    private void run() {
      errno = memfd.tryMakeInaccessible(0, PAGE, busy);
    }

    /**
     * Called when the conversion has to wait: lets the holders that block it go on, first the
     * guests and, when that is not enough, the host holders.
     */
    private void makeWay() {
      if (!waited) {
        waited = true;
        guests.forEach(Party::goOn);
      } else if (guests.stream().allMatch(Party::isStill)) {
        hosts.forEach(Party::goAway);
      }
    }

    Party party() {
      return party;
    }

    Errno result() {
      party.join();
      return errno;
    }

    @Override
    public String toString() {
      return errno + ", " + busy + "; " + protocol.last();
    }
  }

  Conversion convert(Integer... stops) {
    return new Conversion(stops);
  }

  /**
   * Punches the first page; the guests go on if it has to wait. Returns false if the page is busy.
   */
  boolean punch() {
    boolean[] done = new boolean[1];
    stage
        .enter(
            "punch",
            Set.of(),
            self -> {
              try {
                memfd.punchHole(0, PAGE);
                done[0] = true;
              } catch (GuestMemfdException e) {
                if (e.errno() != Errno.EBUSY) {
                  throw e;
                }
              }
            },
            () -> guests.forEach(Party::goOn))
        .join();
    return done[0];
  }

  /** Sets the bytes that orphans still use when this is closed. */
  void endsWith(long bytes) {
    usedAtTheEnd = bytes;
  }

  /** Makes all guests, and then all host holders, run to their end. */
  void leave() {
    guests.forEach(Party::goAway);
    for (Party guest : guests) {
      guest.join();
    }
    hosts.forEach(Party::goAway);
    for (Party host : hosts) {
      host.join();
    }
  }

  /**
   * Asserts that a conversion that has succeeded gives the host no access to what the guest writes,
   * and that one that has failed says why and has left everything as it was.
   */
  void assertSound(Conversion conversion, String story) {
    if (conversion.result() == Errno.OK) {
      guests.forEach(Party::goAway);
      for (Party guest : guests) {
        guest.join();
      }
      stage.run("guest", self -> guestWrites());
      leave(); // the host holders now try to read and write
      int[] pfn = new int[1];
      stage.run("guest", self -> pfn[0] = guestReads());
      tryMapping();
      tryDirectMap(pfn[0]);
      if (!leaks.isEmpty()) {
        throw Rule.SOUNDNESS.broken(
            story + ": the conversion succeeded, and then " + leaks + "; " + protocol.last());
      }
    } else {
      assertRefused(conversion, story);
      leave();
    }
    assertContent(story);
  }

  /** Asserts that a conversion was refused because of a holder of the first page. */
  void assertRefused(Conversion conversion, String story) {
    Rule.ALL_OR_NOTHING.check(
        conversion.result() == Errno.EAGAIN && conversion.busy.offset() == 0,
        story + ": expected OK, or EAGAIN and the offset of the busy page, actual " + conversion);
    Rule.ALL_OR_NOTHING.check(
        memfd.isAccessible(0), story + ": the page is not accessible after a refusal");
  }

  private void guestWrites() {
    try (Folio folio = memfd.grab(0)) {
      folio.buffer().putLong(READ_AT, SECRET).putLong(WRITE_AT, OWN);
    }
  }

  private int guestReads() {
    try (Folio folio = memfd.grab(0)) {
      if (folio.buffer().getLong(WRITE_AT) != OWN) {
        leaks.add("the guest reads what the host wrote");
      }
      return folio.pfn();
    }
  }

  private void tryMapping() {
    try {
      seen(window.getLong(READ_AT));
      leaks.add("the mapping still reaches the page");
    } catch (SigBusException e) {
      // as it should be
    }
  }

  private void tryDirectMap(int pfn) {
    if (stage.host.directMap().contains(pfn)) {
      leaks.add("the direct map still reaches the frame");
    }
  }

  /** Asserts that the initial content is in the page, read by the side that may see it. */
  void assertContent(String story) {
    stage.run(
        "reader",
        self -> {
          long found;
          if (memfd.isAccessible(0)) {
            found = window.getLong(CONTENT_AT);
          } else {
            try (Folio folio = memfd.grab(0)) {
              found = folio.buffer().getLong(CONTENT_AT);
            }
          }
          Rule.NOTHING_LOST.check(
              found == CONTENT,
              story + ": expected content " + CONTENT + " in the page, actual " + found);
        });
  }

  @Override
  public void close() {
    try {
      stage.clear();
    } finally {
      stage.run(
          "close",
          self -> {
            window.close();
            memfd.close();
          });
    }
    long used = stage.host.used();
    Rule.NOTHING_LOST.check(
        used == usedAtTheEnd,
        used + " bytes are in use when all references are gone and the file is closed");
  }
}
