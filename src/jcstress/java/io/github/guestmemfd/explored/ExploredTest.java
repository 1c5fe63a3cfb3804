package io.github.guestmemfd.explored;

import io.github.guestmemfd.explore.Explorer;
import io.github.guestmemfd.explore.Failure;
import io.github.guestmemfd.explore.Options;
import io.github.guestmemfd.explore.Scenario;
import io.github.guestmemfd.spi.Announce;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.Signal;
import org.openjdk.jcstress.infra.StateCase;
import org.openjdk.jcstress.infra.TestInfo;

/**
 * A jcstress test as a scenario of the explorer. A state, made anew for each order, is the world;
 * each actor is a thread, and so is a signal; the arbiter runs at the end. What jcstress would do
 * with the outcome decides: one that is forbidden or interesting ends the exploration. Of a test
 * whose outcome is whether it terminates, a deadlock or an endless run is the outcome STALE.
 */
final class ExploredTest {
  /**
   * What an exploration has found.
   *
   * @param orders how many orders have been run
   * @param complete whether these are all
   * @param outcome the forbidden or interesting outcome; empty for none
   * @param expect what the test says of it
   * @param problem what went wrong otherwise; empty for nothing
   */
  record Found(long orders, boolean complete, String outcome, Expect expect, String problem) {}

  /** An outcome that ends the exploration. */
  private static final class Seen extends Exception {
    private static final long serialVersionUID = 1L;

    final String outcome;

    Seen(String outcome) {
      super(outcome);
      this.outcome = outcome;
    }
  }

  /** The objects of one order. */
  private static final class World {
    final Object state;
    final Object[] results;
    Thread actor;

    World(Object state, Object[] results) {
      this.state = state;
      this.results = results;
    }
  }

  private final TestInfo info;
  private final Constructor<?> state;
  private final Constructor<?> result;
  private final List<Method> threads = new ArrayList<>();
  private Method arbiter;

  /** Whether a signal wants the actor's thread. */
  private boolean wantsThread;

  ExploredTest(TestInfo info) throws ReflectiveOperationException {
    this.info = info;
    Class<?> type = Class.forName(info.binaryName());
    state = type.getDeclaredConstructor();
    state.setAccessible(true);
    Class<?> holder = null;
    Method[] methods = type.getDeclaredMethods();
    Arrays.sort(methods, Comparator.comparing(Method::getName)); // else they come in any order
    for (Method method : methods) {
      boolean isArbiter = method.isAnnotationPresent(Arbiter.class);
      if (isArbiter
          || method.isAnnotationPresent(Actor.class)
          || method.isAnnotationPresent(Signal.class)) {
        method.setAccessible(true);
        holder = method.getParameterCount() == 1 ? method.getParameterTypes()[0] : holder;
        if (isArbiter) {
          arbiter = method;
        } else {
          threads.add(method);
          wantsThread |= method.getParameterCount() == 2;
        }
      }
    }
    result = holder == null ? null : holder.getConstructor();
  }

  /** Explores until an outcome is seen that is not acceptable, or so many orders have been run. */
  Found explore(long maxOrders) {
    Explorer.Result explored = run(maxOrders);
    Failure failure = explored.failure();
    String outcome = failure == null ? "" : outcome(failure);
    return new Found(
        explored.orders(),
        explored.complete(),
        outcome,
        outcome.isEmpty() ? Expect.ACCEPTABLE : expect(outcome),
        failure != null && outcome.isEmpty() ? failure.kind() + ": " + failure.message() : "");
  }

  private Explorer.Result run(long maxOrders) {
    List<Scenario.Actor<World>> actors = new ArrayList<>();
    for (Method thread : threads) {
      boolean signal = thread.isAnnotationPresent(Signal.class);
      actors.add(
          new Scenario.Actor<>(
              thread.getName(),
              world -> {
                if (signal) {
                  signal(thread, world);
                } else {
                  if (wantsThread) {
                    Announce.write(world).actor = Thread.currentThread();
                  }
                  call(thread, world, arguments(thread, world));
                }
              }));
    }
    Scenario<World> scenario =
        new Scenario<>(this::world, actors, List.of(), null, this::judge, null, null);
    return Explorer.explore(scenario, Options.ALL.withMaxOrders(maxOrders), orders -> {});
  }

  /** The outcome by which an order is wrong; empty if it is wrong without one. */
  private String outcome(Failure failure) {
    boolean hangs =
        failure.kind() == Failure.Kind.DEADLOCK || failure.kind() == Failure.Kind.LIVELOCK;
    if (failure.cause() instanceof Seen seen) {
      return seen.outcome;
    }
    return result == null && hangs ? "STALE" : "";
  }

  private World world() throws ReflectiveOperationException {
    Object[] results = result == null ? new Object[0] : new Object[] {result.newInstance()};
    return new World(state.newInstance(), results);
  }

  private void judge(World world) throws Exception {
    if (arbiter != null) {
      call(arbiter, world, arguments(arbiter, world));
    }
    if (result != null) {
      String outcome = world.results[0].toString();
      if (expect(outcome) != Expect.ACCEPTABLE) {
        throw new Seen(outcome);
      }
    }
  }

  private static Object[] arguments(Method method, World world) {
    return method.getParameterCount() == 0 ? new Object[0] : world.results;
  }

  /** Calls what jcstress calls while the actor is under way, with the actor's thread if wanted. */
  private static void signal(Method method, World world) throws Exception {
    if (method.getParameterCount() == 0) {
      call(method, world);
      return;
    }
    while (Announce.read(world).actor == null) {
      Waits.onSpinWait();
    }
    call(method, world, world.state, world.actor);
  }

  private static void call(Method method, World world, Object... arguments) throws Exception {
    try {
      method.invoke(world.state, arguments);
    } catch (InvocationTargetException e) {
      if (e.getCause() instanceof Exception thrown) {
        throw thrown;
      }
      throw (Error) e.getCause();
    }
  }

  /** What the test says of an outcome: as jcstress, by its very words first, then as a pattern. */
  private Expect expect(String outcome) {
    for (StateCase one : info.cases()) {
      if (one.matchesExactly(outcome)) {
        return one.expect();
      }
    }
    for (StateCase one : info.cases()) {
      if (one.matches(outcome)) {
        return one.expect();
      }
    }
    return info.unmatched().expect();
  }
}
