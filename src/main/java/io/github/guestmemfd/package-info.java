/**
 * The interface for a virtual machine monitor: {@link io.github.guestmemfd.HostMemory the host's
 * memory}, {@link io.github.guestmemfd.GuestMemfd guest_memfd files} in it, {@link
 * io.github.guestmemfd.HostMapping mappings} of them, and {@link io.github.guestmemfd.HostReference
 * references} to their pages.
 *
 * <p><i>Accessible</i> means that the host may map a page (the kernel says shared),
 * <i>inaccessible</i> that only the guest may use it (the kernel says private). Offsets and lengths
 * are in bytes, a page is 4096 bytes, page indexes count pages from the start of a file.
 *
 * <p>Every class here is safe for use by many threads unless it says otherwise.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 * A buffer to be filled that is read-only is a {@link java.nio.ReadOnlyBufferException}.
 */
@NullMarked
package io.github.guestmemfd;

import org.jspecify.annotations.NullMarked;
