package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.memory.Accesses;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * Changes of what a mapping maps, and how it may be used: {@code munmap}, {@code mprotect} and
 * {@code mremap}.
 *
 * <h2>A change against an access and a fault</h2>
 *
 * A change first replaces the {@link Areas} of the mapping, then looks at its entries and at the
 * accesses under way. An access looks at the areas when it begins, and again when it is announced
 * or, if it is optimistic, when it has the bytes. A fault enters its page as pending and then looks
 * at the areas. Each writes one word and then reads the other's (store buffering), so that the
 * change finds the access or the entry, or these find the areas changed.
 *
 * <p>A change takes no page's busy bit. It meets a conversion or a punch in the entries alone, of
 * which each is removed, and its reference dropped, by one of them.
 */
public final class Remap {
  private static final String OLD_LENGTH =
      "expected an old length of 0 to " + (Mapping.TASK_SIZE - Pages.SIZE);

  private final Inode inode;
  private final ReverseMap reverseMap;
  private final HostFault hostFault;

  Remap(Inode inode, ReverseMap reverseMap, HostFault hostFault) {
    this.inode = inode;
    this.reverseMap = reverseMap;
    this.hostFault = hostFault;
  }

  // ---- munmap ----

  /**
   * Unmaps a mapping as a whole: {@code munmap}. A second call does nothing.
   *
   * @param mapping the mapping
   */
  public void close(Mapping mapping) {
    CallbackContext.forbid("munmap");
    end(mapping);
  }

  /**
   * As {@link #close}, of a mapping that no other thread knows, or inherits.
   *
   * @param mapping the mapping
   */
  public void end(Mapping mapping) {
    if (!mapping.tryClose()) {
      return;
    }
    Failures failures = new Failures();
    CallbackContext.enterOperation(); // what a put has others do is done without the lock
    try {
      failures.attempt(mapping.lock::lockUninterruptibly);
      try {
        takeOut(mapping);
        removeEntries(mapping, 0, mapping.pages, failures);
      } finally {
        mapping.lock.unlock();
      }
    } finally {
      failures.attempt(CallbackContext::leaveOperation);
    }
    failures.attempt(() -> release(mapping));
    failures.throwIfAny();
  }

  /**
   * Unmaps a part of a mapping.
   *
   * @param mapping the mapping
   * @param offset the start in bytes; may lie outside, where nothing is mapped
   * @param length the length in bytes
   */
  public void munmap(Mapping mapping, long offset, long length) {
    String call = "munmap" + Hex.range(offset, length) + " of " + mapping;
    CallbackContext.forbid("munmap");
    mapping.requireMapped();
    requireAligned(offset, call);
    if (length <= 0 || length > Mapping.TASK_SIZE) {
      throw refused(Errno.EINVAL, call, "expected a length of 1 to " + Mapping.TASK_SIZE);
    }
    long from = mapping.clip(Pages.index(offset));
    long to = mapping.clip(Pages.index(offset) + pages(length));
    locked(
        mapping,
        call,
        () -> {
          mapping.change(from, to, bits -> Areas.UNMAPPED);
          boolean all = mapping.areas().isEmpty();
          long first = all ? 0 : from; // with what an interrupted one has left
          long end = all ? mapping.pages : to;
          drain(mapping, first, end);
          try {
            mapping.remove(first, end);
          } finally {
            leaveIfEmpty(mapping);
          }
          return mapping;
        });
  }

  /** Takes a mapping from its process: a child inherits it as it was, or not at all. */
  private static void takeOut(Mapping mapping) {
    mapping.mm.atOnce(
        () -> {
          mapping.change(0, mapping.pages, bits -> Areas.UNMAPPED);
          mapping.mm.remove(mapping);
        });
  }

  /**
   * Removes the entries of a range where nothing is mapped any more, and takes no interrupt
   * meanwhile. The lock is held.
   */
  private void removeEntries(Mapping mapping, long from, long to, Failures failures) {
    boolean all = mapping.areas().isEmpty();
    long first = all ? 0 : from; // with what an interrupted one has left
    long end = all ? mapping.pages : to;
    revoke(mapping, first, end);
    Accesses.UnderWay underWay = underWay(mapping, first, end);
    if (underWay != null) {
      failures.attempt(() -> underWay.awaitUninterruptibly(inode.host.idle));
    }
    failures.attempt(() -> mapping.remove(first, end));
    leaveIfEmpty(mapping);
  }

  /**
   * Takes a mapping out of the file's once nothing of it is mapped, and its entries are removed. A
   * late fault may be about to take back one that it has just entered.
   */
  private void leaveIfEmpty(Mapping mapping) {
    if (mapping.areas().isEmpty() && mapping.tryLeave()) {
      reverseMap.remove(mapping);
    }
  }

