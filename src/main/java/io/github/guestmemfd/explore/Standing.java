package io.github.guestmemfd.explore;

/** Where the threads of a run stand: which can take a step, what the others wait for, the time. */
final class Standing {
  final Tasks tasks = new Tasks();
  private final Strand[] strands;
  private final Strand pool;
  private final Words words;
  private long time;

  /**
   * For the threads of a scenario.
   *
   * @param strands all of them
   * @param pool the one that runs tasks
   * @param words what they access
   */
  Standing(Strand[] strands, Strand pool, Words words) {
    this.strands = strands;
    this.pool = pool;
    this.words = words;
  }

  void begin() {
    tasks.clear();
    time = 0;
  }

  /** The virtual time, in nanoseconds. */
  long time() {
    return time;
  }

  /** The virtual time in so many nanoseconds. */
  long after(long nanos) {
    return nanos >= Long.MAX_VALUE - time ? Long.MAX_VALUE : time + Math.max(nanos, 0);
  }

  boolean isAllFinished() {
    for (Strand strand : strands) {
      if (!strand.finished) {
        return false;
      }
    }
    return tasks.isEmpty();
  }

  /** The threads that can take a step. */
  int able() {
    int able = 0;
    for (Strand strand : strands) {
      if (isAble(strand)) {
        able |= 1 << strand.number;
      }
    }
    return able;
  }

  private boolean isAble(Strand strand) {
    if (strand.finished) {
      return strand == pool && tasks.isDue(time);
    }
    return switch (strand.kind) {
      case ACQUIRE -> words.isFree(strand.word);
      case POLL -> strand.changed || strand.expired || strand.interrupted;
      case PARK -> strand.permit || strand.expired || strand.interrupted;
      default -> true;
    };
  }

  /** Whether a wait has a limit, or a task a delay. */
  boolean canTimePass() {
    return next() != Long.MAX_VALUE;
  }

  /** Lets the time pass until the next wait is over, or the next task due. */
  void passTime() {
    time = Math.max(time, next());
    for (Strand strand : strands) {
      if (!strand.finished && strand.kind.isBlocking() && strand.deadline <= time) {
        strand.expired = true;
      }
    }
  }

  private long next() {
    long next = pool.finished ? tasks.next() : Long.MAX_VALUE;
    for (Strand strand : strands) {
      if (!strand.finished && strand.kind.isBlocking()) {
        next = Math.min(next, strand.deadline);
      }
    }
    return next;
  }

  // ---- for reports ----

  /** What each thread waits for. */
  String waiting() {
    StringBuilder text = new StringBuilder();
    for (Strand strand : strands) {
      if (!strand.finished) {
        text.append(text.isEmpty() ? "" : ", ").append(strand.name);
        text.append(
            switch (strand.kind) {
              case ACQUIRE -> " waits for lock " + describe(strand);
              case PARK -> " is parked";
              default -> " waits for a word to change";
            });
      }
    }
    return text.toString();
  }

  /** The word of its next step, by number and class; empty if there is none. */
  String describe(Strand strand) {
    if (strand.word < 0) {
      return "";
    }
    String name = words.owner(strand.word).getClass().getSimpleName();
    return (name.isEmpty() ? "word" : name) + "#" + strand.word;
  }
}
