package io.github.guestmemfd.lab.report;

import java.time.Instant;
import java.time.temporal.ChronoUnit;

/**
 * Where and when measurements were made.
 *
 * @param when when the report was made
 * @param jvm the Java virtual machine
 * @param os the operating system
 * @param cores how many processors the virtual machine may use
 */
public record Environment(Instant when, String jvm, String os, int cores) {

  /**
   * This process, now.
   *
   * @return what the system properties say
   */
  public static Environment current() {
    return new Environment(
        Instant.now().truncatedTo(ChronoUnit.SECONDS),
        System.getProperty("java.vm.name") + " " + System.getProperty("java.runtime.version"),
        System.getProperty("os.name")
            + " "
            + System.getProperty("os.version")
            + " "
            + System.getProperty("os.arch"),
        Runtime.getRuntime().availableProcessors());
  }
}
