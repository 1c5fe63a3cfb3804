package io.github.guestmemfd.file;

import io.github.guestmemfd.cache.Folios;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;

/** The end of a file. */
final class Release {
  private final Inode inode;
  private final PageCache cache;
  private final PendingConversions pendings;
  private final ReverseMap reverseMap;
  private final Callbacks callbacks;

  Release(Inode inode, PendingConversions pendings, ReverseMap reverseMap, Callbacks callbacks) {
    this.inode = inode;
    this.cache = inode.cache;
    this.pendings = pendings;
    this.reverseMap = reverseMap;
    this.callbacks = callbacks;
  }

  /**
   * Ends the file. Nothing uses it any more, and no operation is under way: no page is busy, and a
   * folio lock that is taken is a user's. So this waits for nothing but accesses through the direct
   * map, or a client's page table, that have begun; and these wait for nothing.
   *
   * @param failures takes what callbacks and race hooks throw
   */
  void end(Failures failures) {
    CallbackContext.enterOperation();
    try {
      lockAll(failures);
      pendings.undoAll();
      callbacks.release(failures);
      long pages = inode.pages;
      Accesses.UnderWay underWay = reverseMap.underWay(0, pages);
      if (underWay != null) {
        failures.attempt(() -> underWay.awaitUninterruptibly(inode.host.idle));
      }
      for (Folios folios = cache.folios(0, pages); folios.next(); ) {
        long index = folios.index();
        failures.attempt(() -> cache.abandon(index));
      }
      cache.die();
      inode.owner.close();
      inode.host.closeFile();
      Logs.FILE.debug("released {}", inode);
    } finally {
      CallbackContext.leaveOperation();
    }
  }

  private void lockAll(Failures failures) {
    try {
      if (cache.lock(0, inode.pages)) {
        failures.attempt(() -> inode.at(RacePoint.RANGE_BUSY, 0));
        return;
      }
    } catch (InterruptedException e) {
      Wait.restore(e);
    }
    throw new IllegalStateException("an operation is under way at the end of " + inode);
  }
}
