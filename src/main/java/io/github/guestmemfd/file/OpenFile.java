package io.github.guestmemfd.file;

import io.github.guestmemfd.spi.Announce;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * A file as it has been opened: the kernel's {@code struct file}, of which a guest_memfd has one,
 * and one more for each time that it is linked into another virtual machine. Its descriptors and
 * mappings share it. It holds the inode, whose pages all of them see, until the last of them is
 * closed.
 */
public final class OpenFile {
  /** What it is of. */
  public final Inode inode;

  /** Descriptors and mappings. */
  private final OpenCount opens = new OpenCount();

  /** The virtual machine whose memslots it is bound to, once it is. */
  private final AtomicReference<@Nullable Object> boundTo = new AtomicReference<>();

  /** What is done at its end; null for nothing. */
  private final AtomicReference<@Nullable Runnable> atEnd = new AtomicReference<>();

  /**
   * Opens a file once. The caller has opened the inode for it.
   *
   * @param inode the file
   */
  public OpenFile(Inode inode) {
    this.inode = inode;
  }

  /**
   * Opens it once more, unless it is gone.
   *
   * @return whether it has been opened; to be closed then
   */
  public boolean tryOpen() {
    return opens.tryOpen();
  }

  /** Opens it once more. The caller knows that it is open. */
  void openAgain() {
    opens.openAgain();
  }

  /** Closes a descriptor or a mapping. The last of them ends it, and gives up the inode. */
  public void close() {
    if (!opens.close()) {
      return;
    }
    Runnable task = Announce.read(atEnd).get();
    if (task == null) {
      inode.close();
    } else if (CallbackContext.isInTheMiddleOfAny()) {
      CallbackContext.whenOut(
          () -> end(task).logIfAny(Logs.FILE, "exception at the end of a file"));
    } else {
      end(task).throwIfAny();
    }
  }

  private Failures end(Runnable task) {
    Failures failures = new Failures();
    failures.attempt(task);
    failures.attempt(inode::close);
    return failures;
  }

  /**
   * Sets what is done when the last descriptor and mapping is closed, before the inode is given up.
   * The caller has it open.
   *
   * @param task what is done: by the thread that closes the last of them, once it is out of
   *     operations and callbacks
   */
  public void atEnd(Runnable task) {
    Announce.write(atEnd).set(task);
  }

  /**
   * Ties it to the virtual machine whose memslots it backs.
   *
   * @param vm the virtual machine, compared by identity
   * @return whether it is that of the file, now
   */
  public boolean bindTo(Object vm) {
    return Announce.write(boundTo).compareAndSet(null, vm) || boundTo() == vm;
  }

  /**
   * What it is tied to.
   *
   * @return the virtual machine; null if there is none yet
   */
  public @Nullable Object boundTo() {
    return Announce.read(boundTo).get();
  }
}
