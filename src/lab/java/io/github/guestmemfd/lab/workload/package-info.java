/**
 * What guests and hosts do with memory: the workloads of the lab, and what runs and checks them.
 */
@NullMarked
package io.github.guestmemfd.lab.workload;

import org.jspecify.annotations.NullMarked;
