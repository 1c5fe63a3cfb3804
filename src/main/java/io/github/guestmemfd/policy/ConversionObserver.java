package io.github.guestmemfd.policy;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;

/**
 * Is called for every attempt of a {@link ConversionHandler} to convert: for the first, for one
 * with only the pages that were used after a larger range was refused, and for each retry.
 *
 * <p>The converting thread, a vCPU's, calls these methods, and holds no lock of the library;
 * several vCPUs may call them at once. An exception leaves the handler by {@link
 * ConversionHandler#handle}, and so ends the run of the vCPU. If {@link #begin} throws, nothing has
 * been done; if {@link #end} throws, the conversion has been dealt with, and the policy has been
 * told.
 */
public interface ConversionObserver {

  /**
   * Called when an attempt begins.
   *
   * @param range the range to convert
   * @param attribute its new attribute
   */
  default void begin(GpaRange range, MemoryAttribute attribute) {}

  /**
   * Called when an attempt is over, once for each {@link #begin} that has returned.
   *
   * @param range as at its begin
   * @param attribute as at its begin
   * @param errno OK if all of the range has been converted, or was so before; otherwise why not, as
   *     {@link io.github.guestmemfd.kvm.VirtualMachine#trySetMemoryAttributes} and, where private
   *     pages are discarded, {@link io.github.guestmemfd.GuestMemfd#punchHole} answer; ECANCELED if
   *     a callback of the file or a listener has thrown: what {@link BusyGuestPage#convertedUpTo}
   *     says has been converted all the same
   * @param busy the busy page and its holders; names none if no page was busy. Must be read before
   *     this returns
   */
  default void end(GpaRange range, MemoryAttribute attribute, Errno errno, BusyGuestPage busy) {}
}
