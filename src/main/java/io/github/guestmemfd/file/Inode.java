package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameOwners;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.observe.Holder;
import io.github.guestmemfd.observe.HolderRegister;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.util.Objects;
import java.util.Set;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * The identity of a guest_memfd file, which its descriptors, mappings and memslots share: its size,
 * its page cache, and how long it lives. The operations on it are in classes of their own, which
 * {@link FileOperations} brings together.
 */
public final class Inode {
  /** Why a call that needs the direct map is refused. */
  static final String NOT_IN_DIRECT_MAP =
      "expected a file whose pages are in the direct map while they are shared";

  /** Its host. */
  public final Host host;

  /** Its counters. */
  public final Counters<Meter> meters;

  /** Its size in bytes. */
  public final long size;

  /** Its size in pages. */
  public final long pages;

  /** The bits of {@link CreateFlag} that it was made with. */
  public final long flags;

  /** What it does that a file of Linux 6.18 does not. */
  public final Set<FileTrait> traits;

  /** Its number, unique in its host. */
  public final long ino;

  /** Its folios. */
  public final PageCache cache;

  /** Called at its race points. */
  public final @Nullable RaceHook hook;

  final FrameTable frames;
  final FrameOwners.Owner owner;

  /** Null if each mapping has policies of its own. */
  final @Nullable SharedPolicy sharedPolicy;

  /**
   * {@link OpenFile}s, and operations under way; the file ends with the last of them. A lookup of a
   * page that is ready is no operation.
   */
  private final OpenCount opens = new OpenCount();

  private final Consumer<Failures> atEnd;

  private volatile long mtimeNanos = now();

  /**
   * Makes a file that is open once.
   *
   * @param traits what it does that a file of Linux 6.18 does not
   * @param lends whether guest-side holders take no reference of their own, and rely on the page
   *     cache's
   * @param listener is told of its frames
   * @param atEnd called once, when nothing holds it open any more
   */
  Inode(
      Host host,
      long size,
      long flags,
      Set<FileTrait> traits,
      boolean lends,
      FrameOwners.Listener listener,
      Consumer<Failures> atEnd) {
    this.host = host;
    this.meters = host.meters.part();
    this.size = size;
    this.pages = Pages.index(size);
    this.flags = flags;
    this.traits = traits;
    this.sharedPolicy = traits.contains(FileTrait.SHARED_POLICY) ? new SharedPolicy() : null;
    this.frames = host.frames;
    this.atEnd = atEnd;
    this.ino = host.openFile();
    FrameOwners.Owner made = null;
    try {
      this.hook =
          host.hook == null ? null : Objects.requireNonNull(host.hook.ofFile(this), "ofFile");
      made = frames.newOwner(listener);
      this.owner = made;
      this.cache =
          new PageCache(
              pages,
              !CreateFlag.INIT_SHARED.isIn(flags),
              frames,
              host.contents,
              owner,
              host.idle,
              hook,
              host.lru,
              lends,
              () -> meters.count(Meter.LOOKUPS_STARTED_OVER));
    } catch (Throwable e) { // there was no memory for it, say
      if (made != null) {
        made.close();
      }
      host.closeFile();
      throw e;
    }
    Logs.FILE.debug("created {}", this);
  }

  /** Undoes its creation: the rest of the file could not be made. */
  void abandon() {
    owner.close();
    host.closeFile();
  }

  // ---- its life ----

  /**
   * Opens the file once more, unless it is gone.
   *
   * @return whether it has been opened; to be closed then
   */
  public boolean tryOpen() {
    return opens.tryOpen();
  }

  /**
   * Gives up what {@link #tryOpen} has opened. The last of these and of the operations under way
   * ends the file: now, or once this thread has left its operations and callbacks.
   */
  public void close() {
    if (opens.close()) {
      if (CallbackContext.isInTheMiddleOfAny()) {
        CallbackContext.whenOut(this::endWhenOut);
      } else {
        Failures failures = new Failures();
        atEnd.accept(failures);
        failures.throwIfAny();
      }
    }
  }

