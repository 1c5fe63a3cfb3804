/**
 * The machine: frames with their counts and state words, what they contain, the free list, the
 * direct map, the folio locks and the wait queues.
 *
 * <p>Frames are named by a page frame number, pfn, from 1 up; 0 names none. Their metadata is never
 * returned to the collector while the host lives, so a stale pfn is always safe to look at
 * (type-stable memory): that is what lets a lookup raise a count first and check later.
 */
@NullMarked
package io.github.guestmemfd.memory;

import org.jspecify.annotations.NullMarked;
