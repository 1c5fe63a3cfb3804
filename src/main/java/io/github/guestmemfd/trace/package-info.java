/**
 * Recorded runs of guest_memfd, and their replay against the model. docs/trace-format.md describes
 * the format.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 */
@NullMarked
package io.github.guestmemfd.trace;

import org.jspecify.annotations.NullMarked;
