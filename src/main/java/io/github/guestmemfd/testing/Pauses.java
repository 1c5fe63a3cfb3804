package io.github.guestmemfd.testing;

import java.util.Arrays;
import java.util.Set;
import java.util.TreeSet;

/** Looks, again and again, whether a thread waits inside the methods of an object. */
final class Pauses {
  private static final int ENOUGH = 5;

  private final Thread thread;
  private final Set<String> classes = new TreeSet<>();
  private int seen;
  private StackTraceElement[] trace = {};

  Pauses(Thread thread, Object object) {
    this.thread = thread;
    for (Class<?> c = object.getClass(); c != null && c != Object.class; c = c.getSuperclass()) {
      classes.add(c.getName());
    }
  }

  /** Looks once more; whether the thread has been found waiting there often enough. */
  boolean areSeen() {
    switch (thread.getState()) {
      case BLOCKED, WAITING, TIMED_WAITING -> {
        StackTraceElement[] now = thread.getStackTrace();
        if (Arrays.stream(now).anyMatch(frame -> classes.contains(frame.getClassName()))) {
          seen++;
          trace = now;
        }
      }
      default -> {} // it runs
    }
    return areEnough();
  }

  /** Whether the thread has been found waiting often enough. */
  boolean areEnough() {
    return seen >= ENOUGH;
  }

  String where() {
    StringBuilder text = new StringBuilder();
    for (StackTraceElement frame : trace) {
      text.append("\n    ").append(frame);
    }
    return text.toString();
  }
}
