/**
 * Recorded runs of guest_memfd, and their replay against the model. docs/trace-format.md describes
 * the format.
 */
@NullMarked
package io.github.guestmemfd.trace;

import org.jspecify.annotations.NullMarked;
