/**
 * A second client of guest_memfd, after Gunyah's way: memory is lent to a guest as a parcel, held
 * for as long as it is lent, and reclaimed on request.
 */
@NullMarked
package io.github.guestmemfd.gunyah;

import org.jspecify.annotations.NullMarked;
