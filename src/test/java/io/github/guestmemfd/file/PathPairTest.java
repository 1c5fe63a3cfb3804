package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Duel;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Each pair of paths through the library that can race, run against each other for about a second;
 * {@code -Pdeep} gives each ten.
 *
 * <p>What is checked, besides what each pair promises: memory in use is what the page cache and the
 * known orphans hold, at every rest; at every rest everything converts at once, so no reference and
 * no busy bit has been left; nothing is in use in the end.
 */
@Timeout(300)
@Tag("duel")
class PathPairTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  /** The top of every word that only the guest may see. */
  private static final long SECRET = 0x5ec2L << 48;

  /** The top of every word that the host writes. */
  private static final long HOST = 0x4057L << 48;

  private static final long TOP = 0xffffL << 48;

  // ---- the file ----

  private static HostMemory host(int pages) {
    return HostMemory.builder((long) pages * PAGE).raceHook(Duel.SHAKE).build();
  }

  private static GuestMemfd file(
      HostMemory host, int pages, UnaryOperator<GuestMemfd.Builder> more) {
    return more.apply(GuestMemfd.builder(host).size((long) pages * PAGE).flags(MMAP, INIT_SHARED))
        .build();
  }

  private static HostMapping map(GuestMemfd memfd) {
    return memfd.mmap(0, memfd.size(), READ, WRITE);
  }

  /** The file is not in use now: everything must convert, and the accounts must be right. */
  private static void assertRest(HostMemory host, GuestMemfd memfd, long orphans) {
    BusyFolio busy = new BusyFolio();
    assertEquals(Errno.OK, memfd.tryMakeAccessible(0, memfd.size()));
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, memfd.size(), busy), busy::toString);
    assertEquals(Errno.OK, memfd.tryMakeAccessible(0, memfd.size()));
    assertEquals((memfd.cachedPages() + orphans) * PAGE, host.used(), "memory in use");
  }

  /** Closes everything; then nothing may be in use. */
  private static void end(HostMemory host, GuestMemfd memfd, HostMapping... windows) {
    for (HostMapping window : windows) {
      window.close();
    }
    memfd.close();
    assertEquals(0, host.used(), "memory in use after close");
    host.close();
  }

  // ---- soundness ----

  /** What a way of the host to the bytes has at hand. */
  private record Way(
      HostMemory host, GuestMemfd memfd, HostMapping one, HostMapping two, int pfn) {}

  private static long own(long n) {
    return HOST | (n & ~TOP);
  }

  private static void requireNoSecret(long word) {
    if ((word & TOP) == SECRET) {
      throw new AssertionError("the host has read the secret " + Long.toHexString(word));
    }
  }

  private static void requireNoSecret(ByteBuffer bytes) {
    for (int at = 0; at + 8 <= bytes.limit(); at += 8) {
      requireNoSecret(bytes.getLong(at));
    }
  }

  /** The ways of the host to the bytes. Each answers whether it got there. */
  private enum Path {
    LOAD {
      @Override
      boolean use(Way way, long n) {
        requireNoSecret(way.one.getLong(n & 0xff8));
        return true;
      }
    },
    LOAD_VOLATILE {
      @Override
      boolean use(Way way, long n) {
        requireNoSecret(way.one.getLongVolatile(n & 0xff8));
        return true;
      }
    },
    LOAD_ACROSS {
      @Override
      boolean use(Way way, long n) {
        // The lower half of this number is the upper half of the last word of the first page.
        requireNoSecret(way.one.getLong(PAGE - 4) << 32);
        return true;
      }
    },
    TRY_LOAD {
      @Override
      boolean use(Way way, long n) {
        long seen = way.one.tryGetLong(n & 0xff8, 1);
        requireNoSecret(seen);
        return seen != 1;
      }
    },
    STORE {
      @Override
      boolean use(Way way, long n) {
        way.one.putLong(n & 0xff8, own(n));
        return true;
      }
    },
    STORE_ACROSS {
      @Override
      boolean use(Way way, long n) {
        way.one.putLong(PAGE - 4, own(n));
        return true;
      }
    },
    COMPARE_AND_SET {
      @Override
      boolean use(Way way, long n) {
        long at = n & 0xff8;
        long seen = way.one.getLongVolatile(at);
        requireNoSecret(seen);
        return way.one.compareAndSetLong(at, seen, own(n));
      }
    },
    ADD {
      @Override
      boolean use(Way way, long n) {
        requireNoSecret(way.one.getAndAddLong(n & 0xff8, 1));
        return true;
      }
    },
    BULK_LOAD {
      @Override
      boolean use(Way way, long n) {
        ByteBuffer bytes = ByteBuffer.allocate(2 * PAGE).order(ByteOrder.LITTLE_ENDIAN);
        try {
          way.one.get(0, bytes);
        } finally {
          requireNoSecret(bytes); // what came before a fault too
        }
        return true;
      }
    },
    BULK_STORE {
      @Override
      boolean use(Way way, long n) {
        ByteBuffer bytes = ByteBuffer.allocate(2 * PAGE).order(ByteOrder.LITTLE_ENDIAN);
        for (int at = 0; at < 2 * PAGE; at += 8) {
          bytes.putLong(at, own(n));
        }
        way.one.put(0, bytes);
        return true;
      }
    },
    TWO_MAPPINGS {
      @Override
      boolean use(Way way, long n) {
        way.one.putLong(n & 0xff8, own(n));
        long seen = way.two.getLong(n & 0xff8);
        requireNoSecret(seen);
        // The guest may have wiped it meanwhile, but both mappings show one content.
        assertTrue(seen == own(n) || seen == 0, () -> "the other mapping: " + seen);
        way.two.putLong(PAGE, own(n));
        return true;
      }
    },
    DONTNEED {
      @Override
      boolean use(Way way, long n) {
        way.one.putLong(n & 0xff8, own(n));
        way.one.madvise(0, 2L * PAGE, Advice.DONTNEED);
        requireNoSecret(way.one.getLong(n & 0xff8));
        return true;
      }
    },
    POPULATE {
      @Override
      boolean use(Way way, long n) {
        way.one.madvise(0, 2L * PAGE, Advice.POPULATE_WRITE);
        way.one.putLong(PAGE, own(n));
        return true;
      }
    },
    GET_USER_PAGES {
      @Override
      boolean use(Way way, long n) {
        return useReference(way.one.getUserPages(0, 2L * PAGE), n);
      }
    },
    PIN {
      @Override
      boolean use(Way way, long n) {
        return useReference(way.one.pin(0, 2L * PAGE), n);
      }
    },
    UNSAFE_GRAB {
      @Override
      boolean use(Way way, long n) {
        Folio folio = way.memfd.grab(0, UNSAFE);
        requireNoSecret(folio.buffer());
        folio.buffer().putLong((int) n & 0xff8, own(n));
        folio.close();
        return true;
      }
    },
    DIRECT_LOAD {
      @Override
      boolean use(Way way, long n) {
        ByteBuffer bytes = ByteBuffer.allocate(PAGE).order(ByteOrder.LITTLE_ENDIAN);
        way.host.directMap().read(way.pfn, 0, bytes);
        requireNoSecret(bytes);
        return true;
      }
    },
    DIRECT_STORE {
      @Override
      boolean use(Way way, long n) {
        ByteBuffer bytes = ByteBuffer.allocate(PAGE).order(ByteOrder.LITTLE_ENDIAN);
        for (int at = 0; at < PAGE; at += 8) {
          bytes.putLong(at, own(n));
        }
        way.host.directMap().write(way.pfn, 0, bytes);
        return true;
      }
    };

    abstract boolean use(Way way, long n);

    static boolean useReference(HostReference reference, long n) {
      for (int page = 0; page < reference.pages(); page++) {
        ByteBuffer bytes = reference.buffer(page);
        requireNoSecret(bytes);
        bytes.putLong((int) n & 0xff8, own(n));
      }
      reference.close();
      return true;
    }
  }

  /** Fills the folio with a word, and looks for a while whether it stays. */
  private static void keepSecret(GuestMemfd memfd, long word) {
    Folio[] folios = {memfd.grab(0), memfd.grab(PAGE)};
    for (Folio folio : folios) {
      fill(folio, word);
    }
    for (int look = 0; look < 8; look++) {
      VarHandle.fullFence();
      for (Folio folio : folios) {
        ByteBuffer bytes = folio.buffer();
        for (int at = 0; at < PAGE; at += 8) {
          long seen = bytes.getLong(at);
          if (seen != word) {
            throw new AssertionError(
                "inaccessible memory was changed at "
                    + (folio.offset() + at)
                    + ": expected "
                    + Long.toHexString(word)
                    + ", actual "
                    + Long.toHexString(seen));
          }
        }
      }
    }
    for (Folio folio : folios) {
      fill(folio, 0);
      folio.close();
    }
  }

  private static void fill(Folio folio, long word) {
    ByteBuffer bytes = folio.buffer();
    for (int at = 0; at < PAGE; at += 8) {
      bytes.putLong(at, word);
    }
  }

  /**
   * While a page is inaccessible the guest keeps a secret in it. The host never reads it and never
   * changes it, whichever way it takes.
   */
  @ParameterizedTest
  @EnumSource(Path.class)
  void aConversionShutsTheHostOut(Path path) throws Exception {
    HostMemory host = host(8);
    boolean direct = path == Path.DIRECT_LOAD || path == Path.DIRECT_STORE;
    CreateFlag[] flags =
        direct
            ? new CreateFlag[] {MMAP, INIT_SHARED, NO_DIRECT_MAP}
            : new CreateFlag[] {MMAP, INIT_SHARED};
    GuestMemfd memfd = file(host, 2, b -> b.flags(flags));
    HostMapping one = map(memfd);
    HostMapping two = map(memfd);
    Folio folio = memfd.grab(0);
    Way way = new Way(host, memfd, one, two, folio.pfn());
    folio.close();
    BusyFolio busy = new BusyFolio();
    Duel.crowdedRace(
        round -> {
          try {
            return path.use(way, round);
          } catch (SigBusException e) {
            return false;
          } catch (GuestMemfdException e) {
            if (e.errno() != Errno.EFAULT) {
              throw e;
            }
            return false;
          }
        },
        round -> {
          Errno errno = memfd.tryMakeInaccessible(0, 2L * PAGE, busy);
          if (errno != Errno.OK) {
            assertEquals(Errno.EAGAIN, errno);
            assertTrue(busy.unsafeHolders() + busy.pinnedHolders() > 0, busy::toString);
            assertTrue(memfd.isAccessible(0) && memfd.isAccessible(PAGE));
            return false;
          }
          keepSecret(memfd, SECRET | (round & ~TOP));
          memfd.makeAccessible(0, 2L * PAGE);
          return true;
        });
    assertRest(host, memfd, 0);
    assertEquals(2, memfd.cachedPages(), "content must not have been discarded");
    end(host, memfd, one, two);
  }

  /**
   * The scheduler stops the host in the middle of a page's bytes, where no race point is. The guest
   * keeps its secret for longer than that lasts.
   */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aBulkAccessStoppedHalfWayIsWaitedFor(boolean writing) throws Exception {
    HostMemory host = HostMemory.ofBytes(4L * PAGE); // no hook: all the time goes into the bytes
    GuestMemfd memfd = file(host, 2, b -> b.retryPolicy(RetryPolicy.failAtOnce()));
    HostMapping window = map(memfd);
    ByteBuffer bytes = ByteBuffer.allocateDirect(PAGE).order(ByteOrder.LITTLE_ENDIAN);
    for (int at = 0; at < PAGE; at += 8) {
      bytes.putLong(at, own(at));
    }
    Duel.crowdedRace(
        round -> {
          try {
            for (int i = 0; i < 1000; i++) {
              bytes.clear();
              if (writing) {
                window.put(0, bytes);
              } else {
                window.get(0, bytes);
                requireNoSecret(bytes);
              }
            }
            return true;
          } catch (SigBusException e) {
            requireNoSecret(bytes);
            return true;
          }
        },
        round -> {
          for (int i = 0; i < 2000; i++) {
            Thread.onSpinWait(); // the host's turn
          }
          if (memfd.tryMakeInaccessible(0, 2L * PAGE) != Errno.OK) {
            return false; // a late fault
          }
          long end = System.nanoTime() + 5_000_000;
          do {
            keepSecret(memfd, SECRET | (round & ~TOP));
          } while (System.nanoTime() - end < 0);
          memfd.makeAccessible(0, 2L * PAGE);
          return true;
        });
    assertRest(host, memfd, 0);
    end(host, memfd, window);
  }

  /** A hot loop's read says "no" in its own way; it never throws what a fault throws. */
  @Test
  void tryGetLongNeverThrows() throws Exception {
    HostMemory host = host(4);
    GuestMemfd memfd = file(host, 1, b -> b);
    HostMapping window = map(memfd);
    Duel.race(
        round -> {
          try {
            return window.tryGetLong(0, -1) == 0;
          } catch (GuestMemfdException e) {
            throw new AssertionError("thrown from tryGetLong", e);
          }
        },
        round -> {
          memfd.tryMakeInaccessible(0, PAGE);
          memfd.makeAccessible(0, PAGE);
          return true;
        });
    assertRest(host, memfd, 0);
    end(host, memfd, window);
  }

  // ---- faults ----

  /** A late fault is soon gone, so a conversion that waits is never refused because of one. */
  @Test
  void faultAndConvert() throws Exception {
    HostMemory host = host(8);
    GuestMemfd memfd =
        file(host, 2, b -> b.retryPolicy(RetryPolicy.spinThenWait(64, Duration.ofSeconds(20))));
    HostMapping window = map(memfd);
    AtomicLong value = new AtomicLong();
    Duel.rounds(
        () -> {
          memfd.makeAccessible(0, 2L * PAGE);
          window.madvise(0, 2L * PAGE, Advice.DONTNEED); // so that every round begins with a fault
        },
        round -> {
          try {
            window.putLong(0, round + 1);
            value.set(round + 1);
          } catch (SigBusException e) {
            value.set(-(round + 1));
          }
          return true;
        },
        round -> {
          assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 2L * PAGE));
          return true;
        },
        () -> {
          Folio folio = memfd.grab(0);
          long seen = folio.buffer().getLong(0);
          folio.close();
          long done = value.get();
          assertTrue(
              done > 0 ? seen == done : seen > done && seen < -done,
              () -> "write that " + (done > 0 ? "succeeded" : "faulted") + " left " + seen);
          assertFalse(memfd.isAccessible(0));
          assertRest(host, memfd, 0);
        });
    end(host, memfd, window);
  }

  /** After a punch the host's page is the file's page, never the frame that is gone. */
  @Test
  void faultAndPunch() throws Exception {
    HostMemory host = host(8);
    GuestMemfd memfd = file(host, 2, b -> b);
    HostMapping window = map(memfd);
    AtomicLong last = new AtomicLong();
    Duel.rounds(
        () -> {},
        round -> {
          long mine = round + 1;
          window.putLong(0, mine);
          long seen = window.getLong(0);
          assertTrue(seen == mine || seen == 0, () -> "expected " + mine + " or 0, actual " + seen);
          last.set(mine);
          return true;
        },
        round -> {
          memfd.punchHole(0, 2L * PAGE);
          return true;
        },
        () -> {
          long seen = window.getLong(0);
          assertTrue(seen == last.get() || seen == 0, () -> last + " or 0, actual " + seen);
          window.putLong(0, -1);
          Folio folio = memfd.grab(0);
          assertEquals(-1, folio.buffer().getLong(0), "the host writes to another frame");
          folio.close();
          assertRest(host, memfd, 0);
          memfd.punchHole(0, PAGE);
          assertEquals(0, window.getLong(0), "a new page");
        });
    end(host, memfd, window);
  }

  // ---- references ----

  /** A conversion is refused for as long as a reference is held, and not a moment longer. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void referenceAndConvert(boolean pinned) throws Exception {
    HostMemory host = host(8);
    GuestMemfd memfd = file(host, 4, b -> b.retryPolicy(RetryPolicy.failAtOnce()));
    HostMapping window = map(memfd);
    BusyFolio busy = new BusyFolio();
    AtomicInteger held = new AtomicInteger(); // 1 while the reference is surely held
    Duel.race(
        round -> {
          HostReference reference;
          try {
            reference = pinned ? window.pin(PAGE, 2L * PAGE) : window.getUserPages(PAGE, 2L * PAGE);
          } catch (GuestMemfdException e) {
            assertEquals(Errno.EFAULT, e.errno());
            return false;
          }
          held.set(1);
          long before = reference.buffer(0).getLong(0);
          reference.buffer(0).putLong(0, before + 1);
          assertEquals(before + 1, reference.buffer(0).getLong(0));
          held.set(0);
          reference.close();
          return true;
        },
        round -> {
          boolean before = held.get() == 1;
          Errno errno = memfd.tryMakeInaccessible(0, 4L * PAGE, busy);
          if (errno == Errno.OK) {
            assertEquals(0, held.get(), "inaccessible in spite of a reference");
            memfd.makeAccessible(0, 4L * PAGE);
            return !before;
          }
          assertEquals(Errno.EAGAIN, errno);
          assertTrue(busy.offset() == PAGE || busy.offset() == 2L * PAGE, busy::toString);
          // A pin maps its page first: what is in the way may be the reference of that fault.
          assertEquals(1, busy.pinnedHolders() + busy.unsafeHolders(), busy::toString);
          assertTrue(pinned || busy.pinnedHolders() == 0, busy::toString);
          return false;
        });
    assertRest(host, memfd, 0);
    end(host, memfd, window);
  }

  /** An orphan's frame comes back exactly once, whichever holder is last. */
  @Test
  void punchAndReferenceRelease() throws Exception {
    HostMemory host = host(16);
    AtomicInteger freed = new AtomicInteger();
    GuestMemfdOps ops =
        new GuestMemfdOps() {
          @Override
          public void freeFolio(Folio folio) {
            freed.incrementAndGet();
          }
        };
    GuestMemfd memfd = file(host, 4, b -> b.ops(ops));
    HostMapping window = map(memfd);
    AtomicReference<HostReference> held = new AtomicReference<>();
    Duel.rounds(
        () -> {
          for (int i = 0; i < 4; i++) {
            window.putLong((long) i * PAGE, i + 1);
          }
          held.set(window.pin(0, 4L * PAGE));
          freed.set(0);
        },
        round -> {
          HostReference reference = held.get();
          for (int i = 0; i < 4; i++) {
            assertEquals(i + 1, reference.buffer(i).getLong(0), "content of a page that is held");
          }
          reference.close();
          return true;
        },
        round -> {
          memfd.punchHole(0, 4L * PAGE);
          return true;
        },
        () -> {
          assertEquals(4, freed.get(), "folios freed");
          assertEquals(0, memfd.cachedPages());
          assertRest(host, memfd, 0);
        });
    end(host, memfd, window);
  }

  /** References are taken and punched: each sees one frame for all its life. */
  @Test
  void punchAndReference() throws Exception {
    HostMemory host = host(16);
    GuestMemfd memfd = file(host, 2, b -> b);
    HostMapping window = map(memfd);
    Duel.race(
        round -> {
          HostReference reference = window.getUserPages(0, PAGE);
          long mine = round + 1;
          reference.buffer().putLong(0, mine);
          long seen = window.getLong(0);
          assertTrue(seen == mine || seen == 0, () -> mine + " or 0, actual " + seen);
          assertEquals(mine, reference.buffer().getLong(0), "the held frame was used by another");
          reference.close();
          return true;
        },
        round -> {
          memfd.punchHole(0, 2L * PAGE);
          window.putLong(PAGE, -1); // takes the frame of page 0, if it is free too soon
          return true;
        });
    assertRest(host, memfd, 0);
    end(host, memfd, window);
  }

  // ---- allocation ----

  /** Twice the memory of the file is there, so an allocation never fails. */
  @Test
  void allocateAndPunch() throws Exception {
    int pages = 32;
    HostMemory host = host(2 * pages);
    GuestMemfd memfd = file(host, pages, b -> b);
    SplittableRandom left = new SplittableRandom(1);
    SplittableRandom right = new SplittableRandom(2);
    Duel.rounds(
        () -> {},
        round -> {
          int from = left.nextInt(pages);
          memfd.allocate((long) from * PAGE, (1L + left.nextInt(pages - from)) * PAGE);
          return true;
        },
        round -> {
          int from = right.nextInt(pages);
          memfd.punchHole((long) from * PAGE, (1L + right.nextInt(pages)) * PAGE);
          return true;
        },
        () -> assertRest(host, memfd, 0));
    memfd.allocate(0, memfd.size());
    assertEquals(pages, memfd.cachedPages());
    assertRest(host, memfd, 0);
    end(host, memfd);
  }

  /** The host has no page to spare: what is refused leaves nothing, what succeeds is all there. */
  @Test
  void allocateAndAllocateWhenMemoryIsShort() throws Exception {
    HostMemory host = host(8);
    GuestMemfd one = file(host, 8, b -> b);
    GuestMemfd two = file(host, 8, b -> b);
    AtomicInteger had = new AtomicInteger();
    Duel.rounds(
        () -> had.set(0),
        round -> allocate(one, 5, had),
        round -> allocate(two, 4, had),
        () -> {
          assertEquals(1, had.get(), "5 + 4 of 8 pages: one of the two must be refused");
          assertEquals((one.cachedPages() + two.cachedPages()) * PAGE, host.used());
          one.punchHole(0, one.size());
          two.punchHole(0, two.size());
          assertEquals(0, host.used());
        });
    one.close();
    end(host, two);
  }

  private static boolean allocate(GuestMemfd memfd, int pages, AtomicInteger had) {
    try {
      memfd.allocate(0, (long) pages * PAGE);
      had.incrementAndGet();
      assertEquals(pages, memfd.cachedPages());
      return true;
    } catch (GuestMemfdException e) {
      assertEquals(Errno.ENOMEM, e.errno());
      assertEquals(0, memfd.cachedPages(), "a refused allocation left pages");
      return false;
    }
  }

  // ---- conversions ----

  /** Overlapping ranges from both sides: the overlap goes wholly to who came last. */
  @Test
  void convertAndConvert() throws Exception {
    HostMemory host = host(16);
    GuestMemfd memfd = file(host, 9, b -> b);
    HostMapping window = map(memfd);
    AtomicReference<boolean[]> wish = new AtomicReference<>(new boolean[2]);
    SplittableRandom random = new SplittableRandom(3);
    Duel.rounds(
        () -> {
          memfd.makeAccessible(0, memfd.size());
          for (int i = 0; i < 9; i += 2) {
            window.putLong((long) i * PAGE, i);
          }
          wish.set(new boolean[] {random.nextBoolean(), random.nextBoolean()});
        },
        round -> convert(memfd, 0, 6, wish.get()[0]),
        round -> convert(memfd, 3, 6, wish.get()[1]),
        () -> {
          boolean lower = wish.get()[0];
          boolean upper = wish.get()[1];
          boolean overlap = !memfd.isAccessible(3L * PAGE);
          assertTrue(overlap == lower || overlap == upper);
          for (int i = 0; i < 9; i++) {
            boolean expected = i < 3 ? lower : i < 6 ? overlap : upper;
            assertEquals(!expected, memfd.isAccessible((long) i * PAGE), "page " + i);
            Folio folio = memfd.grab((long) i * PAGE);
            assertEquals(i % 2 == 0 ? i : 0, folio.buffer().getLong(0), "content of page " + i);
            folio.close();
          }
          assertRest(host, memfd, 0);
        });
    end(host, memfd, window);
  }

  private static boolean convert(GuestMemfd memfd, int from, int pages, boolean inaccessible) {
    long offset = (long) from * PAGE;
    long length = (long) pages * PAGE;
    Errno errno =
        inaccessible
            ? memfd.tryMakeInaccessible(offset, length)
            : memfd.tryMakeAccessible(offset, length);
    assertEquals(Errno.OK, errno);
    return true;
  }

  /** Safe references never stand in the way, whatever the policy. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void grabAndConvert(boolean defaultPolicy) throws Exception {
    HostMemory host = host(4);
    GuestMemfd memfd =
        file(host, 1, b -> defaultPolicy ? b : b.retryPolicy(RetryPolicy.failAtOnce()));
    BusyFolio busy = new BusyFolio();
    AtomicLong count = new AtomicLong();
    Duel.race(
        round -> {
          Folio folio = memfd.grab(0);
          ByteBuffer bytes = folio.buffer();
          assertEquals(count.get(), bytes.getLong(8), "content must survive");
          bytes.putLong(8, count.incrementAndGet());
          folio.close();
          int pfn = memfd.tryGrab(0, SAFE);
          assertTrue(pfn > 0);
          memfd.put(pfn, SAFE);
          return true;
        },
        round -> {
          assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE, busy), busy::toString);
          assertEquals(Errno.OK, memfd.tryMakeAccessible(0, PAGE));
          return true;
        });
    assertRest(host, memfd, 0);
    end(host, memfd);
  }

  /** The policies against a reference that comes and goes. */
  @ParameterizedTest
  @CsvSource({"0, 0", "2000, 0", "0, 20000", "64, 20000"})
  void waitPolicies(int spins, long waitMillis) throws Exception {
    HostMemory host = host(4);
    RetryPolicy policy = RetryPolicy.spinThenWait(spins, Duration.ofMillis(waitMillis));
    GuestMemfd memfd = file(host, 1, b -> b.retryPolicy(policy));
    HostMapping window = map(memfd);
    BusyFolio busy = new BusyFolio();
    Duel.race(
        round -> {
          try {
            window.getUserPages(0, PAGE).close();
            return true;
          } catch (GuestMemfdException e) {
            assertEquals(Errno.EFAULT, e.errno());
            return false;
          }
        },
        round -> {
          Errno errno = memfd.tryMakeInaccessible(0, PAGE, busy);
          if (errno == Errno.OK) {
            memfd.makeAccessible(0, PAGE);
            return true;
          }
          assertEquals(Errno.EAGAIN, errno);
          assertEquals(0, waitMillis, "the holder has let go, and the conversion slept on");
          assertEquals(1, busy.unsafeHolders(), busy::toString);
          assertTrue(memfd.isAccessible(0));
          return false;
        });
    assertRest(host, memfd, 0);
    end(host, memfd, window);
  }

  // ---- mappings ----

  /** Dropping page table entries loses no write. */
  @Test
  void dontNeedAndAccess() throws Exception {
    HostMemory host = host(4);
    GuestMemfd memfd = file(host, 2, b -> b);
    HostMapping window = map(memfd);
    AtomicLong adds = new AtomicLong();
    byte[] bytes = new byte[PAGE];
    Duel.race(
        round -> {
          assertEquals(adds.getAndIncrement(), window.getAndAddLong(0, 1));
          window.putLong(PAGE, round);
          assertEquals(round, window.getLong(PAGE));
          window.get(0, bytes, 0, PAGE);
          assertEquals(
              adds.get(), ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong(0));
          return true;
        },
        round -> {
          window.madvise(0, 2L * PAGE, Advice.DONTNEED);
          return true;
        });
    assertEquals(adds.get(), window.getLong(0));
    assertRest(host, memfd, 0);
    end(host, memfd, window);
  }

  @Test
  void unmapAndConvert() throws Exception {
    HostMemory host = host(8);
    GuestMemfd memfd =
        file(host, 4, b -> b.retryPolicy(RetryPolicy.spinThenWait(64, Duration.ofSeconds(20))));
    AtomicReference<HostMapping> window = new AtomicReference<>();
    Duel.rounds(
        () -> {
          window.set(map(memfd));
          for (int i = 0; i < 4; i++) {
            window.get().putLong((long) i * PAGE, 1);
          }
        },
        round -> {
          window.get().close();
          return true;
        },
        round -> convert(memfd, 0, 4, true),
        () -> {
          assertFalse(memfd.isAccessible(0));
          assertRest(host, memfd, 0);
        });
    end(host, memfd);
  }

  /** An access to a mapping that goes succeeds or says that it is gone, and leaves nothing. */
  @Test
  void unmapAndFault() throws Exception {
    HostMemory host = host(8);
    GuestMemfd memfd = file(host, 4, b -> b.retryPolicy(RetryPolicy.failAtOnce()));
    AtomicReference<HostMapping> window = new AtomicReference<>();
    Duel.rounds(
        () -> window.set(map(memfd)),
        round -> {
          try {
            for (int i = 0; i < 4; i++) {
              window.get().putLong((long) i * PAGE, 1);
            }
          } catch (IllegalStateException e) {
            assertTrue(window.get().isClosed());
          }
          return true;
        },
        round -> {
          window.get().close();
          return true;
        },
        () -> assertRest(host, memfd, 0));
    end(host, memfd);
  }

  // ---- the end of the file ----

  private enum Operation {
    GRAB {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        memfd.grab(PAGE).close();
      }
    },
    CONVERT {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        memfd.makeInaccessible(0, memfd.size());
        memfd.makeAccessible(0, memfd.size());
      }
    },
    PUNCH {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        memfd.punchHole(PAGE, 2L * PAGE);
      }
    },
    ALLOCATE {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        memfd.allocate(0, memfd.size());
      }
    },
    MMAP_AND_TOUCH {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        try (HostMapping mine = map(memfd)) {
          mine.putLong(0, 1);
        }
      }
    },
    ACCESS {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        window.putLong(0, 1);
        window.getLong(PAGE);
      }
    },
    REFERENCE {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        window.pin(0, 2L * PAGE).close();
      }
    },
    DUP {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        try (GuestMemfd mine = memfd.dup()) {
          mine.grab(0).close();
        }
      }
    };

    abstract void run(GuestMemfd memfd, HostMapping window);
  }

  /** Operations while everything is being closed succeed or say so; afterwards nothing is left. */
  @ParameterizedTest
  @EnumSource(Operation.class)
  void closeAndOperation(Operation operation) throws Exception {
    HostMemory host = host(16);
    AtomicInteger released = new AtomicInteger();
    GuestMemfdOps ops =
        new GuestMemfdOps() {
          @Override
          public void release() {
            released.incrementAndGet();
          }
        };
    AtomicReference<GuestMemfd> memfd = new AtomicReference<>();
    AtomicReference<HostMapping> window = new AtomicReference<>();
    Duel.rounds(
        () -> {
          memfd.set(file(host, 4, b -> b.ops(ops)));
          window.set(map(memfd.get()));
          window.get().putLong(0, 1);
          released.set(0);
        },
        round -> {
          for (int i = 0; i < 4; i++) {
            try {
              operation.run(memfd.get(), window.get());
            } catch (GuestMemfdException e) {
              assertEquals(Errno.EBADF, e.errno(), e.toString());
            } catch (IllegalStateException e) {
              assertTrue(window.get().isClosed(), e.toString());
            }
          }
          return true;
        },
        round -> {
          window.get().close();
          memfd.get().close();
          return true;
        },
        () -> {
          assertEquals(0, host.used(), "memory in use after close");
          assertEquals(1, released.get(), "calls of release");
          assertTrue(memfd.get().reopen().isEmpty());
        });
    host.close();
  }

  /** A folio that outlives its file, dropped while the file goes. */
  @Test
  void closeAndPut() throws Exception {
    HostMemory host = host(16);
    AtomicReference<GuestMemfd> memfd = new AtomicReference<>();
    AtomicReference<Folio> folio = new AtomicReference<>();
    Duel.rounds(
        () -> {
          memfd.set(file(host, 4, b -> b));
          folio.set(memfd.get().grab(0));
          folio.get().buffer().putLong(0, 5);
        },
        round -> {
          assertEquals(5, folio.get().buffer().getLong(0));
          folio.get().close();
          return true;
        },
        round -> {
          memfd.get().close();
          return true;
        },
        () -> assertEquals(0, host.used()));
    assertNotEquals(0, host.size());
    host.close();
  }
}
