package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.RacePoint;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiConsumer;
import java.util.function.Consumer;

/**
 * The mappings of a process: the kernel's {@code mm_struct}.
 *
 * <p>What is mapped changes in one step under one lock, whichever mapping it is in: that is what of
 * the kernel's {@code mmap_lock} a fork needs, so that the child inherits what there is at one
 * moment. What else a change does, and what it waits for, it does under the {@link MmapLock} of its
 * mapping. A fork has no part in that: no page table entry is inherited, so there is none that a
 * change could miss.
 *
 * @param <M> how its users know a mapping
 */
public final class Mm<M> {
  private final Mutex lock = new Mutex(LockClass.MM_LOCK);

  /** In the order in which they were made. */
  private final Map<Mapping, M> mappings = new LinkedHashMap<>();

  private boolean ended;

  /** Makes one without mappings. */
  public Mm() {}

  /** A mapping that a child inherits; if it maps anything, its file is open for the child. */
  private record Inherited<M>(Mapping mapping, M user, Areas areas) {
    void giveUp() {
      if (!areas.isEmpty()) {
        mapping.opened.close();
      }
    }
  }

  /** Does something that reads or changes what is mapped, in one step. It must not wait. */
  void atOnce(Runnable step) {
    lock.lock();
    try {
      step.run();
    } finally {
      lock.unlock();
    }
  }

  /**
   * Adds a mapping, which from now on is inherited.
   *
   * @param mapping the mapping
   * @param user how its users know it
   * @throws IllegalStateException if the process has ended
   */
  public void add(Mapping mapping, M user) {
    atOnce(
        () -> {
          requireAlive();
          mappings.put(mapping, user);
        });
  }

  /** Takes a mapping out, if it is in. */
  void remove(Mapping mapping) {
    atOnce(() -> mappings.remove(mapping));
  }

  private void requireAlive() {
    if (ended) {
      throw new IllegalStateException("the process has ended");
    }
  }

  /**
   * Inherits every mapping to a child: all that is mapped at one moment.
   *
   * @param heir makes the child's mapping of what the parent's is to its users, and of its areas;
   *     if they map anything, it takes over the open file, even if it fails
   * @throws IllegalStateException if the process has ended
   */
  public void fork(BiConsumer<M, Areas> heir) {
    List<Inherited<M>> all = new ArrayList<>();
    int next = 0;
    Failures failures = new Failures();
    try {
      atOnce(() -> inherit(all));
      while (next < all.size()) {
        Inherited<M> each = all.get(next);
        each.mapping.inode.at(RacePoint.BEFORE_INHERIT, each.mapping.firstIndex);
        next++;
        heir.accept(each.user, each.areas);
      }
    } catch (RuntimeException | Error e) {
      failures.add(e);
      all.subList(next, all.size()).forEach(each -> failures.attempt(each::giveUp));
    }
    failures.throwIfAny();
  }

  private void inherit(List<Inherited<M>> all) {
    requireAlive();
    mappings.forEach(
        (mapping, user) -> {
          Areas areas =
              mapping.inode.traits.contains(FileTrait.NOT_INHERITED)
                  ? Areas.of(mapping.pages, Areas.UNMAPPED)
                  : mapping.areas().inherited();
          all.add(new Inherited<>(mapping, user, areas)); // first: it may find no memory
          if (!areas.isEmpty()) {
            mapping.opened.openAgain();
          }
        });
  }

  /**
   * The mappings, as they are now.
   *
   * @return to its users, in the order in which they were made
   */
  public List<M> mappings() {
    List<M> now = new ArrayList<>();
    atOnce(() -> now.addAll(mappings.values()));
    return now;
  }

  /**
   * Ends the process: no mapping is added any more.
   *
   * @return whether it was alive until now
   */
  public boolean tryEnd() {
    boolean[] answer = new boolean[1];
    atOnce(
        () -> {
          answer[0] = !ended;
          ended = true;
        });
    return answer[0];
  }

  /**
   * Closes all mappings of a process that has ended, even if it fails for some.
   *
   * @param close closes one
   */
  public void closeAll(Consumer<M> close) {
    Failures failures = new Failures();
    for (M mapping : mappings()) {
      failures.attempt(() -> close.accept(mapping));
    }
    failures.throwIfAny();
  }
}
