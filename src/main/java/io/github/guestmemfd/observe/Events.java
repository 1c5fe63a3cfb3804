package io.github.guestmemfd.observe;

import io.github.guestmemfd.abi.Errno;
import org.jspecify.annotations.Nullable;

/**
 * The events of the JDK's flight recorder. Each method begins one, and returns null if it is not
 * recorded.
 *
 * <p>The module jdk.jfr need not be there. No event class is loaded unless it is; this class and
 * its callers only pass references to them around.
 *
 * <p>Each event class has its own file and offset: the flight recorder lists inherited fields last,
 * and these are to come first.
 */
public final class Events {
  private static final boolean PRESENT = ModuleLayer.boot().findModule("jdk.jfr").isPresent();

  private Events() {}

  /**
   * A conversion begins.
   *
   * @return the event; null if it is not recorded
   */
  public static @Nullable ConversionEvent conversion() {
    return PRESENT ? ConversionEvent.begun() : null;
  }

  /**
   * A refusal begins.
   *
   * @return the event; null if it is not recorded
   */
  public static @Nullable RefusalEvent refusal() {
    return PRESENT ? RefusalEvent.begun() : null;
  }

  /**
   * A retry begins.
   *
   * @return the event; null if it is not recorded
   */
  public static @Nullable RetryEvent retry() {
    return PRESENT ? RetryEvent.begun() : null;
  }

  /**
   * A punch begins.
   *
   * @return the event; null if it is not recorded
   */
  public static @Nullable PunchEvent punch() {
    return PRESENT ? PunchEvent.begun() : null;
  }

  /**
   * A fault begins.
   *
   * @return the event; null if it is not recorded
   */
  public static @Nullable FaultEvent fault() {
    return PRESENT ? FaultEvent.begun() : null;
  }

  /**
   * The name of a result.
   *
   * @param errno the result; null stands for an exception
   * @return the name
   */
  public static String name(@Nullable Errno errno) {
    return errno == null ? "exception" : errno.name();
  }
}
