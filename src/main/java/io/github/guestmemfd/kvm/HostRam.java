package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.Protection;
import java.util.Set;

/**
 * Memory of the host at a user address: what {@code mmap} returns for anonymous memory, and a
 * memslot refers to by {@link Memslot#userAddress}. In a machine with two memories it is the shared
 * one.
 *
 * <p>The host reads and writes it, and takes references on it (GUP), by its {@link #mapping}. What
 * the guest has mapped follows: memory that is discarded or unmapped is taken out of the guest page
 * tables first, as the kernel's MMU notifiers do. A page that is touched by either side is
 * allocated, and zeroed.
 *
 * <p>A {@linkplain io.github.guestmemfd.AddressSpace#fork child} does not inherit it: it is as if
 * advised DONTFORK for good, as monitors do with the memory of a guest. Copy-on-write is not
 * modelled.
 *
 * <p>It is kept in a file that nothing else can reach and whose pages are always accessible, so it
 * counts among the files of its {@link HostMemory}. Safe for use by any number of threads.
 */
public final class HostRam implements AutoCloseable {
  private final UserMemory user;
  private final UserMemory.Area area;
  private final HostMapping mapping;
  private final Gmem client;

  private HostRam(UserMemory user, UserMemory.Area area, HostMapping mapping, Gmem client) {
    this.user = user;
    this.client = client;
    this.area = area;
    this.mapping = mapping;
  }

  /** See {@link VirtualMachine#mapHostRam(HostMemory, long, long)}. */
  static HostRam map(HostMemory host, UserMemory user, Gmem client, long userAddress, long size) {
    if (size <= 0 || !Pages.isAligned(size | userAddress)) {
      throw new GuestMemfdException(
          Errno.EINVAL,
          "host memory: expected a size above 0, and multiples of 4096, actual size "
              + size
              + " at "
              + Hex.of(userAddress));
    }
    UserMemory.requireAddresses(userAddress, size);
    GuestMemfd file =
        GuestMemfd.builder(host)
            .size(size)
            .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
            .traits(Set.of(FileTrait.NOT_INHERITED))
            .ops(client)
            .build();
    UserMemory.Area area = new UserMemory.Area(userAddress, size, file);
    boolean done = false;
    try {
      user.add(host, area); // first: inside a callback a mapping could not be taken back
      HostMapping mapping = file.mmap(0, size, Protection.READ, Protection.WRITE);
      done = true;
      return new HostRam(user, area, mapping, client);
    } finally {
      if (!done) {
        user.remove(area);
        file.close();
      }
    }
  }

  /**
   * Where it begins.
   *
   * @return the user address of its first byte, a multiple of 4096
   */
  public long userAddress() {
    return area.address();
  }

  /**
   * The size, a multiple of 4096.
   *
   * @return the size in bytes
   */
  public long size() {
    return area.size();
  }

  /**
   * The host's view: bytes, and references by GUP. Offset 0 is its first byte. It is closed with
   * this. To unmap, protect or move a part of it changes this view alone: the guest goes on using
   * the memory.
   *
   * @return the mapping, always the same; its {@code madvise} is that of a file, see {@link
   *     #madvise}
   */
  public HostMapping mapping() {
    return mapping;
  }

  /**
   * The memory that is allocated, as {@code mincore} would tell.
   *
   * @return the bytes; exact while nothing is being changed
   */
  public long allocated() {
    return area.file().isOpen() ? area.file().cachedPages() << Pages.SHIFT : 0;
  }

  /**
   * The memory of a range that is allocated, as {@code mincore} tells it. To read what is not makes
   * it, here; in the kernel a read maps the zero page.
   *
   * @param offset the start in bytes
   * @param length the length in bytes, rounded up to pages
   * @return the bytes; exact while nothing is being changed
   * @throws GuestMemfdException EINVAL for an unaligned start or a negative length; ENOMEM if the
   *     range reaches out of it
   */
  public long allocated(long offset, long length) {
    if (!Pages.isAligned(offset) || length < 0) {
      throw new GuestMemfdException(
          Errno.EINVAL,
          "mincore: expected an offset that is a multiple of 4096 and a length of 0 or more, actual "
              + Hex.of(offset)
              + " and "
              + length);
    }
    if (offset < 0 || length > size() - offset) {
      throw new GuestMemfdException(
          Errno.ENOMEM,
          "mincore: expected a range in "
              + size()
              + " bytes, actual "
              + length
              + " at "
              + Hex.of(offset));
    }
    GuestMemfd file = area.file();
    return length > 0 && file.isOpen() ? file.cachedPages(offset, length) << Pages.SHIFT : 0;
  }

  /**
   * Frees the memory of a range: {@code MADV_DONTNEED}. The next touch finds zeroes. What a holder
   * has by GUP it keeps, and it no longer sees what is written there.
   *
   * @param offset the start in bytes, a multiple of 4096
   * @param length the length in bytes, rounded up to pages
   * @throws GuestMemfdException as {@link #madvise}
   */
  public void discard(long offset, long length) {
    madvise(offset, length, Advice.DONTNEED);
  }

  /**
   * Takes advice, as anonymous memory does.
   *
   * @param offset the start in bytes
   * @param length the length in bytes, rounded up to pages
   * @param advice {@code DONTNEED} frees the pages. {@code POPULATE_READ} and {@code
   *     POPULATE_WRITE} allocate them. {@code FREE}, which lets the kernel free pages when memory
   *     is short, {@code COLD}, {@code PAGEOUT} and {@code HUGEPAGE} succeed and do nothing, as do
   *     those about a fork, which never inherits it. {@code REMOVE} is for files, and {@code
   *     COLLAPSE} for huge pages: EINVAL
   * @throws GuestMemfdException EINVAL for that, an unaligned start or a negative length; ENOMEM if
   *     the range reaches out of it: what is inside has been done; EINTR; EDEADLK from inside a
   *     callback
   */
  public void madvise(long offset, long length, Advice advice) {
    switch (advice) {
      case DONTNEED -> mapping.madvise(offset, length, Advice.REMOVE);
      case FREE, DONTFORK, DOFORK, WIPEONFORK, KEEPONFORK ->
          mapping.madvise(offset, length, Advice.COLD);
      case REMOVE -> mapping.madvise(offset, length, Advice.COLLAPSE);
      default -> mapping.madvise(offset, length, advice);
    }
  }

  /**
   * Unmaps it. Memslots stay, without this memory: an access of the guest exits with a {@link
   * VcpuExit.HostFault}. References taken by GUP stay. A second call does nothing.
   *
   * @throws GuestMemfdException EDEADLK from inside a callback
   */
  @Override
  public void close() {
    mapping.close(); // first: it may refuse
    user.remove(area);
    client.zap(0, size()); // a fault under way may keep the file from ending
    area.file().close();
  }

  @Override
  public String toString() {
    return "HostRam[user address=%s, size=%d]".formatted(Hex.of(area.address()), area.size());
  }
}
