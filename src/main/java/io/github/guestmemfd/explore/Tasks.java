package io.github.guestmemfd.explore;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What threads have handed to a pool and it has not begun: each with the time when it is due. */
final class Tasks {
  /** What to run, when it is due, and what happened before it. */
  private static final class Task {
    final Runnable body;
    final long due;
    final int[] clock;

    Task(Runnable body, long due, int[] clock) {
      this.body = body;
      this.due = due;
      this.clock = clock;
    }
  }

  private final List<Task> tasks = new ArrayList<>();

  void clear() {
    tasks.clear();
  }

  boolean isEmpty() {
    return tasks.isEmpty();
  }

  /** Adds one; what its thread has done happened before it. */
  void add(Runnable body, long due, int[] clock) {
    tasks.add(new Task(body, due, clock.clone()));
  }

  boolean isDue(long time) {
    return next() <= time;
  }

  /** When the next is due; {@link Long#MAX_VALUE} for never. */
  long next() {
    Task first = first();
    return first == null ? Long.MAX_VALUE : first.due;
  }

  /** Has the strand of the pool begin the next. */
  void begin(Strand strand) {
    Task first = first();
    if (first == null) {
      throw new IllegalStateException("expected a task");
    }
    tasks.remove(first);
    strand.begin(first.body, first.clock);
  }

  /** The one that is due first, of several the one that was added first. */
  private @Nullable Task first() {
    Task first = null;
    for (Task task : tasks) {
      if (first == null || task.due < first.due) {
        first = task;
      }
    }
    return first;
  }
}
