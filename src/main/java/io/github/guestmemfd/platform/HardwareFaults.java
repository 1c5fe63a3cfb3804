package io.github.guestmemfd.platform;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Exploration;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.AtomicReferenceArray;

/**
 * The failures of a piece of emulated hardware. A test names the calls that fail, by kind and in
 * the order in which they are made, so that a failure comes at the same call each time. No code of
 * the test runs inside the hardware.
 *
 * <p>In an exploration each call also asks {@link Exploration#shouldFail}, and fails with its
 * {@linkplain HardwareCall#failure own errno}.
 *
 * <p>Safe for use by any number of threads.
 *
 * @param <C> the kinds of calls
 */
public final class HardwareFaults<C extends Enum<C> & HardwareCall> {
  /**
   * Which calls fail: every so many of them, and how many at most, counted from when the rule was
   * set. It counts for itself: a call of another thread at that moment is either before it or its
   * first.
   */
  private static final class Rule {
    private final long every;
    private final long times;
    private final Errno errno;
    private final AtomicLong calls = new AtomicLong();

    Rule(long every, long times, Errno errno) {
      this.every = every;
      this.times = times;
      this.errno = errno;
    }

    /** Counts a call; whether it fails. */
    boolean next() {
      long call = Announce.write(calls).incrementAndGet();
      return call % every == 0 && call / every <= times;
    }
  }

  private final Class<C> type;
  private final AtomicLongArray calls;
  private final AtomicReferenceArray<Rule> rules;

  /**
   * Makes hardware that does not fail.
   *
   * @param type the kinds of calls
   */
  HardwareFaults(Class<C> type) {
    this.type = type;
    int kinds = type.getEnumConstants().length;
    this.calls = new AtomicLongArray(kinds);
    this.rules = new AtomicReferenceArray<>(kinds);
  }

  /**
   * Lets the next calls of a kind fail, instead of what was asked for before.
   *
   * @param call the kind
   * @param errno how they fail, not {@link Errno#OK}
   * @param times how many, at least 1
   * @throws IllegalArgumentException if the errno is OK, the number is below 1, or the kind is one
   *     of other hardware
   */
  public void fail(C call, Errno errno, long times) {
    set(call, errno, 1, times);
  }

  /**
   * Lets the next call of a kind fail, with its own errno.
   *
   * @param call the kind
   * @throws IllegalArgumentException if the kind is one of other hardware
   */
  public void fail(C call) {
    requireKind(call);
    fail(call, call.failure(), 1);
  }

  /**
   * Lets each call of a kind fail whose number from now is a multiple of {@code n}, until {@link
   * #stop}.
   *
   * @param call the kind
   * @param errno how they fail, not {@link Errno#OK}
   * @param n 1 for all calls
   * @throws IllegalArgumentException as {@link #fail(Enum, Errno, long)}
   */
  public void failEvery(C call, Errno errno, long n) {
    set(call, errno, n, Long.MAX_VALUE);
  }

  /**
   * Lets calls of a kind succeed from now on.
   *
   * @param call the kind
   * @throws IllegalArgumentException if the kind is one of other hardware
   */
  public void stop(C call) {
    int kind = kind(call);
    Announce.write(rules, kind);
    rules.set(kind, null);
  }

  /**
   * How many calls of a kind have been made, failed ones included.
   *
   * @param call the kind
   * @return the number
   * @throws IllegalArgumentException if the kind is one of other hardware
   */
  public long calls(C call) {
    int kind = kind(call);
    Announce.read(calls, kind);
    return calls.get(kind);
  }

  private void set(C call, Errno errno, long n, long times) {
    int kind = kind(call);
    Objects.requireNonNull(errno, "errno");
    if (errno == Errno.OK || n < 1 || times < 1) {
      throw new IllegalArgumentException(
          "expected a failure of 1 or more calls, actual "
              + errno
              + " of every "
              + n
              + ", "
              + times
              + " times");
    }
    Announce.write(rules, kind);
    rules.set(kind, new Rule(n, times, errno));
  }

  private void requireKind(C call) {
    Objects.requireNonNull(call, "call");
    if (((Enum<?>) call).getDeclaringClass() != type) {
      throw new IllegalArgumentException(
          "expected a call of " + type.getName() + ", actual " + call);
    }
  }

  @SuppressWarnings("EnumOrdinal") // it indexes the words, and is stored nowhere
  private int kind(C call) {
    requireKind(call);
    return call.ordinal();
  }

  /** Counts a call, which the hardware is about to make; OK, or how it fails. */
  Errno next(C call) {
    int kind = kind(call);
    Announce.write(calls, kind);
    calls.incrementAndGet(kind);
    Announce.read(rules, kind);
    Rule rule = rules.get(kind);
    if (rule != null && rule.next()) {
      return rule.errno;
    }
    return Exploration.shouldFail() ? call.failure() : Errno.OK;
  }
}
