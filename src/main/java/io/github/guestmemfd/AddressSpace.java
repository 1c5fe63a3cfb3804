package io.github.guestmemfd;

import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.file.CallbackContext;
import io.github.guestmemfd.file.Mapping;
import io.github.guestmemfd.file.Mm;
import io.github.guestmemfd.file.Remap;
import io.github.guestmemfd.spi.Announce;
import java.util.Collection;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;

/**
 * The address space of a process, in which files are mapped: the kernel's {@code mm_struct}.
 *
 * <p>{@link HostMemory#addressSpace} is that of the program itself, in which {@link
 * GuestMemfd#mmap} maps. A {@linkplain #fork fork} of it is another process, a device back-end of a
 * monitor for instance: it has mappings of its own, with the same content.
 *
 * <pre>{@code
 * try (AddressSpace child = host.addressSpace().fork()) {
 *   HostMapping same = child.inherited(window);
 *   same.putLong(0, 42); // window.getLong(0) is 42
 * }
 * }</pre>
 *
 * <p>What a process has is its mappings, with their page table entries. Descriptors are objects
 * that anyone may use, so no process has them: a {@link GuestMemfd#dup} stands for the descriptor
 * that a child inherits, or that is sent by {@code SCM_RIGHTS}. References by {@link
 * HostMapping#getUserPages} and {@link HostMapping#pin} are of pages, and outlive the process that
 * took them.
 *
 * <p>Safe for use by any number of threads.
 */
public final class AddressSpace implements AutoCloseable {
  final Mm<HostMapping> mm = new Mm<>();

  /** That of the program on the host. */
  private final AddressSpace program;

  /** The number of the last process of a host. */
  private final AtomicInteger ids;

  private final int id;

  /** By the mappings of the parent; filled by the fork, before anyone else knows this. */
  private final Map<HostMapping, HostMapping> inherited = new LinkedHashMap<>();

  /** That of the program on a host. */
  AddressSpace() {
    this.program = this;
    this.ids = new AtomicInteger();
    this.id = 0;
  }

  private AddressSpace(AddressSpace program, AtomicInteger ids, int id) {
    this.program = program;
    this.ids = ids;
    this.id = id;
  }

  /**
   * The number of the process, by which messages and traces name it.
   *
   * @return 0 for the program itself; each fork on a host takes the next number
   */
  public int id() {
    return id;
  }

  /**
   * The mappings that the process has: those that are not closed.
   *
   * @return them as they are now, in the order in which they were made
   */
  public List<HostMapping> mappings() {
    return mm.mappings();
  }

  /**
   * Makes another process: {@code fork}, as far as it is of mappings ({@code dup_mmap}).
   *
   * <p>The child inherits every mapping, with holes, protections and advice, but for what is
   * advised {@link io.github.guestmemfd.abi.Advice#DONTFORK}: nothing is mapped there. It inherits
   * what there is at one moment, whatever other threads are changing. No page table entry is
   * inherited, as no shared mapping's is in the kernel: the child faults. From then on a change of
   * a mapping is of one process, and a change of the file, such as a conversion or a punch, of all.
   *
   * <p>Waits for nothing, and may be called from anywhere.
   *
   * @return the child, to be closed
   * @throws IllegalStateException if this process has ended
   */
  public AddressSpace fork() {
    AtomicInteger numbers = Announce.write(ids);
    AddressSpace child = new AddressSpace(program, numbers, numbers.incrementAndGet());
    boolean done = false;
    try {
      mm.fork((parents, areas) -> child.inherited.put(parents, parents.inherit(child, areas)));
      for (GuestMemfdListener listener : listeners(child.inherited.keySet())) {
        RecordedMemfd.told(listener).fork(this, child);
      }
      done = true;
      return child;
    } finally {
      if (!done) { // the caller does not know it
        child.mm.tryEnd();
        child.mm.closeAll(HostMapping::end);
      }
    }
  }

  /** Those of the files that are mapped, each once. */
  private static Set<GuestMemfdListener> listeners(Collection<HostMapping> mappings) {
    Set<GuestMemfdListener> listeners = Collections.newSetFromMap(new IdentityHashMap<>());
    for (HostMapping mapping : mappings) {
      if (mapping instanceof RecordedMapping recorded) {
        listeners.add(recorded.listener);
      }
    }
    return listeners;
  }

  /**
   * The mappings that this process has inherited, by its parent's, also those closed since.
   *
   * @return a map that cannot be changed, in the order in which the parent had made them; empty for
   *     the program itself
   */
  public Map<HostMapping, HostMapping> inherited() {
    return Collections.unmodifiableMap(inherited);
  }

  /**
   * The mapping that this process has inherited of one of its parent's, at the same addresses.
   *
   * @param parents a mapping that the parent had, and had not closed, when it forked
   * @return this process's. Nothing is mapped in it where nothing was mapped, or inherited
   * @throws IllegalArgumentException if the parent had no such mapping then
   */
  public HostMapping inherited(HostMapping parents) {
    HostMapping mapping = inherited.get(Objects.requireNonNull(parents, "parents"));
    if (mapping == null) {
      throw new IllegalArgumentException(
          "expected a mapping that the parent of "
              + this
              + " had when it forked, actual "
              + parents
              + " of "
              + parents.addressSpace());
    }
    return mapping;
  }

  /**
   * Maps a part of a file in this process, by a descriptor that it has.
   *
   * @param memfd a descriptor of the file
   * @param offset as {@link GuestMemfd#mmap(long, long, MapType, Protection...)}
   * @param length as there
   * @param type as there
   * @param protection as there
   * @return the mapping
   * @throws GuestMemfdException as there
   * @throws IllegalArgumentException if the file is of another host
   * @throws IllegalStateException if this process has ended
   */
  public HostMapping mmap(
      GuestMemfd memfd, long offset, long length, MapType type, Protection... protection) {
    if (Objects.requireNonNull(memfd, "memfd").addressSpace.program != program) {
      throw new IllegalArgumentException(
          "expected a file of the same host as " + this + ", actual " + memfd);
    }
    return memfd.mmap(this, offset, length, type, protection);
  }

  /**
   * Ends the process: {@code exit}, as far as it is of mappings ({@code exit_mmap}). They are
   * closed, one after the other. The process can map and fork no more. A second call closes what a
   * failure of the first has left.
   *
   * @throws GuestMemfdException EDEADLK from inside a callback
   */
  @Override
  public void close() {
    CallbackContext.forbid("exit");
    Set<GuestMemfdListener> listeners = listeners(mappings());
    if (mm.tryEnd()) {
      listeners.forEach(listener -> RecordedMemfd.told(listener).exit(this));
    }
    mm.closeAll(HostMapping::end);
  }

  /** Adds a mapping; it is ended if that fails. */
  HostMapping add(Remap remap, Mapping mapping, Function<Mapping, HostMapping> user) {
    boolean done = false;
    try {
      HostMapping made = user.apply(mapping);
      mm.add(mapping, made);
      done = true;
      return made;
    } finally {
      if (!done) { // no memory, or the process has ended
        remap.end(mapping);
      }
    }
  }

  @Override
  public String toString() {
    return "AddressSpace[id=" + id + ", mappings=" + mappings().size() + "]";
  }
}