  /** Gives up the file of a mapping that has left it. It may end here: the lock is not held. */
  private void release(Mapping mapping) {
    if (mapping.tryRelease()) {
      mapping.opened.close();
    }
  }

  /**
   * Revokes the entries of a range and waits for the accesses under way to their frames. They only
   * move bytes, and end soon.
   */
  private void drain(Mapping mapping, long from, long to) throws InterruptedException {
    revoke(mapping, from, to);
    await(mapping, from, to);
  }

  private static void revoke(Mapping mapping, long from, long to) {
    PageTable table = mapping.table;
    for (long page = table.next(from, to); page < to; page = table.next(page + 1, to)) {
      table.revoke(page);
    }
  }

  private void await(Mapping mapping, long from, long to) throws InterruptedException {
    Accesses.UnderWay underWay = underWay(mapping, from, to);
    if (underWay != null) {
      underWay.await(inode.host.idle);
    }
  }

  private Accesses.@Nullable UnderWay underWay(Mapping mapping, long from, long to) {
    PageTable table = mapping.table;
    if (table.next(from, to) == to) {
      return null; // no access is let in by an entry, now or since it was revoked
    }
    Accesses.UnderWay underWay = inode.frames.accesses.underWay();
    if (underWay != null) {
      for (long page = table.next(from, to); page < to; page = table.next(page + 1, to)) {
        underWay.include(PageTable.held(table.entry(page)));
      }
    }
    return underWay;
  }

  // ---- mprotect ----

  /**
   * Changes what a part of a mapping may be used for. Its entries stay.
   *
   * @param mapping the mapping
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param protection what for
   */
  public void mprotect(Mapping mapping, long offset, long length, ProtectionBits protection) {
    String call = "mprotect " + protection + Hex.range(offset, length) + " of " + mapping;
    CallbackContext.forbid("mprotect");
    mapping.requireMapped();
    requireAligned(offset, call);
    if (length != 0) {
      locked(
          mapping,
          call,
          () -> {
            protect(mapping, offset, length, protection, call);
            return mapping;
          });
    }
  }

  /** Changes what is mapped up to the first page that is not. */
  private void protect(
      Mapping mapping, long offset, long length, ProtectionBits protection, String call)
      throws InterruptedException {
    Areas areas = mapping.areas();
    long from = Pages.index(offset);
    if (length < 0 || !isMapped(areas, from)) {
      throw refused(Errno.ENOMEM, call, "nothing is mapped at its start");
    }
    if (protection.exec()) {
      throw refused(Errno.EACCES, call, "expected READ and WRITE at most, actual also EXEC");
    }
    long end = from + pages(length);
    long to = areas.mappedUpTo(from, end);
    mapping.change(from, to, bits -> Areas.protect(bits, protection.read(), protection.write()));
    await(mapping, from, to);
    if (to < end) {
      String why = "nothing is mapped at offset " + Hex.of(Pages.bytes(to));
      throw refused(Errno.ENOMEM, call, why);
    }
  }

  // ---- mremap ----

  /**
   * Moves a part of a mapping to where nothing else is.
   *
   * @param <M> how the users of a process know a mapping
   * @param mm the process that has the mapping
   * @param mapping the mapping
   * @param offset the start in bytes
   * @param oldLength the length in bytes; 0 to map the same again
   * @param newLength the length afterwards in bytes
   * @param user what the moved part is to its users
   * @return the moved part, a mapping of its own
   */
  public <M> M mremap(
      Mm<M> mm,
      Mapping mapping,
      long offset,
      long oldLength,
      long newLength,
      Function<Mapping, M> user) {
    String call =
        "mremap" + Hex.range(offset, oldLength) + " to length " + newLength + " of " + mapping;
    CallbackContext.forbid("mremap");
    mapping.requireMapped();
    requireAligned(offset, call);
    long was = (oldLength + Pages.OFFSET_MASK) & ~Pages.OFFSET_MASK; // as unsigned: -1 is 0
    long is = (newLength + Pages.OFFSET_MASK) & ~Pages.OFFSET_MASK;
    if (is <= 0 || is > Mapping.TASK_SIZE - Pages.SIZE) {
      String why = "expected a new length of 1 to " + (Mapping.TASK_SIZE - Pages.SIZE);
      throw refused(Errno.EINVAL, call, why);
    }
    if (oldLength > Mapping.TASK_SIZE - Pages.SIZE) {
      throw refused(Errno.EINVAL, call, OLD_LENGTH);
    }
    return locked(
        mapping,
        call,
        () -> {
          Move move = new Move(Pages.index(offset), Pages.index(was), Pages.index(is));
          return move(mm, mapping, move, call, user);
        });
  }

