/**
 * The few interfaces through which code from outside reaches into the library's inner loops: how a
 * waiting thread idles, and where a test may step into a race. And what every package needs: how
 * events are counted, what a range has to be like, how messages write numbers.
 *
 * <p>This is the lowest package. It depends on nothing, so that every other package may use it.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 */
@NullMarked
package io.github.guestmemfd.spi;

import org.jspecify.annotations.NullMarked;
