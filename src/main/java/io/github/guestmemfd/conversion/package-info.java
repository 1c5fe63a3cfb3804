/**
 * When a folio may turn inaccessible, and what to do while it may not: protocols and retry
 * policies.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 */
@NullMarked
package io.github.guestmemfd.conversion;

import org.jspecify.annotations.NullMarked;
