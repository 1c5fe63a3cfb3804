package io.github.guestmemfd.testing;

import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/** Looks, again and again, whether a thread waits inside the methods of an object. */
final class Pauses {
  private static final int ENOUGH = 5;

  private final Thread thread;
  private final Set<String> classes = new TreeSet<>();
  private int seen;
  private StackTraceElement[] trace = {};

  private Pauses(Thread thread, Object object) {
    this.thread = thread;
    for (Class<?> c = object.getClass(); c != null && c != Object.class; c = c.getSuperclass()) {
      classes.add(c.getName());
    }
  }

  /** Waits for threads to end; fails as soon as the first is seen to wait inside an object. */
  static void joinAll(Stage stage, List<Party> threads, Object object, Rule rule) {
    Pauses pauses = new Pauses(threads.get(0).thread(), object);
    stage.await(() -> threads.stream().allMatch(Party::isDone) || pauses.areSeen());
    rule.check(
        !pauses.areEnough(),
        "a method of "
            + object.getClass().getName()
            + " blocks, or waits or sleeps now and then, at"
            + pauses.where());
    threads.forEach(Party::join);
  }

  /** Looks once more; whether the thread has been found waiting there often enough. */
  private boolean areSeen() {
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
  private boolean areEnough() {
    return seen >= ENOUGH;
  }

  private String where() {
    StringBuilder text = new StringBuilder();
    for (StackTraceElement frame : trace) {
      text.append("\n    ").append(frame);
    }
    return text.toString();
  }
}
