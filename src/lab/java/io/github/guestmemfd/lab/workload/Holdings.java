package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.GuestMemfdException;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;

/**
 * The references of one host thread on pages of the guest, oldest first. As long as it holds them
 * it reads and writes there: what it finds, and what the guest finds, tells whether a page has
 * become private under it.
 */
final class Holdings implements AutoCloseable {
  private final Machine m;
  private final String path;
  private final ArrayDeque<Held> held = new ArrayDeque<>();

  private record Held(HostReference reference, int page, int pages) {}

  Holdings(Machine m, String who) {
    this.m = m;
    this.path = "through a reference of " + who;
  }

  int size() {
    return held.size();
  }

  /** Takes references on those of some pages that can be had, up to the first that is private. */
  boolean take(int page, int pages, boolean pin) {
    m.ledger().hold(page, pages);
    int taken = 0;
    try {
      long offset = Machine.offset(page);
      long length = Machine.offset(pages);
      HostReference reference =
          pin ? m.window().pin(offset, length) : m.window().getUserPages(offset, length);
      taken = reference.pages();
      held.add(new Held(reference, page, taken));
    } catch (GuestMemfdException refused) {
      // EFAULT: what the kernel answers a driver when the first page is not shared.
    } finally {
      m.ledger().cancel(page + taken, pages - taken);
    }
    return taken > 0;
  }

  /** Reads what it holds, and scribbles there. */
  void use(long random) {
    for (Held h : held) {
      use(h, random);
    }
  }

  private void use(Held h, long random) {
    for (int i = 0; i < h.pages; i++) {
      ByteBuffer page = h.reference.buffer(i);
      m.secrets().check(page, path, h.page + i);
      page.putLong(Secrets.WRITE_AT, Secrets.data(random));
    }
  }

  /** Drops the oldest, after a last look. */
  void release(long random) {
    Held h = held.poll();
    if (h != null) {
      use(h, random);
      h.reference.close();
      m.ledger().release(h.page, h.pages);
    }
  }

  /** The frame of the first page taken last. */
  int newestFrame() {
    return held.getLast().reference.pfn(0);
  }

  /** Copies the pages taken last, as a device does. */
  void copyNewest(ByteBuffer into) {
    Held h = held.getLast();
    for (int i = 0; i < h.pages; i++) {
      into.clear().put(h.reference.buffer(i));
      m.secrets().check(into, path, h.page + i);
    }
  }

  @Override
  public void close() {
    while (!held.isEmpty()) {
      release(0);
    }
  }
}
