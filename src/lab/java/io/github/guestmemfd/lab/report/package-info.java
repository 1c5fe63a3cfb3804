/** What the lab has measured, and how people and programs get to see it. */
@NullMarked
package io.github.guestmemfd.lab.report;

import org.jspecify.annotations.NullMarked;
