package io.github.guestmemfd;

import io.github.guestmemfd.abi.AttributeRange;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FallocMode;
import io.github.guestmemfd.abi.FileCall;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.FolioHolders;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.file.CallbackContext;
import io.github.guestmemfd.file.FileOperations;
import io.github.guestmemfd.file.Inode;
import io.github.guestmemfd.file.Mapping;
import io.github.guestmemfd.file.OpenFile;
import io.github.guestmemfd.file.PendingConversion;
import io.github.guestmemfd.file.Refusals;
import io.github.guestmemfd.observe.Holder;
import io.github.guestmemfd.observe.HolderRegister;
import io.github.guestmemfd.spi.Announce;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A guest_memfd: the memory of a virtual machine as a file, whose pages the host and the guest
 * hold, share, convert and free. An object of this class is a descriptor of the file, as {@code
 * KVM_CREATE_GUEST_MEMFD} and {@code dup} return it.
 *
 * <pre>{@code
 * try (HostMemory host = HostMemory.ofBytes(1L << 30);
 *     GuestMemfd memfd = GuestMemfd.builder(host).size(256L << 20).flags(MMAP, INIT_SHARED).build();
 *     HostMapping window = memfd.mmap(0, memfd.size(), READ, WRITE)) {
 *   window.putLong(0, 42);
 *   memfd.makeInaccessible(0, 4096);
 *   window.getLong(0); // throws SigBusException
 * }
 * }</pre>
 *
 * <p>Once the descriptor is closed, the file cannot be used through it: EBADF. Methods that wait
 * honour interruption: they answer EINTR, and the thread's interrupt status stays set. What
 * happened before a call returns happens before (in the Java memory model) what another thread does
 * that sees its effect on a page.
 */
public sealed class GuestMemfd implements AutoCloseable permits RecordedMemfd {

  private static final long PAGE_MASK = Pages.OFFSET_MASK;

  private static final VarHandle OPEN_SIZE;

