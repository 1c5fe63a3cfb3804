/**
 * The observation of files: counters, events of the flight recorder, and the holders of a host that
 * tracks them. This package knows numbers, and no files.
 */
@NullMarked
package io.github.guestmemfd.observe;

import org.jspecify.annotations.NullMarked;
