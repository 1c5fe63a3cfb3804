package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.LongUnaryOperator;

/** Clients that keep frame numbers and no references, as a guest page table does, wrongly. */
final class WrongFrames {
  private WrongFrames() {}

  /** Maps frames without references, and announces its accesses to them. */
  static class FrameTable extends GuestPageTable {
    final TreeMap<Long, Integer> frames = new TreeMap<>(); // by guest address, under the lock
    private long sequence; // under the lock
    volatile GuestMemfd file;

    FrameTable(GuestSlot slot) {
      super(slot);
    }

    Integer frame(long offset) {
      lock.lock();
      try {
        return frames.get(slot.addressOf(offset));
      } finally {
        lock.unlock();
      }
    }

    private long sequence() {
      lock.lock();
      try {
        return sequence;
      } finally {
        lock.unlock();
      }
    }

    @Override
    void map(GuestMemfd memfd, long offset) {
      file = memfd;
      for (boolean over = false; !over; ) {
        long before = sequence();
        int pfn = memfd.tryGrab(offset, HolderKind.SAFE);
        if (pfn < 0) {
          throw new GuestMemfdException(Errno.ofResult(pfn), "no page for the guest");
        }
        lock.lock();
        try {
          over = isCurrent(before);
          if (over) {
            frames.put(slot.addressOf(offset), pfn);
          }
        } finally {
          lock.unlock();
          memfd.put(pfn, HolderKind.SAFE);
        }
      }
    }

    boolean isCurrent(long before) {
      return sequence == before;
    }

    @Override
    boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
      Integer pfn = frame(offset);
      if (pfn == null) {
        return false;
      }
      FrameAccess accesses = memfd.frameAccess();
      long access = accesses.begin(pfn);
      try {
        if (!isStill(offset, pfn)) {
          return false;
        }
        long old = accesses.read(access, 0, Long.BYTES);
        accesses.write(access, 0, Long.BYTES, number.applyAsLong(old));
        return true;
      } finally {
        accesses.end(access);
      }
    }

    boolean isStill(long offset, Integer pfn) {
      return pfn.equals(frame(offset));
    }

    List<Integer> zapFrames(long offset, long length) {
      long from = Math.max(offset - slot.offset(), 0);
      long to = Math.min(offset + length - slot.offset(), slot.length());
      lock.lock();
      try {
        sequence++;
        if (from >= to) {
          return List.of();
        }
        Map<Long, Integer> range =
            frames.subMap(slot.guestAddress() + from, slot.guestAddress() + to);
        List<Integer> zapped = new ArrayList<>(range.values());
        range.clear();
        return zapped;
      } finally {
        lock.unlock();
      }
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      int[] pfns = zapFrames(offset, length).stream().mapToInt(pfn -> pfn).toArray();
      if (pfns.length == 0) {
        return Errno.OK;
      }
      try {
        file.frameAccess().await(pfns, pfns.length);
        return Errno.OK;
      } catch (InterruptedException e) {
        return FrameAccess.interrupted(e);
      }
    }

    @Override
    public void release() {
      zapFrames(slot.offset(), slot.length());
    }
  }

  /** Announces an access, and does not read the entry again: it may have been zapped before. */
  static class NoSecondReadOfTheEntry extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new FrameTable(slot) {
        @Override
        boolean isStill(long offset, Integer pfn) {
          return true;
        }
      };
    }

    @Override
    protected boolean announcesItsSteps() {
      return true;
    }
  }

  /** Reads the entry first and announces the access afterwards, in two steps that look like one. */
  static class AnnouncesTooLate extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new FrameTable(slot) {
        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          Integer pfn = frame(offset);
          if (pfn == null || !isStill(offset, pfn)) {
            return false;
          }
          ByteBuffer bytes = memfd.buffer(pfn);
          bytes.putLong(0, number.applyAsLong(bytes.getLong(0)));
          return true;
        }
      };
    }
  }

  /** Maps what it has got, whatever was invalidated meanwhile: no reference shows it. */
  static class NoSequence extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new FrameTable(slot) {
        @Override
        boolean isCurrent(long before) {
          return true;
        }
      };
    }
  }

  /**
   * Is for private pages alone, and looks at the attribute when it maps. It takes pages away when
   * they are private no more, and that is never so in invalidateBegin: the guest keeps them.
   */
  static class KeepsWhatTurnsAccessible extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new FrameTable(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          if (!memfd.isAccessible(offset)) {
            super.map(memfd, offset);
          }
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          GuestMemfd memfd = file;
          return memfd == null || !memfd.isAccessible(offset)
              ? Errno.OK
              : super.invalidateBegin(offset, length);
        }

        @Override
        public void freeFolio(Folio folio) {
          lock.lock();
          try {
            frames.values().remove(folio.pfn());
          } finally {
            lock.unlock();
          }
        }
      };
    }
  }

  /** Forgets the frames that it has zapped when it is interrupted, and takes them for done. */
  static class TakesAnInterruptForDone extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new FrameTable(slot) {
        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          Integer pfn = frame(offset);
          if (pfn == null) {
            return false;
          }
          underWay.add(pfn);
          try {
            ByteBuffer bytes = memfd.buffer(pfn);
            bytes.putLong(0, number.applyAsLong(bytes.getLong(0)));
            return true;
          } finally {
            underWay.remove(pfn);
          }
        }

        private final List<Integer> underWay = new CopyOnWriteArrayList<>();

        @Override
        public Errno invalidateBegin(long offset, long length) {
          List<Integer> zapped = zapFrames(offset, length);
          while (zapped.stream().anyMatch(underWay::contains)) {
            try {
              Thread.sleep(1);
            } catch (InterruptedException e) {
              Thread.currentThread().interrupt();
              return Errno.OK;
            }
          }
          return Errno.OK;
        }
      };
    }
  }
}
