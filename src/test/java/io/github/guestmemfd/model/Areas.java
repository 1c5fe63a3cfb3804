package io.github.guestmemfd.model;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Protection;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.UnaryOperator;

/** What the pages of a mapping of the model are: mapped or not, and what for. */
final class Areas {
  final long pages;

  /** What pages are, from each key up to the next; the last key is the end. */
  private final NavigableMap<Long, Area> areas = new TreeMap<>();

  Areas(long pages, Area area) {
    this.pages = pages;
    areas.put(0L, area);
    areas.put(pages, Area.UNMAPPED);
  }

  Area area(long page) {
    return page < 0 || page >= pages ? Area.UNMAPPED : areas.floorEntry(page).getValue();
  }

  /** The first page from one on, and in the mapping, that is not like it. */
  long end(long page) {
    return areas.tailMap(page, false).entrySet().stream()
        .filter(e -> e.getKey() == pages || !e.getValue().equals(area(page)))
        .findFirst()
        .orElseThrow()
        .getKey();
  }

  /** Changes pages that are mapped. */
  void change(long from, long to, UnaryOperator<Area> change) {
    long first = Math.max(from, 0);
    long end = Math.min(to, pages);
    if (first < end) {
      areas.put(first, area(first));
      areas.computeIfAbsent(end, this::area);
      areas
          .subMap(first, end)
          .replaceAll((page, area) -> area.isMapped() ? change.apply(area) : area);
    }
  }

  /** What a child has of them. */
  Areas forChild() {
    Areas child = new Areas(pages, Area.UNMAPPED);
    areas.forEach((page, area) -> child.areas.put(page, area.inherited ? area : Area.UNMAPPED));
    return child;
  }

  /** Says what pages are. */
  void set(long from, long to, Area area) {
    areas.computeIfAbsent(to, this::area);
    areas.put(from, area);
  }

  boolean isMapped(long page) {
    return area(page).isMapped();
  }

  boolean isAnyMapped(long from, long to) {
    long page = Math.max(from, 0);
    while (page < Math.min(to, pages) && !isMapped(page)) {
      page = end(page);
    }
    return page < Math.min(to, pages);
  }

  boolean isFor(long page, Protection what) {
    return area(page).protection.filter(p -> p.contains(what)).isPresent();
  }

  boolean canWrite(long page) {
    return isFor(page, Protection.WRITE);
  }

  /** What may be written may be read, on x86. */
  boolean canRead(long page) {
    return isFor(page, Protection.READ) || canWrite(page);
  }

  /** Whether a page gives references on what it has mapped, which is not known here. */
  boolean isForWritingAlone() {
    return areas.values().stream()
        .anyMatch(a -> a.protection.equals(Optional.of(Set.of(Protection.WRITE))));
  }

  boolean isEmpty() {
    return areas.values().stream().noneMatch(Area::isMapped);
  }

  /**
   * What pages of a mapping are.
   *
   * @param protection what they may be used for, if they are mapped
   * @param huge whether huge pages are welcome
   * @param inherited whether a child has them
   * @param policy on which nodes memory is to be allocated
   */
  record Area(
      Optional<Set<Protection>> protection, boolean huge, boolean inherited, MemoryPolicy policy) {
    static final Area UNMAPPED = new Area(Optional.empty(), false, true, MemoryPolicy.DEFAULT);

    static Area of(Set<Protection> protection) {
      return UNMAPPED.with(protection);
    }

    Area with(Set<Protection> other) {
      return new Area(Optional.of(other), huge, inherited, policy);
    }

    Area with(MemoryPolicy other) {
      return new Area(protection, huge, inherited, other);
    }

    Area advised(Advice advice) {
      return switch (advice) {
        case HUGEPAGE -> new Area(protection, true, inherited, policy);
        case DONTFORK -> new Area(protection, huge, false, policy);
        case DOFORK -> new Area(protection, huge, true, policy);
        default -> this;
      };
    }

    boolean isMapped() {
      return protection.isPresent();
    }
  }
}
