/** The command line. */
@NullMarked
package io.github.guestmemfd.lab;

import org.jspecify.annotations.NullMarked;
