/** The first client of guest_memfd: a virtual machine and its memslots, after KVM. */
@NullMarked
package io.github.guestmemfd.kvm;

import org.jspecify.annotations.NullMarked;
