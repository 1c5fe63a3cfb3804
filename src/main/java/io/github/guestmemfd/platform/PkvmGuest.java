package io.github.guestmemfd.platform;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.spi.Announce;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListSet;
import org.jspecify.annotations.Nullable;

/**
 * A protected guest of pKVM. Memory is not encrypted: the {@link PkvmHypervisor} unmaps what is the
 * guest's from the host.
 *
 * <ul>
 *   <li>A fault donates a page of the host to the guest. An access to a page that is not mapped is
 *       an abort to the host, which donates it, and the guest tries again.
 *   <li>The guest {@linkplain #share shares} a page with the host, and {@linkplain #unshare takes
 *       it back}, by hypercalls of one page each. That is the hypervisor's side of a conversion;
 *       the file's is a conversion of its own, which the monitor makes when the guest has asked. A
 *       page that the file makes accessible and the guest has not shared stays the guest's, who
 *       cannot share it any more: nothing is mapped there until it is converted back.
 *   <li>A conversion keeps the content, and so does unmapping.
 *   <li>A page that is freed is wiped, and then reclaimed by the host. If that fails, the frame is
 *       lost to the host.
 *   <li>If the host touches a page that is the guest's alone, the page is reclaimed by force: its
 *       content is gone, and the guest's address is poisoned, EHWPOISON.
 * </ul>
 *
 * <p>Upstream, protected guests have anonymous memory and no guest_memfd. This is what the rules of
 * its pages make of one.
 */
