package io.github.guestmemfd.policy;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;

/** How a {@link ConversionHandler} changes the attribute of a range. */
interface Changes {
  /**
   * Changes it, once.
   *
   * @param busy receives the address where it stopped, and the holders that blocked it
   * @return as {@link io.github.guestmemfd.kvm.VirtualMachine#trySetMemoryAttributes} or {@code
   *     tryConvertInPlace}, and what discarding or a listener answers
   */
  Errno change(GpaRange range, MemoryAttribute attribute, BusyGuestPage busy);
}
