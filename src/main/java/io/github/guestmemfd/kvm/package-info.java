/**
 * The first client of guest_memfd: a virtual machine, its memslots, guest page table and vCPUs,
 * after KVM.
 */
@NullMarked
package io.github.guestmemfd.kvm;

import org.jspecify.annotations.NullMarked;
