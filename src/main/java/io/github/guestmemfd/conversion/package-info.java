/**
 * When a folio may turn inaccessible, and what to do while it may not: protocols and retry
 * policies.
 */
@NullMarked
package io.github.guestmemfd.conversion;

import org.jspecify.annotations.NullMarked;
