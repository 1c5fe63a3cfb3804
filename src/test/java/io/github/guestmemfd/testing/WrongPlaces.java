package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.LongUnaryOperator;

/** Clients that mix up places: addresses, offsets, frames, files, and bytes to be scrubbed. */
final class WrongPlaces {
  private WrongPlaces() {}

  /** Looks for the offset among guest addresses, which a slot at address 0 does not show. */
  static class OffsetForAnAddress extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        Map<Long, Mapped> range(long offset, long length) {
          return mapped.subMap(offset, offset + length);
        }
      };
    }
  }

  /** Forgets that a slot need not begin at the start of its file. */
  static class ForgetsTheOffsetOfTheSlot extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        Map<Long, Mapped> range(long offset, long length) {
          return mapped.subMap(slot.guestAddress() + offset, slot.guestAddress() + offset + length);
        }
      };
    }
  }

  /** Takes the address in the slot as the offset in the file when it grabs. */
  static class GrabsByTheAddress extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          long relative = slot.addressOf(offset) - slot.guestAddress();
          if (isMapped(offset)) {
            return;
          }
          Folio folio = memfd.grab(relative);
          boolean kept;
          lock.lock();
          try {
            kept =
                mapped.putIfAbsent(slot.addressOf(offset), new Mapped(folio, folio.buffer()))
                    == null;
          } finally {
            lock.unlock();
          }
          if (!kept) {
            folio.close();
          }
        }

        private boolean isMapped(long offset) {
          lock.lock();
          try {
            return mapped.containsKey(slot.addressOf(offset));
          } finally {
            lock.unlock();
          }
        }
      };
    }
  }

  /** Knows pages by their offsets as an int: two that are 2^32 apart are one. */
  static class IntOffsets extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final Map<Integer, Mapped> pages = new HashMap<>(); // under the lock

        @Override
        void map(GuestMemfd memfd, long offset) {
          super.map(memfd, offset);
          lock.lock();
          try {
            Mapped page = mapped.get(slot.addressOf(offset));
            if (page != null) {
              pages.put((int) offset, page);
            }
          } finally {
            lock.unlock();
          }
        }

        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          lock.lock();
          try {
            Mapped page = pages.get((int) offset);
            if (page == null || !mapped.containsValue(page)) {
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

  /** Cuts the length of a range to 32 bits: one of 2^32 bytes is empty. */
  @SuppressWarnings("UnnecessaryLongToIntConversion") // the mistake
  static class IntLength extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        Map<Long, Mapped> range(long offset, long length) {
          return super.range(offset, (int) length);
        }
      };
    }
  }

  /** Multiplies a page number of 32 bits by 4096. */
  @SuppressWarnings("NarrowCalculation") // the mistake
  static class IntMultiplication extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        Map<Long, Mapped> range(long offset, long length) {
          int first = (int) (offset / 4096);
          return super.range(first * 4096, length);
        }
      };
    }
  }

  /** Keeps the bytes of a page when it has given its reference back: a use after free. */
  static class KeepsTheBytes extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final Map<Long, ByteBuffer> views = new ConcurrentHashMap<>();

        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          ByteBuffer view = views.get(offset);
          if (view == null) {
            return false;
          }
          view.putLong(0, number.applyAsLong(view.getLong(0)));
          return true;
        }

        @Override
        void map(GuestMemfd memfd, long offset) {
          try (Folio folio = memfd.grab(offset)) {
            views.computeIfAbsent(offset, o -> folio.buffer());
          }
        }
      };
    }
  }

  /** Keeps the bytes that a callback has shown it, and lets the guest use them. */
  static class KeepsTheBytesOfACallback extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final Map<Long, ByteBuffer> prepared = new ConcurrentHashMap<>();

        @Override
        public Errno prepareInaccessible(Folio folio) {
          prepared.put(folio.offset(), folio.buffer());
          return Errno.OK;
        }

        @Override
        public Errno prepareAccessible(Folio folio) {
          prepared.remove(folio.offset());
          return Errno.OK;
        }

        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          ByteBuffer view = prepared.get(offset);
          if (view == null) {
            return super.access(memfd, offset, number);
          }
          view.putLong(0, number.applyAsLong(view.getLong(0)));
          return true;
        }
      };
    }
  }

  /** Keeps frame numbers without a reference, and does not drop them when it is told to. */
  static class KeepsFrameNumbers extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final Map<Long, Integer> frames = new ConcurrentHashMap<>();

        @Override
        void map(GuestMemfd memfd, long offset) {
          int pfn = memfd.tryGrab(offset, HolderKind.SAFE);
          if (pfn > 0) {
            frames.putIfAbsent(offset, pfn);
            memfd.put(pfn, HolderKind.SAFE);
          }
        }

        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          Integer pfn = frames.get(offset);
          if (pfn == null) {
            return false;
          }
          ByteBuffer bytes = memfd.buffer(pfn);
          bytes.putLong(0, number.applyAsLong(bytes.getLong(0)));
          return true;
        }
      };
    }
  }

  /** One table for all files: the page at an offset of one is that of another. */
  static class OneTableForAllFiles extends ClientSample {
    private final GuestPageTable shared = new GuestPageTable();

    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        void map(GuestMemfd memfd, long offset) {
          shared.map(memfd, offset);
        }

        @Override
        boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
          return shared.access(memfd, offset, number);
        }

        @Override
        public Errno invalidateBegin(long offset, long length) {
          return shared.invalidateBegin(offset, length);
        }

        @Override
        public void release() {
          shared.release();
        }
      };
    }
  }

  /** Scrubs a freed frame at the end of the punch, when it may be another file's. */
  static class ScrubsTooLate extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final List<ByteBuffer> dirty = new CopyOnWriteArrayList<>();

        @Override
        public void freeFolio(Folio folio) {
          dirty.add(folio.buffer());
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          List<ByteBuffer> all = new ArrayList<>(dirty);
          dirty.clear();
          all.forEach(page -> page.put(0, new byte[4096]));
        }
      };
    }
  }

  /** Says that it scrubs freed frames, and scrubs only those that are freed by a punch. */
  static class ScrubsNotAtTheEnd extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private volatile boolean released;

        @Override
        public void release() {
          super.release();
          released = true;
        }

        @Override
        public void freeFolio(Folio folio) {
          if (!released) {
            folio.zero();
          }
        }
      };
    }

    @Override
    protected boolean scrubsFreedFrames() {
      return true;
    }
  }

  /** Says that it scrubs freed frames, and does nothing. */
  static class ScrubsNever extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public void freeFolio(Folio folio) {}
      };
    }

    @Override
    protected boolean scrubsFreedFrames() {
      return true;
    }
  }

  /** Scrubs a header of a page that the host gets, and not the rest. */
  static class ScrubsTheHeader extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno prepareAccessible(Folio folio) {
          folio.buffer().put(0, new byte[64]);
          return Errno.OK;
        }
      };
    }

    @Override
    protected boolean scrubsSharedPages() {
      return true;
    }
  }

  /** Scrubs what the guest has mapped when that is taken away, and nothing that it has not. */
  static class ScrubsWhatIsMapped extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          List<Mapped> zapped = zap(offset, length);
          zapped.forEach(page -> page.folio().zero());
          drop(zapped);
          return Errno.OK;
        }
      };
    }

    @Override
    protected boolean scrubsSharedPages() {
      return true;
    }
  }
}
