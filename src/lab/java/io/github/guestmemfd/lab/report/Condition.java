package io.github.guestmemfd.lab.report;

import java.util.Locale;

/** How well the hardware of a platform works. */
public enum Condition {
  /** Every call succeeds. */
  WORKS,
  /** One call in seven that a fault makes is refused; of TDX, every seventh call finds it busy. */
  REFUSES,
  /** One call in 50 that gives a frame back to the host fails. */
  KEEPS;

  /**
   * Its name in tables.
   *
   * @return the name in lower case
   */
  public String id() {
    return name().toLowerCase(Locale.ROOT);
  }
}
