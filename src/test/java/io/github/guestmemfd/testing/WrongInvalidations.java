package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.LongUnaryOperator;

/** Clients that invalidate wrongly: too late, too little, or without waiting. */
final class WrongInvalidations {
  private WrongInvalidations() {}

  /** A table whose accesses do not take the lock, but are counted. */
  abstract static class Counting extends GuestPageTable {
    final AtomicInteger accesses = new AtomicInteger();

    Counting(GuestSlot slot) {
      super(slot);
    }

    @Override
    boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
      accesses.incrementAndGet();
      try {
        Mapped page = mapped(offset);
        if (page == null) {
          return false;
        }
        page.bytes().putLong(0, number.applyAsLong(page.bytes().getLong(0)));
        return true;
      } finally {
        accesses.decrementAndGet();
      }
    }

    private Mapped mapped(long offset) {
      lock.lock();
      try {
        return mapped.get(slot.addressOf(offset));
      } finally {
        lock.unlock();
      }
    }

    /** Waits until no access is under way, for some time. */
    boolean await(long millis) throws InterruptedException {
      long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis);
      while (accesses.get() != 0) {
        if (System.nanoTime() - end >= 0) {
          return false;
        }
        Thread.sleep(1);
      }
      return true;
    }
  }

  /**
   * Answers before the vCPUs have stopped using the page: entries are removed, and no vCPU is
   * kicked. A TLB flush that was forgotten.
   */
  static class AnswersBeforeVcpusStop extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Counting(slot) {};
    }
  }

  /** Waits for the vCPUs, but not for long, and then answers OK all the same. */
  static class GivesUpWaiting extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Counting(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          List<Mapped> zapped = zap(offset, length);
          try {
            await(1);
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
          }
          drop(zapped);
          return Errno.OK;
        }
      };
    }
  }

  /** Takes an interrupt of its wait for the vCPUs as the end of it. */
  static class SwallowsTheInterrupt extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Counting(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          List<Mapped> zapped = zap(offset, length);
          try {
            await(10_000);
          } catch (InterruptedException e) {
            // "cannot happen"
          }
          drop(zapped);
          return Errno.OK;
        }
      };
    }
  }

  /** Waits for the vCPUs first and zaps then: an access may begin in between. */
  static class WaitsBeforeItZaps extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Counting(slot) {
        @Override
        public void invalidateEnd(long offset, long length) {
          drop(zap(offset, length));
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          try {
            return await(10_000) ? Errno.OK : Errno.EBUSY;
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return Errno.EINTR;
          }
        }
      };
    }
  }

  /**
   * Pauses its vCPUs by a flag from begin to end, and zaps at the end. With two invalidations under
   * way the first end lets them run.
   */
  static class OneFlag extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private boolean paused; // under the lock

        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          lock.lock();
          try {
            return !paused && super.access(memfd, offset, number);
          } finally {
            lock.unlock();
          }
        }

        private void pause(boolean now) {
          lock.lock();
          try {
            paused = now;
          } finally {
            lock.unlock();
          }
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          pause(true);
          return Errno.OK;
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          drop(zap(offset, length));
          pause(false);
        }
      };
    }
  }

  /** Acts only at the end: until then the guest uses pages that are being taken away. */
  static class ActsOnlyAtTheEnd extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          return Errno.OK;
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          drop(zap(offset, length));
        }
      };
    }
  }

  /** Remembers the range in a field, and drops that at the end: the last one, twice. */
  static class RemembersTheLastRange extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private volatile List<Mapped> zapped = List.of();

        @Override
        public Errno invalidateBegin(long offset, long length) {
          zapped = zap(offset, length);
          return Errno.OK;
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          List<Mapped> last = zapped;
          zapped = List.of();
          drop(last);
        }
      };
    }
  }

  /**
   * Drops the references of a part of the range, finds a page in use, and refuses: the entries are
   * there still, and lead to frames that may be freed.
   */
  static class DropsAPartAndRefuses extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Pinning(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          Map<Long, Mapped> range = copy(offset, length);
          for (Map.Entry<Long, Mapped> page : range.entrySet()) {
            if (inUse.containsKey(page.getKey())) {
              return Errno.EBUSY; // "nothing has happened yet"
            }
            page.getValue().folio().close();
          }
          zap(offset, length);
          return Errno.OK;
        }
      };
    }
  }

  /** Counts an invalidation that it has refused as one that is under way: faults wait forever. */
  static class RefusesAndStaysBegun extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Pinning(slot) {
        private final AtomicInteger underWay = new AtomicInteger();

        @Override
        void map(GuestMemfd memfd, long offset) {
          if (underWay.get() == 0) { // or else the guest comes again
            super.map(memfd, offset);
          }
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          underWay.incrementAndGet();
          for (Long page : copy(offset, length).keySet()) {
            if (inUse.containsKey(page)) {
              return Errno.EBUSY;
            }
          }
          drop(zap(offset, length));
          return Errno.OK;
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          underWay.decrementAndGet();
        }
      };
    }
  }

  /** A table that knows which pages are being accessed. */
  abstract static class Pinning extends GuestPageTable {
    final Map<Long, Boolean> inUse = new ConcurrentHashMap<>();

    Pinning(GuestSlot slot) {
      super(slot);
    }

    @Override
    boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
      long address = slot.addressOf(offset);
      Mapped page;
      lock.lock();
      try {
        page = mapped.get(address);
        if (page == null) {
          return false;
        }
        inUse.put(address, true);
      } finally {
        lock.unlock();
      }
      try {
        page.bytes().putLong(0, number.applyAsLong(page.bytes().getLong(0)));
        return true;
      } finally {
        inUse.remove(address);
      }
    }

    Map<Long, Mapped> copy(long offset, long length) {
      lock.lock();
      try {
        return new TreeMap<>(range(offset, length));
      } finally {
        lock.unlock();
      }
    }
  }

  /** Ignores the length: zaps the first page of the range. */
  static class ZapsTheFirstPage extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          drop(zap(offset, 4096));
          return Errno.OK;
        }
      };
    }
  }

  /** Takes the end of the range for its last page, one too few. */
  static class ZapsOneTooFew extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          drop(zap(offset, length == 4096 ? length : length - 4096));
          return Errno.OK;
        }
      };
    }
  }

  /** Takes a range that begins before its slot for one that is none of its business. */
  static class IgnoresWhatBeginsBefore extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          if (offset >= slot.offset() && offset - slot.offset() < slot.length()) {
            drop(zap(offset, length));
          }
          return Errno.OK;
        }
      };
    }
  }

  /** Takes references away while its entries are left for later: the guest still has the page. */
  static class DropsReferencesFirst extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Pinning(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          copy(offset, length).values().forEach(page -> page.folio().close());
          return Errno.OK;
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          zap(offset, length);
        }
      };
    }
  }

  /** Looks by a conversion whether it may go on, and does not look at the answer: EDEADLK. */
  static class SwallowsADeadlock extends ClientSample {
    private volatile GuestMemfd file;

    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          if (file != null) {
            file.tryMakeAccessible(offset, length);
          }
          return super.invalidateBegin(offset, length);
        }
      };
    }

    @Override
    protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {
      file = memfd;
      super.use(client, memfd, offset);
    }
  }

  /** Catches what goes wrong while it prepares, and answers OK: here its table of keys is full. */
  static class SwallowsAnException extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final List<Folio> prepared = new ArrayList<>();

        @Override
        public Errno prepareInaccessible(Folio folio) {
          prepared.add(folio);
          return Errno.OK;
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          try {
            for (Folio folio : prepared) {
              folio.zero(); // a folio of a callback that is over: it throws
            }
            return super.invalidateBegin(offset, length);
          } catch (IllegalStateException e) {
            return Errno.OK;
          }
        }
      };
    }
  }

  /** Drops its references on a thread of its own, some time after it has agreed. */
  static class DropsLater extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          List<Mapped> zapped = zap(offset, length);
          if (!zapped.isEmpty()) {
            Thread later = new Thread(() -> drop(zapped));
            later.setDaemon(true);
            later.start();
          }
          return Errno.OK;
        }
      };
    }
  }

  /** Each vCPU remembers its last page, and is not told that it is gone: a TLB without a flush. */
  static class RemembersPerVcpu extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final ThreadLocal<Map<Long, Mapped>> tlb = ThreadLocal.withInitial(TreeMap::new);

        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          lock.lock();
          try {
            Mapped now = mapped.get(slot.addressOf(offset));
            if (now != null) {
              tlb.get().putIfAbsent(offset, now);
            }
            Mapped page = tlb.get().get(offset);
            if (page == null) {
              return false;
            }
            page.bytes().putLong(0, number.applyAsLong(page.bytes().getLong(0)));
            return true;
          } finally {
            lock.unlock();
          }
        }
      };
    }
  }

  /** Keeps its lock while it grabs, which waits for an invalidation, which waits for the lock. */
  static class HoldsItsLockOverTheGrab extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          lock.lock();
          try {
            super.map(memfd, offset);
          } finally {
            lock.unlock();
          }
        }
      };
    }
  }
}
