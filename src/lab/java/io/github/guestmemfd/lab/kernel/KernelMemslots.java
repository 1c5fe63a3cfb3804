package io.github.guestmemfd.lab.kernel;

import com.sun.jna.Memory;
import com.sun.jna.Pointer;
import io.github.guestmemfd.trace.Trace;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Virtual machines of the kernel that runs here: their memslots, with dirty logs, attributes and
 * files. A machine is named by its descriptor. Safe for use by any number of threads.
 */
final class KernelMemslots {
  private static final int PAGE_SHIFT = 12;

  /** Memslots of this size are refused. */
  private static final long TOO_LARGE = 1L << 43;

  private record Slot(int vm, int number) {}

  private final String device;
  private final Map<String, Integer> machines = new ConcurrentHashMap<>();
  private final Map<Integer, KernelGuest> guests = new ConcurrentHashMap<>();

  /** The most pages that a memslot that is logged was ever asked to have: its bitmap has room. */
  private final Map<Slot, Long> mostPages = new ConcurrentHashMap<>();

  /** The pages that it has. */
  private final Map<Slot, Long> pages = new ConcurrentHashMap<>();

  /**
   * Begins with a machine.
   *
   * @param device what further ones are made by
   * @param vm the machine that every trace has, to be closed with the others
   */
  KernelMemslots(String device, int vm) {
    this.device = device;
    machines.put(Trace.MACHINE, vm);
  }

  void close() {
    guests.values().forEach(KernelGuest::close);
    guests.clear();
    machines.values().forEach(Libc::close);
    machines.clear();
  }

  private static String answer(int result) {
    return result < 0 ? Libc.name(Libc.errno()) : "ok";
  }

  // ---- machines ----

  boolean hasMachine(String name) {
    return machines.containsKey(name);
  }

  int machine(String name) {
    Integer vm = machines.get(name);
    if (vm == null) {
      throw new IllegalStateException(name + " was closed during the call");
    }
    return vm;
  }

  /** KVM_CREATE_VM; the descriptor, or -1. */
  static int createVm(int kvm, long type) {
    int vm;
    do {
      vm = Libc.ioctl(kvm, Libc.KVM_CREATE_VM, type);
    } while (vm < 0 && Libc.errno() == Libc.EINTR);
    return vm;
  }

  String createMachine(String name, long type) {
    int kvm = Libc.open(device, Libc.O_RDWR_CLOEXEC);
    if (kvm < 0) {
      throw new IllegalStateException(device + ": " + Libc.name(Libc.errno()));
    }
    int vm = createVm(kvm, type);
    String answer = answer(vm);
    Libc.close(kvm);
    if (vm >= 0) {
      machines.put(name, vm);
    }
    return answer;
  }

  /** KVM_CREATE_GUEST_MEMFD; the descriptor, or -1. */
  int createFile(int vm, long size, long flags) {
    return Libc.ioctl(vm, Libc.KVM_CREATE_GUEST_MEMFD, new long[] {size, flags, 0, 0, 0, 0, 0, 0});
  }

  // ---- memslots ----

  /** KVM_SET_USER_MEMORY_REGION2. */
  String set(int vm, int slot, int flags, long gpa, long size, long user, int fd, long offset) {
    Slot key = new Slot(vm, slot);
    if (size > 0 && size < TOO_LARGE && (flags & Libc.KVM_MEM_LOG_DIRTY_PAGES) != 0) {
      mostPages.merge(key, size >>> PAGE_SHIFT, Math::max); // before there is such a log
    }
    long[] region = new long[20];
    region[0] = (slot & 0xffff_ffffL) | ((long) flags << 32);
    region[1] = gpa;
    region[2] = size;
    region[3] = user;
    region[4] = offset;
    region[5] = fd & 0xffff_ffffL;
    String answer = answer(Libc.ioctl(vm, Libc.KVM_SET_USER_MEMORY_REGION2, region));
    if (answer.equals("ok")) {
      pages.put(key, size >>> PAGE_SHIFT);
    }
    return answer;
  }

  /** A bitmap with room for so many pages, all 0. */
  private static Memory bitmap(long pages) {
    Memory bitmap = new Memory((pages / Long.SIZE + 1) * Long.BYTES);
    bitmap.clear();
    return bitmap;
  }

  /** KVM_GET_DIRTY_LOG. */
  String dirtyLog(int vm, int slot) {
    try (Memory bitmap = bitmap(mostPages.getOrDefault(new Slot(vm, slot), 0L))) {
      long[] log = {slot & 0xffff_ffffL, Pointer.nativeValue(bitmap)};
      String answer = answer(Libc.ioctl(vm, Libc.KVM_GET_DIRTY_LOG, log));
      return answer.equals("ok") ? pages(bitmap) : answer;
    }
  }

  private static String pages(Memory bitmap) {
    List<String> pages = new ArrayList<>();
    for (long at = 0; at < bitmap.size(); at += Long.BYTES) {
      for (long word = bitmap.getLong(at); word != 0; word &= word - 1) {
        pages.add(Long.toString(at * Byte.SIZE + Long.numberOfTrailingZeros(word)));
      }
    }
    return pages.isEmpty() ? "none" : String.join(",", pages);
  }

  /** KVM_CLEAR_DIRTY_LOG by a bitmap of the whole memslot, or a longer one if need be. */
  String clearDirtyLog(int vm, int slot, long first, long count) {
    long all = Math.max(pages.getOrDefault(new Slot(vm, slot), 0L), first + count);
    try (Memory bitmap = bitmap(all)) {
      for (long page = first; page < first + count; page++) {
        long at = page / Byte.SIZE;
        bitmap.setByte(at, (byte) (bitmap.getByte(at) | 1 << page % Byte.SIZE));
      }
      long[] log = {(slot & 0xffff_ffffL) | all << 32, 0, Pointer.nativeValue(bitmap)};
      return answer(Libc.ioctl(vm, Libc.KVM_CLEAR_DIRTY_LOG, log));
    }
  }

  /** The guest of a machine, which gets one when it is first asked for. */
  KernelGuest guest(int vm) {
    return guests.computeIfAbsent(vm, of -> new KernelGuest(device, of));
  }

  /** KVM_SET_MEMORY_ATTRIBUTES. */
  String setAttributes(int vm, boolean isPrivate, long gpa, long size) {
    long attributes = isPrivate ? Libc.KVM_MEMORY_ATTRIBUTE_PRIVATE : 0;
    long[] range = {gpa, size, attributes, 0};
    return answer(Libc.ioctl(vm, Libc.KVM_SET_MEMORY_ATTRIBUTES, range));
  }
}
