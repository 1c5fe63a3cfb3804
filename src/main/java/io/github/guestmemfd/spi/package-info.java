/**
 * The few interfaces through which code from outside reaches into the library's inner loops: how a
 * waiting thread idles, and where a test may step into a race. And how events are counted.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 */
@NullMarked
package io.github.guestmemfd.spi;

import org.jspecify.annotations.NullMarked;
