package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.FolioHolders;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Linearizable;
import java.util.concurrent.CancellationException;
import org.jetbrains.lincheck.datastructures.Operation;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * The state of a conversion that completes later: tries, refused or not, against those who cancel
 * it, with the pages or without them. A try is two calls, since one who cancels it without the
 * pages meanwhile leaves the end to the try. What drives it is a model: one thread has the pages.
 * When the last put of a folio tries again is a matter of time, and for the explorer: see {@code
 * LaterConversionsTest}.
 */
@Tag("lincheck")
class PendingConversionLincheckTest {

  /** A conversion that is pending, and the thread that has its pages. */
  public static class Pending {
    /** The operations of the thread that has the pages. */
    private static final String PAGES = "pages";

    /** Of all: a pending conversion without a watch leaves it as it is. */
    private static final FileOperations FILE = file();

    private final PendingConversion later = new PendingConversion(FILE.inode, new Driver(), 0, 1);

    /** Whether a try is under way. */
    private boolean isTried;

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

    /** Begins a try, if there is none; one that finds the conversion ended makes that known. */
    @Operation(nonParallelGroup = PAGES)
    public boolean begin() {
      if (isTried) {
        return false;
      }
      isTried = later.beginTry();
      if (later.isEnded()) {
        later.undo(new CancellationException());
        later.complete();
      }
      return isTried;
    }

    /** The try succeeds. */
    @Operation(nonParallelGroup = PAGES)
    public void convert() {
      if (isTried) {
        isTried = false;
        later.decide(null);
        later.complete();
      }
    }

    /** The try finds a holder in the way. */
    @Operation(nonParallelGroup = PAGES)
    public void refuse() {
      if (isTried) {
        isTried = false;
        later.pend();
      }
    }

    /** Cancels it, having the pages: not while a try is under way. */
    @Operation(nonParallelGroup = PAGES)
    public boolean cancel() {
      return !isTried && later.cancel(false);
    }

    /** Cancels without having the pages: the next who has them undoes it. */
    @Operation
    public void cancelWithoutPages() {
      later.endWithoutPages(new CancellationException());
    }

    /** What a thread does that waits for it. */
    @Operation
    public void complete() {
      later.complete();
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

  /** Has the pages. */
  private record Driver() implements PendingConversion.Driver {
    @Override
    public void attempt(PendingConversion later) {}

    @Override
    public boolean undo(PendingConversion later, Throwable why, Failures failures) {
      return later.undo(why);
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
