package io.github.guestmemfd.platform;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.Announce;
import java.nio.ByteBuffer;
import java.util.HashSet;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A trust domain of Intel TDX. Only the {@link TdxModule} changes what the domain has mapped, and
 * an unmapping that fails cannot be undone.
 *
 * <ul>
 *   <li>A fault adds a page without content (AUG); a busy module has the fault begin once more. The
 *       guest accepts the page, and finds zeroes. If it touches the page before, the domain is
 *       dead.
 *   <li>An invalidation blocks each page, tracks, and removes each page. A busy module is asked
 *       once more, with all vCPUs kept out of the guest. Any failure kills the domain, and the
 *       frame stays the module's. The invalidation goes on: it has no way to refuse.
 *   <li>Unmapping destroys the content, whatever it was for.
 *   <li>In Linux 6.18 a mapped page has a reference, and after a failure keeps it: the frame is not
 *       freed. Later kernels hold none, and the frame is freed though it is the module's; the next
 *       domain that is given it is refused.
 * </ul>
 *
 * <p>Models {@code tdx_sept_set_private_spte}, {@code tdx_sept_remove_private_spte}, {@code
 * tdx_vcpu_init_mem_region} and {@code tdx_td_finalize}.
 */
public final class TdxGuest extends PlatformGuest {
  private final TdxModule module;
  private final boolean holdsReferences;
  private final int domain;
  private final AtomicLong kicks = new AtomicLong();

  // Under the lock: pages that could not be blocked, and whether every track has succeeded. What is
  // not blocked and tracked the module does not remove.
  private final Set<Long> stuck = new HashSet<>();
  private boolean isTracked = true;

  /** Whether a page with a source is being added. */
  private final AtomicBoolean adds = new AtomicBoolean();

  /**
   * Makes a trust domain that has not been launched.
   *
   * @param module the module of the host whose frames its file has
   * @param vm the virtual machine that it is; its {@linkplain VirtualMachine#kernelProfile kernel}
   *     says whether a mapped page has a reference
   */
  public TdxGuest(TdxModule module, VirtualMachine vm) {
    this.module = Objects.requireNonNull(module, "module");
    this.holdsReferences = vm.kernelProfile().tdxHoldsReferences();
    this.domain = module.newDomain();
  }

  @Override
  public Content content() {
    return Content.DESTROYED;
  }

  @Override
  boolean holdsReferences() {
    return holdsReferences;
  }

  private TdxModule.Owner owner(long offset) {
    return new TdxModule.Owner(domain, offset);
  }

  // ---- faults ----

  @Override
  Errno mapLeaf(long offset, int pfn, boolean accessible) {
    Errno errno = module.give(TdxModule.Call.AUG, pfn, owner(offset));
    if (errno == Errno.OK || errno == Errno.EBUSY) {
      return errno;
    }
    kill("AUG of the page at offset " + Hex.of(offset) + " has failed");
    return Errno.EIO;
  }

  @Override
  Errno acceptLeaf(long offset, int pfn) {
    wipe(content(pfn));
    return Errno.OK;
  }

  @Override
  void touchedTooEarly(long offset) {
    kill("the page at offset " + Hex.of(offset) + " was touched before it was accepted");
  }

  // ---- invalidations ----

  @Override
  void blockLeaf(long offset, int pfn) {
    if (!mustSucceed("BLOCK", offset, () -> module.call(TdxModule.Call.BLOCK))) {
      stuck.add(offset);
    }
  }

  @Override
  void track() {
    kick(); // in any case: that is what makes vCPUs forget
    isTracked &= mustSucceed("TRACK", -1, () -> module.call(TdxModule.Call.TRACK));
  }

  @Override
  boolean unmapLeaf(long offset, int pfn) {
    boolean removed =
        !stuck.remove(offset)
            && isTracked
            && mustSucceed("REMOVE", offset, () -> module.remove(pfn, owner(offset)))
            && mustSucceed("WBINVD", offset, () -> module.call(TdxModule.Call.WBINVD));
    if (removed) {
      wipe(content(pfn));
    } else {
      lose(pfn, "the module has not removed it");
    }
    return removed;
  }

