package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;

/**
 * The callbacks of a second client that maps private pages for the guest by a page table of its
 * own, as the code of a platform does, in a machine with {@linkplain VirtualMachine#hasTwoMemories
 * two memories}: the attributes are the machine's there, so that the file does not tell when the
 * guest is to reach a page no more. It is the client of a file besides.
 *
 * <p>Such a client asks {@link VirtualMachine#memoryAttribute(io.github.guestmemfd.GuestMemfd,
 * long)} at each fault whether a page is the guest's, and asks or looks again if an unmapping of
 * the page has begun since. Calls come on the thread of the operation, with nothing held but the
 * range of a conversion handler. They are callbacks like the file's: what has to wait for pages
 * answers {@link Errno#EDEADLK} inside. Unlike those of a file they may overlap: an unmapping with
 * another of the same pages, and with an invalidation of them.
 */
public interface MachineOps extends GuestMemfdOps {

  /**
   * The guest is to reach pages no more: they are about to turn shared, or have by a {@linkplain
   * VirtualMachine#moveContextFrom handover}, or their memslot has been deleted. The pages stay in
   * the file, with their content. Pages that turn private are not told of, for none of them can be
   * mapped.
   *
   * <p>A change of attributes is refused by any answer but {@link Errno#OK}, or by throwing, and
   * nothing is changed then. A handover and the deletion of a memslot cannot be refused: no page of
   * it that is mapped by then may be reached when this returns, whatever the answer; the same of a
   * memslot that was made while attributes were being changed. Models {@code
   * kvm_arch_pre_set_memory_attributes} and {@code kvm_arch_flush_shadow_memslot}.
   *
   * @param offset where the pages begin in the file
   * @param length how many bytes they are
   * @return {@link Errno#OK}, or why not: {@link Errno#EINTR} if the thread was interrupted
   */
  Errno unmapBegin(long offset, long length);

  /**
   * The operation is over, done or not. Called exactly once after each {@link #unmapBegin} that has
   * answered {@link Errno#OK}, with the same range. What this throws is thrown when everything else
   * is done. Models {@code kvm_arch_post_set_memory_attributes}.
   *
   * @param offset where the pages begin in the file
   * @param length how many bytes they are
   */
  void unmapEnd(long offset, long length);
}
