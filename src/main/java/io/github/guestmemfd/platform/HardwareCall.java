package io.github.guestmemfd.platform;

import io.github.guestmemfd.abi.Errno;

/** A kind of call of emulated hardware, which {@link HardwareFaults} can have fail. */
public interface HardwareCall {
  /**
   * What a failure of it means to the kernel, unless a test asks for another.
   *
   * @return an errno, not {@link Errno#OK}
   */
  Errno failure();
}
