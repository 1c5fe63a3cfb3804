/**
 * The kernel that this machine runs, as the judge of the model: it makes the calls of a trace on a
 * real guest_memfd, by way of JNA.
 */
@NullMarked
package io.github.guestmemfd.lab.kernel;

import org.jspecify.annotations.NullMarked;
