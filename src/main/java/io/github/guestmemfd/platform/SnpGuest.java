package io.github.guestmemfd.platform;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.spi.Announce;
import java.nio.ByteBuffer;
import java.nio.ReadOnlyBufferException;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * A guest of AMD SEV-SNP. The hardware checks every access against its {@link Rmp}, so a private
 * frame is assigned to the guest, and assigned back when it becomes shared or is freed.
 *
 * <ul>
 *   <li>Every private fault assigns its frame: what is assigned already is left as it is. A lookup
 *       that fails is ENOENT, an update EINVAL, and the fault is refused. A conversion to private
 *       does nothing yet, and so cannot fail here.
 *   <li>Assigning back cannot be refused. A failure is logged, and the frame goes where it was to
 *       go: to the host, which may not write to it, or to the next file.
 *   <li>A frame that is still assigned elsewhere passes for assigned, and the guest cannot use it:
 *       every access is an RMP fault, EFAULT.
 *   <li>An unmapped page keeps its content, and stays assigned. One that is converted in place is
 *       encrypted by the guest's key: neither side can read what the other has written ({@link
 *       Content#ENCRYPTED}).
 * </ul>
 *
 * <p>Models {@code sev_gmem_prepare}, {@code sev_gmem_invalidate}, {@code sev_gmem_post_populate}
 * and {@code snp_launch_update}, under the names that they have since in-place conversion: {@code
 * make_private}, {@code reclaim} and {@code make_shared}.
 */
public final class SnpGuest extends PlatformGuest {
  /** The kinds of pages of a launch. */
  public enum LaunchPage {
    /** Content that is measured. */
    NORMAL,
    /** Zeroes, without a source. */
    ZERO,
    /** CPUID values, which the firmware corrects where it refuses them. */
    CPUID
  }

  private final Rmp rmp;
  private final int asid;

  /** Where the guest has the saved state of its vCPUs. */
  private final Set<Long> vmsas = new ConcurrentSkipListSet<>();

  private final AtomicLong kicks = new AtomicLong();

  /**
   * Makes a guest that has not been launched.
   *
   * @param rmp the table of the host whose frames its file has
   */
  public SnpGuest(Rmp rmp) {
    this.rmp = Objects.requireNonNull(rmp, "rmp");
    this.asid = rmp.newAsid();
  }

  @Override
  public Content content() {
    return Content.ENCRYPTED;
  }

  private long key() {
    return 0x9E37_79B9_7F4A_7C15L * asid;
  }

  // ---- private ----

  @Override
  Errno mapLeaf(long offset, int pfn, boolean accessible) {
    Errno errno = makePrivate(pfn, offset);
    if (errno != Errno.OK) {
      return errno;
    }
    Rmp.Entry entry = rmp.entry(pfn);
    boolean mine = entry != null && entry.asid() == asid && entry.gpa() == offset;
    return mine ? Errno.OK : Errno.EFAULT; // the guest would fault forever
  }

  private Errno makePrivate(int pfn, long offset) {
    Errno errno = rmp.lookup();
    if (errno != Errno.OK) {
      return Errno.ENOENT;
    }
    if (rmp.entry(pfn) != null) {
      return Errno.OK;
    }
    errno = rmp.makePrivate(pfn, new Rmp.Entry(asid, offset, false));
    if (errno != Errno.OK) {
      return Errno.EINVAL;
    }
    xor(content(pfn), key());
    return Errno.OK;
  }

  // ---- shared ----

  /** Assigns the folio back to the host. A failure is logged: the answer is always OK. */
  @Override
  public Errno prepareAccessible(Folio folio) {
    assignToHost(folio);
    return Errno.OK;
  }

  /** Assigns the frame back to the host. A failure is logged, and the frame is freed anyway. */
  @Override
  public void freeFolio(Folio folio) {
    assignToHost(folio);
  }

  private void assignToHost(Folio folio) {
    int pfn = folio.pfn();
    if (rmp.lookup() != Errno.OK) {
      return;
    }
    Rmp.Entry entry = rmp.entry(pfn);
    if (entry == null) {
      return;
    }
    if (rmp.makeShared(pfn, entry) != Errno.OK) {
      lose(pfn, "the RMP cannot be updated");
      tellLoss();
      return;
    }
    if (entry.asid() == asid) {
      xor(content(folio::buffer), key());
    }
  }

  // ---- vCPUs ----

