/**
 * The few interfaces through which code from outside reaches into the library's inner loops: how a
 * waiting thread idles, where a test may step into a race, and how events are counted.
 *
 * <p>This is the lowest package. It depends on nothing, so that every other package may use it.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 */
@NullMarked
package io.github.guestmemfd.spi;

import org.jspecify.annotations.NullMarked;
