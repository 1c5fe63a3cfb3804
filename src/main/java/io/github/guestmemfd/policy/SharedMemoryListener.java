package io.github.guestmemfd.policy;

import io.github.guestmemfd.abi.Errno;

/**
 * Is told which pages are shared, in a machine with two memories: a device that reaches the host's
 * memory by itself. It pins what is shared, and must let go of what is not: QEMU's {@code
 * RamDiscardListener}, of which VFIO has one.
 *
 * <p>The converting thread, a vCPU's, calls these methods, and keeps the range from other
 * conversions of its handler meanwhile; it holds no other lock. They must not have a vCPU exit to
 * that handler. Calls for pages that do not overlap may come at once.
 */
public interface SharedMemoryListener {
  /**
   * Pages are about to turn shared. The guest uses them once all listeners have agreed.
   *
   * @param range the pages, all of them private until now
   * @return {@link Errno#OK}; anything else refuses the conversion, and this listener must have
   *     undone what it did for this range. Those told before it are told that the pages are
   *     discarded. If it throws, the conversion is refused too, and it is told so itself
   */
  Errno populated(GpaRange range);

  /**
   * Pages have turned private, or did not turn shared after all: the listener must not use them any
   * more when this returns. It may be told of pages of which it does not know. If it throws, the
   * pages are what they are all the same, and the vCPU's thread gets the exception when the
   * conversion is done.
   *
   * @param range the pages
   */
  void discarded(GpaRange range);
}
