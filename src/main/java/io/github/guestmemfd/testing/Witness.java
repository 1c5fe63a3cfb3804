package io.github.guestmemfd.testing;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.HolderKind;
import java.nio.ByteBuffer;

/** Another file of the same host, without a client. It takes frames and knows what is in them. */
final class Witness implements AutoCloseable {
  private static final long PATTERN = 0x5A5A_0000_0000_0000L;
  private static final int PAGES = 64;
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private final GuestMemfd memfd;

  Witness(HostMemory host) {
    memfd =
        GuestMemfd.builder(host)
            .size((long) PAGES * PAGE)
            .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
            .build();
  }

  /** Takes every frame that is free, and fills it. */
  Witness takeAll() {
    for (int page = 0; page < PAGES && take(page); page++) {}
    return this;
  }

  /** Takes a frame for a page that has none, if one is free, and fills it. */
  boolean take(int page) {
    if (!memfd.holders((long) page * PAGE).isHole()) {
      return true; // what is there is still to be looked at
    }
    int pfn = memfd.tryGrab((long) page * PAGE, HolderKind.UNSAFE);
    if (pfn < 0) {
      return false;
    }
    ByteBuffer bytes = memfd.buffer(pfn);
    for (int at = 0; at < PAGE; at += Long.BYTES) {
      bytes.putLong(at, PATTERN | page);
    }
    memfd.put(pfn, HolderKind.UNSAFE);
    return true;
  }

  /** How many frames it has. */
  long pages() {
    return memfd.cachedPages();
  }

  void giveBack(int page) {
    memfd.punchHole((long) page * PAGE, PAGE);
  }

  /** Whether a number is part of what this has written. */
  static boolean isFrom(long number) {
    return (number & ~0xFFFFL) == PATTERN;
  }

  /** Fails if another has written to the frames of this file. */
  void assertIntact(String story, String hint) {
    for (int page = 0; page < PAGES; page++) {
      if (!memfd.holders((long) page * PAGE).isHole()) {
        assertIntact(page, story, hint);
      }
    }
  }

  void assertIntact(int page, String story, String hint) {
    int pfn = memfd.tryGrab((long) page * PAGE, HolderKind.UNSAFE);
    if (pfn < 0) {
      return;
    }
    try {
      ByteBuffer bytes = memfd.buffer(pfn);
      for (int at = 0; at < PAGE; at += Long.BYTES) {
        long found = bytes.getLong(at);
        if (found != (PATTERN | page)) {
          throw Rule.FOLLOWS.broken(
              story
                  + ": a frame of another file, which took the frames that were free, has been"
                  + " written to: "
                  + Hex.of(found)
                  + " at byte "
                  + at
                  + ". The client has used a frame after it was freed: "
                  + hint);
        }
      }
    } finally {
      memfd.put(pfn, HolderKind.UNSAFE);
    }
  }

  @Override
  public void close() {
    memfd.close();
  }
}
