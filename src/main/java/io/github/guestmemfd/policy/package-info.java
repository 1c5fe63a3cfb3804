/** When the pages of a guest are converted: before it runs, on its faults, on its hypercalls. */
@NullMarked
package io.github.guestmemfd.policy;

import org.jspecify.annotations.NullMarked;
