package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.kvm.MemoryUse;
import io.github.guestmemfd.lab.report.Doubled;
import io.github.guestmemfd.lab.report.PageMap;
import io.github.guestmemfd.lab.report.PageMap.State;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/**
 * Tracks the time of a run, and samples the states of the guest's pages, and what both of its
 * memories hold.
 */
final class PageSampler {
  private static final int ROWS = 64;
  private static final int COLUMNS = 48;

  /** The number of pages of a row that are sampled. */
  private static final int LOOKS = 8;

  private final Machine m;
  private final long nanos;
  private final int rows;
  private final int pagesPerRow;
  private final List<PageMap.Column> columns = new ArrayList<>();

  /** With two memories, what they hold at the same moments. */
  private final List<MemoryUse> uses = new ArrayList<>();

  PageSampler(Machine m, double seconds) {
    this.m = m;
    this.nanos = (long) (seconds * 1e9);
    this.pagesPerRow = Math.max(1, (m.pages() + ROWS - 1) / ROWS);
    this.rows = (m.pages() + pagesPerRow - 1) / pagesPerRow;
  }

  void sampleUntilEnd(BooleanSupplier stopped) throws InterruptedException {
    long start = System.nanoTime();
    long step = Math.max(1, nanos / COLUMNS);
    for (int i = 0; i < COLUMNS && !m.stop().isSet() && !stopped.getAsBoolean(); i++) {
      columns.add(new PageMap.Column((System.nanoTime() - start) / 1e6, sample()));
      if (m.ram() != null) {
        uses.add(m.vm().memoryUse());
      }
      sleepUntil(start + step * (i + 1), stopped);
    }
  }

  /** Checks at least every fifth of a second whether to end. */
  private void sleepUntil(long moment, BooleanSupplier stopped) throws InterruptedException {
    for (long left = moment - System.nanoTime();
        left > 0 && !m.stop().isSet() && !stopped.getAsBoolean();
        left = moment - System.nanoTime()) {
      TimeUnit.NANOSECONDS.sleep(Math.min(left, 200_000_000));
    }
  }

  private List<State> sample() {
    List<State> states = new ArrayList<>(rows);
    for (int row = 0; row < rows; row++) {
      int from = row * pagesPerRow;
      states.add(stateOf(from, Math.min(m.pages(), from + pagesPerRow)));
    }
    return List.copyOf(states);
  }

  /** The most frequent state of some pages of a row; busy if one of them is held. */
  private State stateOf(int from, int end) {
    EnumMap<State, Integer> counts = new EnumMap<>(State.class);
    int step = Math.max(1, (end - from) / LOOKS);
    for (int page = from; page < end; page += step) {
      if (m.ledger().isHeld(page)) {
        return State.BUSY;
      }
      counts.merge(stateOf(page), 1, Integer::sum);
    }
    return Collections.max(counts.entrySet(), Map.Entry.comparingByValue()).getKey();
  }

  private State stateOf(int page) {
    if (!m.isPresent(page)) {
      return State.HOLE;
    }
    return m.isPrivate(page) ? State.INACCESSIBLE : State.ACCESSIBLE;
  }

  /** What both memories of the guest have held. */
  Doubled doubled() {
    return new Doubled(
        uses.stream().mapToLong(MemoryUse::doubled).max().orElse(0),
        uses.stream().mapToLong(MemoryUse::doubled).average().orElse(0),
        uses.stream().mapToLong(u -> u.shared() + u.files() - u.doubled()).average().orElse(0));
  }

  PageMap map() {
    return new PageMap((long) pagesPerRow * HostMemory.PAGE_SIZE, List.copyOf(columns));
  }
}
