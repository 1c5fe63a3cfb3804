package io.github.guestmemfd.explore;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.explore.SmallVm.Operation;
import io.github.guestmemfd.explore.SmallVm.Range;
import io.github.guestmemfd.testing.Interleavings;
import io.github.guestmemfd.verification.Results;
import java.time.Duration;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;

/**
 * Operations against each other on a {@link SmallVm}: how far they are explored, and over which
 * protocols, is set by system properties.
 */
final class Matrix {
  /** Orders after which a combination is given up, incomplete. */
  private static final long ORDERS = Long.getLong("explore.orders", 30);

  private static final String PROTOCOL = System.getProperty("explore.protocol", "atomic-pair");

  /** What may happen besides. */
  enum Mishap {
    NONE("nothing fails") {
      @Override
      Interleavings<SmallVm> to(Interleavings<SmallVm> orders, String thread) {
        return orders;
      }
    },
    INTERRUPT("one interrupt") {
      @Override
      Interleavings<SmallVm> to(Interleavings<SmallVm> orders, String thread) {
        return orders.interrupt(thread);
      }
    },
    TIMEOUT("one time-out") {
      @Override
      Interleavings<SmallVm> to(Interleavings<SmallVm> orders, String thread) {
        return orders.timeout(thread);
      }
    },
    FAILURE("one failure") {
      @Override
      Interleavings<SmallVm> to(Interleavings<SmallVm> orders, String thread) {
        return orders.failure(thread);
      }
    };

    private final String text;

    Mishap(String text) {
      this.text = text;
    }

    abstract Interleavings<SmallVm> to(Interleavings<SmallVm> orders, String thread);

    /** With waits that have a limit where that makes a difference. */
    private RetryPolicy retries() {
      return this == INTERRUPT || this == TIMEOUT
          ? RetryPolicy.spinThenWait(0, Duration.ofMillis(1))
          : RetryPolicy.failAtOnce();
    }
  }

  private Matrix() {}

  /** The protocols to explore: one, or "all". */
  static List<ConversionProtocol> protocols() {
    return ConversionProtocol.all().stream()
        .filter(p -> PROTOCOL.equals("all") || p.id().equals(PROTOCOL))
        .toList();
  }

  /** The mishaps to explore: "none", one by name, or "all". */
  static List<Mishap> mishaps() {
    String wanted = System.getProperty("explore.mishaps", "none");
    return Stream.of(Mishap.values())
        .filter(m -> wanted.equals("all") || m.name().equalsIgnoreCase(wanted))
        .toList();
  }

  /** How many pages: one, two, or each. */
  static List<Integer> pages() {
    int wanted = Integer.getInteger("explore.pages", 1);
    return Stream.of(1, 2).filter(n -> wanted == 0 || wanted == n).toList();
  }

  /**
   * Whether results may differ from those of whole calls, by what protocols differ in. A conversion
   * may be refused for a reference that is taken and dropped within one call. Under {@code
   * both-counters} a punch may come between the two steps of a grab, which then holds an orphan.
   */
  static boolean mayDifferFromWholeCalls(ConversionProtocol protocol, List<Operation> operations) {
    boolean converts =
        operations.contains(Operation.MAKE_INACCESSIBLE)
            || operations.contains(Operation.CONVERT_BY_THE_VM);
    boolean transientReference =
        operations.contains(Operation.SCAN)
            || operations.contains(Operation.MIGRATE)
            || operations.contains(Operation.MUNMAP)
            || operations.contains(Operation.MUNMAP_PART)
            || operations.contains(Operation.MREMAP);
    boolean grabInSteps =
        Set.of("both-counters", "timed-wait").contains(protocol.id())
            && operations.contains(Operation.GRAB);
    boolean orphan =
        protocol.id().equals("both-counters")
            && operations.contains(Operation.GRAB)
            && operations.contains(Operation.PUNCH);
    return orphan || (converts && (transientReference || grabInSteps));
  }

  /** A world whose pages are mapped by host and guest. */
  static Interleavings<SmallVm> world(int pages, ConversionProtocol protocol, Mishap mishap) {
    return Interleavings.of(() -> new SmallVm(pages, true, protocol, mishap.retries()))
        .atEnd(SmallVm::close)
        .maxOrders(ORDERS);
  }

  static Interleavings<SmallVm> add(
      Interleavings<SmallVm> orders, String thread, Operation operation, Range range) {
    operation.calls(range).forEach(call -> orders.call(thread, call::on));
    return orders;
  }

  /** What has been explored, under all protocols, by mishap and number of pages. */
  static final class Totals {
    private record Row(Mishap mishap, int pages) {}

    private final String what;
    private final Map<Row, long[]> rows =
        new TreeMap<>(Comparator.comparing(Row::mishap).thenComparing(Row::pages));

    Totals(String what) {
      this.what = what;
    }

    synchronized void add(Mishap mishap, int pages, Interleavings.Report report) {
      long[] row = rows.computeIfAbsent(new Row(mishap, pages), r -> new long[4]);
      row[0]++;
      row[1] += report.complete() ? 1 : 0;
      row[2] += report.orders();
      row[3] += report.steps();
    }

    /** Leaves the figures for docs/verification.md, which are of all protocols. */
    synchronized void report() {
      if (!PROTOCOL.equals("all")) {
        return;
      }
      rows.forEach(
          (row, n) ->
              Results.add(
                  "explored",
                  what
                      + ", "
                      + row.pages
                      + (row.pages == 1 ? " page, " : " pages, ")
                      + row.mishap.text,
                  n[0],
                  n[1],
                  n[2],
                  n[3]));
    }
  }
}