public final class PkvmGuest extends PlatformGuest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  /** What a hypercall of the guest comes to. */
  public enum Hypercall {
    /** Done. */
    SUCCESS,
    /** Refused: {@code SMCCC_RET_INVALID_PARAMETER}. */
    INVALID_PARAMETER,
    /** Nothing is mapped there: an abort to the host, which maps the page. Try again. */
    ABORT
  }

  private final PkvmHypervisor hypervisor;
  private final int id;

  /** Addresses whose page was reclaimed by force. */
  private final Set<Long> poisoned = new ConcurrentSkipListSet<>();

  /**
   * Makes a guest that has not been launched.
   *
   * @param hypervisor the hypervisor of the host whose frames its file has
   */
  public PkvmGuest(PkvmHypervisor hypervisor) {
    this.hypervisor = Objects.requireNonNull(hypervisor, "hypervisor");
    this.id = hypervisor.newGuest();
  }

  @Override
  public Content content() {
    return Content.KEPT;
  }

  @Override
  boolean mapsAccessible() {
    return true;
  }

  @Override
  boolean isAcceptedByGuest() {
    return false;
  }

  /** The guest's entry of a page; null if the page is not its own. */
  private PkvmHypervisor.@Nullable Owner mine(int pfn, long offset) {
    PkvmHypervisor.Owner owner = hypervisor.owner(pfn);
    return owner != null && owner.guest() == id && owner.ipa() == offset ? owner : null;
  }

  @Override
  Errno mapLeaf(long offset, int pfn, boolean accessible) {
    if (Announce.read(poisoned).contains(offset)) {
      return Errno.EHWPOISON;
    }
    PkvmHypervisor.Owner owner = mine(pfn, offset);
    if (accessible) {
      return owner != null && owner.shared() ? Errno.OK : Errno.EFAULT;
    }
    return owner != null
        ? Errno.OK
        : hypervisor.donate(pfn, new PkvmHypervisor.Owner(id, offset, false));
  }

  // ---- hypercalls ----

  /**
   * The guest shares a page with the host: {@code ARM_SMCCC_VENDOR_HYP_KVM_MEM_SHARE}.
   *
   * @param ipa the address of the page, a multiple of 4096
   * @param second the second argument, which must be 0
   * @param third the third argument, which must be 0
   * @return SUCCESS; ABORT if nothing is mapped there; INVALID_PARAMETER for wrong arguments, if
   *     the page is shared already, and if the hypervisor refuses
   */
  public Hypercall share(long ipa, long second, long third) {
    return call(ipa, second, third, true);
  }

  /**
   * The guest takes a page back that it has shared: {@code ARM_SMCCC_VENDOR_HYP_KVM_MEM_UNSHARE}.
   *
   * @param ipa the address of the page, a multiple of 4096
   * @param second the second argument, which must be 0
   * @param third the third argument, which must be 0
   * @return SUCCESS; ABORT if nothing is mapped there; INVALID_PARAMETER for wrong arguments, if
   *     the page is not shared, and if the hypervisor refuses
   */
  public Hypercall unshare(long ipa, long second, long third) {
    return call(ipa, second, third, false);
  }

  private Hypercall call(long ipa, long second, long third, boolean share) {
    if (!Pages.isAligned(ipa) || second != 0 || third != 0) {
      return Hypercall.INVALID_PARAMETER;
    }
    return locked(
        () -> {
          Leaf leaf = leaf(ipa);
          if (leaf == null || leaf.blocked) {
            return Hypercall.ABORT;
          }
          PkvmHypervisor.Owner owner = mine(leaf.pfn, ipa);
          boolean done = owner != null && hypervisor.share(leaf.pfn, owner, share) == Errno.OK;
          return done ? Hypercall.SUCCESS : Hypercall.INVALID_PARAMETER;
        });
  }

  // ---- reclaim ----

  /** Wipes a page that is the guest's, and reclaims it. A failure is logged. */
  @Override
  public void freeFolio(Folio folio) {
    PkvmHypervisor.Owner owner = hypervisor.owner(folio.pfn());
    if (owner != null && owner.guest() == id) {
      folio.zero();
      if (hypervisor.reclaim(folio.pfn(), owner) != Errno.OK) {
        lose(folio.pfn(), "the hypervisor does not give it back");
        tellLoss();
      }
    }
  }

  /**
   * The host touches a page as if it were its own, by a stray pointer say. What is the guest's
   * alone is reclaimed by force: wiped, the host's from then on, and poisoned for the guest.
   * Nothing is changed of any other page, and a page without a folio gets none.
   *
   * @param memfd the file whose client this is
   * @param offset any byte of the page
   * @return whether the page has been reclaimed: false if it is the host's or shared, or another
   *     guest's, or there is none; if the offset is not in the file, or the descriptor is closed;
   *     if the hypervisor refuses; from inside a callback; and if the thread is interrupted
   */
  public boolean hostTouches(GuestMemfd memfd, long offset) {
    Objects.requireNonNull(memfd, "memfd");
    boolean isThere = memfd.isOpen() && offset >= 0 && offset < memfd.size();
    Optional<GuestMemfd> opened = isThere ? memfd.reopen() : Optional.empty();
    if (opened.isEmpty()) {
      return false;
    }
    try (GuestMemfd open = opened.get()) {
      return !open.holders(offset).isHole() && touched(open, offset & -PAGE);
    }
  }

  private boolean touched(GuestMemfd open, long page) {
    int pfn = open.tryGrab(page, HolderKind.SAFE); // it is not freed meanwhile
    if (pfn < 0) {
      return false;
    }
    try {
      if (alone(pfn, page) == null || begin(page, PAGE) != Errno.OK) {
        return false;
      }
      try {
        return locked(() -> tryReclaimByForce(pfn, page));
      } finally {
        end();
      }
    } finally {
      open.put(pfn, HolderKind.SAFE);
    }
  }

  private boolean tryReclaimByForce(int pfn, long page) {
    PkvmHypervisor.Owner owner = alone(pfn, page); // looked at again, under the lock
    if (owner == null || hypervisor.reclaim(pfn, owner) != Errno.OK) {
      return false;
    }
    wipe(content(pfn));
    return Announce.write(poisoned).add(page);
  }

  /** The guest's entry of a page that it does not share; null if it does, or it is not its own. */
  private PkvmHypervisor.@Nullable Owner alone(int pfn, long page) {
    PkvmHypervisor.Owner owner = mine(pfn, page);
    return owner == null || owner.shared() ? null : owner;
  }

  /** The guest, its number and its state. */
  @Override
  public String toString() {
    return "PkvmGuest[id=" + id + (runs() ? ", launched" : "") + "]";
  }
}
