package io.github.guestmemfd.kvm;

import io.github.guestmemfd.Errno;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdException;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * A virtual machine: which guest addresses are backed by which part of which guest_memfd.
 *
 * <p>Models the part of {@code KVM_SET_USER_MEMORY_REGION2} that concerns guest_memfd, with the
 * answers of Linux 6.18 in its order.
 */
public final class VirtualMachine {

  /** One past the largest slot number of a user. */
  public static final int USER_SLOTS = 32764;

  private static final long PAGE_MASK = 4095;
  private static final long MAX_SLOT_BYTES = 1L << 43;
  private static final long GPA_LIMIT = 1L << 52;

  private final ReentrantLock slotsLock = new ReentrantLock();
  private final Map<Integer, Memslot> slots = new HashMap<>();

  /** Makes a virtual machine without memory. */
  public VirtualMachine() {}

  /**
   * Makes a memslot, or deletes it if the size is 0.
   *
   * @param slot its number, 0 to 32763
   * @param gpa the first guest physical address, unsigned
   * @param size the size in bytes, unsigned
   * @param memfd the file behind it, ignored when a slot is deleted
   * @param offset where the range starts in the file
   * @throws GuestMemfdException in this order: EINVAL if a number is not a multiple of 4096, or
   *     wraps when the size is added, or the slot number or size is too large, or a slot to be
   *     deleted does not exist, or a slot to be made does; EEXIST if the guest addresses overlap
   *     another slot; EBADF if the descriptor is closed; EINVAL if the file is of another virtual
   *     machine, the range is not in the file, or overlaps that of another slot, or the guest
   *     addresses reach beyond 2^52
   */
  public void setUserMemoryRegion2(
      int slot, long gpa, long size, @Nullable GuestMemfd memfd, long offset) {
    slotsLock.lock();
    try {
      String problem = problem(slot, gpa, size, offset);
      if (problem != null) {
        throw refuse(Errno.EINVAL, slot, problem);
      }
      if (size == 0) {
        if (slots.remove(slot) == null) {
          throw refuse(Errno.EINVAL, slot, "there is none to delete");
        }
        return;
      }
      if (slots.containsKey(slot)) {
        throw refuse(Errno.EINVAL, slot, "exists, and cannot be changed: " + slots.get(slot));
      }
      for (Memslot other : slots.values()) {
        if (other.overlapsGuest(gpa, size)) {
          throw refuse(Errno.EEXIST, slot, "guest addresses overlap " + other);
        }
      }
      if (memfd == null || !memfd.isOpen()) {
        throw refuse(Errno.EBADF, slot, "the descriptor is closed: " + memfd);
      }
      // Signed, as the kernel computes it: a sum past 2^63 - 1 is negative, and passes.
      if (offset < 0 || offset + size > memfd.size()) {
        throw refuse(
            Errno.EINVAL, slot, "offset " + offset + " size " + size + " is not in " + memfd);
      }
      for (Memslot other : slots.values()) {
        if (other.overlapsFile(memfd, offset, size)) {
          throw refuse(Errno.EINVAL, slot, "file range overlaps " + other);
        }
      }
      if (Long.compareUnsigned(gpa + size, GPA_LIMIT) > 0) {
        throw refuse(Errno.EINVAL, slot, "guest addresses reach beyond 2^52");
      }
      if (!memfd.bindTo(this)) {
        throw refuse(Errno.EINVAL, slot, "the file is of another virtual machine: " + memfd);
      }
      slots.put(slot, new Memslot(slot, gpa, size, memfd, offset));
    } finally {
      slotsLock.unlock();
    }
  }

  private static @Nullable String problem(int slot, long gpa, long size, long offset) {
    if (slot < 0 || slot >= USER_SLOTS) {
      return "expected slot 0 to " + (USER_SLOTS - 1);
    }
    if (((gpa | size | offset) & PAGE_MASK) != 0) {
      return "expected multiples of 4096, actual gpa 0x"
          + Long.toHexString(gpa)
          + " size "
          + size
          + " offset "
          + offset;
    }
    if (Long.compareUnsigned(gpa + size, gpa) < 0) {
      return "gpa 0x" + Long.toHexString(gpa) + " wraps when size " + size + " is added";
    }
    if (Long.compareUnsigned(offset + size, offset) < 0) {
      return "offset " + offset + " wraps when size " + size + " is added";
    }
    if (Long.compareUnsigned(size, MAX_SLOT_BYTES) >= 0) {
      return "expected a size below 2^43, actual " + size;
    }
    return null;
  }

  private static GuestMemfdException refuse(Errno errno, int slot, String why) {
    return new GuestMemfdException(errno, "memslot " + slot + ": " + why);
  }

  /**
   * Makes a memslot.
   *
   * @param slot its number, 0 to 32763
   * @param gpa the first guest physical address
   * @param size the size in bytes, not 0
   * @param memfd the file behind it
   * @param offset where the range starts in the file
   * @throws GuestMemfdException as {@link #setUserMemoryRegion2}; EINVAL for size 0
   */
  public void bind(int slot, long gpa, long size, GuestMemfd memfd, long offset) {
    if (size == 0) {
      throw refuse(Errno.EINVAL, slot, "expected a size above 0");
    }
    setUserMemoryRegion2(slot, gpa, size, memfd, offset);
  }

  /**
   * Deletes a memslot. The content of the file stays.
   *
   * @param slot its number
   * @throws GuestMemfdException EINVAL if there is none
   */
  public void unbind(int slot) {
    setUserMemoryRegion2(slot, 0, 0, null, 0);
  }

  /**
   * The memslot that covers a guest address.
   *
   * @param gpa the guest physical address
   * @return the slot, if there is one
   */
  public Optional<Memslot> memslotAt(long gpa) {
    slotsLock.lock();
    try {
      return slots.values().stream().filter(s -> s.overlapsGuest(gpa, 1)).findAny();
    } finally {
      slotsLock.unlock();
    }
  }
}