  /** A busy module is asked once more, without vCPUs in the guest; any failure kills the guest. */
  private boolean mustSucceed(String call, long offset, Supplier<Errno> attempt) {
    Errno errno = attempt.get();
    if (errno == Errno.EBUSY) {
      kick();
      errno = attempt.get();
    }
    if (errno != Errno.OK) {
      String page = offset < 0 ? "" : " of the page at offset " + Hex.of(offset);
      kill(call + page + " has failed: " + errno);
    }
    return errno == Errno.OK;
  }

  private void kick() {
    Announce.write(kicks).getAndIncrement();
  }

  /**
   * How often all vCPUs were kicked out of the guest: once for each track, and once for each call
   * that found the module busy.
   *
   * @return the number
   */
  public long kicks() {
    return Announce.read(kicks).get();
  }

  /**
   * How many frames are kept for good, since the module has not given them back: those of pages
   * whose reference is held. Without references there are none.
   *
   * @return the number
   */
  public long leakedPages() {
    return leakedReferences();
  }

  /**
   * Gives the {@linkplain #leakedPages leaked} frames back to the host, as a test does at its end:
   * on a real machine a reset does. To the module they stay the domain's.
   */
  public void putLeakedPages() {
    putLeaked();
  }

  // ---- the launch ----

  /**
   * Adds pages with content before the domain runs: {@code KVM_TDX_INIT_MEM_REGION}. The pages must
   * be private. A page is mapped first, with its source beside it, and has then the content that it
   * was measured with.
   *
   * @param memfd the file whose client this is
   * @param offset where the pages begin, a multiple of 4096
   * @param length how many bytes, a positive multiple of 4096
   * @param source the content, from its position on, which moves by what has been done
   * @return how far it has come. The answer is EOPNOTSUPP without a source; EINVAL for wrong
   *     arguments, or if the domain runs; EBADF; EDEADLK from inside a callback; EIO if the domain
   *     is dead. Of the first page: EINVAL if it is not private; EEXIST if it has been added; EBUSY
   *     if the module is; EIO if the module fails, or if another page is being added, which kills
   *     the domain; EINTR; and as {@link GuestMemfd#grab}
   */
  public Populated initMemRegion(
      GuestMemfd memfd, long offset, long length, @Nullable ByteBuffer source) {
    Errno errno = Population.check(memfd, offset, length, source);
    if (errno == Errno.OK) {
      errno =
          isDead()
              ? Errno.EIO
              : runs() ? Errno.EINVAL : source == null ? Errno.EOPNOTSUPP : Errno.OK;
    }
    if (errno != Errno.OK || source == null) {
      return new Populated(0, errno, errno);
    }
    return Population.run(
        offset, length, source, (at, content) -> add(memfd, at, Objects.requireNonNull(content)));
  }

  private Errno add(GuestMemfd memfd, long offset, ByteBuffer content) {
    if (!Announce.write(adds).compareAndSet(false, true)) {
      kill("a page is being added while another is");
      return Errno.EIO;
    }
    try {
      return mapForLaunch(
          memfd,
          offset,
          pfn -> {
            Errno errno = module.give(TdxModule.Call.ADD, pfn, owner(offset));
            if (errno == Errno.OK) {
              fill(content(pfn), content);
            }
            return errno;
          });
    } finally {
      Announce.write(adds).set(false);
    }
  }

  @Override
  Errno launch() {
    return module.call(TdxModule.Call.FINALIZE);
  }

  /** The domain, its number and its state. */
  @Override
  public String toString() {
    return "TdxGuest[domain="
        + domain
        + (runs() ? ", launched" : "")
        + death().map(why -> ", dead: " + why).orElse("")
        + "]";
  }
}
