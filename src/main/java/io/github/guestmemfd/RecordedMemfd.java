package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileCall;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.file.FileOperations;
import io.github.guestmemfd.file.Mapping;
import io.github.guestmemfd.file.OpenFile;
import io.github.guestmemfd.file.PendingConversion;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.LockOrder;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A descriptor that tells a listener its calls.
 *
 * <p>It and what it makes are subclasses of what a program gets otherwise, so that a call without a
 * listener has nothing to check.
 */
final class RecordedMemfd extends GuestMemfd {
  private final GuestMemfdListener listener;

  RecordedMemfd(
      FileOperations file,
      OpenFile opened,
      AddressSpace addressSpace,
      GuestMemfdListener listener) {
    super(file, opened, addressSpace);
    this.listener = listener;
  }

  /** A listener, to be told something: with nothing held, unless a callback is under way. */
  static GuestMemfdListener told(GuestMemfdListener listener) {
    if (LockOrder.isOn() && !isInsideCallback()) {
      LockOrder.beforeCall(Callback.LISTENER);
    }
    return listener;
  }

  private GuestMemfdListener told() {
    return told(listener);
  }

  /** Makes a call, and tells the listener if it fails. */
  private static <T> T call(Supplier<T> call, Consumer<RuntimeException> failed) {
    try {
      return call.get();
    } catch (RuntimeException e) {
      failed.accept(e);
      throw e;
    }
  }

  @Override
  public FileStat stat() {
    FileStat stat = call(super::stat, e -> told().stat(this, null, e));
    told().stat(this, stat, null);
    return stat;
  }

  @Override
  public long cachedPages() {
    long pages = call(super::cachedPages, e -> told().cachedPages(this, 0, e));
    told().cachedPages(this, pages, null);
    return pages;
  }

  @Override
  public GuestMemfd dup() {
    return call(super::dup, e -> told().dup(this, null, e)); // by reopen
  }

  @Override
  public Optional<GuestMemfd> reopen() {
    Optional<GuestMemfd> dup = super.reopen();
    dup.ifPresent(d -> told().dup(this, d, null));
    return dup;
  }

  @Override
  GuestMemfd newDescriptor(FileOperations file, OpenFile held) {
    return new RecordedMemfd(file, held, addressSpace, listener);
  }

  @Override
  public void ftruncate(long length) {
    try {
      super.ftruncate(length);
    } catch (RuntimeException e) {
      told().ftruncate(this, length, e);
      throw e;
    }
  }

  @Override
  public Errno call(FileCall call) {
    Errno answer = super.call(call);
    told().call(this, call, answer);
    return answer;
  }

  @Override
  public void close() {
    if (isOpen()) {
      told().close(this);
    }
    super.close();
  }

  @Override
  public void fallocate(int mode, long offset, long length) {
    try {
      super.fallocate(mode, offset, length);
    } catch (RuntimeException e) {
      told().fallocate(this, mode, offset, length, e);
      throw e;
    }
    told().fallocate(this, mode, offset, length, null);
  }

  @Override
  int take(long offset, HolderKind kind) {
    int pfn = super.take(offset, kind);
    told().grab(this, offset, kind, pfn < 0 ? Errno.ofResult(pfn) : Errno.OK);
    return pfn;
  }

  @Override
  public boolean isAccessible(long offset) {
    boolean accessible =
        call(() -> super.isAccessible(offset), e -> told().isAccessible(this, offset, false, e));
    told().isAccessible(this, offset, accessible, null);
    return accessible;
  }

  @Override
  Errno convert(long offset, long length, boolean inaccessible, @Nullable BusyFolio busy) {
    BusyFolio found = busy == null ? new BusyFolio() : busy;
    Errno errno = null;
    try {
      errno = super.convert(offset, length, inaccessible, found);
      return errno;
    } finally {
      told().convert(this, inaccessible, offset, length, errno, found.offset());
    }
  }

  @Override
  @SuppressWarnings("FutureReturnValueIgnored") // the stage that tells is not needed
  PendingConversion convertLater(long offset, long length) {
    PendingConversion later;
    try {
      later = super.convertLater(offset, length);
    } catch (GuestMemfdException e) {
      long busy =
          e instanceof ConversionBlockedException blocked ? blocked.busyFolio().offset() : -1;
      told().convert(this, true, offset, length, e.errno(), busy);
      throw e;
    }
    if (!later.isDone()) {
      told().pending(this, offset, length);
    }
    later.whenComplete(
        (done, failure) -> {
          if (failure == null) {
            told().convert(this, true, offset, length, Errno.OK, -1);
          }
        });
    return later;
  }

  @Override
  HostMapping mmap(
      AddressSpace in, long offset, long length, MapType type, Protection... protection) {
    Objects.requireNonNull(protection, "protection");
    for (Protection p : protection) {
      Objects.requireNonNull(p, "protection");
    }
    List<Protection> asked = List.of(protection);
    HostMapping mapping =
        call(
            () -> super.mmap(in, offset, length, type, protection),
            e -> told().mmap(this, null, offset, length, type, asked, e));
    told().mmap(this, mapping, offset, length, type, asked, null);
    return mapping;
  }

  @Override
  HostMapping newMapping(Mapping mapping, AddressSpace in) {
    return new RecordedMapping(file, mapping, in, listener);
  }
}
