package io.github.guestmemfd.testing;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Objects;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Makes races happen: runs a test's action, or holds a thread, when a thread passes a {@link
 * RacePoint}.
 *
 * <p>Install it with {@link HostMemory.Builder#raceHook}. Each planned action runs once; if several
 * are planned for a point, each pass runs one of them, in the order of planning. A thread passes a
 * point for which nothing is planned without any wait. A plan applies to every file, or only to the
 * file whose descriptor is given, and to every page, or only to the one given.
 *
 * <p><b>Failures.</b> An exception at a point is not thrown there, where it would make the
 * operation that passes the point fail. It is kept for {@link #check}, which {@link #close} calls.
 * The check also fails if a planned action was never reached: then the race has not happened, and
 * the test has tested nothing. A test class for JUnit Jupiter has the check made after each test by
 * a field
 *
 * <pre>{@code @AutoClose final RacePoints races = new RacePoints();}</pre>
 *
 * and with any other framework calls {@code close} after each test.
 *
 * <p><b>At a point</b> a thread holds what {@link RacePoint} says. Its action may call any
 * operation of the library, but one that waits for something the thread itself holds never returns.
 *
 * <p><b>Threads.</b> Safe for use by many threads. What a thread did before it planned an action
 * happens-before the action; the action happens-before the return of the check that follows it.
 */
public final class RacePoints implements RaceHook, AutoCloseable {

  /** What a thread does at a race point. */
  @FunctionalInterface
  public interface Action {

    /**
     * Runs in the thread that passes the point.
     *
     * @throws Exception for a failure, reported by {@link RacePoints#check}, as is an {@code Error}
     */
    void run() throws Exception;
  }

  private static final Duration LIMIT = Duration.ofSeconds(30);
  private static final long ANY_PAGE = -1;

  /** An action planned for a point; a null file stands for any file. */
  private static final class Step {
    final RacePoint point;
    final @Nullable Object file;
    final long page;
    final Action action;

    /** The failure if no thread reaches the point; its stack trace shows where this was planned. */
    final AssertionError missed;

    final AtomicBoolean taken = new AtomicBoolean();
    final CountDownLatch done = new CountDownLatch(1);

    Step(RacePoint point, @Nullable Object file, long page, Action action, AssertionError missed) {
      this.point = point;
      this.file = file;
      this.page = page;
      this.action = action;
      this.missed = missed;
    }

    boolean isFor(RacePoint passed, @Nullable Object of, long index) {
      return passed == point && (file == null || file == of) && (page == ANY_PAGE || page == index);
    }

    /** Whether the caller is the thread that takes it. */
    boolean take() {
      return taken.compareAndSet(false, true);
    }
  }

  private final Duration limit;

  /** What is planned or under way, in the order of planning. */
  private final Queue<Step> steps = new ConcurrentLinkedQueue<>();

  private final Queue<Gate> gates = new ConcurrentLinkedQueue<>();
  private final Queue<Throwable> failures = new ConcurrentLinkedQueue<>();

  /** Creates an object with nothing planned, and no wait longer than 30 seconds. */
  public RacePoints() {
    this(LIMIT);
  }

  /**
   * Creates an object with nothing planned, and another limit.
   *
   * @param limit the longest that a thread is held at a gate, that {@link Gate#awaitReached} waits,
   *     and that {@link #check} waits for actions under way; then the test fails
   * @throws IllegalArgumentException if it is not positive
   */
  public RacePoints(Duration limit) {
    if (limit.isNegative() || limit.isZero()) {
      throw new IllegalArgumentException("limit: expected a positive duration, actual " + limit);
    }
    this.limit = limit;
  }

  // ---- planning ----

  /**
   * Plans an action for the next thread that passes a point, at any page of any file.
   *
   * @param point the point
   * @param action the action; it runs there, once
   */
  public void at(RacePoint point, Action action) {
    plan(point, null, ANY_PAGE, action, missed(point.name()));
  }

  /**
   * Plans an action for the next thread that passes a point at any page of a file.
   *
   * @param point the point; every point is passed on behalf of a file, except {@link
   *     RacePoint#BEFORE_HOST_CLOSE}
   * @param memfd a descriptor of the file, open or not
   * @param action the action; it runs there, once
   */
  public void at(RacePoint point, GuestMemfd memfd, Action action) {
    plan(point, memfd.fileKey(), ANY_PAGE, action, missed(name(point, memfd)));
  }

  /**
   * Plans an action for the next thread that passes a point at a page of any file.
   *
   * @param point the point
   * @param offset of any byte of the page, in bytes from the start of the file, 0 or more; for the
   *     points of a range operation, of its first page
   * @param action the action; it runs there, once
   * @throws IllegalArgumentException if the offset is negative
   */
  public void at(RacePoint point, long offset, Action action) {
    plan(point, null, page(offset), action, missed(name(point, offset)));
  }

  /**
   * Plans an action for the next thread that passes a point at a page of a file.
   *
   * @param point the point
   * @param memfd as for {@link #at(RacePoint, GuestMemfd, Action)}
   * @param offset as for {@link #at(RacePoint, long, Action)}
   * @param action the action; it runs there, once
   * @throws IllegalArgumentException if the offset is negative
   */
  public void at(RacePoint point, GuestMemfd memfd, long offset, Action action) {
    plan(point, memfd.fileKey(), page(offset), action, missed(name(point, memfd, offset)));
  }

  /**
   * Plans to hold the next thread that passes a point, at any page of any file.
   *
   * @param point the point
   * @return the gate that holds it; closed
   */
  public Gate hold(RacePoint point) {
    return hold(point, null, ANY_PAGE, point.name());
  }

  /**
   * Plans to hold the next thread that passes a point at any page of a file.
   *
   * @param point the point
   * @param memfd as for {@link #at(RacePoint, GuestMemfd, Action)}
   * @return the gate that holds it; closed
   */
  public Gate hold(RacePoint point, GuestMemfd memfd) {
    return hold(point, memfd.fileKey(), ANY_PAGE, name(point, memfd));
  }

  /**
   * Plans to hold the next thread that passes a point at a page of any file.
   *
   * @param point the point
   * @param offset as for {@link #at(RacePoint, long, Action)}
   * @return the gate that holds it; closed
   * @throws IllegalArgumentException if the offset is negative
   */
  public Gate hold(RacePoint point, long offset) {
    return hold(point, null, page(offset), name(point, offset));
  }

  /**
   * Plans to hold the next thread that passes a point at a page of a file.
   *
   * @param point the point
   * @param memfd as for {@link #at(RacePoint, GuestMemfd, Action)}
   * @param offset as for {@link #at(RacePoint, long, Action)}
   * @return the gate that holds it; closed
   * @throws IllegalArgumentException if the offset is negative
   */
  public Gate hold(RacePoint point, GuestMemfd memfd, long offset) {
    return hold(point, memfd.fileKey(), page(offset), name(point, memfd, offset));
  }

  /**
   * Creates a gate that is at no race point, for callbacks of the test: threads that call {@link
   * Gate#pass} stop there. {@link #check} fails if none does.
   *
   * @return a gate; closed
   */
  public Gate gate() {
    return gate("a gate", missed("a gate"));
  }

  private Gate hold(RacePoint point, @Nullable Object file, long page, String name) {
    Objects.requireNonNull(point, "point");
    AssertionError missed = missed(name);
    Gate gate = gate(name, missed);
    plan(point, file, page, gate::pass, missed);
    return gate;
  }

  private Gate gate(String name, AssertionError missed) {
    Gate gate = new Gate(name, missed);
    gates.add(gate);
    return gate;
  }

  private void plan(
      RacePoint point, @Nullable Object file, long page, Action action, AssertionError missed) {
    steps.add(
        new Step(
            Objects.requireNonNull(point, "point"),
            file,
            page,
            Objects.requireNonNull(action, "action"),
            missed));
  }

  private static long page(long offset) {
    if (offset < 0) {
      throw new IllegalArgumentException("offset: expected 0x0 or more, actual " + Hex.of(offset));
    }
    return offset / HostMemory.PAGE_SIZE;
  }

  private static String name(RacePoint point, long offset) {
    return point + " at offset " + Hex.of(offset);
  }

  private static String name(RacePoint point, GuestMemfd memfd) {
    return point + " of " + memfd.fileKey();
  }

  private static String name(RacePoint point, GuestMemfd memfd, long offset) {
    return name(point, offset) + " of " + memfd.fileKey();
  }

  private static AssertionError missed(String name) {
    return new AssertionError("no thread came to " + name);
  }

  // ---- the hook ----

  /**
   * Runs the action planned for a point, if any. The library calls this where there is no file.
   * What an action throws is not thrown here.
   *
   * @param point the point passed
   * @param index the page index concerned, the first one for a range
   */
  @Override
  public void at(RacePoint point, long index) {
    pass(point, null, index);
  }

  /**
   * Returns the hook that runs the actions planned for the points of a file. The library calls
   * this.
   *
   * @param file stands for the file
   * @return the hook for the file
   */
  @Override
  public RaceHook ofFile(Object file) {
    Objects.requireNonNull(file, "file");
    return (point, index) -> pass(point, file, index);
  }

  private void pass(RacePoint point, @Nullable Object file, long index) {
    Objects.requireNonNull(point, "point");
    for (Step step : steps) {
      if (step.isFor(point, file, index) && step.take()) {
        run(step);
        return;
      }
    }
  }

  private void run(Step step) {
    try {
      step.action.run();
    } catch (Throwable e) {
      if (e instanceof InterruptedException interrupt) {
        Wait.restore(interrupt); // the library handles it
      }
      failures.add(e);
    } finally {
      steps.remove(step);
      step.done.countDown();
    }
  }

  // ---- the check ----

  /**
   * Ends all plans and reports: drops the actions that no thread reached, opens every gate, and
   * waits, up to the limit, for actions under way. Afterwards this object is like a new one, and
   * the next check reports only what is new. A thread that leaves because its gate was opened is no
   * failure. Must not be called in an action: it would wait for itself.
   *
   * @throws AssertionError if an action threw, or was never reached, or did not end; if a gate was
   *     never reached, or held a thread up to the limit. All of these are suppressed in it: an
   *     exception of an action as it was, and for what was never reached or did not end an error
   *     whose stack trace leads to where it was planned.
   */
  public void check() {
    Set<Throwable> missed = new LinkedHashSet<>(); // a gate and its step miss the same
    List<Step> underWay = new ArrayList<>();
    for (Iterator<Step> i = steps.iterator(); i.hasNext(); ) {
      Step step = i.next();
      if (step.take()) {
        i.remove();
        step.done.countDown();
        missed.add(step.missed);
      } else {
        underWay.add(step);
      }
    }
    List<Gate> opened = new ArrayList<>();
    for (Gate gate = gates.poll(); gate != null; gate = gates.poll()) {
      gate.release();
      opened.add(gate);
    }
    for (Step step : underWay) {
      if (!await(step.done)) {
        AssertionError endless = new AssertionError("still at " + step.point + " after " + limit);
        endless.setStackTrace(step.missed.getStackTrace());
        failures.add(endless);
      }
    }
    for (Gate gate : opened) { // last: a thread may have been about to reach it
      if (!gate.isReached()) {
        missed.add(gate.missed);
      }
    }
    List<Throwable> found = new ArrayList<>();
    for (Throwable e = failures.poll(); e != null; e = failures.poll()) {
      found.add(e);
    }
    found.addAll(missed);
    if (!found.isEmpty()) {
      AssertionError failed =
          new AssertionError(
              found.stream()
                  .map(Throwable::toString)
                  .collect(Collectors.joining("\n  ", "at race points:\n  ", "")));
      found.forEach(failed::addSuppressed);
      throw failed;
    }
  }

  /**
   * Calls {@link #check}.
   *
   * @throws AssertionError as the check does
   */
  @Override
  public void close() {
    check();
  }

  /** Waits up to the limit, and restores an interrupt; returns false if the time is up. */
  private boolean await(CountDownLatch latch) {
    return Wait.blockUninterruptibly(
        nanos -> latch.await(nanos, TimeUnit.NANOSECONDS), TimeUnit.NANOSECONDS.convert(limit));
  }

  /**
   * Holds threads until it is released. A released gate stays open.
   *
   * <p>Safe for use by many threads. What a thread did before it came to the gate happens-before
   * the return of {@link #awaitReached}; what came before {@link #release} happens-before what a
   * thread does after it has passed the gate.
   */
  public final class Gate implements AutoCloseable {
    private final String name;
    private final AssertionError missed;
    private final CountDownLatch reached = new CountDownLatch(1);
    private final CountDownLatch open = new CountDownLatch(1);

    private Gate(String name, AssertionError missed) {
      this.name = name;
      this.missed = missed;
    }

    /**
     * Blocks the calling thread until the gate is released, or up to the limit; after that the next
     * {@link RacePoints#check} fails. An interrupt does not end the wait: the interrupt status
     * stays set, for the library. Never throws. Callbacks of the test may call this; a thread that
     * is held at a race point needs no such call.
     */
    public void pass() {
      reached.countDown();
      if (!await(open)) {
        failures.add(new AssertionError("held at " + name + " for " + limit));
      }
    }

    /**
     * Waits until a thread has reached the gate; returns at once if one already has.
     *
     * @throws AssertionError if none comes within the limit
     * @throws InterruptedException if the calling thread is interrupted while it waits
     */
    public void awaitReached() throws InterruptedException {
      if (!reached.await(TimeUnit.NANOSECONDS.convert(limit), TimeUnit.NANOSECONDS)) {
        throw new AssertionError("no thread came to " + name + " within " + limit);
      }
    }

    /** Opens the gate for the threads that it holds and those that come later. */
    public void release() {
      open.countDown();
    }

    /** Opens the gate, as {@link #release} does. */
    @Override
    public void close() {
      release();
    }

    private boolean isReached() {
      return reached.getCount() == 0;
    }
  }
}
