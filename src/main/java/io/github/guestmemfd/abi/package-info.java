/**
 * The words of the interface, as the kernel has them: errnos and the exceptions that carry them,
 * flags and modes, and the values that calls take and answer.
 *
 * <p>This is the lowest package. It depends on nothing, so that every other package may use it. All
 * of its types are immutable.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 */
@NullMarked
package io.github.guestmemfd.abi;

import org.jspecify.annotations.NullMarked;