  /** The first page of a part, its length, and its length afterwards. */
  private record Move(long first, long was, long is) {}

  private <M> M move(Mm<M> mm, Mapping mapping, Move move, String call, Function<Mapping, M> user)
      throws InterruptedException {
    long first = move.first;
    long was = move.was;
    long is = move.is;
    Areas areas = mapping.areas();
    if (!isMapped(areas, first)) {
      throw refused(Errno.EFAULT, call, "nothing is mapped at its start");
    }
    boolean resized = was != is;
    long kept = was < 0 ? is : Math.min(was, is); // below 0 it is long, unsigned
    if (resized && areas.end(first) < first + kept) {
      throw refused(Errno.EFAULT, call, "expected a range that is mapped and protected alike");
    }
    if (was < 0) {
      throw refused(Errno.EINVAL, call, OLD_LENGTH);
    }
    Areas moved = resized ? Areas.of(is, areas.at(first)) : areas.from(first, is);
    if (!mapping.opened.tryOpen()) {
      throw refused(Errno.EFAULT, call, "the file is gone");
    }
    Mapping to = make(mm, mapping.opened, mapping.firstIndex + first, moved);
    long end = mapping.clip(first + kept);
    boolean done = false;
    try {
      drain(mapping, first, end); // while giving up is possible: nothing has changed yet
      PageTable table = mapping.table;
      for (long page = table.next(first, end); page < end; page = table.next(page + 1, end)) {
        hostFault.copyEntry(to, page - first);
      }
      M made = user.apply(to);
      long last = mapping.clip(first + was);
      mm.atOnce( // a child inherits it where it was or where it is
          () -> {
            Areas now = mapping.areas(); // with what has been advised meanwhile
            to.become(resized ? Areas.of(is, now.at(first)) : now.from(first, is));
            mm.add(to, made);
            mapping.change(first, last, bits -> Areas.UNMAPPED);
          });
      Failures failures = new Failures();
      removeEntries(mapping, first, last, failures);
      failures.throwIfAny();
      done = true;
      return made;
    } finally {
      if (!done) { // no other thread knows it
        to.tryClose();
        Failures failures = new Failures();
        takeOut(to);
        removeEntries(to, 0, is, failures);
        failures.attempt(() -> release(to)); // which the other one keeps from ending
        failures.throwIfAny();
      }
    }
  }

  /**
   * A mapping that an unmapping finds.
   *
   * @param mm the process that has it, to which the caller adds it
   * @param opened the file. If anything is mapped, the caller has opened it, and the mapping takes
   *     that over even if it cannot be made
   * @param firstIndex the page of the file that it begins with
   * @param areas what is mapped
   * @return the mapping
   */
  public Mapping make(Mm<?> mm, OpenFile opened, long firstIndex, Areas areas) {
    boolean done = areas.isEmpty();
    try {
      Mapping mapping = new Mapping(mm, opened, firstIndex, areas);
      if (done) {
        mapping.holdNothing();
      } else {
        reverseMap.add(mapping);
      }
      done = true;
      return mapping;
    } finally {
      if (!done) { // no memory for it
        opened.close();
      }
    }
  }

  // ---- what they share ----

  /**
   * A change, which may be interrupted while it waits; it answers the mapping to use from now on.
   */
  @FunctionalInterface
  interface Change<M> {
    M make() throws InterruptedException;
  }

  /** Makes a change with the lock of the mapping held. */
  <M> M locked(Mapping mapping, String call, Change<M> change) {
    CallbackContext.enterOperation(); // as in close
    try {
      return lockedInside(mapping, call, change);
    } finally {
      try {
        CallbackContext.leaveOperation();
      } finally {
        release(mapping);
      }
    }
  }

  private static <M> M lockedInside(Mapping mapping, String call, Change<M> change) {
    try {
      mapping.lock.lock();
      try {
        mapping.requireMapped();
        return change.make();
      } finally {
        mapping.lock.unlock();
      }
    } catch (InterruptedException e) {
      throw Refusals.interrupted(e, call);
    }
  }

  /** Whether a page that may lie outside is mapped. */
  static boolean isMapped(Areas areas, long page) {
    return page >= 0 && page < areas.pages() && areas.isMapped(page);
  }

  private static long pages(long length) {
    return ((length - 1) >> Pages.SHIFT) + 1;
  }

  static void requireAligned(long offset, String call) {
    if ((offset & Pages.OFFSET_MASK) != 0) {
      throw refused(Errno.EINVAL, call, "expected a multiple of 4096 as offset");
    }
  }

  static GuestMemfdException refused(Errno errno, String call, String why) {
    return Refusals.exception(errno, call + ": " + why);
  }
}
