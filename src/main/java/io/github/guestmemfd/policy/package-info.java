/**
 * When the pages of a guest are converted: before it runs, on its faults, on its hypercalls.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 */
@NullMarked
package io.github.guestmemfd.policy;

import org.jspecify.annotations.NullMarked;
