package io.github.guestmemfd.file;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Advice;

/** Calls that wait for a busy page. */
enum WaitingCall {
  LOAD,
  STORE,
  BULK,
  GRAB,
  GET_USER_PAGES,
  ALLOCATE,
  POPULATE,
  DONTNEED,
  PUNCH,
  TO_ACCESSIBLE,
  FOLIO_LOCK;

  void call(GuestMemfd memfd, HostMapping window, Folio folio) {
    switch (this) {
      case LOAD -> window.getLong(0);
      case STORE -> window.putLong(0, 1);
      case BULK -> window.get(0, new byte[2 * HostMemory.PAGE_SIZE], 0, 2 * HostMemory.PAGE_SIZE);
      case GRAB -> memfd.grab(0).close();
      case GET_USER_PAGES -> window.getUserPages(0, HostMemory.PAGE_SIZE).close();
      case ALLOCATE -> memfd.allocate(0, 2L * HostMemory.PAGE_SIZE);
      case POPULATE -> window.madvise(0, HostMemory.PAGE_SIZE, Advice.POPULATE_WRITE);
      case DONTNEED -> window.madvise(0, HostMemory.PAGE_SIZE, Advice.DONTNEED);
      case PUNCH -> memfd.punchHole(0, HostMemory.PAGE_SIZE);
      case TO_ACCESSIBLE -> memfd.makeAccessible(0, HostMemory.PAGE_SIZE);
      case FOLIO_LOCK -> {
        folio.lock();
        folio.unlock();
      }
    }
  }
}
