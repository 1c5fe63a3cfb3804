/**
 * The first client of guest_memfd: a virtual machine, its memslots, guest page table and vCPUs,
 * after KVM.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 * A buffer to be filled that is read-only is a {@link java.nio.ReadOnlyBufferException}.
 */
@NullMarked
package io.github.guestmemfd.kvm;

import org.jspecify.annotations.NullMarked;