  /**
   * Begins an operation that may wait, or change pages: it holds the file open for as long as it
   * lasts, as a system call does its {@code struct file}.
   *
   * @return false if the file is gone, and nothing has begun
   */
  boolean beginOperation() {
    CallbackContext.enterOperation();
    boolean done = false;
    try {
      done = tryOpen();
      return done;
    } finally {
      if (!done) {
        CallbackContext.leaveOperation();
      }
    }
  }

  /** Ends an operation, and the file with it if nothing else holds that open. */
  void endOperation() {
    if (opens.close()) {
      CallbackContext.whenOut(this::endWhenOut);
    }
    CallbackContext.leaveOperation();
  }

  /**
   * Ends the file on a thread that has just left its operations and callbacks. There is no caller
   * to throw to: failures are logged.
   */
  private void endWhenOut() {
    Failures failures = new Failures();
    atEnd.accept(failures);
    failures.logIfAny(Logs.FILE, "exception at the end of " + this);
  }

  /**
   * Whether the file is gone, or about to go.
   *
   * @return true when nothing holds it open
   */
  boolean isGone() {
    return opens.isGone();
  }

  // ---- status ----

  /** Sets the time of the last change to now. */
  void updateMtime() {
    mtimeNanos = now();
  }

  /**
   * The status of the file, as {@code fstat} reports it.
   *
   * @return the status
   */
  public FileStat stat() {
    return new FileStat(ino, size, 0, Pages.SIZE, 0100600, mtimeNanos);
  }

  private static long now() {
    return System.currentTimeMillis() * 1_000_000;
  }

  /**
   * Whether the host may touch a page.
   *
   * @param index the page
   * @return the answer
   */
  public boolean isAccessible(long index) {
    return SlotWord.isOpenToHost(cache.slot(index));
  }

  /**
   * Whether a folio that is in use is out of the direct map.
   *
   * @param inaccessible whether it is inaccessible
   */
  boolean isOutOfDirectMap(boolean inaccessible) {
    return CreateFlag.NO_DIRECT_MAP.isIn(flags)
        && (inaccessible || traits.contains(FileTrait.ZAP_BEFORE_MAPPING));
  }

  /**
   * A page, for messages.
   *
   * @param index the page
   * @return the text
   */
  public String page(long index) {
    return "the page at offset " + Hex.of(Pages.bytes(index)) + " of " + this;
  }

  /**
   * An exception for an errno that this thread has just been answered with, after its arguments
   * were found good.
   *
   * @param errno the answer
   * @param call what was called, with its arguments
   * @return the exception
   */
  public GuestMemfdException refused(Errno errno, String call) {
    return Refusals.refused(errno, call, host);
  }

  /**
   * Enters a holder of the file or of its frames, if the host tracks them.
   *
   * @param kind what the holder is
   * @param offset where it begins, in bytes
   * @param length how much it holds, in bytes
   * @param held the frames that it has a reference on, one each
   * @return the holder, for {@link Host#untrack}; null if it is not tracked
   */
  public @Nullable Holder track(TrackedHolder.Kind kind, long offset, long length, int... held) {
    HolderRegister register = host.register;
    return register == null ? null : register.add(ino, this, kind, offset, length, held);
  }

  /**
   * Passes a race point.
   *
   * @param point the point
   * @param index the page, or the frame, as the point has it
   */
  public void at(RacePoint point, long index) {
    RaceHook h = hook;
    if (h != null) {
      LockOrder.beforeCall(Callback.RACE_HOOK);
      h.at(point, index);
    }
  }

  @Override
  public String toString() {
    return "guest_memfd[ino=" + ino + ", size=" + size + ", flags=" + CreateFlag.names(flags) + "]";
  }
}
