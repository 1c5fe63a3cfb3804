package io.github.guestmemfd.kvm;

/**
 * How much of the host's memory the memslots of a virtual machine use.
 *
 * @param shared bytes of the host's memory at user addresses
 * @param files bytes of guest_memfds
 * @param doubled bytes of guest addresses that have both, and of which the guest uses one: the
 *     price of two memories
 */
public record MemoryUse(long shared, long files, long doubled) {}
