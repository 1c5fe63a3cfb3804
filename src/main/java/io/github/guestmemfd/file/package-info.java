/**
 * A guest_memfd file by topic: {@link io.github.guestmemfd.file.Inode} is what it is, {@link
 * io.github.guestmemfd.file.FileOperations} brings together the operations on it, and {@link
 * io.github.guestmemfd.file.Host} is what the files of a host share.
 *
 * <p>Methods return {@link io.github.guestmemfd.abi.Errno}s, or frame numbers and negated errnos,
 * as the kernel's do; the facades in the package above turn them into exceptions. Pages are named
 * by their indexes. Arguments have been checked.
 */
@NullMarked
package io.github.guestmemfd.file;

import org.jspecify.annotations.NullMarked;
