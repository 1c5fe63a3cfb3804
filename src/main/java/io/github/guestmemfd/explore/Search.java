package io.github.guestmemfd.explore;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The depth-first search for orders: which thread takes each step of the next run.
 *
 * <p>Dynamic partial-order reduction with source sets (Abdulla, Aronis, Jonsson and Sagonas, POPL
 * 2014) and sleep sets (Godefroid 1996). Two steps depend on each other if they are on one word and
 * one of them writes it, or if they take one lock. Wherever two steps of a run depend on each other
 * and could have come the other way round, the search comes back to where the first was taken and
 * tries a thread that can go first for the second to come before it. Orders that differ by steps
 * that commute lead to the same end, and one of them is enough.
 *
 * <p>With a bound on pre-emptions the search comes back, besides, to where the thread that took the
 * first step was switched to, since the bound may forbid the switch in between (Coons, Musuvathi
 * and McKinley, OOPSLA 2013). It uses no sleep sets then, which are unsound beside a bound.
 */
final class Search {
  private final Options options;
  private final int threads;
  private final List<Node> path = new ArrayList<>();

  /** What sleeps at the next decision. */
  private int sleeping;

  /** Whether the rest of the run repeats what has been explored. */
  private boolean redundant;

  /** Orders to follow instead of searching, for as long as there are any. */
  private int @Nullable [] script;

  private long redundantRuns;

  /**
   * A search.
   *
   * @param options how far
   * @param threads how many; greater numbers are events
   */
  Search(Options options, int threads) {
    this.options = options;
    this.threads = threads;
  }

  /** Makes the next run follow a script. */
  void follow(int[] order) {
    script = order.clone();
  }

  /** Begins a run. */
  void begin() {
    sleeping = 0;
    redundant = false;
  }

  /** Runs that were given up as repetitions. */
  long redundantRuns() {
    return redundantRuns;
  }

  boolean isRedundant() {
    return redundant;
  }

  /**
   * Which thread takes a step.
   *
   * @param step the number of the step, from 0
   * @param enabled the threads that can; not empty
   * @param before the thread that took the last step; -1 if none
   * @param preemptions how often a thread that could go on has been replaced by another
   * @throws Nondeterminism if the run does not repeat what it did before
   */
  int choose(int step, int enabled, int before, int preemptions) {
    if (redundant) {
      return pick(enabled, before);
    }
    if (step < path.size()) {
      Node node = path.get(step);
      if (node.enabled != enabled) {
        throw new Nondeterminism(step);
      }
      return node.chosen;
    }
    int asleep = options.preemptions() < 0 && options.reduced() ? sleeping & enabled : 0;
    if (asleep == enabled) {
      redundant = true;
      redundantRuns++;
      return pick(enabled, before);
    }
    Node node = new Node(enabled, asleep, before, preemptions);
    node.chosen = scripted(step, enabled);
    if (node.chosen < 0) {
      node.chosen = pick(enabled & ~asleep, before);
    }
    node.wanted = options.reduced() ? 1 << node.chosen : enabled;
    path.add(node);
    return node.chosen;
  }

  private int scripted(int step, int enabled) {
    if (script == null || step >= script.length) {
      return -1;
    }
    if ((enabled & 1 << script[step]) == 0) {
      throw new Nondeterminism(step);
    }
    return script[step];
  }

  /** The last thread if it can go on; else the first, and an event if there is no thread. */
  private static int pick(int candidates, int before) {
    boolean goesOn = before >= 0 && (candidates & 1 << before) != 0;
    return goesOn ? before : Integer.numberOfTrailingZeros(candidates);
  }

  /** Whether a step that can be taken pre-empts a thread; an event does not. */
  boolean preempts(int enabled, int before, int chosen) {
    return chosen < threads && before >= 0 && chosen != before && (enabled & 1 << before) != 0;
  }

  /** Threads whose steps have been tried at a decision, or need not be. */
  int triedOrSleeping(int step) {
    if (step >= path.size()) {
      return 0;
    }
    Node node = path.get(step);
    return node.done | node.sleeping;
  }

  /** Says which threads sleep at the next decision. */
  void sleep(int threads) {
    sleeping = threads;
  }

  /**
   * A step of a run and a later one of another thread depend on each other, and neither had to
   * happen first.
   *
   * @param step the number of the first step, from 0
   * @param firsts the threads that can go first for the later one to come before it: any of them
   *     will do
   */
  void race(int step, int firsts) {
    if (options.preemptions() < 0) {
      wantOne(path.get(step), firsts);
    } else {
      wantAll(path.get(step), firsts);
      int start = step;
      while (start > 0 && path.get(start).before == path.get(step).chosen) {
        start--;
      }
      if (start < step) {
        wantAll(path.get(start), firsts);
      }
    }
  }

  private int preemptionsWith(Node node, int thread) {
    return node.preemptions + (preempts(node.enabled, node.before, thread) ? 1 : 0);
  }

  /** Events could happen instead of a step that is taken. */
  void want(int step, int events) {
    if (step < path.size()) {
      Node node = path.get(step);
      node.wanted |= node.enabled & events;
    }
  }

  /** With a bound each counts: another that goes first may need a pre-emption more. */
  private static void wantAll(Node node, int firsts) {
    int could = node.enabled & firsts;
    node.wanted |= could == 0 ? node.enabled : could;
  }

  /** One that has been tried, or need not be, will do too. */
  private static void wantOne(Node node, int firsts) {
    int could = node.enabled & firsts;
    if (could == 0) {
      node.wanted |= node.enabled;
    } else if ((could & (node.wanted | node.sleeping)) == 0) {
      node.wanted |= Integer.lowestOneBit(could);
    }
  }

  /**
   * Goes back to the last decision with something left to try.
   *
   * @return false if there is none: every order has been run
   */
  boolean advance() {
    for (int last = path.size() - 1; last >= 0; last--) {
      Node node = path.get(last);
      node.done |= 1 << node.chosen;
      int left = node.wanted & ~node.done & ~node.sleeping;
      while (left != 0) {
        int thread = Integer.numberOfTrailingZeros(left);
        if (options.preemptions() < 0 || preemptionsWith(node, thread) <= options.preemptions()) {
          node.chosen = thread;
          return true;
        }
        left &= left - 1;
      }
      path.remove(last);
    }
    return false;
  }

  /** A run did something else than the run before, after the same steps. */
  static final class Nondeterminism extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Nondeterminism(int step) {
      super("the scenario does something else when its steps are run again: at step " + step);
    }
  }
}
