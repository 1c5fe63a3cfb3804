package io.github.guestmemfd.kvm;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The user addresses of the process that a virtual machine belongs to, as far as memory of the host
 * is there: the kernel's {@code mm}. The areas are those of {@link HostRam}.
 */
final class UserMemory {
  /** Where the first area goes whose maker does not say where. */
  private static final long FIRST_ADDRESS = 0x7f00_0000_0000L;

  /** Where such an area goes at the lowest: {@code vm.mmap_min_addr}. */
  private static final long LOWEST_ADDRESS = 0x1_0000;

  /** Memory of the host at a user address. */
  record Area(long address, long size, GuestMemfd file) {
    long end() {
      return address + size;
    }
  }

  private final Mutex lock = new Mutex(LockClass.SLOTS_LOCK);

  /** By address; replaced as a whole, under the lock. */
  private volatile TreeMap<Long, Area> areas = new TreeMap<>();

  /** Of the one host whose memory is there; null as long as none ever was. */
  private volatile @Nullable FrameAccess frames;

  private @Nullable HostMemory host;

  /** The memory at a user address; null if there is none. */
  @Nullable Area at(long address) {
    Map.Entry<Long, Area> entry = Announce.read(this).areas.floorEntry(address);
    return entry != null && address < entry.getValue().end() ? entry.getValue() : null;
  }

  /** The memory between two user addresses, in ascending order. */
  List<Area> between(long from, long to) {
    TreeMap<Long, Area> now = Announce.read(this).areas;
    List<Area> found = new ArrayList<>();
    Area first = at(from);
    if (first != null && first.address < from) {
      found.add(first);
    }
    found.addAll(now.subMap(from, to).values());
    return found;
  }

  /** The accesses to its frames; null as long as no memory ever was there. */
  @Nullable FrameAccess frames() {
    return Announce.read(this).frames;
  }

  /**
   * A user address at which nothing is.
   *
   * @param size how long nothing is to be there, a multiple of 4096
   */
  long free(long size) {
    TreeMap<Long, Area> now = Announce.read(this).areas;
    long high = free(now, FIRST_ADDRESS, size);
    return size <= MemslotRules.USER_LIMIT - high ? high : free(now, LOWEST_ADDRESS, size);
  }

  private static long free(NavigableMap<Long, Area> now, long lowest, long size) {
    Map.Entry<Long, Area> below = now.lowerEntry(lowest);
    long at = below == null ? lowest : Math.max(lowest, below.getValue().end());
    for (Area area : now.tailMap(at).values()) {
      if (size <= area.address - at) {
        break;
      }
      at = area.end();
    }
    return at;
  }

  /**
   * Refuses memory that would reach beyond the last user address.
   *
   * @throws GuestMemfdException ENOMEM
   */
  static void requireAddresses(long address, long size) {
    if (address < 0 || size > MemslotRules.USER_LIMIT - address) {
      throw new GuestMemfdException(
          Errno.ENOMEM,
          "host memory: expected an end of at most "
              + Hex.of(MemslotRules.USER_LIMIT)
              + ", actual "
              + Hex.of(address)
              + " and "
              + size
              + " bytes");
    }
  }

  /**
   * Puts memory at a user address.
   *
   * @throws GuestMemfdException EEXIST if something is there
   * @throws IllegalArgumentException if it is of another host than what is there already
   */
  void add(HostMemory of, Area area) {
    lock.lock();
    try {
      if (host != null && host != of) {
        throw new IllegalArgumentException(
            "host memory: expected memory of " + host + ", as the machine has, actual of " + of);
      }
      TreeMap<Long, Area> next = new TreeMap<>(Announce.read(this).areas);
      Map.Entry<Long, Area> below = next.lowerEntry(area.end());
      if (below != null && below.getValue().end() > area.address) {
        throw new GuestMemfdException(
            Errno.EEXIST,
            "host memory: expected free addresses from "
                + Hex.of(area.address)
                + " to "
                + Hex.of(area.end())
                + ", actual memory at "
                + Hex.of(below.getValue().address));
      }
      next.put(area.address, area);
      if (host == null) {
        host = of;
        Announce.write(this).frames = area.file.frameAccess();
      }
      Announce.write(this).areas = next;
    } finally {
      lock.unlock();
    }
  }

  /** Takes memory away, if it is there. */
  void remove(Area area) {
    lock.lock();
    try {
      TreeMap<Long, Area> next = new TreeMap<>(Announce.read(this).areas);
      if (next.remove(area.address, area)) {
        Announce.write(this).areas = next;
      }
    } finally {
      lock.unlock();
    }
  }
}
