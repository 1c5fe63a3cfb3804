package io.github.guestmemfd.lab.workload;

import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.LongAdder;
import org.jspecify.annotations.Nullable;

/**
 * The numbers that the guest writes to its private pages, and that only the guest may read or
 * change. Their upper bits distinguish them from all other numbers.
 *
 * <p>A guest writes a secret only after its page has become private, and wipes it, or has the page
 * discarded, before the page is shared. So a host thread that reads a secret has reached content of
 * a private page; and if the guest finds another number in the place of its secret, the host has
 * written there.
 */
final class Secrets {
  /** The offset in a page of a secret that the host only tries to read. */
  static final int READ_AT = 0;

  /** The offset in a page of a secret that the host also tries to overwrite. */
  static final int WRITE_AT = 1024;

  /** The offset in a page of data that guest and host exchange. */
  static final int DATA_AT = 2048;

  private static final long MARK = 0x5EC7L << 48;
  private static final long MARK_MASK = -1L << 48;

  private final LongAdder leaks = new LongAdder();
  private final LongAdder corrupted = new LongAdder();
  private final AtomicReference<@Nullable String> first = new AtomicReference<>();

  /** Creates a secret from random bits. */
  static long of(long random) {
    return MARK | (random & ~MARK_MASK);
  }

  static boolean isSecret(long number) {
    return (number & MARK_MASK) == MARK;
  }

  /** Creates a number that is no secret from random bits. */
  static long data(long random) {
    return random & ~MARK_MASK;
  }

  /** Checks whether a number that the host has read is a secret. */
  void check(long number, String path, int page) {
    if (isSecret(number)) {
      leak("the host read a secret of the guest " + path, page);
    }
  }

  /** Checks both places of a page that the host holds. */
  void check(ByteBuffer page, String path, int number) {
    check(page.getLong(READ_AT), path, number);
    check(page.getLong(WRITE_AT), path, number);
  }

  void leak(String what, int page) {
    leaks.increment();
    if (first.get() == null) {
      first.compareAndSet(null, what + ", page " + page);
    }
  }

  /** Records that content was lost that should have survived. */
  void corrupted() {
    corrupted.increment();
  }

  long leaks() {
    return leaks.sum();
  }

  long corruptions() {
    return corrupted.sum();
  }

  /** How the first leak was found; empty if there was none. */
  String firstLeak() {
    String text = first.get();
    return text == null ? "" : text;
  }
}
