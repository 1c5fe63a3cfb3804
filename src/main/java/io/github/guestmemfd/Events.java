package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import org.jspecify.annotations.Nullable;

/**
 * The way to the events of the JDK's flight recorder: an event that has begun, or null if nobody
 * records it.
 *
 * <p>The module jdk.jfr need not be there. No event class is loaded unless it is; this class and
 * its callers only pass references to them around.
 *
 * <p>Each event class has its own file and offset: the flight recorder lists inherited fields last,
 * and these are to come first.
 */
final class Events {
  private static final boolean PRESENT = ModuleLayer.boot().findModule("jdk.jfr").isPresent();

  private Events() {}

  static @Nullable ConversionEvent conversion() {
    return PRESENT ? ConversionEvent.begun() : null;
  }

  static @Nullable RefusalEvent refusal() {
    return PRESENT ? RefusalEvent.begun() : null;
  }

  static @Nullable RetryEvent retry() {
    return PRESENT ? RetryEvent.begun() : null;
  }

  static @Nullable PunchEvent punch() {
    return PRESENT ? PunchEvent.begun() : null;
  }

  static @Nullable FaultEvent fault() {
    return PRESENT ? FaultEvent.begun() : null;
  }

  /** The name of a result; null stands for an exception. */
  static String name(@Nullable Errno errno) {
    return errno == null ? "exception" : errno.name();
  }
}
