/**
 * Clients of guest_memfd for the hardware that keeps a guest's memory from its host: AMD SEV-SNP,
 * Intel TDX, pKVM and Arm CCA. Each is the part of a hypervisor that follows the file, over an
 * emulated piece of hardware whose failures a test asks for.
 *
 * <p>The hardware belongs to a host and remembers who owns which frame; a {@link
 * io.github.guestmemfd.platform.PlatformGuest} is the client of one file. The guest reaches its
 * private memory through it. Shared memory is reached as always: by a mapping of the host, and by a
 * guest through a {@link io.github.guestmemfd.kvm.VirtualMachine}, behind which a platform's guest
 * can be the second client. docs/platforms.md says what is modelled, and after which source.
 *
 * <p>A null argument is a {@link NullPointerException}. Everything here is safe for use by any
 * number of threads.
 */
@NullMarked
package io.github.guestmemfd.platform;

import org.jspecify.annotations.NullMarked;
