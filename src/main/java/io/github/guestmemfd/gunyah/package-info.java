/**
 * A second client of guest_memfd, after Gunyah's way: memory is lent to a guest as a parcel, held
 * for as long as it is lent, and reclaimed on request.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 * A buffer to be filled that is read-only is a {@link java.nio.ReadOnlyBufferException}.
 */
@NullMarked
package io.github.guestmemfd.gunyah;

import org.jspecify.annotations.NullMarked;
