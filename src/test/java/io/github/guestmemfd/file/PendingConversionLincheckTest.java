package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.FolioHolders;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Linearizable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.locks.ReentrantLock;
import org.jetbrains.lincheck.datastructures.Operation;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * The state of a conversion that completes later: tries, refused or not, against those who cancel
 * it, with the pages or without them. What drives it is a model: its pages are a lock. When the
 * last put of a folio tries again is a matter of time, and for the explorer: see {@code
 * LaterConversionsTest}.
 */
@Tag("lincheck")
class PendingConversionLincheckTest {

  /** A conversion that is pending. */
  public static class Pending {
    /** Of all: a pending conversion without a watch leaves it as it is. */
    private static final FileOperations FILE = file();

    private final ReentrantLock pages = new ReentrantLock();
    private final PendingConversion later =
        new PendingConversion(FILE.inode, new Driver(pages), 0, 1);

    public Pending() {
      later.pend();
    }

    private static FileOperations file() {
      Host.Options options = new Host.Options();
      options.metadataOnly = true;
      return new FileOperations(
          new Host(64, options),
          Pages.SIZE,
          CreateFlag.bits(CreateFlag.MMAP, CreateFlag.INIT_SHARED),
          null,
          ConversionProtocol.lastPut(),
          RetryPolicy.completeLater());
    }

    /** A try that succeeds, unless it finds the conversion ended, which it makes known. */
    @Operation
    public void convert() {
      pages.lock();
      try {
        if (later.beginTry()) {
          later.decide(null);
        } else if (later.isEnded()) {
          later.undo(new CancellationException());
        }
        later.complete();
      } finally {
        pages.unlock();
      }
    }

    /** A try that finds a holder in the way. */
    @Operation
    public void refuse() {
      pages.lock();
      try {
        if (later.beginTry()) {
          later.pend();
        }
      } finally {
        pages.unlock();
      }
    }

    @Operation
    public boolean cancel() {
      return later.cancel(false);
    }

    /** Cancels without having the pages: the next who has them undoes it. */
    @Operation
    public void cancelWithoutPages() {
      later.endWithoutPages(new CancellationException());
    }

    @Operation
    public boolean isDone() {
      return later.isDone();
    }

    @Operation
    public boolean isCancelled() {
      return later.isCancelled();
    }
  }

  /** Has the pages by a lock. */
  private record Driver(ReentrantLock pages) implements PendingConversion.Driver {
    @Override
    public void attempt(PendingConversion later) {}

    @Override
    public boolean undo(PendingConversion later, Throwable why, Failures failures) {
      pages.lock();
      try {
        return later.undo(why);
      } finally {
        pages.unlock();
      }
    }

    @Override
    public boolean mayTurnInaccessible(long counts) {
      return false;
    }

    @Override
    public FolioHolders holders(long index) {
      throw new UnsupportedOperationException();
    }
  }

  @Test
  void onePendingConversionByOrders() {
    Linearizable.checkByOrders(Pending.class);
  }

  @Test
  void onePendingConversionByStress() {
    Linearizable.checkByStress(Pending.class);
  }
}
