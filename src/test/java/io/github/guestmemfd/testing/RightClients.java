package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongUnaryOperator;

/** Clients that are unusual, and right: the contract has nothing against them. */
final class RightClients {
  private RightClients() {}

  /** Takes pages from the guest at the begin, and lets go of them at the end. */
  static class LetsGoAtTheEnd extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final Map<Long, List<Mapped>> zapped = new ConcurrentHashMap<>(); // by offset

        @Override
        public Errno invalidateBegin(long offset, long length) {
          zapped.put(offset, zap(offset, length));
          return Errno.OK;
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          drop(zapped.remove(offset));
        }
      };
    }
  }

  /** Keeps nothing: each access grabs the page, and gives it back. */
  static class KeepsNothing extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {}

        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          Folio folio = memfd.grab(offset);
          Mapped page = new Mapped(folio, folio.buffer());
          long before = invalidations();
          lock.lock();
          try {
            // The file may have converted the page since; the bytes are those of this access.
            if (folio.isOrphan() || before != invalidations()) {
              return false;
            }
            page.bytes().putLong(0, number.applyAsLong(page.bytes().getLong(0)));
            return true;
          } finally {
            lock.unlock();
            folio.close();
          }
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          zap(offset, length); // waits for an access under way
          return Errno.OK;
        }
      };
    }
  }

  /** Maps a page when the guest accesses it, and not before. */
  static class MapsOnDemand extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {}

        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          if (super.access(memfd, offset, number)) {
            return true;
          }
          super.map(memfd, offset);
          return super.access(memfd, offset, number);
        }
      };
    }
  }

  /** Has another reference on a page for each use of it, up to a hundred. */
  static class HoldsSeveralReferences extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final Map<Long, List<Folio>> more = new HashMap<>(); // under the lock

        @Override
        void map(GuestMemfd memfd, long offset) {
          super.map(memfd, offset);
          long before = invalidations();
          Folio folio = memfd.grab(offset);
          boolean kept = false;
          lock.lock();
          try {
            List<Folio> held = more.computeIfAbsent(offset, o -> new ArrayList<>());
            kept = before == invalidations() && held.size() < 100 && held.add(folio);
          } finally {
            lock.unlock();
          }
          if (!kept) {
            folio.close();
          }
        }

        private void drop(long offset, long length) {
          List<Folio> dropped = new ArrayList<>();
          lock.lock();
          try {
            more.entrySet()
                .removeIf(
                    page -> {
                      long at = page.getKey() - offset;
                      return at >= 0 && at < length && dropped.addAll(page.getValue());
                    });
          } finally {
            lock.unlock();
          }
          dropped.forEach(Folio::close);
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          Errno errno = super.invalidateBegin(offset, length);
          drop(offset, length);
          return errno;
        }

        @Override
        public void release() {
          super.release();
          drop(0, Long.MAX_VALUE);
        }
      };
    }
  }

  /** Prepares a page when it is first mapped, and not when it is told to. */
  static class PreparesLazily extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final Set<Long> prepared = ConcurrentHashMap.newKeySet();

        @Override
        void map(GuestMemfd memfd, long offset) {
          super.map(memfd, offset);
          prepared.add(offset); // here the keys of the page would be set up
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          prepared.removeIf(page -> page - offset >= 0 && page - offset < length);
          return super.invalidateBegin(offset, length);
        }
      };
    }
  }

  /** Takes everything from the guest, whatever the range is. */
  static class ZapsEverything extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          return super.invalidateBegin(slot.offset(), slot.length());
        }
      };
    }

    /** Another page may be taken away between a use and an access of this one. */
    @Override
    protected boolean access(
        GuestMemfdOps client, GuestMemfd memfd, long offset, LongUnaryOperator number) {
      if (super.access(client, memfd, offset, number)) {
        return true;
      }
      use(client, memfd, offset);
      return super.access(client, memfd, offset, number);
    }
  }

  /** Refuses while the guest accesses a page of the range, and has changed nothing then. */
  static class RefusesWhileAPageIsInUse extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new WrongInvalidations.Pinning(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          List<Mapped> zapped;
          lock.lock();
          try {
            if (range(offset, length).keySet().stream().anyMatch(inUse::containsKey)) {
              return Errno.EBUSY;
            }
            zapped = zap(offset, length);
          } finally {
            lock.unlock();
          }
          drop(zapped);
          return Errno.OK;
        }
      };
    }
  }

  /** Has one invalidation at a time: a second one waits in its begin for the end of the first. */
  static class OneInvalidationAtATime extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final ReentrantLock invalidation = new ReentrantLock();

        @Override
        public Errno invalidateBegin(long offset, long length) {
          invalidation.lock();
          return super.invalidateBegin(offset, length);
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          invalidation.unlock();
        }
      };
    }
  }

  /** Waits for its vCPUs, and says EINTR when it is interrupted: what was zapped stays so. */
  static class WaitsInterruptibly extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new WrongInvalidations.Counting(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          List<Mapped> zapped = zap(offset, length);
          boolean over = false;
          try {
            over = await(10_000);
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
          }
          if (over) {
            drop(zapped);
            return Errno.OK;
          }
          keep(zapped);
          return Errno.EINTR;
        }

        /** An access may go on in them: they are mapped again. */
        private void keep(List<Mapped> zapped) {
          List<Mapped> twice = new ArrayList<>();
          lock.lock();
          try {
            for (Mapped page : zapped) {
              if (mapped.putIfAbsent(slot.addressOf(page.folio().offset()), page) != null) {
                twice.add(page);
              }
            }
          } finally {
            lock.unlock();
          }
          drop(twice);
        }
      };
    }
  }

  /** Serves its guest from the host's side of the conversion alone: accessible pages only. */
  static class ServesAccessiblePages extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          return memfd.isAccessible(offset) && super.access(memfd, offset, number);
        }
      };
    }
  }

  /** Has a quota, which it keeps. */
  static class HasAQuota extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new WrongFaults.Limited(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          take();
          boolean mine = false;
          try {
            mine = mapAtOnce(memfd, offset);
          } finally {
            if (!mine) {
              quota.release();
            }
          }
        }

        private boolean mapAtOnce(GuestMemfd memfd, long offset) {
          for (int tries = 0; tries < 1000; tries++) {
            long before = invalidations();
            Folio folio = memfd.grab(offset);
            Mapped page = new Mapped(folio, folio.buffer());
            boolean kept = false;
            boolean late = false;
            lock.lock();
            try {
              late = before != invalidations();
              kept = !late && mapped.putIfAbsent(slot.addressOf(offset), page) == null;
            } finally {
              lock.unlock();
            }
            if (!kept) {
              folio.close();
            }
            if (!late) {
              return kept;
            }
          }
          throw new GuestMemfdException(Errno.EAGAIN, "invalidated again and again");
        }
      };
    }
  }

  /** Does nothing. */
  static class DoesNothing extends GuestMemfdOpsContract {
    @Override
    protected GuestMemfdOps ops() {
      return GuestMemfdOps.NONE;
    }
  }

  /** Asks several clients, and ends those that have begun when one refuses. */
  static class RightFanOut extends WrongChains.Chain {
    @Override
    GuestMemfdOps fanOut(List<GuestMemfdOps> clients) {
      return new WrongChains.FanOut(clients);
    }
  }

  /** Keeps frame numbers and no references, and announces its accesses. */
  static class RightFrameTable extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new WrongFrames.FrameTable(slot);
    }

    @Override
    protected boolean announcesItsSteps() {
      return true;
    }
  }

  /** Says no more than what it must: how it uses a page, by its offset. */
  static class SaysTheLeast extends GuestMemfdOpsContract {
    @Override
    protected GuestMemfdOps ops() {
      return new GuestPageTable();
    }

    @Override
    protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {
      ((GuestPageTable) client).map(memfd, offset);
    }
  }
}
