/**
 * A stateless model checker: runs every order of the steps of a few threads, by running the
 * scenario again and again, each time in another order. Internal: {@code testing.Interleavings} is
 * its face.
 *
 * <p>It knows {@link io.github.guestmemfd.spi.Announce steps} and nothing of this library's memory.
 */
@NullMarked
package io.github.guestmemfd.explore;

import org.jspecify.annotations.NullMarked;
