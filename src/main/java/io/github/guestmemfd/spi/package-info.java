/**
 * The interfaces through which code from outside reaches into the library's inner loops: how a
 * waiting thread idles, and where a test may step into a race. Also what all parts of the library
 * share: how events are counted, and how threads wait.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 */
@NullMarked
package io.github.guestmemfd.spi;

import org.jspecify.annotations.NullMarked;
