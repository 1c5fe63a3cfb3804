package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.spi.Announce;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongUnaryOperator;

/** Clients that map a page wrongly: too late, without a look, or at too high a price. */
final class WrongFaults {
  private WrongFaults() {}

  /** A table with what faults are made of. */
  abstract static class Faulting extends GuestPageTable {
    final AtomicLong sequence = new AtomicLong();

    Faulting(GuestSlot slot) {
      super(slot);
    }

    /** Maps a page if the sequence number is as expected, and none is mapped. */
    boolean keep(long offset, Folio folio, long expected) {
      Mapped page = new Mapped(folio, folio.buffer());
      lock.lock();
      try {
        return sequence.get() == expected
            && mapped.putIfAbsent(slot.addressOf(offset), page) == null;
      } finally {
        lock.unlock();
      }
    }

    boolean isMapped(long offset) {
      lock.lock();
      try {
        return mapped.containsKey(slot.addressOf(offset));
      } finally {
        lock.unlock();
      }
    }
  }

  /** No second look after the grab: what was invalidated meanwhile is mapped. */
  static class NoSecondLook extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Faulting(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          Folio folio = memfd.grab(offset);
          if (!keep(offset, folio, 0)) {
            folio.close();
          }
        }
      };
    }
  }

  /** Reads the sequence number when it has the page: an invalidation before that is not seen. */
  static class SequenceAfterTheGrab extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Faulting(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          while (!isMapped(offset)) {
            Folio folio = memfd.grab(offset);
            long before = sequence.get();
            if (!keep(offset, folio, before)) {
              folio.close();
            }
          }
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          sequence.incrementAndGet();
          return super.invalidateBegin(offset, length);
        }
      };
    }
  }

  /** Raises the sequence number only at the end: a fault between begin and end maps the page. */
  static class SequenceOnlyAtTheEnd extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Faulting(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          while (!isMapped(offset)) {
            long before = sequence.get();
            Folio folio = memfd.grab(offset);
            if (!keep(offset, folio, before)) {
              folio.close();
            }
          }
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          sequence.incrementAndGet();
        }
      };
    }
  }

  /** Looks only whether an invalidation is under way: one that has come and gone is not seen. */
  static class LooksForInvalidationsUnderWay extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Faulting(slot) {
        private final AtomicInteger underWay = new AtomicInteger();

        @Override
        void map(GuestMemfd memfd, long offset) {
          for (int tries = 0; tries < 10_000 && !isMapped(offset); tries++) {
            Folio folio = memfd.grab(offset);
            if (underWay.get() != 0 || !keep(offset, folio, 0)) {
              folio.close();
            }
          }
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          underWay.incrementAndGet();
          return super.invalidateBegin(offset, length);
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          underWay.decrementAndGet();
        }
      };
    }
  }

  /** Looks at the sequence number, and maps in a second step: an invalidation fits in between. */
  static class LooksThenMaps extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Faulting(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          while (!isMapped(offset)) {
            long before = sequence.get();
            Folio folio = memfd.grab(offset);
            boolean late = sequence.get() != before;
            Mapped page = new Mapped(folio, folio.buffer());
            boolean kept = false;
            lock.lock();
            try {
              kept = !late && mapped.putIfAbsent(slot.addressOf(offset), page) == null;
            } finally {
              lock.unlock();
            }
            if (!kept) {
              folio.close();
            }
          }
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          sequence.incrementAndGet();
          return super.invalidateBegin(offset, length);
        }
      };
    }

    @Override
    protected boolean announcesItsSteps() {
      return true;
    }
  }

  /**
   * Maps a page, and lets its guest touch it in a second step: a touch before that ends the guest.
   */
  static class ShowsAPageThatIsNotAccepted extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final Set<Long> accepted = ConcurrentHashMap.newKeySet();
        private volatile boolean isDead;

        @Override
        void map(GuestMemfd memfd, long offset) {
          if (isDead) {
            throw new GuestMemfdException(Errno.EIO, "the guest is dead");
          }
          Announce.write(mapped);
          super.map(memfd, offset);
          Announce.write(accepted).add(offset);
        }

        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          Announce.read(mapped);
          boolean may = Announce.read(accepted).contains(offset);
          boolean done = super.access(memfd, offset, may ? number : old -> old);
          isDead |= done && !may;
          return done && may;
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          accepted.removeIf(page -> page >= offset && page < offset + length);
          return super.invalidateBegin(offset, length);
        }
      };
    }

    @Override
    protected boolean announcesItsSteps() {
      return true;
    }
  }

  /** The grab failed, and it maps all the same: the frame of the last fault. */
  static class MapsTheLastFrame extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private volatile Mapped last;

        @Override
        void map(GuestMemfd memfd, long offset) {
          try {
            super.map(memfd, offset);
            last = page(offset);
          } catch (GuestMemfdException e) {
            Mapped stale = last;
            if (stale != null) {
              lock.lock();
              try {
                mapped.put(slot.addressOf(offset), stale);
              } finally {
                lock.unlock();
              }
            }
          }
        }

        private Mapped page(long offset) {
          lock.lock();
          try {
            return mapped.get(slot.addressOf(offset));
          } finally {
            lock.unlock();
          }
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          for (Mapped page : zap(offset, length)) {
            try {
              page.folio().close();
            } catch (IllegalStateException e) {
              // put already, as the page of another
            }
          }
          return Errno.OK;
        }

        @Override
        public void release() {
          invalidateBegin(slot.offset(), slot.length());
        }
      };
    }
  }

  /** Forgets the reference of a fault that has to try again. */
  static class LeaksWhenItTriesAgain extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Faulting(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          while (!isMapped(offset)) {
            long before = sequence.get();
            Folio folio = memfd.grab(offset);
            if (sequence.get() != before) {
              continue;
            }
            if (!keep(offset, folio, before)) {
              folio.close();
            }
          }
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          sequence.incrementAndGet();
          return super.invalidateBegin(offset, length);
        }
      };
    }
  }

  /** Replaces the entry of a page that is mapped already, and so forgets its reference. */
  static class LeaksWhenItIsMapped extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          lock.lock();
          try {
            mapped.remove(slot.addressOf(offset));
          } finally {
            lock.unlock();
          }
          super.map(memfd, offset);
        }
      };
    }
  }

  /** A table that may map so many pages. */
  abstract static class Limited extends GuestPageTable {
    final Semaphore quota = new Semaphore(16);

    Limited(GuestSlot slot) {
      super(slot);
    }

    void take() {
      if (!quota.tryAcquire()) {
        throw new GuestMemfdException(Errno.ENOMEM, "the quota of the guest is used up");
      }
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      List<Mapped> zapped = zap(offset, length);
      drop(zapped);
      quota.release(zapped.size());
      return Errno.OK;
    }
  }

  /** A quota that leaks when a grab fails. */
  static class QuotaLeaksWhenAGrabFails extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Limited(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          take();
          int before = mapped.size();
          super.map(memfd, offset);
          if (mapped.size() == before) {
            quota.release();
          }
        }
      };
    }
  }

  /** A quota that leaks when a page is mapped already. */
  static class QuotaLeaksWhenItIsMapped extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new Limited(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          take();
          boolean done = false;
          try {
            super.map(memfd, offset);
            done = true;
          } finally {
            if (!done) {
              quota.release();
            }
          }
        }
      };
    }
  }

  /** A quota that leaks when a page is taken away. */
  static class QuotaLeaksWhenPagesGo extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final Set<Long> ever = ConcurrentHashMap.newKeySet();
        private final AtomicInteger used = new AtomicInteger();

        @Override
        void map(GuestMemfd memfd, long offset) {
          long before = invalidations();
          if (ever.add(offset + before) && used.incrementAndGet() > 128) {
            throw new GuestMemfdException(Errno.ENOMEM, "the quota of the guest is used up");
          }
          super.map(memfd, offset);
        }
      };
    }
  }

  /** Takes one failure for the end: a page that could not be had is not asked for again. */
  static class GivesAPageUp extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final Map<Long, Errno> bad = new ConcurrentHashMap<>();

        @Override
        void map(GuestMemfd memfd, long offset) {
          if (bad.containsKey(offset)) {
            return;
          }
          try {
            super.map(memfd, offset);
          } catch (GuestMemfdException e) {
            bad.put(offset, e.errno());
            throw e;
          }
        }
      };
    }
  }

  /** Takes what a refused grab has answered for the number of a frame. */
  static class TakesAnErrnoForAFrame extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new WrongFrames.FrameTable(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          file = memfd;
          int pfn = memfd.tryGrab(offset, HolderKind.SAFE);
          lock.lock();
          try {
            frames.put(slot.addressOf(offset), pfn);
          } finally {
            lock.unlock();
          }
          memfd.put(pfn, HolderKind.SAFE);
        }
      };
    }
  }

  /** Drops a reference twice when another vCPU was faster: one of them is another holder's. */
  static class DropsTwice extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          int pfn = memfd.tryGrab(offset, HolderKind.SAFE);
          super.map(memfd, offset);
          if (pfn > 0) {
            memfd.put(pfn, HolderKind.SAFE);
            memfd.put(pfn, HolderKind.SAFE);
          }
        }
      };
    }
  }
}