  static {
    try {
      OPEN_SIZE = MethodHandles.lookup().findVarHandle(GuestMemfd.class, "openSize", long.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  final FileOperations file;
  private final OpenFile opened;

  /** Where it is mapped, unless another is named. */
  final AddressSpace addressSpace;

  private final Inode inode;
  private final @Nullable HolderRegister register;
  private final @Nullable Holder tracked;

  /** The size of the file in bytes; 0 once closed, so that no offset is below it then. */
  private volatile long openSize;

  /** Takes over the caller's hold on the open file. */
  GuestMemfd(FileOperations file, OpenFile opened, AddressSpace addressSpace) {
    this.file = file;
    this.opened = opened;
    this.addressSpace = addressSpace;
    this.inode = file.inode;
    this.openSize = inode.size;
    this.register = inode.host.register;
    this.tracked = inode.track(TrackedHolder.Kind.DESCRIPTOR, 0, inode.size);
  }

  // ---- creation ----

  /**
   * Returns a builder of a file.
   *
   * @param host where its frames come from
   * @return a builder
   */
  public static Builder builder(HostMemory host) {
    return new Builder(host);
  }

  /** Builds a file. Not safe for use by several threads. */
  public static final class Builder {
    private final AddressSpace addressSpace;
    private final CreateGuestMemfd call;
    private @Nullable GuestMemfdListener listener;

    private Builder(HostMemory host) {
      call = new CreateGuestMemfd(Objects.requireNonNull(host, "host").host);
      addressSpace = host.addressSpace();
    }

    /**
     * Sets the size.
     *
     * @param bytes a positive multiple of 4096, up to 2^63 - 4096
     * @return this
     */
    public Builder size(long bytes) {
      call.size = bytes;
      return this;
    }

    /**
     * Adds creation flags to those given before.
     *
     * @param flags the flags; one that is given again changes nothing
     * @return this
     */
    public Builder flags(CreateFlag... flags) {
      call.flags |= CreateFlag.bits(flags);
      return this;
    }

    /**
     * Adds creation flags, as the kernel takes them, to those given before.
     *
     * @param bits 1 for {@link CreateFlag#MMAP}, 2 for {@link CreateFlag#INIT_SHARED}
     * @return this
     */
    public Builder flags(long bits) {
      call.flags |= bits & CreateFlag.KERNEL_BITS;
      call.unknownFlags |= bits & ~CreateFlag.KERNEL_BITS;
      return this;
    }

    /**
     * Sets the client, whose callbacks are told of changes and asked to agree to them.
     *
     * @param callbacks the client; {@link GuestMemfdOps#NONE} by default
     * @return this
     */
    public Builder ops(GuestMemfdOps callbacks) {
      call.ops = Objects.requireNonNull(callbacks, "callbacks");
      return this;
    }

    /**
     * Sets the protocol: how guest-side holders hold a folio, and when it may turn inaccessible.
     *
     * @param conversionProtocol the protocol; {@link ConversionProtocol#atomicPair} by default
     * @return this
     */
    public Builder protocol(ConversionProtocol conversionProtocol) {
      call.protocol = Objects.requireNonNull(conversionProtocol, "conversionProtocol");
      return this;
    }

    /**
     * Sets what the file does that one of Linux 6.18 does not. A virtual machine sets what its
     * kernel has when it creates a file.
     *
     * @param fileTraits the traits; none by default
     * @return this
     */
    public Builder traits(Set<FileTrait> fileTraits) {
      for (FileTrait trait : Objects.requireNonNull(fileTraits, "fileTraits")) {
        Objects.requireNonNull(trait, "fileTraits");
      }
      call.traits = Set.copyOf(fileTraits);
      return this;
    }

    /**
     * Sets what a conversion does while a folio may not turn inaccessible.
     *
     * @param policy the policy; by default the {@linkplain ConversionProtocol#retryPolicy
     *     protocol's own}
     * @return this
     */
    public Builder retryPolicy(RetryPolicy policy) {
      call.retry = Objects.requireNonNull(policy, "policy");
      return this;
    }

    /**
     * Sets a listener that is told of every call on the file, its mappings and references, to
     * record them. It is told of accesses to mapped pages, which otherwise cost nanoseconds, one by
     * one.
     *
     * @param calls the listener; none by default
     * @return this
     */
    public Builder listener(GuestMemfdListener calls) {
      listener = Objects.requireNonNull(calls, "calls");
      return this;
    }

    /**
     * Creates the file. Nothing is allocated.
     *
     * @return its first descriptor
     * @throws GuestMemfdException EINVAL if the size or a flag bit is not allowed
     * @throws IllegalArgumentException if the steps of the protocol do not make sense
     */
    public GuestMemfd build() {
      GuestMemfdListener calls = listener;
      if (calls == null) {
        FileOperations made = call.newFile();
        return new GuestMemfd(made, new OpenFile(made.inode), addressSpace);
      }
      GuestMemfd memfd;
      try {
        FileOperations made = call.newFile();
        memfd = new RecordedMemfd(made, new OpenFile(made.inode), addressSpace, calls);
      } catch (RuntimeException e) {
        calls.created(null, call.size, call.allFlags(), e);
        throw e;
      }
      calls.created(memfd, call.size, call.allFlags(), null);
      return memfd;
    }
  }

  // ---- the file ----

  /**
   * The size, fixed at creation.
   *
   * @return the size in bytes
   */
  public long size() {
    return inode.size;
  }

  /**
   * The flags that the file was created with.
   *
   * @return the {@linkplain CreateFlag#bit bits}
   */
  public long flags() {
    return inode.flags;
  }

  /**
   * What the file does that one of Linux 6.18 does not.
   *
   * @return the traits that it was created with; immutable
   */
  public Set<FileTrait> traits() {
    return inode.traits;
  }

  /**
   * The status of the file, as {@code fstat} reports it.
   *
   * @return the status of the file
   * @throws GuestMemfdException EBADF
   */
  public FileStat stat() {
    requireOpen("fstat");
    return inode.stat();
  }

  /**
   * Folios in the page cache; the kernel's {@code cachestat} of the whole file. Waits for nothing.
   *
   * @return how many; exact while nothing is being changed
   * @throws GuestMemfdException EBADF
   */
  public long cachedPages() {
    requireOpen("cachestat");
    return inode.cache.present();
  }

  /**
   * Folios in the page cache of a range; the kernel's {@code cachestat}. A page counts if any of
   * its bytes is in the range. As for the kernel, no range is wrong: offset and length are unsigned
   * numbers, and what lies past the end of the file has no folios. A range whose last byte,
   * computed modulo 2^64, comes before the page of its first one is empty.
   *
   * <p>Takes time in proportion to the folios and the touched parts of the range. Waits for
   * nothing. A {@linkplain Builder#listener listener} is not told.
   *
   * @param offset the start in bytes
   * @param length the length in bytes; 0 is to the end of the file
   * @return how many; exact while nothing in the range is being changed
   * @throws GuestMemfdException EBADF
   */
  public long cachedPages(long offset, long length) {
    requireOpen("cachestat");
    long pages = inode.size >> Pages.SHIFT;
    long last = length == 0 ? pages : (offset + length - 1) >>> Pages.SHIFT;
    return inode.cache.present(offset >>> Pages.SHIFT, Math.min(last + 1, pages));
  }

  /**
   * The counters of the file since it was created, over all its descriptors and mappings.
   *
   * <p>May be called at any time, from any thread, even when the descriptor is closed; waits for
   * nothing.
   *
   * @return the numbers now
   */
  public Metrics metrics() {
    return new Metrics(inode.meters.read());
  }

  /**
   * A second descriptor of the same file.
   *
   * @return the descriptor, to be closed on its own
   * @throws GuestMemfdException EBADF
   */
  public GuestMemfd dup() {
    requireOpen("dup");
    return reopen().orElseThrow(() -> inode.refused(Errno.EBADF, "dup of " + inode));
  }

  /**
   * A new descriptor, if the file still exists: even if this one is closed, a mapping may keep it.
   * That is how a memslot, which holds its file weakly, gets at it; the kernel's {@code
   * get_file_active}.
   *
   * @return the descriptor, to be closed on its own, or nothing if the file is gone
   */
  public Optional<GuestMemfd> reopen() {
    return opened.tryOpen() ? Optional.of(descriptorOf(opened)) : Optional.empty();
  }

  private GuestMemfd descriptorOf(OpenFile held) {
    try {
      return newDescriptor(file, held);
    } catch (Throwable e) { // no memory for the descriptor
      held.close();
      throw e;
    }
  }

  GuestMemfd newDescriptor(FileOperations of, OpenFile held) {
    return new GuestMemfd(of, held, addressSpace);
  }

  /**
   * Opens the file anew for another virtual machine: {@code KVM_LINK_GUEST_MEMFD} of an RFC of May
   * 2025, which is in no released kernel ({@code VirtualMachine.linkGuestMemfd}). What is returned
   * has the same pages, attributes and {@linkplain FileStat#ino inode number}, and is bound to
   * memslots and closed on its own: the pages live until all are closed.
   *
   * @param vm the other virtual machine, compared by identity
   * @return its first descriptor, to be closed on its own
   * @throws GuestMemfdException EBADF
   */
  public GuestMemfd link(Object vm) {
    Objects.requireNonNull(vm, "vm");
    requireOpen("link");
    if (!inode.tryOpen()) {
      throw inode.refused(Errno.EBADF, "link of " + inode);
    }
    OpenFile linked = new OpenFile(inode);
    linked.bindTo(vm);
    return descriptorOf(linked);
  }

  /**
   * Sets what is done when the last descriptor and mapping is closed of the file as it was opened
   * here: by {@link Builder#build}, or by {@link #link}. Of a file that has been linked the pages
   * may live on then; a client gives up what it has for this virtual machine.
   *
   * @param task what is done, by the thread that closes the last of them, before the file itself
   *     may end, and not inside an operation or callback; it replaces the one before
   * @throws GuestMemfdException EBADF
   */
  public void atLastClose(Runnable task) {
    Objects.requireNonNull(task, "task");
    requireOpen("atLastClose");
    opened.atEnd(task);
  }

  /**
   * Whether two descriptors, open or not, are of one file that was opened once: they are not if one
   * of them comes from a {@link #link}.
   *
   * @param other the other descriptor
   * @return the answer
   */
  public boolean sameOpenFile(GuestMemfd other) {
    return opened == other.opened;
  }

  /**
   * Whether two descriptors, open or not, are of one file, linked or not.
   *
   * @param other the other descriptor
   * @return the answer
   */
  public boolean sameFile(GuestMemfd other) {
    return inode == other.inode;
  }

  /**
   * An object that stands for the file: the same for all its descriptors, open or not, and for no
   * other file. By it a {@link io.github.guestmemfd.spi.RaceHook} tells files apart.
   *
   * @return the object, compared by identity; its {@code toString} describes the file
   */
  public Object fileKey() {
    return inode;
  }

  /**
   * Whether this descriptor can be used.
   *
   * @return false once it is closed
   */
  public boolean isOpen() {
    return !isClosed();
  }

  private boolean isClosed() {
    return Announce.read(this).openSize == 0;
  }

  /**
   * Whether this thread is inside a callback of {@link GuestMemfdOps}, of any file of any host:
   * there everything that would have to wait for pages answers {@link Errno#EDEADLK}. A client that
   * may be called from inside callbacks checks this before it takes anything that it would have to
   * give back.
   *
   * @return the answer
   */
  public static boolean isInsideCallback() {
    return CallbackContext.isInside();
  }

  /**
   * Makes several calls as one operation of this thread: a {@linkplain #makeInaccessibleLater
   * pending conversion} that one of them completes or undoes is completed, and what depends on it
   * runs, after the last of them. For a program that holds a lock of its own around its calls,
   * which what depends on a conversion may want too.
   *
   * <p>Until then such a future is not done: a program that waits for it inside waits for itself. A
   * file that is closed inside ends after the last call, and until then its host answers EBUSY to a
   * close.
   *
   * @param <R> what the calls answer
   * @param calls calls of this library, of any files
   * @return what they answer
   */
  public static <R extends @Nullable Object> R completingAfter(Supplier<R> calls) {
    Objects.requireNonNull(calls, "calls");
    CallbackContext.enterOperation();
    try {
      return calls.get();
    } finally {
      CallbackContext.leaveOperation();
    }
  }

  /**
   * The callback that this thread is inside, for messages: its name, pages and file.
   *
   * @return the innermost one in words; nothing outside of callbacks
   */
  public static Optional<String> currentCallback() {
    return Optional.ofNullable(CallbackContext.inside());
  }

  /**
   * Why a method of this file has just answered this thread with an errno, for messages: that a
   * callback has answered it, say, or that the JVM is out of memory. For the methods that do not
   * throw; their arguments are not examined.
   *
   * @param errno the answer, of the last call that this thread has made
   * @return the reason in words
   */
  public String why(Errno errno) {
    Objects.requireNonNull(errno, "errno");
    return isClosed() && errno == Errno.EBADF
        ? "the descriptor is closed"
        : Refusals.why(errno, inode.host);
  }

  /**
   * Ties the file, as it was opened here, to the virtual machine whose memslots it backs. It can
   * have one only.
   *
   * @param vm the virtual machine, compared by identity
   * @return whether it is that of the file, now
   */
  public boolean bindTo(Object vm) {
    Objects.requireNonNull(vm, "vm");
    return opened.bindTo(vm);
  }

  /**
   * What the file, as it was opened here, is {@linkplain #bindTo tied} to.
   *
   * @return the virtual machine; empty if there is none yet
   */
  public Optional<Object> boundTo() {
    return Optional.ofNullable(opened.boundTo());
  }

  /**
   * Changes the size: always refused, as the kernel does.
   *
   * @param length the size asked for
   * @throws GuestMemfdException EINVAL
   */
  public void ftruncate(long length) {
    requireOpen("ftruncate");
    throw Refusals.exception(
        Errno.EINVAL, "ftruncate to " + length + " of " + inode + ": the size is fixed");
  }

  /**
   * Closes this descriptor. The file ends with the last of its descriptors, mappings and operations
   * under way: on the thread that ends that one, and if the thread is inside a callback, once it
   * has left it. A second call does nothing.
   *
   * <p>Waits for nothing. A folio that is locked when the file ends lives on as an orphan, until it
   * is unlocked and has no other holder.
   */
  @Override
  public void close() {
    if ((long) OPEN_SIZE.getAndSet(Announce.write(this), 0L) != 0) {
      inode.host.untrack(tracked);
      opened.close();
    }
  }

  // ---- allocation and punching ----

  /**
   * Allocates or punches: {@code fallocate}.
   *
   * @param mode the {@linkplain FallocMode#bits bits} of {@link FallocMode#KEEP_SIZE} to allocate,
   *     with {@link FallocMode#PUNCH_HOLE} to punch; everything else is refused
   * @param offset the start in bytes
   * @param length the length in bytes
   * @throws GuestMemfdException in this order: EBADF; EINVAL for a negative offset or a length
   *     below 1; EOPNOTSUPP for modes that no file has; EFBIG if the end is past 2^63 - 1;
   *     EOPNOTSUPP for modes that this file has not; EINVAL if offset or length is not a multiple
   *     of 4096, or, to allocate, the end is past the end of the file. To allocate further: ENOMEM,
   *     nothing is allocated; EINTR, what has been allocated stays. To punch further: EINTR; what
   *     {@link GuestMemfdOps#invalidateBegin} answers; EBUSY, nothing is punched, if the
   *     {@linkplain ConversionProtocol#mayPunch protocol} has to wait for safe holders
   */
  public void fallocate(int mode, long offset, long length) {
    requireOpen("fallocate");
    new Fallocate(file, mode, offset, length).run();
  }

  /**
   * Allocates the folios of a range. They are not up to date: each is zeroed at its first use. What
   * is there already stays.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @throws GuestMemfdException as {@link #fallocate}
   */
  public void allocate(long offset, long length) {
    fallocate(Fallocate.Operation.ALLOCATE.mode, offset, length);
  }

  /**
   * Removes the folios of a range from the file. Holders that remain keep their folios alive, as
   * orphans. The attributes of the pages stay. The range may go past the end of the file.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @throws GuestMemfdException as {@link #fallocate}
   */
  public void punchHole(long offset, long length) {
    fallocate(Fallocate.Operation.PUNCH.mode, offset, length);
  }

  /**
   * Writes whole pages: {@code pwrite}. Faster than stores through a mapping, since no page is
   * faulted in, and none is zeroed that is written anyway. A page that is written is allocated, and
   * ready for its first use.
   *
   * <p>Each page is written before or after a conversion or punch of it, as a whole. A {@linkplain
   * Builder#listener listener} is not told.
   *
   * @param offset where to write, a multiple of 4096
   * @param from the bytes, a multiple of 4096; its position is advanced by what is written
   * @return how many bytes have been written: fewer than there are, a multiple of 4096, if a later
   *     page cannot be written, or the thread is interrupted
   * @throws GuestMemfdException in this order: EBADF; ENODEV if the file was created without {@link
   *     CreateFlag#WRITE}; EINVAL if the range is not one of whole pages in the file. If nothing
   *     has been written: EEXIST if the first page is out of the direct map, EFAULT if it is
   *     inaccessible; EAGAIN if a conversion of it is pending; EHWPOISON; ENOMEM; EINTR; EDEADLK
   *     from inside a callback; what {@link GuestMemfdOps#prepareAccessible} answers
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public int write(long offset, ByteBuffer from) {
    return new Filling(file, isClosed(), "write", offset, from.remaining()).write(from);
  }

  /**
   * Gives inaccessible pages that have never been used their first content: {@code
   * kvm_gmem_populate}. Page by page: the content is copied, and then the hook hands the page over
   * to the guest; the client does not prepare it. What comes before the page that fails is done.
   *
   * @param offset the first page, a multiple of 4096
   * @param length a positive multiple of 4096, at most the size of the file
   * @param source the content, from its position on, which is advanced by what is done; null for
   *     zeroes
   * @param hook called for each page, once its content is there
   * @return how many bytes are done: fewer than asked for, a multiple of 4096, if a later page
   *     fails
   * @throws GuestMemfdException EBADF; EINVAL if the range is not one of whole pages in the file;
   *     EOPNOTSUPP if its folios are out of the direct map from their first use on ({@link
   *     FileTrait#ZAP_BEFORE_MAPPING}). If nothing has been done: EEXIST if the page has been used,
   *     EINVAL if it is accessible; EAGAIN if a conversion of it is pending; EHWPOISON; ENOMEM;
   *     EINTR; EDEADLK from inside a callback; what the hook answers
   * @throws IllegalArgumentException if the source is shorter
   * @throws UnsupportedOperationException if there is a source, and the host is metadata only
   */
  public long populate(long offset, long length, @Nullable ByteBuffer source, PopulateHook hook) {
    return new Filling(file, isClosed(), "populate", offset, length).populate(source, hook);
  }

  // ---- folios ----

  /**
   * Takes a safe reference on the folio of a page, allocating it if need be: the guest's side.
   *
   * @param offset any byte of the page
   * @return the folio, zeroed or with its content, to be closed
   * @throws GuestMemfdException EINVAL if the offset is not in the file; EAGAIN if a conversion of
   *     the page is pending; EHWPOISON if its memory has failed; ENOMEM; EINTR; what a prepare
   *     callback answers
   */
  public Folio grab(long offset) {
    return grab(offset, HolderKind.SAFE);
  }

  /**
   * Takes a reference on the folio of a page, allocating it if need be.
   *
   * @param offset any byte of the page
   * @param kind what the reference means to a conversion
   * @return the folio, zeroed or with its content, to be closed
   * @throws GuestMemfdException EINVAL if the offset is not in the file; EFAULT for an unsafe
   *     reference on an inaccessible page; EAGAIN for a safe one on a page of which a conversion is
   *     pending; EHWPOISON if the memory of the page has failed; ENOMEM; EINTR; what a prepare
   *     callback answers
   */
  public Folio grab(long offset, HolderKind kind) {
    int pfn = take(offset, kind);
    if (pfn < 0) {
      throw refused(Errno.ofResult(pfn), "grab " + kind + at(offset), outside(offset));
    }
    return new Folio(file, offset >> Pages.SHIFT, pfn, kind);
  }

  /**
   * As {@link #grab(long, HolderKind)}, for hot loops: no object is made, and a refusal is a
   * result.
   *
   * @param offset any byte of the page
   * @param kind what the reference means to a conversion
   * @return the page frame number, at least 1, to be given back by {@link #put}; or a negated
   *     {@link Errno#code}
   * @throws IllegalStateException if the folio has as many holders of the kind as can be counted,
   *     32,767 safe, 2,047 unsafe or 2,047 accessible ones; nothing is taken. Just below that it
   *     may be thrown too, while others are being refused. Such refusals are in no other holder's
   *     way
   */
  public int tryGrab(long offset, HolderKind kind) {
    int pfn = take(offset, kind);
    if (register != null && pfn > 0) {
      register.grabbed(inode.ino, inode, offset & ~PAGE_MASK, pfn, kind);
    }
    return pfn;
  }

  /**
   * The frame of a page for the guest, without a reference: {@code kvm_gmem_get_pfn} of a kernel
   * that converts in place. If the page is private, {@link GuestMemfdOps#makePrivate} is called,
   * each time. For a client that maps pages, and is told by {@code invalidateBegin} when to stop
   * using them: it takes its sequence number before this call, and looks at it again where it maps
   * the frame, under one lock with that; else the frame may be another file's by then.
   *
   * @param offset any byte of the page
   * @return the page frame number, above 0; or a negated {@link Errno#code}, as {@link #tryGrab},
   *     or what makePrivate answers
   */
  public int tryGetPfn(long offset) {
    if (offset < 0 || offset >= Announce.read(this).openSize) {
      return noPage();
    }
    return file.getPfn.get(offset >> Pages.SHIFT);
  }

  /** The answer for an offset that is in no file that is open. */
  private int noPage() {
    return isClosed() ? -Errno.EBADF.code() : -Errno.EINVAL.code();
  }

  /** As {@link #tryGrab}, for callers that enter the holder themselves. */
  int take(long offset, HolderKind kind) {
    Objects.requireNonNull(kind, "kind");
    if (offset < 0 || offset >= Announce.read(this).openSize) {
      return noPage();
    }
    return file.grab(offset >> Pages.SHIFT, kind);
  }

  /**
   * Drops a reference that {@link #tryGrab} took. The descriptor may be closed by now.
   *
   * <p><b>Mistakes.</b> References are counted by kind. A put that names a kind of which there is
   * no reference on this frame drops nothing and throws, whatever references of other kinds there
   * are, and whatever other threads are doing. What mappings, {@link HostReference}s, LRU batches
   * and walkers hold is of no kind that can be named here, so no mistake takes it away. A correct
   * put never fails because of what other holders take, are refused, or give back at the same time.
   *
   * <p>Counts do not tell holders of one kind apart. If a put without a get is made while another
   * holder has a reference of the same kind on the frame, or is taking one (its {@code tryGrab} is
   * under way), it drops that reference, and the other holder's put may fail instead. If the frame
   * has been freed and used again, that holder may be another file's. {@link #grab(long,
   * HolderKind)} is safe from that: its {@link Folio} can be closed only once.
   *
   * @param pfn the page frame number, of a frame that this file had when it was taken
   * @param kind the kind it was taken with
   * @throws IllegalStateException if there is no reference of that kind; nothing is dropped
   * @throws IndexOutOfBoundsException if the host has no such frame
   */
  public void put(int pfn, HolderKind kind) {
    Objects.requireNonNull(kind, "kind");
    inode.host.checked(pfn);
    if (register == null) {
      file.put(-1, pfn, kind);
      return;
    }
    // First: the put may complete a conversion, which must not find this holder listed.
    CallbackContext.enterOperation();
    try {
      file.put(-1, pfn, kind);
    } finally {
      register.put(pfn, kind); // finds no holder if the put was refused
      CallbackContext.leaveOperation();
    }
  }

  /**
   * Reads bytes of a page from the guest's side without taking a reference, whatever its attribute.
   * It is for hot pages: cheaper than {@link #tryGrab}, a read and {@link #put}, of which other
   * threads see the counts change. What was read is validated, so it is what the page had at some
   * moment of the call; bytes that are being written meanwhile may be torn. Never waits, allocates
   * nothing, and calls no callback.
   *
   * <p>As the kernel's page cache reads small amounts without a reference on the folio, between two
   * looks at a sequence count.
   *
   * @param offset the first byte
   * @param into is filled from its position to its limit, 1 to 4096 bytes, and its position moves;
   *     where the read could not be validated it has zeroes there, and keeps its position
   * @return how many bytes were read; or a negated {@link Errno#code}: EBADF if the descriptor is
   *     closed, EINVAL if the bytes are not all in one page of the file, EAGAIN if the page has no
   *     folio that is ready, is being changed, or has changed meanwhile: then {@link #grab} says
   *     more
   * @throws UnsupportedOperationException if the host is metadata only
   * @throws java.nio.ReadOnlyBufferException if the buffer cannot be written
   */
  public int tryRead(long offset, ByteBuffer into) {
    return isClosed() ? -Errno.EBADF.code() : file.optimisticRead.read(offset, into);
  }

  /**
   * The bytes of a folio that {@link #tryGrab} holds, as {@link Folio#buffer} shows them. A client
   * that lets the reference go has to stop using the view when {@link
   * GuestMemfdOps#invalidateBegin} says so.
   *
   * @param pfn the page frame number
   * @return a new little-endian view of one page
   * @throws IndexOutOfBoundsException if the host has no such frame
   * @throws UnsupportedOperationException if the host is metadata only
   * @throws IllegalStateException if the frame has never been in use
   */
  public ByteBuffer buffer(int pfn) {
    return inode.host.view(pfn);
  }

  /**
   * The accesses by which clients use frames of this file that they have mapped. The descriptor may
   * be closed.
   *
   * @return the accesses of the file's host
   */
  public FrameAccess frameAccess() {
    return new FrameAccess(inode.host);
  }

  /**
   * The holders of the folio of a page, by kind. Converts nothing, takes no reference and waits for
   * nothing. While the page is being converted, or references on it are taken and given back, the
   * numbers may be off by what is under way. A {@linkplain Builder#listener listener} is not told.
   *
   * <p>{@link HostMemory#holders} lists them one by one, if the host tracks holders.
   *
   * @param offset any byte of the page
   * @return the numbers
   * @throws GuestMemfdException EBADF; EINVAL if the offset is not in the file
   */
  public FolioHolders holders(long offset) {
    requireOpen("holders");
    String outside = outside(offset);
    if (outside != null) {
      throw Refusals.exception(Errno.EINVAL, "holders" + at(offset) + ": " + outside);
    }
    return file.holders.of(offset >> Pages.SHIFT);
  }

  // ---- conversion ----

  /**
   * Whether the host may touch a page.
   *
   * @param offset any byte of the page
   * @return the attribute; holes have one too
   * @throws GuestMemfdException EINVAL if the offset is not in the file
   */
  public boolean isAccessible(long offset) {
    requireOpen("attribute");
    String outside = outside(offset);
    if (outside != null) {
      throw Refusals.exception(Errno.EINVAL, "attribute" + at(offset) + ": " + outside);
    }
    return inode.isAccessible(offset >> Pages.SHIFT);
  }

  /**
   * The first page of a range that the host may touch. Parts of the file that are alike and have no
   * folio are looked at once each, so that even a range of terabytes takes little time if it is
   * mostly empty.
   *
   * <p>Takes no lock and waits for nothing. Each page is looked at once, in ascending order, with
   * volatile semantics; while pages are converted the answer may be out of date when it is
   * returned.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, a positive multiple of 4096
   * @return the offset of the page; {@code offset + length} if there is none
   * @throws GuestMemfdException EBADF; EINVAL if the range is not such a range in the file
   */
  public long firstAccessible(long offset, long length) {
    return converting("attributes", offset, length).first(true);
  }

  /**
   * The first page of a range that the host may not touch: it is the guest's, or a conversion of it
   * to inaccessible is pending. From there to {@link #firstAccessible} are pages that can be
   * treated alike. Looks at the file as that does.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, a positive multiple of 4096
   * @return the offset of the page; {@code offset + length} if there is none
   * @throws GuestMemfdException EBADF; EINVAL if the range is not such a range in the file
   */
  public long firstInaccessible(long offset, long length) {
    return converting("attributes", offset, length).first(false);
  }

  /**
   * The attributes of a range, as parts that are alike; holes have attributes too. Looks at the
   * file as {@link #firstAccessible} does, so that even a range of terabytes takes little time if
   * it is mostly empty.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, a positive multiple of 4096
   * @return parts in ascending order, without gaps; each differs from the next
   * @throws GuestMemfdException EBADF; EINVAL if the range is not such a range in the file
   */
  public List<AttributeRange> attributes(long offset, long length) {
    return AttributeParts.of(offset, length, this::firstAccessible, this::firstInaccessible);
  }

  private Converting converting(String call, long offset, long length) {
    return new Converting(file, isClosed(), call, offset, length);
  }

  /**
   * Makes a range accessible to the host, all or nothing. Contents stay. Pages that are accessible
   * already are left alone, and clients are not told of them.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, a positive multiple of 4096
   * @throws GuestMemfdException EINVAL if the range is not such a range in the file; EINTR; what a
   *     callback answers
   */
  public void makeAccessible(long offset, long length) {
    Errno errno = tryMakeAccessible(offset, length);
    if (errno != Errno.OK) {
      throw converting("make accessible", offset, length).refused(errno);
    }
  }

  /**
   * As {@link #makeAccessible}, without an exception for a refusal.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @return {@link Errno#OK}, or why not
   */
  public Errno tryMakeAccessible(long offset, long length) {
    return convert(offset, length, false, null);
  }

  /**
   * Makes a range inaccessible to the host, all or nothing. When this returns, no mapping and no
   * reference of the host reaches the content. Contents stay. Pages that are inaccessible already
   * are left alone, and clients are not told of them.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, a positive multiple of 4096
   * @throws ConversionBlockedException EAGAIN if a holder of a folio of the range is in the way
   * @throws GuestMemfdException EINVAL if the range is not such a range in the file; EINTR; what a
   *     callback answers
   */
  public void makeInaccessible(long offset, long length) {
    BusyFolio busy = new BusyFolio();
    Errno errno = tryMakeInaccessible(offset, length, busy);
    if (busy.offset() >= 0) {
      throw new ConversionBlockedException(busy);
    }
    if (errno != Errno.OK) {
      throw converting("make inaccessible", offset, length).refused(errno);
    }
  }

  /**
   * As {@link #makeInaccessible}, without an exception for a refusal.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @return {@link Errno#OK}, or why not
   */
  public Errno tryMakeInaccessible(long offset, long length) {
    return convert(offset, length, true, null);
  }

  /**
   * As {@link #makeInaccessible}, without an exception for a refusal.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param busy takes the folio that was in the way, or none
   * @return {@link Errno#OK}, or why not
   */
  public Errno tryMakeInaccessible(long offset, long length, BusyFolio busy) {
    return convert(offset, length, true, Objects.requireNonNull(busy, "busy"));
  }

  Errno convert(long offset, long length, boolean inaccessible, @Nullable BusyFolio busy) {
    if (busy != null) {
      busy.found.clear();
    }
    Errno errno = Converting.check(inode, isClosed(), offset, length);
    if (errno != Errno.OK) {
      return errno;
    }
    long from = offset >> Pages.SHIFT;
    return file.conversion.convert(
        from, from + (length >> Pages.SHIFT), inaccessible, busy == null ? null : busy.found);
  }

  /** What is wrong with an offset that is to be in the file; null if nothing. */
  private @Nullable String outside(long offset) {
    return offset >= 0 && offset < inode.size
        ? null
        : "expected offset 0x0 to " + Hex.of(inode.size - 1) + ", actual " + Hex.of(offset);
  }

  /**
   * An exception for an errno that a call has just been answered with.
   *
   * @param call what was called, with its arguments
   * @param wrong what is wrong with the arguments; null if nothing
   */
  private GuestMemfdException refused(Errno errno, String call, @Nullable String wrong) {
    String why = errno == Errno.EINVAL ? wrong : null;
    if (errno == Errno.EBADF && isClosed()) {
      why = "the descriptor is closed";
    }
    return why == null ? inode.refused(errno, call) : Refusals.exception(errno, call + ": " + why);
  }

  /**
   * Makes a range inaccessible, all or nothing, now or when the last holder in the way lets go.
   *
   * <p>If the conversion cannot succeed within the {@linkplain Builder#retryPolicy retry policy},
   * and the policy is one that completes later, it stays pending: the pages of the range belong to
   * neither side. A host access is a SIGBUS, and a grab by the guest's side answers EAGAIN;
   * references that are held stay. When the last holder lets go, the conversion is completed by the
   * thread that drops the reference, before that call returns, unless it is inside a callback or
   * another thread is completing conversions just then; callbacks run on that thread.
   *
   * <p>A pending conversion is undone, and its pages are as they were, if the future is cancelled
   * or completed exceptionally (by {@code orTimeout}, say), if any of its pages is converted or
   * punched, and at the end of the file; in the last two cases the future fails with {@link
   * Errno#ECANCELED}. If a callback refuses or throws, the future fails with that. The future
   * cannot be completed from outside: UnsupportedOperationException.
   *
   * <p>Throws nothing: any failure, at once or later, fails the future. A failure at once is a
   * {@link ConversionBlockedException}, EAGAIN, if a holder of a folio of the range is in the way
   * and the policy is not one that completes later; or a {@link GuestMemfdException}: EBADF; EINVAL
   * if the range is not such a range in the file; EINTR; EDEADLK from inside a callback; what a
   * callback answers. The pages are then as they were.
   *
   * <p>Models the transient state {@code KVM_GMEM_NONE_SHARED} of the pKVM series.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, a positive multiple of 4096
   * @return done, failed, or pending; dependent actions run on the thread that completes it, which
   *     then holds nothing of the library's
   */
  public CompletableFuture<Void> makeInaccessibleLater(long offset, long length) {
    try {
      return convertLater(offset, length);
    } catch (RuntimeException | Error e) {
      return CompletableFuture.failedFuture(e);
    }
  }

  /** As {@link #makeInaccessibleLater}, but throws what goes wrong at once. */
  PendingConversion convertLater(long offset, long length) {
    return converting("make inaccessible later", offset, length).later();
  }

  // ---- mapping ----

  /**
   * Maps a part of the file for the host, shared.
   *
   * @param offset the start in the file in bytes
   * @param length the length in bytes; the mapping is rounded up to whole pages
   * @param protection what the mapping may be used for; none at all is allowed
   * @return the mapping, of {@link HostMemory#addressSpace}; it keeps the file even when every
   *     descriptor is closed
   * @throws GuestMemfdException as {@link #mmap(long, long, MapType, Protection...)}
   */
  public HostMapping mmap(long offset, long length, Protection... protection) {
    return mmap(offset, length, MapType.SHARED, protection);
  }

  /**
   * Maps a part of the file for the host. It may reach past the end of the file; touching a page
   * there is a SIGBUS.
   *
   * @param offset the start in the file in bytes
   * @param length the length in bytes; the mapping is rounded up to whole pages
   * @param type {@link MapType#SHARED}, the other one is refused
   * @param protection what the mapping may be used for; none at all is allowed
   * @return the mapping, of {@link HostMemory#addressSpace}; it keeps the file even when every
   *     descriptor is closed
   * @throws GuestMemfdException in this order: EINVAL if the offset is not a multiple of 4096;
   *     EBADF; EINVAL for length 0; ENOMEM if the length does not fit an address space of 2^47
   *     bytes; EOVERFLOW for a negative offset or an end past 2^63 - 4096; EPERM for {@link
   *     Protection#EXEC}; ENODEV without {@link CreateFlag#MMAP}; EINVAL for {@link
   *     MapType#PRIVATE}
   * @throws IllegalStateException if the address space has been closed
   */
  public HostMapping mmap(long offset, long length, MapType type, Protection... protection) {
    return mmap(addressSpace, offset, length, type, protection);
  }

  HostMapping mmap(
      AddressSpace in, long offset, long length, MapType type, Protection... protection) {
    Mmap call = new Mmap(opened, offset, length, type, protection);
    call.check(isClosed());
    if (!opened.tryOpen()) {
      throw call.refused(Errno.EBADF, "the file is gone");
    }
    return in.add(file.remap, call.newMapping(file.remap, in.mm), m -> newMapping(m, in));
  }

  HostMapping newMapping(Mapping mapping, AddressSpace in) {
    return new HostMapping(file, mapping, in);
  }

  // ---- odds and ends ----

  /**
   * Makes a call that a guest_memfd has no use for.
   *
   * @param call the call
   * @return its answer; EBADF if the descriptor is closed
   */
  public Errno call(FileCall call) {
    return isClosed() ? Errno.EBADF : call.answer();
  }

  private void requireOpen(String operation) {
    if (isClosed()) {
      throw Refusals.exception(
          Errno.EBADF, operation + " of " + inode + ": the descriptor is closed");
    }
  }

  private String at(long offset) {
    return " at offset " + Hex.of(offset) + " of " + inode;
  }

  @Override
  public String toString() {
    return inode + (isClosed() ? " (closed)" : "");
  }
}
