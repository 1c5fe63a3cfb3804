package io.github.guestmemfd.file;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The loggers of the library, by the names that users know. */
final class Logs {
  /** The events of a file. */
  static final Logger FILE = LoggerFactory.getLogger("io.github.guestmemfd.GuestMemfd");

  /** The events of a host. */
  static final Logger HOST = LoggerFactory.getLogger("io.github.guestmemfd.HostMemory");

  private Logs() {}
}
