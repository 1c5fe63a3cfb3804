package io.github.guestmemfd.lab.report;

import java.util.Locale;
import java.util.function.DoubleFunction;

/** Numbers as people read them: short, three digits or fewer that count. */
final class Numbers {

  /** What stands where there is no number. */
  static final String NONE = "-";

  private static final String THOUSANDS = " kMGTPE";
  private static final String[] BYTES = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

  private Numbers() {}

  /** A count: 0, 999, 4.1 k, 12.3 M. */
  static String count(double n) {
    int unit = 0;
    while (n >= 999.5 && unit + 1 < THOUSANDS.length()) {
      n /= 1000;
      unit++;
    }
    return unit == 0 ? digits(n, n == Math.rint(n) ? 0 : 1) : tenths(n) + THOUSANDS.charAt(unit);
  }

  /** Nanoseconds as microseconds, without the unit: 0.25, 4.1, 12.3, 10012. */
  static String micros(double nanos) {
    double us = nanos / 1000;
    if (us >= 99_999.5) {
      return count(us);
    }
    return digits(us, us < 0.995 ? 2 : us < 99.95 ? 1 : 0);
  }

  /** A share: 0, 0.02%, 4.1%, 100%; not 0 when it is only nearly so. */
  static String percent(double share) {
    double percent = share * 100;
    if (percent == 0) {
      return "0";
    }
    if (percent < 0.01) {
      return "<0.01%";
    }
    return digits(percent, percent < 0.995 ? 2 : percent < 99.95 ? 1 : 0) + "%";
  }

  /** A size in bytes: 4 KiB, 256 MiB, 1.5 GiB. */
  static String bytes(long n) {
    double size = n;
    int unit = 0;
    while (size >= 1024 && unit + 1 < BYTES.length) {
      size /= 1024;
      unit++;
    }
    return digits(size, size == Math.rint(size) ? 0 : 1) + " " + BYTES[unit];
  }

  /** Seconds: 2 s, 0.5 s. */
  static String seconds(double n) {
    return digits(n, n == Math.rint(n) ? 0 : n < 0.95 ? 2 : 1) + " s";
  }

  /** A ratio: 0.97, 1.00, 12.3, ∞. */
  static String ratio(double n) {
    return Double.isInfinite(n) ? "∞" : digits(n, n < 9.995 ? 2 : 1);
  }

  /** A figure with its interval, if there is one: 1.4% (1.3–1.6%). */
  static String estimate(Estimate e, DoubleFunction<String> text) {
    if (!e.isKnown()) {
      return NONE;
    }
    String median = text.apply(e.median());
    if (!e.hasInterval() || Double.isInfinite(e.median())) {
      return median;
    }
    String low = text.apply(e.low());
    String high = text.apply(e.high());
    String unit = unit(high);
    String from = unit(low).equals(unit) ? low.substring(0, low.length() - unit.length()) : low;
    return median + " (" + from + "–" + high + ")";
  }

  /** What follows the last digit. */
  private static String unit(String number) {
    int end = number.length();
    while (end > 0 && !Character.isDigit(number.charAt(end - 1))) {
      end--;
    }
    return number.substring(end);
  }

  private static String tenths(double n) {
    return digits(n, n < 99.95 ? 1 : 0) + " ";
  }

  private static String digits(double n, int decimals) {
    return String.format(Locale.ROOT, "%." + decimals + "f", n);
  }
}
