package io.github.guestmemfd.model;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import java.util.ArrayList;
import java.util.List;

/** A client of all files of a host that writes down what it is told, and refuses as planned. */
final class ScriptedOps {

  /** What a callback throws. */
  static final class Thrown extends RuntimeException {
    private static final long serialVersionUID = 1L;

    final int callback;

    Thrown(int callback) {
      super("thrown by callback " + callback, null, false, false);
      this.callback = callback;
    }
  }

  /** What has been called. */
  final List<Callback> callbacks = new ArrayList<>();

  /** The frame of each of them, 0 for those without a folio. */
  final List<Integer> pfns = new ArrayList<>();

  /** Which of them agreed. */
  final List<Boolean> agreed = new ArrayList<>();

  private final HostMemory host;
  private final Refusals refusals;

  ScriptedOps(HostMemory host, Refusals refusals) {
    this.host = host;
    this.refusals = refusals;
  }

  /** The operations of one file. */
  GuestMemfdOps of(int file) {
    return new GuestMemfdOps() {
      @Override
      public Errno invalidateBegin(long offset, long length) {
        return answer(new Callback(file, "invalidateBegin", offset, length, null, null), 0);
      }

      @Override
      public void invalidateEnd(long offset, long length) {
        note(new Callback(file, "invalidateEnd", offset, length, null, null), 0);
      }

      @Override
      public Errno prepareAccessible(Folio folio) {
        return answer(about("prepareAccessible", folio), folio.pfn());
      }

      @Override
      public Errno prepareInaccessible(Folio folio) {
        return answer(about("prepareInaccessible", folio), folio.pfn());
      }

      @Override
      public void freeFolio(Folio folio) {
        note(about("freeFolio", folio), folio.pfn());
      }

      @Override
      public void release() {
        note(new Callback(file, "release", -1, 0, null, null), 0);
      }

      private Callback about(String method, Folio folio) {
        return new Callback(
            file,
            method,
            folio.offset(),
            HostMemory.PAGE_SIZE,
            host.directMap().contains(folio.pfn()),
            folio.buffer().hashCode());
      }
    };
  }

  private Errno answer(Callback callback, int pfn) {
    int number = callbacks.size();
    Outcome answer = refusals.answer(number);
    add(callback, pfn, answer == null);
    if (answer instanceof Outcome.Refused refused) {
      return refused.errno();
    }
    if (answer != null) {
      throw new Thrown(number);
    }
    return Errno.OK;
  }

  private void note(Callback callback, int pfn) {
    int number = callbacks.size();
    boolean throwing = refusals.throwsAt(number);
    add(callback, pfn, !throwing);
    if (throwing) {
      throw new Thrown(number);
    }
  }

  private void add(Callback callback, int pfn, boolean agreeing) {
    callbacks.add(callback);
    pfns.add(pfn);
    agreed.add(agreeing);
  }
}
