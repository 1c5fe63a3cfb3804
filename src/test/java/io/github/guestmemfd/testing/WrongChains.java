package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;

/** Clients that pass callbacks on to others, wrongly. */
final class WrongChains {
  private WrongChains() {}

  /** Asks all clients of a file, in their order. */
  static class FanOut implements GuestMemfdOps {
    final List<GuestMemfdOps> clients;

    FanOut(List<GuestMemfdOps> clients) {
      this.clients = clients;
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      List<GuestMemfdOps> begun = new CopyOnWriteArrayList<>();
      boolean done = false;
      try {
        for (GuestMemfdOps client : clients) {
          Errno errno = client.invalidateBegin(offset, length);
          if (errno != Errno.OK) {
            return errno;
          }
          begun.add(client);
        }
        done = true;
        return Errno.OK;
      } finally {
        if (!done) {
          begun.forEach(client -> client.invalidateEnd(offset, length));
        }
      }
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      clients.forEach(client -> client.invalidateEnd(offset, length));
    }

    @Override
    public Errno prepareAccessible(Folio folio) {
      Errno errno = Errno.OK;
      for (int i = 0; i < clients.size() && errno == Errno.OK; i++) {
        errno = clients.get(i).prepareAccessible(folio);
      }
      return errno;
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      Errno errno = Errno.OK;
      for (int i = 0; i < clients.size() && errno == Errno.OK; i++) {
        errno = clients.get(i).prepareInaccessible(folio);
      }
      return errno;
    }

    @Override
    public Errno makePrivate(Folio folio) {
      Errno errno = Errno.OK;
      for (int i = 0; i < clients.size() && errno == Errno.OK; i++) {
        errno = clients.get(i).makePrivate(folio);
      }
      return errno;
    }

    @Override
    public void makeShared(Folio folio) {
      clients.forEach(client -> client.makeShared(folio));
    }

    @Override
    public void freeFolio(Folio folio) {
      clients.forEach(client -> client.freeFolio(folio));
    }

    @Override
    public void release() {
      clients.forEach(GuestMemfdOps::release);
    }
  }

  /** The contract of a fan-out. */
  abstract static class Chain extends GuestMemfdOpsContract {
    abstract GuestMemfdOps fanOut(List<GuestMemfdOps> clients);

    @Override
    protected GuestMemfdOps ops() {
      return fanOut(List.of());
    }

    @Override
    protected Optional<GuestMemfdOps> passingOn(GuestSlot slot, List<GuestMemfdOps> next) {
      return Optional.of(fanOut(next));
    }
  }

  /** On a refusal ends all clients, those too that have refused: their counts go below zero. */
  static class EndsWhoRefused extends Chain {
    @Override
    GuestMemfdOps fanOut(List<GuestMemfdOps> clients) {
      return new FanOut(clients) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          for (GuestMemfdOps client : clients) {
            Errno errno = client.invalidateBegin(offset, length);
            if (errno != Errno.OK) {
              invalidateEnd(offset, length);
              return errno;
            }
          }
          return Errno.OK;
        }
      };
    }
  }

  /** On a refusal does not end the clients that have begun. */
  static class LeavesTheOthersBegun extends Chain {
    @Override
    GuestMemfdOps fanOut(List<GuestMemfdOps> clients) {
      return new FanOut(clients) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          Errno errno = Errno.OK;
          for (int i = 0; i < clients.size() && errno == Errno.OK; i++) {
            errno = clients.get(i).invalidateBegin(offset, length);
          }
          return errno;
        }
      };
    }
  }

  /** Asks all whatever they answer, and knows of one refusal: of two the other one is ended too. */
  static class BothRefuse extends Chain {
    @Override
    GuestMemfdOps fanOut(List<GuestMemfdOps> clients) {
      return new FanOut(clients) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          Errno answer = Errno.OK;
          GuestMemfdOps refuser = null;
          for (GuestMemfdOps client : clients) {
            Errno errno = asks(client, offset, length);
            if (errno != Errno.OK && refuser == null) {
              refuser = client;
              answer = errno;
            }
          }
          for (GuestMemfdOps client : clients) {
            if (answer != Errno.OK && client != refuser) {
              client.invalidateEnd(offset, length);
            }
          }
          return answer;
        }

        private Errno asks(GuestMemfdOps client, long offset, long length) {
          try {
            return client.invalidateBegin(offset, length);
          } catch (GuestMemfdException e) {
            return e.errno();
          }
        }
      };
    }
  }

  /** Answers what the last client has answered. */
  static class AnswersForTheLast extends Chain {
    @Override
    GuestMemfdOps fanOut(List<GuestMemfdOps> clients) {
      return new FanOut(clients) {
        @Override
        public Errno prepareInaccessible(Folio folio) {
          Errno errno = Errno.OK;
          for (GuestMemfdOps client : clients) {
            errno = client.prepareInaccessible(folio);
          }
          return errno;
        }
      };
    }
  }

  /** Ends what has begun when a client refuses, and not when it throws. */
  static class ForgetsExceptions extends Chain {
    @Override
    GuestMemfdOps fanOut(List<GuestMemfdOps> clients) {
      return new FanOut(clients) {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          for (int i = 0; i < clients.size(); i++) {
            Errno errno = clients.get(i).invalidateBegin(offset, length);
            if (errno != Errno.OK) {
              clients.subList(0, i).forEach(client -> client.invalidateEnd(offset, length));
              return errno;
            }
          }
          return Errno.OK;
        }
      };
    }
  }

  /** Does not pass on that pages are made private. */
  static class KeepsMakePrivate extends Chain {
    @Override
    GuestMemfdOps fanOut(List<GuestMemfdOps> clients) {
      return new FanOut(clients) {
        @Override
        public Errno makePrivate(Folio folio) {
          return Errno.OK;
        }
      };
    }
  }

  /** Asks all, and answers for the last. */
  static class ForgetsWhoRefused extends Chain {
    @Override
    GuestMemfdOps fanOut(List<GuestMemfdOps> clients) {
      return new FanOut(clients) {
        @Override
        public Errno makePrivate(Folio folio) {
          Errno errno = Errno.OK;
          for (GuestMemfdOps client : clients) {
            errno = client.makePrivate(folio);
          }
          return errno;
        }
      };
    }
  }

  /** Does not pass on that pages turn shared. */
  static class KeepsMakeShared extends Chain {
    @Override
    GuestMemfdOps fanOut(List<GuestMemfdOps> clients) {
      return new FanOut(clients) {
        @Override
        public void makeShared(Folio folio) {}
      };
    }
  }

  /** Does not pass on that folios are freed. */
  static class KeepsFreeFolio extends Chain {
    @Override
    GuestMemfdOps fanOut(List<GuestMemfdOps> clients) {
      return new FanOut(clients) {
        @Override
        public void freeFolio(Folio folio) {}
      };
    }
  }
}
