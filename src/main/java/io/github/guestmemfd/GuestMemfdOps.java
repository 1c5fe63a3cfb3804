package io.github.guestmemfd;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;

/**
 * The callbacks of a client of a guest_memfd, a hypervisor's memory manager for instance: it is
 * told of changes, and asked to agree to them.
 *
 * <p>A method that returns an {@link Errno} refuses by returning anything but {@link Errno#OK}, or
 * by throwing. Either way the operation is undone and the caller gets the errno or the exception.
 *
 * <p>Calls come on the thread of the operation. Those for pages of one file that overlap never run
 * at the same time; others may. From inside any of them the client may drop references, read what
 * {@link Folio} shows, and ask questions ({@link GuestMemfd#isAccessible}); a call that would have
 * to wait for pages (convert, punch, allocate, grab, an access that faults, munmap) fails with
 * {@link Errno#EDEADLK}.
 *
 * <p>The operations are those of the RFC series of August 2024, with the polarity and the
 * separation that its reviewers asked for. Those of in-place conversion as it was applied are among
 * them: {@code kvm_arch_gmem_invalidate_range} is {@link #invalidateBegin(long, long,
 * InvalidationFilter)}, {@code kvm_arch_gmem_reclaim} is {@link #freeFolio}, and {@link
 * #makePrivate} and {@link #makeShared} have their names there.
 */
public interface GuestMemfdOps {

  /** Agrees to everything. */
  GuestMemfdOps NONE =
      new GuestMemfdOps() {
        @Override
        public boolean takesFolios() {
          return false;
        }
      };

  /**
   * Whether this client is to be called for single folios, by the methods that take a {@link
   * Folio}. One that does nothing there says no, and saves every conversion a call or two for each
   * page; one that passes its callbacks on asks the others. Asked once, when the file is made.
   *
   * @return true unless overridden
   */
  default boolean takesFolios() {
    return true;
  }

  /**
   * The pages of a range are about to be converted or punched, or the memory of a page has failed:
   * stop using them. The client drops what guest mappings it has there; no new grab of them
   * succeeds until the operation is over. A memory failure goes on even if this refuses.
   *
   * <p>Of a conversion the client is told what changes, and nothing else: this is called once for
   * each run of pages that do not have the new attribute yet, in ascending order. If it refuses one
   * of them, those before it end, and none is converted. Pages that have the new attribute already
   * stay in use; where all of a range do, it is not called.
   *
   * <p>Held: the busy bits of the range. Models {@code kvm_gmem_invalidate_begin}.
   *
   * @param offset the start of the range in bytes
   * @param length its length in bytes
   * @return {@link Errno#OK}, or why it cannot be done now
   */
  default Errno invalidateBegin(long offset, long length) {
    return Errno.OK;
  }

  /**
   * As {@link #invalidateBegin(long, long)}, which it calls by default: this is what a file calls.
   * A client that maps shared pages and private ones apart overrides this one; so does a client
   * that passes its callbacks on to others.
   *
   * @param offset the start of the range in bytes
   * @param length its length in bytes
   * @param filter what the pages are mapped as, if they are: of a conversion what they turn from;
   *     {@link InvalidationFilter#BOTH} of a punch and a memory failure, which take pages of both
   *     kinds. {@link #release} is of both too
   * @return {@link Errno#OK}, or why it cannot be done now
   */
  default Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
    return invalidateBegin(offset, length);
  }

  /**
   * The operation is over, done or not. Called exactly once after each {@code invalidateBegin} that
   * agreed, with the same range. If this throws, a conversion is undone, whatever other runs of it
   * have been ended; a punch is not. Since pages may have been used with the new attributes in
   * between, each run is then invalidated once more, after the attributes are back and before any
   * page can be had: begin, what undoes the preparation, end. What clients answer to that is
   * logged.
   *
   * <p>Held: the busy bits of the range. Models {@code kvm_gmem_invalidate_end}.
   *
   * @param offset the start of the range in bytes
   * @param length its length in bytes
   */
  default void invalidateEnd(long offset, long length) {}

  /**
   * A folio is about to be used by the host: it becomes accessible, or is used for the first time
   * and is accessible, or a conversion of it to inaccessible is being undone.
   *
   * <p>Held: the busy bit of its page (conversion) or its folio lock (first use).
   *
   * @param folio the folio, up to date; valid during the call
   * @return {@link Errno#OK}, or why not
   */
  default Errno prepareAccessible(Folio folio) {
    return Errno.OK;
  }

  /**
   * A folio is about to be the guest's alone: it becomes inaccessible, or is used for the first
   * time and is inaccessible, or a conversion of it to accessible is being undone. With {@link
   * CreateFlag#NO_DIRECT_MAP} it is out of the direct map already.
   *
   * <p>Held: the busy bit of its page (conversion) or its folio lock (first use).
   *
   * @param folio the folio, up to date; valid during the call
   * @return {@link Errno#OK}, or why not
   */
  default Errno prepareInaccessible(Folio folio) {
    return Errno.OK;
  }

  /**
   * The guest faults on a private page: its folio is about to be mapped for it. Called at
   * <b>every</b> such fault of a kernel that converts in place ({@link GuestMemfd#tryGetPfn}), and
   * so perhaps many times for one folio, by several vCPUs one after the other. A client that has
   * made the page private answers {@link Errno#OK} again.
   *
   * <p>Held: the folio lock, so that no conversion or punch of the page is under way. Models {@code
   * kvm_arch_gmem_make_private}.
   *
   * @param folio the folio, up to date and inaccessible; valid during the call
   * @return {@link Errno#OK}, or what the fault fails with; nothing is changed then
   */
  default Errno makePrivate(Folio folio) {
    return Errno.OK;
  }

  /**
   * A folio turns from private to shared: called for each page of a conversion that changes and has
   * a folio, whether or not it has ever been made private, once all clients have agreed, before the
   * host can touch it. Called also where a conversion to inaccessible is undone after its end has
   * been told. If the conversion is undone after this, the page is private as before, and {@link
   * #makePrivate} comes again before the guest uses it.
   *
   * <p>There is no way to refuse; if this throws, the conversion is undone.
   *
   * <p>Held: the busy bits of the range. Models {@code kvm_arch_gmem_make_shared}.
   *
   * @param folio the folio, which may never have been used; valid during the call
   */
  default void makeShared(Folio folio) {}

  /**
   * A folio is at the end of its life: the last reference is gone, and its frame is about to go
   * back to the host. This is the place to scrub it. It is called for orphans too, possibly after
   * {@link #release}.
   *
   * <p>Held: what the thread held that dropped the reference: the busy bits of the range if that
   * was a punch, what another callback holds if it was that, else nothing. The frame is frozen, and
   * no other thread has it. It is freed even if this throws. Models {@code kvm_arch_gmem_reclaim}.
   *
   * @param folio the folio; valid during the call
   */
  default void freeFolio(Folio folio) {}

  /**
   * The file is gone: its last descriptor and mapping are closed. Called once, before its folios
   * are dropped; the client lets go of what it holds.
   *
   * <p>Held: the busy bits of the whole file.
   */
  default void release() {}
}
