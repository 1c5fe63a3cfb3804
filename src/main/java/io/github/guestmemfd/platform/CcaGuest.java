package io.github.guestmemfd.platform;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.spi.Announce;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * A realm of Arm CCA. The {@link Rmm} maps and unmaps its granules, and keeps for each address
 * whether it is empty, memory, or memory whose content was destroyed.
 *
 * <ul>
 *   <li>A fault delegates a granule and creates it as data without content. The realm accepts it by
 *       a change of its state to {@link Ripas#RAM}, and finds zeroes.
 *   <li>Unmapping destroys the data and undelegates the granule, which wipes it. The address is
 *       {@link Ripas#DESTROYED} then: the realm knows that its content is gone, and has to accept
 *       the page again before it may touch it.
 *   <li>Where the monitor refuses to destroy or to undelegate, the granule is lost to the host; the
 *       invalidation goes on.
 *   <li>{@link #populate} fills pages before the realm runs, and says how far it has come.
 * </ul>
 *
 * <p>After the series of Arm CCA in KVM, which is not merged, and the specification of the monitor.
 */
public final class CcaGuest extends PlatformGuest {
  /** What the realm's address is to the monitor: RIPAS. */
  public enum Ripas {
    /** Nothing the realm has accepted. */
    EMPTY,
    /** Memory of the realm. */
    RAM,
    /** Memory that was unmapped, with its content. */
    DESTROYED
  }

  private final Rmm rmm;
  private final int realm;
  private final Map<Long, Ripas> states = new ConcurrentHashMap<>();
  private final AtomicLong measured = new AtomicLong();

  /**
   * Makes a realm that has not been activated.
   *
   * @param rmm the monitor of the host whose frames its file has
   */
  public CcaGuest(Rmm rmm) {
    this.rmm = Objects.requireNonNull(rmm, "rmm");
    this.realm = rmm.newRealm();
  }

  @Override
  public Content content() {
    return Content.DESTROYED;
  }

  /**
   * What a page is to the monitor.
   *
   * @param offset any byte of the page
   * @return its state
   */
  public Ripas ripas(long offset) {
    return Announce.read(states).getOrDefault(offset & -4096, Ripas.EMPTY);
  }

  private Rmm.Granule data(long offset) {
    return new Rmm.Granule(realm, offset);
  }

  @Override
  Errno mapLeaf(long offset, int pfn, boolean accessible) {
    return create(Rmm.Call.DATA_CREATE_UNKNOWN, pfn, offset);
  }

  /** Delegates a granule and makes it the realm's; what has been done is undone on failure. */
  private Errno create(Rmm.Call call, int pfn, long offset) {
    Errno errno = rmm.delegate(pfn);
    if (errno != Errno.OK) {
      return errno;
    }
    errno = rmm.create(call, pfn, data(offset));
    if (errno != Errno.OK) {
      undelegate(pfn);
    }
    return errno;
  }

  private void undelegate(int pfn) {
    if (rmm.undelegate(pfn) == Errno.OK) {
      wipe(content(pfn));
    } else {
      lose(pfn, "it cannot be undelegated");
    }
  }

  @Override
  Errno acceptLeaf(long offset, int pfn) {
    wipe(content(pfn));
    Announce.write(states).put(offset, Ripas.RAM);
    return Errno.OK;
  }

  @Override
  boolean unmapLeaf(long offset, int pfn) {
    Announce.write(states).replace(offset, Ripas.RAM, Ripas.DESTROYED);
    if (rmm.destroy(pfn, data(offset)) == Errno.OK) {
      undelegate(pfn);
    } else {
      lose(pfn, "its data cannot be destroyed");
    }
    return true;
  }

  // ---- the launch ----

  /**
   * Fills pages before the realm runs: {@code KVM_ARM_RMI_POPULATE}. The pages must be private.
   *
   * @param memfd the file whose client this is
   * @param base where the pages begin, a multiple of 4096
   * @param size how many bytes, a positive multiple of 4096
   * @param source the content, from its position on, which moves by what has been done
   * @param measure whether the content is part of the realm's measurement
   * @return how far it has come. The answer is EINVAL for wrong arguments, or if the realm runs;
   *     EBADF; EDEADLK from inside a callback. Of the first page: EINVAL if it is not private;
   *     EEXIST if it is mapped; EIO if the monitor refuses; EINTR; and as {@link GuestMemfd#grab}
   */
  public Populated populate(
      GuestMemfd memfd, long base, long size, ByteBuffer source, boolean measure) {
    Objects.requireNonNull(source, "source");
    Errno errno = Population.check(memfd, base, size, source);
    if (errno == Errno.OK && runs()) {
      errno = Errno.EINVAL;
    }
    return errno == Errno.OK
        ? Population.run(base, size, source, (at, content) -> populate(memfd, at, content, measure))
        : new Populated(0, errno, errno);
  }

  private Errno populate(
      GuestMemfd memfd, long offset, @Nullable ByteBuffer content, boolean measure) {
    return mapForLaunch(
        memfd,
        offset,
        pfn -> {
          Errno errno = create(Rmm.Call.DATA_CREATE, pfn, offset);
          if (errno == Errno.OK) {
            fill(content(pfn), Objects.requireNonNull(content));
            Announce.write(states).put(offset, Ripas.RAM);
            if (measure) {
              Announce.write(measured).getAndIncrement();
            }
          }
          return errno;
        });
  }

  /**
   * How many pages are part of the measurement.
   *
   * @return the number
   */
  public long measuredPages() {
    return Announce.read(measured).get();
  }

  @Override
  Errno launch() {
    return rmm.activate();
  }

  /** The realm, its number and its state. */
  @Override
  public String toString() {
    return "CcaGuest[realm=" + realm + (runs() ? ", launched" : "") + "]";
  }
}
