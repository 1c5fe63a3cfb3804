package io.github.guestmemfd.testing;

import io.github.guestmemfd.explore.Event;
import io.github.guestmemfd.explore.Explorer;
import io.github.guestmemfd.explore.Failure;
import io.github.guestmemfd.explore.Options;
import io.github.guestmemfd.explore.Scenario;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.InjectedFault;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Runs every order of the steps of two to eight threads, and says what is wrong with one: a
 * stateless model checker over the real code.
 *
 * <pre>{@code
 * Interleavings.of(World::new)
 *     .thread("vcpu", w -> w.grab())
 *     .thread("vmm", w -> w.convert())
 *     .atEnd(World::close)
 *     .explore();
 * }</pre>
 *
 * <p><b>A world</b> is made anew for each order, by the thread that explores, and must be the same
 * each time: no clock, no random number, no executor with threads of its own. What a wait of the
 * library looks at must be announced words, or it is not seen to change. A thread of the scenario
 * is a few calls of the library. Each access of the library to a word that threads share is a step,
 * and so is each wait; between two steps a thread runs alone. A world's own shared words are no
 * steps, unless it announces them by {@link io.github.guestmemfd.spi.Announce}. What the library
 * hands to its default executor is run by one more thread, a task at a time; the delay of a task,
 * like the limit of a wait, is virtual and passes when no thread can go on.
 *
 * <p><b>Orders</b> that differ only by steps that commute count as one, by dynamic partial-order
 * reduction. Without a bound the exploration is complete under sequential consistency: what it does
 * not find can only come from weakly ordered memory, for which the project has jcstress tests. With
 * {@link #maxPreemptions} it is bounded, and says so.
 *
 * <p>Orders with no pre-emption and with one come first, so that most faults are found soon; then
 * all, those among them. What is counted are all.
 *
 * <p><b>What is found</b>: an exception of a thread, a check that fails, a deadlock or lost wake-up
 * (no thread can go on), a livelock (a run that does not end), a thread that blocks where the
 * library does not see it, results that no order of whole calls has ({@link #linearizable}). The
 * report has the order with the fewest pre-emptions that is wrong, as a table, and a string that
 * {@link #replay} takes.
 *
 * <p>Not safe for use by several threads. Several explorations may run at once.
 *
 * @param <W> the world
 */
public final class Interleavings<W> {
  private static final int MAX_THREADS = 8;
  private static final int MAX_MINIMAL_PREEMPTIONS = 8;

  /**
   * Orders without pre-emptions, and then those with one, are run before all others: most faults
   * have such an order, and depth-first search may come to it late.
   */
  private static final int FIRST_BOUNDS = 2;

  /**
   * Does something with a world, or checks it.
   *
   * @param <W> the world
   */
  @FunctionalInterface
  public interface Act<W> {
    /**
     * Does it.
     *
     * @param world the world of this order
     * @throws Exception if something is wrong; an {@code Error}, such as that of an assertion, too
     */
    void on(W world) throws Exception;
  }

  /**
   * Makes a call, whose result counts.
   *
   * @param <W> the world
   */
  @FunctionalInterface
  public interface Call<W> {
    /**
     * Makes it.
     *
     * @param world the world of this order
     * @return what it answers, to be compared by {@code equals}; may be null
     * @throws Exception if something is wrong; an {@code Error}, such as that of an assertion, too
     */
    @Nullable Object on(W world) throws Exception;
  }

  /**
   * What an exploration has found.
   *
   * @param orders how many orders have been run
   * @param steps how many steps, in all of them
   * @param complete whether these are all orders, up to those that differ only by steps that
   *     commute
   * @param bounded whether only orders with at most so many pre-emptions were asked for
   * @param nanos how long it took, in nanoseconds
   * @param counterexample what is wrong, as text; empty if nothing is
   * @param order the string for {@link #replay}; empty if nothing is wrong
   */
  public record Report(
      long orders,
      long steps,
      boolean complete,
      boolean bounded,
      long nanos,
      Optional<String> counterexample,
      Optional<String> order) {

    /**
     * Checks that no part is missing.
     *
     * @param orders how many orders have been run
     * @param steps how many steps, in all of them
     * @param complete whether these are all orders
     * @param bounded whether pre-emptions were bounded
     * @param nanos how long it took, in nanoseconds
     * @param counterexample what is wrong, as text
     * @param order the string for {@link #replay}
     */
    public Report {
      Objects.requireNonNull(counterexample, "counterexample");
      Objects.requireNonNull(order, "order");
    }

    /**
     * One line.
     *
     * @return for instance "1,204 orders, complete: yes"
     */
    @Override
    public String toString() {
      String found = counterexample.isPresent() ? "found wrong after " : "";
      String whole = complete ? "yes" : "no";
      String limits = bounded ? ", bounded" : "";
      return String.format("%s%,d orders, complete: %s%s", found, orders, whole, limits);
    }
  }

  private final Callable<? extends W> world;
  private final List<Scenario.Actor<W>> threads = new ArrayList<>();
  private final List<Event> events = new ArrayList<>();
  private @Nullable Act<? super W> invariant;
  private Act<? super W> end = w -> {};
  private @Nullable Call<? super W> outcome;
  private @Nullable Call<? super W> shown;
  private Options options = Options.ALL;
  private @Nullable Linearizability linearizability;

  private Interleavings(Callable<? extends W> world) {
    this.world = Objects.requireNonNull(world, "world");
  }

  /**
   * Begins to describe a scenario.
   *
   * @param <W> the world
   * @param world makes it, the same each time
   * @return a scenario without threads
   */
  public static <W> Interleavings<W> of(Callable<? extends W> world) {
    return new Interleavings<>(world);
  }

  /**
   * Adds a thread.
   *
   * @param name for reports
   * @param act what it does; whatever it throws is found wrong
   * @return this
   * @throws IllegalArgumentException if there is a thread of that name
   * @throws IllegalStateException if there are 8 threads and events already
   */
  public Interleavings<W> thread(String name, Act<? super W> act) {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(act, "act");
    if (threads.stream().anyMatch(t -> t.name().equals(name))) {
      throw new IllegalArgumentException("name: there is a thread \"" + name + "\" already");
    }
    requireRoom();
    threads.add(new Scenario.Actor<>(name, act::on));
    return this;
  }

  /**
   * Adds a call to a thread, which makes its calls one after the other. What it returns counts for
   * {@link #linearizable}.
   *
   * @param name of the thread, for reports; a new thread if there is none of that name
   * @param call what it does; whatever it throws is found wrong, unless {@link #linearizable}
   *     judges
   * @return this
   * @throws IllegalStateException if there are 8 threads and events already
   */
  public Interleavings<W> call(String name, Call<? super W> call) {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(call, "call");
    for (int i = 0; i < threads.size(); i++) {
      if (threads.get(i).name().equals(name)) {
        List<Scenario.Call<? super W>> calls = new ArrayList<>(threads.get(i).calls());
        calls.add(call::on);
        threads.set(i, new Scenario.Actor<>(name, calls));
        return this;
      }
    }
    requireRoom();
    threads.add(new Scenario.Actor<>(name, List.of(call::on)));
    return this;
  }

  /**
   * Interrupts a thread, once, at any wait: orders without the interrupt are run too.
   *
   * @param name the thread, which has been added
   * @return this
   * @throws IllegalArgumentException if there is no thread of that name
   * @throws IllegalStateException if there are 8 threads and events already
   */
  public Interleavings<W> interrupt(String name) {
    return event(Event.Kind.INTERRUPT, name);
  }

  /**
   * Lets the time of a wait of a thread be up, once, at any wait that has a limit, whatever other
   * threads could still do. Without this, time passes only when no thread can go on.
   *
   * @param name the thread, which has been added
   * @return this
   * @throws IllegalArgumentException if there is no thread of that name
   * @throws IllegalStateException if there are 8 threads and events already
   */
  public Interleavings<W> timeout(String name) {
    return event(Event.Kind.TIMEOUT, name);
  }

  /**
   * Has something fail in a thread, once, at any place where the library can be failed: a callback
   * refuses with ENOMEM, or throws an {@link InjectedFault}; no frame is left. A program fails
   * where it asks {@link Exploration#shouldFail}. Orders without a failure are run too.
   *
   * @param name the thread, which has been added
   * @return this
   * @throws IllegalArgumentException if there is no thread of that name
   * @throws IllegalStateException if there are 8 threads and events already
   */
  public Interleavings<W> failure(String name) {
    return event(Event.Kind.FAILURE, name);
  }

  private Interleavings<W> event(Event.Kind kind, String name) {
    Objects.requireNonNull(name, "name");
    if (threads.stream().noneMatch(t -> t.name().equals(name))) {
      throw new IllegalArgumentException("name: there is no thread \"" + name + "\"");
    }
    requireRoom();
    events.add(new Event(kind, name));
    return this;
  }

  private void requireRoom() {
    if (threads.size() + events.size() == MAX_THREADS) {
      throw new IllegalStateException(
          "expected at most " + MAX_THREADS + " threads and events together");
    }
  }

  /**
   * Compares what calls return with what they return one at a time: in each order the results, and
   * what is left of the world, must be those of some order of whole calls, in which a call that was
   * over before another began comes first. An exception is a result: its errno, or its class. The
   * world is its own sequential model, so that its sequential behaviour is for other tests to
   * check. A call that waits for another thread lets that go on in the middle.
   *
   * @param outcome what counts of the world at the end, to be compared by {@code equals}
   * @return this
   */
  public Interleavings<W> linearizable(Call<? super W> outcome) {
    this.outcome = Objects.requireNonNull(outcome, "outcome");
    return this;
  }

  /**
   * What must hold after each step.
   *
   * @param check throws if it does not hold; may only read, and must not wait or take locks
   * @return this
   */
  public Interleavings<W> invariant(Act<? super W> check) {
    invariant = Objects.requireNonNull(check, "check");
    return this;
  }

  /**
   * What must hold when every thread has finished. It also gives back what the world has.
   *
   * @param check throws if it does not hold; may call anything
   * @return this
   */
  public Interleavings<W> atEnd(Act<? super W> check) {
    end = Objects.requireNonNull(check, "check");
    return this;
  }

  /**
   * What to print under the table of an order that is wrong: the holders of a page, for instance.
   *
   * @param state looks at the world, and must not wait: the order may end in the middle of a call
   * @return this
   */
  public Interleavings<W> show(Call<? super W> state) {
    shown = Objects.requireNonNull(state, "state");
    return this;
  }

  /**
   * Leaves out orders with more pre-emptions: switches from a thread that could go on. Most faults
   * need two at most.
   *
   * @param bound the most pre-emptions, 0 or more
   * @return this
   * @throws IllegalArgumentException if it is negative
   */
  public Interleavings<W> maxPreemptions(int bound) {
    if (bound < 0) {
      throw new IllegalArgumentException("bound: expected 0 or more, actual " + bound);
    }
    options = options.withPreemptions(bound);
    return this;
  }

  /**
   * Gives up after so many orders.
   *
   * @param orders how many, 1 or more
   * @return this
   * @throws IllegalArgumentException if it is less than 1
   */
  public Interleavings<W> maxOrders(long orders) {
    if (orders < 1) {
      throw new IllegalArgumentException("orders: expected 1 or more, actual " + orders);
    }
    options = options.withMaxOrders(orders);
    return this;
  }

  /**
   * Counts orders that differ by steps that commute as different ones, for a look at how many there
   * are.
   *
   * @return this
   */
  public Interleavings<W> withoutReduction() {
    options = options.withoutReduction();
    return this;
  }

  // ---- to run it ----

  /**
   * Runs the orders, and fails if one is wrong.
   *
   * @return what was found: nothing wrong
   * @throws AssertionError if an order is wrong; the message has its table and the string for
   *     {@link #replay}
   */
  public Report explore() {
    Explorer.Result result = search();
    Failure found = result.failure();
    if (found != null) {
      Failure least = least(found);
      throw new AssertionError(report(result, least).orElseThrow(), least.cause());
    }
    return describe(result, null);
  }

  /**
   * Runs the orders until one is wrong, and does not fail.
   *
   * @return what was found
   */
  public Report find() {
    Explorer.Result result = search();
    Failure found = result.failure();
    return describe(result, found == null ? null : least(found));
  }

  private Explorer.Result search() {
    requireThreads();
    ProgressLine line = new ProgressLine();
    collectWholeCalls();
    try {
      for (int bound = 0; bound < FIRST_BOUNDS && options.preemptions() < 0; bound++) {
        Explorer.Result few = Explorer.explore(scenario(), options.withPreemptions(bound), line);
        if (few.failure() != null) {
          return few;
        }
      }
      return Explorer.explore(scenario(), options, line);
    } finally {
      line.erase();
    }
  }

  private void requireThreads() {
    if (threads.isEmpty()) {
      throw new IllegalStateException("a scenario has at least one thread");
    }
  }

  private Scenario<W> scenario() {
    return scenario(linearizability == null ? null : linearizability::check);
  }

  private Scenario<W> scenario(Scenario.@Nullable Check check) {
    Scenario.Act<W> after = invariant == null ? null : invariant::on;
    Call<? super W> state = outcome;
    Scenario.Call<? super W> show = shown == null ? null : shown::on;
    if (state == null || check == null) {
      return new Scenario<>(world, threads, events, after, end::on, null, show);
    }
    List<Scenario.Actor<W>> judged =
        threads.stream().map(t -> Linearizability.ofResults(t)).toList();
    Scenario.Oracle<W> oracle = new Scenario.Oracle<>(state::on, check);
    return new Scenario<>(world, judged, events, after, end::on, oracle, show);
  }

  /** Runs the orders of whole calls, whose results all others are compared with. */
  private void collectWholeCalls() {
    linearizability = null;
    if (outcome != null) {
      Linearizability collected = new Linearizability(names());
      Explorer.Result result =
          Explorer.explore(scenario(collected::add), options.ofWholeCalls(), orders -> {});
      Failure found = result.failure();
      if (found != null) {
        Failure recorded = recorded(scenario(collected::add), options.ofWholeCalls(), found);
        throw new AssertionError(
            "calls one at a time are wrong: " + Orders.table(recorded, names()), found.cause());
      }
      linearizability = collected;
    }
  }

  /** The failure with the fewest pre-emptions, recorded. */
  private Failure least(Failure found) {
    if (found.kind() == Failure.Kind.BLOCKED) {
      return found; // once more it would block again
    }
    Failure least = found;
    int first = options.preemptions() < 0 ? FIRST_BOUNDS : 0; // those before have been run
    int end = Math.min(found.preemptions(), MAX_MINIMAL_PREEMPTIONS);
    for (int bound = first; bound < end; bound++) {
      Explorer.Result result =
          Explorer.explore(scenario(), options.withPreemptions(bound), orders -> {});
      Failure smaller = result.failure();
      if (smaller != null) {
        least = smaller;
        break;
      }
    }
    return recorded(scenario(), options, least);
  }

  /** A failure with its steps. */
  private static <W> Failure recorded(Scenario<W> scenario, Options options, Failure failure) {
    int[] order = failure.order().stream().mapToInt(i -> i).toArray();
    Failure recorded = Explorer.replay(scenario, options, order);
    return recorded == null ? failure : recorded;
  }

  /**
   * Runs one order again, as a test of its own.
   *
   * @param order the string from a report
   * @throws AssertionError if the order is wrong, as {@link #explore}
   * @throws IllegalArgumentException if the string is none of a report's
   */
  public void replay(String order) {
    Objects.requireNonNull(order, "order");
    requireThreads();
    collectWholeCalls();
    Failure found = Explorer.replay(scenario(), options, Orders.parse(order));
    if (found != null) {
      throw new AssertionError(Orders.table(found, names()), found.cause());
    }
  }

  private List<String> names() {
    List<String> names = new ArrayList<>();
    threads.forEach(t -> names.add(t.name()));
    names.add(Scenario.EXECUTOR);
    events.forEach(event -> names.add(event.toString()));
    names.add("time");
    return names;
  }

  private Report describe(Explorer.Result result, @Nullable Failure failure) {
    return new Report(
        result.orders(),
        result.steps(),
        result.complete(),
        options.preemptions() >= 0,
        result.nanos(),
        report(result, failure),
        Optional.ofNullable(failure).map(f -> Orders.format(f.order())));
  }

  private Optional<String> report(Explorer.Result result, @Nullable Failure failure) {
    return Optional.ofNullable(failure)
        .map(
            f ->
                String.format("wrong after %,d orders: ", result.orders())
                    + Orders.table(f, names()));
  }

  /** Shows how far a long exploration has come, where it runs at a terminal. */
  private static final class ProgressLine implements Explorer.Progress {
    private static final long EVERY = TimeUnit.MILLISECONDS.toNanos(500);

    @SuppressWarnings("SystemConsoleNull") // a console that is none shows the line, no more
    private final boolean terminal = System.getenv("TERM") != null && System.console() != null;

    private final long begun = System.nanoTime();
    private long next = begun + EVERY;
    private boolean shown;

    @Override
    public void ran(long orders) {
      long now = System.nanoTime();
      if (terminal && now - next >= 0) {
        next = now + EVERY;
        shown = true;
        long seconds = TimeUnit.NANOSECONDS.toSeconds(now - begun);
        System.err.printf("\r%,d orders, %d s ", orders, seconds);
        System.err.flush();
      }
    }

    void erase() {
      if (shown) {
        System.err.print("\r\u001b[K");
        System.err.flush();
      }
    }
  }
}
