package io.github.guestmemfd.explore;

import java.util.List;

/**
 * The events of a scenario, each of which has a number as if it were a thread with one step, from
 * the number of threads on. Sets of them are bit masks, as sets of threads are.
 */
final class PossibleEvents {
  private final Event[] events;
  private final Strand[] targets;
  private final int first;
  private int left;

  /**
   * The events.
   *
   * @param events what can happen
   * @param strands all threads
   */
  PossibleEvents(List<Event> events, Strand[] strands) {
    this.events = events.toArray(new Event[0]);
    this.first = strands.length;
    this.targets = new Strand[this.events.length];
    for (int i = 0; i < targets.length; i++) {
      targets[i] = named(this.events[i].thread(), strands);
    }
  }

  private static Strand named(String name, Strand[] strands) {
    for (Strand strand : strands) {
      if (strand.name.equals(name)) {
        return strand;
      }
    }
    throw new IllegalArgumentException("no thread of the scenario has the name " + name);
  }

  /** Begins a run, in which each may happen once. */
  void begin() {
    left = ((1 << events.length) - 1) << first;
  }

  boolean isEvent(int number) {
    return number >= first && number < time();
  }

  /** The number of the passing of time, which happens to all threads: the greatest. */
  int time() {
    return first + events.length;
  }

  Strand target(int number) {
    return targets[number - first];
  }

  Event event(int number) {
    return events[number - first];
  }

  /** Those that can happen now. */
  int enabled() {
    int enabled = 0;
    for (int i = 0; i < events.length; i++) {
      int bit = 1 << (first + i);
      if ((left & bit) != 0 && events[i].isPossible(targets[i])) {
        enabled |= bit;
      }
    }
    return enabled;
  }

  /** Of some events, those of a thread. */
  int of(int some, Strand strand) {
    int found = 0;
    for (int i = 0; i < events.length; i++) {
      if (targets[i] == strand) {
        found |= some & 1 << (first + i);
      }
    }
    return found;
  }

  /** Whether an event of a thread can happen at a step of this kind. */
  boolean concern(Strand strand) {
    for (int i = 0; i < events.length; i++) {
      if (targets[i] == strand && events[i].kind().isAt(strand.kind)) {
        return true;
      }
    }
    return false;
  }

  /** Whether what may fail in a thread is to be a step. */
  boolean isFailureOf(Strand strand) {
    for (int i = 0; i < events.length; i++) {
      if (targets[i] == strand && events[i].kind() == Event.Kind.FAILURE) {
        return true;
      }
    }
    return false;
  }

  /** One happens. */
  void happen(int number, long time) {
    left &= ~(1 << number);
    Strand target = target(number);
    switch (event(number).kind()) {
      case INTERRUPT -> target.interrupted = true;
      case TIMEOUT -> target.expire(time);
      case FAILURE -> target.failing = true;
    }
  }
}
