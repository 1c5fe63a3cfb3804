package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Pages;

/**
 * The NUMA policies of a mapping: {@code mbind} and {@code get_mempolicy}.
 *
 * <p>A mapping has the policy that was set through it, by areas. The file may keep policies besides
 * (a {@link SharedPolicy}), and then these are what is asked for. An area that has the policy
 * already is left alone, and so is what the file has for it, however that has changed since: the
 * kernel compares with the area too.
 */
public final class Mempolicy {
  private final Inode inode;
  private final Remap remap;

  Mempolicy(Inode inode, Remap remap) {
    this.inode = inode;
    this.remap = remap;
  }

  /**
   * Sets the policy of a range.
   *
   * @param mapping the mapping
   * @param offset the start in bytes
   * @param length the length in bytes, rounded up to whole pages
   * @param policy the policy
   */
  public void mbind(Mapping mapping, long offset, long length, MemoryPolicy policy) {
    String call = "mbind " + policy + Hex.range(offset, length) + " of " + mapping;
    CallbackContext.forbid("mbind");
    mapping.requireMapped();
    Remap.requireAligned(offset, call);
    long rounded = (length + Pages.OFFSET_MASK) & ~Pages.OFFSET_MASK; // as unsigned: -1 is 0
    if (rounded < 0 && rounded >= -Mapping.TASK_SIZE) {
      throw Remap.refused(Errno.EINVAL, call, "expected an end that is not below the start");
    }
    if (rounded == 0) {
      return;
    }
    MemoryPolicy kept = policy.normalized();
    remap.locked(
        mapping,
        call,
        () -> {
          set(mapping, Pages.index(offset), rounded >>> Pages.SHIFT, kept, call);
          return mapping;
        });
  }

  private void set(Mapping mapping, long first, long count, MemoryPolicy policy, String call) {
    Areas areas = mapping.areas();
    long from = mapping.clip(first);
    long to = mapping.clip(first + count);
    boolean inside = from == first && to == first + count;
    boolean isMapped = inside && areas.mappedUpTo(from, to) == to;
    if (!isMapped && (policy.mode() != MemoryPolicy.Mode.DEFAULT || !areas.isAnyMapped(from, to))) {
      throw Remap.refused(Errno.EFAULT, call, "expected a range that is mapped");
    }
    int bits = Areas.policy(policy);
    SharedPolicy shared = inode.sharedPolicy;
    for (long page = from, next; page < to; page = next) {
      next = Math.min(areas.end(page), to);
      int old = areas.at(page);
      if (old != Areas.UNMAPPED && (old & Areas.POLICY) != bits) {
        mapping.change(page, next, b -> (b & ~Areas.POLICY) | bits);
        if (shared != null) {
          shared.set(mapping.firstIndex + page, mapping.firstIndex + next, bits);
        }
      }
    }
  }

  /**
   * The policy of a page.
   *
   * @param mapping the mapping
   * @param offset any byte of the page
   * @return the policy, as it was kept
   */
  public MemoryPolicy at(Mapping mapping, long offset) {
    mapping.requireMapped();
    long page = Pages.index(offset);
    Areas areas = mapping.areas();
    if (!Remap.isMapped(areas, page)) {
      String call = "get_mempolicy at offset " + Hex.of(offset) + " of " + mapping;
      throw Remap.refused(Errno.EFAULT, call, "expected a page that is mapped");
    }
    SharedPolicy shared = inode.sharedPolicy;
    return Areas.policy(shared == null ? areas.at(page) : shared.at(mapping.firstIndex + page));
  }
}
