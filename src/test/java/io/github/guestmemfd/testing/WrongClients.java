package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;

/**
 * Clients with one mistake each, and the contract run on them: what they answer and throw. More are
 * in {@link WrongInvalidations}, {@link WrongFaults}, {@link WrongPlaces} and {@link WrongChains}.
 */
final class WrongClients {
  private WrongClients() {}

  /** Keeps what is invalidated. */
  static class KeepsWhatIsInvalidated extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          return Errno.OK;
        }
      };
    }
  }

  /** Keeps what it has when the file goes. */
  static class KeepsAtRelease extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public void release() {}
      };
    }
  }

  /** Throws at the end of an invalidation. */
  static class ThrowsAtTheEnd extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public void invalidateEnd(long offset, long length) {
          throw new IllegalStateException("not expected");
        }
      };
    }
  }

  /** Has a page that is private already refused by its hardware. */
  static class MakesPrivateOnce extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private final Set<Integer> frames = ConcurrentHashMap.newKeySet();

        @Override
        public Errno makePrivate(Folio folio) {
          return frames.add(folio.pfn()) ? Errno.OK : Errno.ENOENT;
        }

        @Override
        public void makeShared(Folio folio) {
          frames.remove(folio.pfn());
        }
      };
    }
  }

  /** Throws where a page that turns shared is not known. */
  static class ThrowsWhenShared extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public void makeShared(Folio folio) {
          throw new IllegalStateException("not expected");
        }
      };
    }
  }

  /** Throws when the file goes, though it has let go of everything. */
  static class ThrowsAtRelease extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public void release() {
          super.release();
          throw new IllegalStateException("not expected");
        }
      };
    }
  }

  /** Throws when an orphan is freed after the file. */
  static class ForgetsOrphans extends ClientSample {
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
          if (released && folio.buffer().getLong(0) == 1) { // that of the first page, which is held
            throw new IllegalStateException("freed after release");
          }
        }
      };
    }
  }

  /** Scrubs too early: a conversion that is undone has lost its content. */
  static class ScrubsTooEarly extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno prepareInaccessible(Folio folio) {
          folio.zero();
          return Errno.OK;
        }
      };
    }
  }

  /** Does not take a folio back that it has prepared for the guest. */
  static class RefusesToUndo extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        private boolean prepared;

        @Override
        public Errno prepareInaccessible(Folio folio) {
          prepared = true;
          return Errno.OK;
        }

        @Override
        public Errno prepareAccessible(Folio folio) {
          return prepared ? Errno.EACCES : Errno.OK;
        }
      };
    }
  }

  /** Answers a conversion by another one. */
  static class CallsBack extends GuestMemfdOpsContract {
    private final List<GuestMemfd> files = new CopyOnWriteArrayList<>();

    @Override
    protected GuestMemfdOps ops() {
      files.clear();
      return new GuestMemfdOps() {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          return files.isEmpty() ? Errno.OK : files.get(0).tryMakeAccessible(offset, length);
        }
      };
    }

    @Override
    protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {
      files.add(memfd);
    }
  }

  /** Holds folios as the host does. */
  static class HoldsAsTheHostDoes extends GuestMemfdOpsContract {
    @Override
    protected GuestMemfdOps ops() {
      return new Holder();
    }

    @Override
    protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {
      if (memfd.isAccessible(offset)) {
        ((Holder) client).held.add(memfd.grab(offset, HolderKind.UNSAFE));
      }
    }

    private static final class Holder implements GuestMemfdOps {
      final List<Folio> held = new CopyOnWriteArrayList<>();

      @Override
      public Errno invalidateBegin(long offset, long length) {
        for (Folio folio : List.copyOf(held)) {
          if (held.remove(folio)) {
            folio.close();
          }
        }
        return Errno.OK;
      }

      @Override
      public void release() {
        invalidateBegin(0, 0);
      }
    }
  }

  /** Answers nothing. */
  static class AnswersNull extends ClientSample {
    @Override
    GuestPageTable table(GuestSlot slot) {
      return new GuestPageTable(slot) {
        @Override
        public Errno prepareInaccessible(Folio folio) {
          return null;
        }
      };
    }
  }
}