  /**
   * Tells where the guest has the saved state of a vCPU. An invalidation of that page kicks the
   * vCPU out of the guest.
   *
   * @param offset any byte of the page
   */
  public void addVmsa(long offset) {
    Announce.write(vmsas).add(Pages.index(offset));
  }

  /**
   * How often vCPUs were kicked out because the page of their saved state was invalidated.
   *
   * @return the number
   */
  public long kicks() {
    return Announce.read(kicks).get();
  }

  @Override
  void invalidating(long offset, long length) {
    for (long page : Announce.read(vmsas)) {
      if (page >= Pages.index(offset) && page - Pages.index(offset) < Pages.index(length)) {
        Announce.write(kicks).getAndIncrement();
      }
    }
  }

  // ---- the launch ----

  /**
   * Copies pages into the guest and has the firmware encrypt and measure them: {@code
   * KVM_SEV_SNP_LAUNCH_UPDATE}. The pages must be private. Of each page the content comes first,
   * then the assignment, then the firmware; where that fails, the page is assigned back, and keeps
   * the content.
   *
   * @param memfd the file whose client this is
   * @param offset where the pages begin, a multiple of 4096
   * @param length how many bytes, a positive multiple of 4096
   * @param source the content, from its position on, which moves by what has been done; null for
   *     {@link LaunchPage#ZERO} alone. Into a CPUID page that the firmware refuses its corrections
   *     are written
   * @param type what the pages are
   * @return how far it has come. The answer is EINVAL for wrong arguments, or if the guest has been
   *     launched; EBADF; EDEADLK from inside a callback. Whatever goes wrong with the first page is
   *     EIO, with the cause EINVAL if it is not private, or its entry cannot be looked up or
   *     changed; EEXIST if it is assigned; EIO if the firmware refuses; EINTR; and as {@link
   *     GuestMemfd#grab}
   * @throws ReadOnlyBufferException if the source of CPUID pages cannot be written to
   */
  public Populated launchUpdate(
      GuestMemfd memfd, long offset, long length, @Nullable ByteBuffer source, LaunchPage type) {
    Objects.requireNonNull(type, "type");
    Errno errno = Population.check(memfd, offset, length, source);
    if (errno == Errno.OK && (runs() || (source == null) != (type == LaunchPage.ZERO))) {
      errno = Errno.EINVAL;
    }
    if (errno != Errno.OK) {
      return new Populated(0, errno, errno);
    }
    if (type == LaunchPage.CPUID && source != null && source.isReadOnly()) {
      throw new ReadOnlyBufferException();
    }
    Populated populated =
        Population.run(offset, length, source, (at, content) -> populate(memfd, at, content, type));
    if (populated.errno() == Errno.OK) {
      return populated;
    }
    boolean tooLate = populated.cause() == Errno.EINVAL && runs(); // launched meanwhile
    return new Populated(0, tooLate ? Errno.EINVAL : Errno.EIO, populated.cause());
  }

  private Errno populate(
      GuestMemfd memfd, long offset, @Nullable ByteBuffer source, LaunchPage type) {
    return fillForLaunch(memfd, offset, pfn -> populate(pfn, offset, source, type));
  }

  private Errno populate(int pfn, long offset, @Nullable ByteBuffer source, LaunchPage type) {
    if (rmp.lookup() != Errno.OK) {
      return Errno.EINVAL;
    }
    if (rmp.entry(pfn) != null) {
      return Errno.EEXIST;
    }
    if (source == null) {
      wipe(content(pfn));
    } else {
      fill(content(pfn), source);
    }
    Rmp.Entry entry = new Rmp.Entry(asid, offset, true);
    if (rmp.makePrivate(pfn, entry) != Errno.OK) {
      return Errno.EINVAL;
    }
    Errno errno = rmp.launchUpdate();
    if (errno == Errno.OK) {
      return Errno.OK;
    }
    if (rmp.makeShared(pfn, entry) != Errno.OK) {
      lose(pfn, "the launch has failed, and the RMP cannot be updated");
    }
    if (type == LaunchPage.CPUID && source != null) {
      source.putLong(0, 0); // what the firmware would have there
    }
    return errno;
  }

  @Override
  Errno launch() {
    return rmp.launchFinish();
  }

  /** The guest, its number and its state. */
  @Override
  public String toString() {
    return "SnpGuest[asid=" + asid + (runs() ? ", launched" : "") + "]";
  }
}
