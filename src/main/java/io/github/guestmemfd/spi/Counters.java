package io.github.guestmemfd.spi;

import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.atomic.LongAdder;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Counters of events, one for each constant of an enum. What a part counts, the whole counts too.
 *
 * <p>Counting is an addition without contention between threads, and is for slow paths. Safe for
 * use by any number of threads.
 *
 * @param <E> the events
 */
@SuppressWarnings("EnumOrdinal") // an index into an array that is never stored
public final class Counters<E extends Enum<E>> {
  private final E[] events;
  private final LongAdder[] adders;
  private final @Nullable Counters<E> whole;

  /**
   * Makes counters that stand at 0.
   *
   * @param events what is counted
   */
  public Counters(Class<E> events) {
    this(events.getEnumConstants(), null);
  }

  private Counters(E[] events, @Nullable Counters<E> whole) {
    this.events = events;
    this.whole = whole;
    adders = new LongAdder[events.length];
    Arrays.setAll(adders, i -> new LongAdder());
  }

  /**
   * Makes counters of a part, which stand at 0. This is the whole: it counts what they count.
   *
   * @return the counters of the part
   */
  public Counters<E> part() {
    return new Counters<>(events, this);
  }

  /**
   * Counts an event once.
   *
   * @param event what has happened
   */
  public void count(E event) {
    add(event, 1);
  }

  /**
   * Counts an event several times.
   *
   * @param event what has happened
   * @param times how often
   */
  public void add(E event, long times) {
    adders[event.ordinal()].add(times);
    if (whole != null) {
      whole.add(event, times);
    }
  }

  /**
   * Reads every counter, one after the other: each is exact once all is quiet, and sums of two may
   * be off by what happens between the reads. Stops no thread.
   *
   * @return the numbers now
   */
  public Reading<E> read() {
    return new Reading<>(events, Arrays.stream(adders).mapToLong(LongAdder::sum).toArray());
  }

  /**
   * The numbers of counters at a reading. Immutable; equal if all numbers are.
   *
   * @param <E> the events
   */
  public static final class Reading<E extends Enum<E>> {
    private static final Pattern WORD = Pattern.compile("_(.)");

    private final E[] events;
    private final long[] numbers;

    private Reading(E[] events, long[] numbers) {
      this.events = events;
      this.numbers = numbers;
    }

    /**
     * How often an event had happened.
     *
     * @param event the event
     * @return how often
     */
    public long of(E event) {
      return numbers[event.ordinal()];
    }

    /**
     * What has happened between two readings.
     *
     * @param earlier a reading of the same counters
     * @return the differences
     */
    public Reading<E> minus(Reading<E> earlier) {
      Objects.requireNonNull(earlier, "earlier");
      long[] differences = new long[numbers.length];
      Arrays.setAll(differences, i -> numbers[i] - earlier.numbers[i]);
      return new Reading<>(events, differences);
    }

    /**
     * Every number by the name of its event, which is written as methods are: {@code busyWaits}. In
     * the order of the events.
     *
     * @return an unmodifiable map
     */
    public Map<String, Long> asMap() {
      Map<String, Long> map = new LinkedHashMap<>();
      for (E event : events) {
        map.put(name(event), of(event));
      }
      return Collections.unmodifiableMap(map);
    }

    private static String name(Enum<?> event) {
      String words = event.name().toLowerCase(Locale.ROOT);
      return WORD.matcher(words).replaceAll(m -> m.group(1).toUpperCase(Locale.ROOT));
    }

    @Override
    public boolean equals(@Nullable Object other) {
      return other instanceof Reading<?> reading
          && Arrays.equals(events, reading.events)
          && Arrays.equals(numbers, reading.numbers);
    }

    @Override
    public int hashCode() {
      return Arrays.hashCode(numbers);
    }

    /** The numbers that are not 0. */
    @Override
    public String toString() {
      return asMap().entrySet().stream()
          .filter(e -> e.getValue() != 0)
          .map(e -> e.getKey() + "=" + e.getValue())
          .collect(Collectors.joining(", ", "[", "]"));
    }
  }
}
