/**
 * The page cache of a file and the page tables of its mappings: both sparse arrays of words, one
 * word for a page.
 */
@NullMarked
package io.github.guestmemfd.cache;

import org.jspecify.annotations.NullMarked;
