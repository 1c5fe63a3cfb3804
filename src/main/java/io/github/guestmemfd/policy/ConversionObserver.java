package io.github.guestmemfd.policy;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;

/**
 * Hears of every attempt of a {@link ConversionHandler} to convert: of the first, of one with just
 * the pages that were used after a larger range was refused, and of each that is made again.
 *
 * <p>Its methods are called by the thread that converts, a vCPU's, which holds nothing of the
 * library's, and by those of several vCPUs at once. What they throw leaves the handler by {@link
 * ConversionHandler#handle}, and so ends the run of the vCPU; what {@link #begin} throws before
 * anything is done, what {@link #end} throws after the conversion has been dealt with, the policy
 * told of it.
 */
public interface ConversionObserver {

  /**
   * An attempt begins.
   *
   * @param range what is to be converted
   * @param attribute what it is to be
   */
  default void begin(GpaRange range, MemoryAttribute attribute) {}

  /**
   * An attempt is over. Called once for each {@link #begin} that has returned.
   *
   * @param range as at its begin
   * @param attribute as at its begin
   * @param errno OK if all of the range has been converted, or was so before; otherwise why not, as
   *     {@link io.github.guestmemfd.kvm.VirtualMachine#trySetMemoryAttributes} and, where private
   *     pages are discarded, {@link io.github.guestmemfd.GuestMemfd#punchHole} answer; ECANCELED if
   *     a callback of the file has thrown
   * @param busy the busy page and its holders; names none if no page was busy. Must be read before
   *     this returns
   */
  default void end(GpaRange range, MemoryAttribute attribute, Errno errno, BusyGuestPage busy) {}
}
