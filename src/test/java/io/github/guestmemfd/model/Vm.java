package io.github.guestmemfd.model;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.model.Outcome.Stop;
import java.util.Map;
import java.util.TreeMap;

/** The memslots of a virtual machine, each with a range of a file. */
final class Vm {
  private record Slot(long gpa, long size, SequentialModel.File file, long offset) {}

  private final Map<Integer, Slot> slots = new TreeMap<>();

  /** Makes a memslot; deletes it if the size is 0. */
  void set(int number, long gpa, long size, SequentialModel.Descriptor fd, long offset) {
    if (number < 0
        || number > 32763
        || gpa % SequentialModel.PAGE != 0
        || size % SequentialModel.PAGE != 0
        || (size != 0
            && offset % SequentialModel.PAGE != 0) // no file in a deletion: its offset is not read
        || wraps(gpa, size)
        || wraps(offset, size)
        || Long.compareUnsigned(size, 1L << 43) >= 0) {
      throw new Stop(Errno.EINVAL);
    }
    if (size == 0) {
      if (slots.remove(number) == null) {
        throw new Stop(Errno.EINVAL);
      }
      return;
    }
    if (slots.containsKey(number)) {
      throw new Stop(Errno.EINVAL);
    }
    for (Slot other : slots.values()) {
      if (meet(gpa, size, other.gpa, other.size)) {
        throw new Stop(Errno.EEXIST);
      }
    }
    SequentialModel.requireOpen(fd);
    if (fd.file.vm != null && fd.file.vm != this) {
      throw new Stop(Errno.EINVAL);
    }
    if (offset < 0 || offset + size > fd.file.size()) {
      throw new Stop(Errno.EINVAL);
    }
    for (Slot other : slots.values()) {
      if (other.file == fd.file && meet(offset, size, other.offset, other.size)) {
        throw new Stop(Errno.EINVAL);
      }
    }
    if (Long.compareUnsigned(gpa + size, 1L << 52) > 0) {
      throw new Stop(Errno.EINVAL);
    }
    fd.file.vm = this;
    slots.put(number, new Slot(gpa, size, fd.file, offset));
  }

  /** The number of the slot at a guest address; -1 for none. */
  int slotAt(long gpa) {
    for (Map.Entry<Integer, Slot> slot : slots.entrySet()) {
      if (meet(gpa, 1, slot.getValue().gpa, slot.getValue().size)) {
        return slot.getKey();
      }
    }
    return -1;
  }

  private static boolean wraps(long start, long size) {
    return Long.compareUnsigned(start + size, start) < 0;
  }

  private static boolean meet(long a, long sizeA, long b, long sizeB) {
    return Long.compareUnsigned(a, b + sizeB) < 0 && Long.compareUnsigned(b, a + sizeA) < 0;
  }
}
