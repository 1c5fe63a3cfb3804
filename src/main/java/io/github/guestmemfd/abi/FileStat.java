package io.github.guestmemfd.abi;

/**
 * The status of a guest_memfd, as {@code fstat} reports it.
 *
 * @param ino the number of the file, the same for all its descriptors
 * @param size the size in bytes, fixed at creation
 * @param blocks always 0, however much is allocated
 * @param blksize the page size in bytes
 * @param mode the file type and permissions, always 0100600 (octal)
 * @param mtimeNanos when the file was last allocated or punched, in nanoseconds since the epoch
 */
public record FileStat(long ino, long size, long blocks, int blksize, int mode, long mtimeNanos) {}
