package io.github.guestmemfd.model;

import static io.github.guestmemfd.model.SequentialModel.PAGE;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.MemoryPolicy.Mode;
import io.github.guestmemfd.model.Outcome.Stop;
import io.github.guestmemfd.model.SequentialModel.Mapping;
import java.util.Set;

/**
 * The NUMA policies of the model: those of mappings, as in Linux 6.18. The host has node 0 alone.
 */
final class Mempolicies {
  private Mempolicies() {}

  /** See mbind(2), without flags. */
  static void mbind(Mapping mapping, long offset, long length, MemoryPolicy policy) {
    SequentialModel.requireMapped(mapping);
    boolean wraps = length <= -PAGE && length >= -(1L << 47) + PAGE; // ends below the start
    if (offset % PAGE != 0 || wraps) {
      throw new Stop(Errno.EINVAL);
    }
    if (length <= 0 && length > -PAGE) { // rounded up, it is 0
      return;
    }
    boolean takesNone = Set.of(Mode.DEFAULT, Mode.LOCAL).contains(policy.mode());
    boolean isLocal = policy.mode() == Mode.PREFERRED && policy.nodes() == 0;
    if (!isLocal && (takesNone ? policy.nodes() != 0 : policy.nodes() % 2 == 0)) {
      throw new Stop(Errno.EINVAL);
    }
    long first = Math.floorDiv(offset, PAGE);
    long end = length < 0 ? Long.MAX_VALUE : first + SequentialModel.pages(length);
    long to = first;
    while (to < end && mapping.areas.isMapped(to)) {
      to = mapping.areas.end(to);
    }
    if (to < end && (policy.mode() != Mode.DEFAULT || !mapping.areas.isAnyMapped(first, end))) {
      throw new Stop(Errno.EFAULT);
    }
    MemoryPolicy kept =
        isLocal
            ? new MemoryPolicy(Mode.LOCAL, 0)
            : new MemoryPolicy(policy.mode(), policy.nodes() & 1);
    mapping.areas.change(first, end, area -> area.with(kept));
  }

  /** See get_mempolicy(2), of an address. */
  static MemoryPolicy get(Mapping mapping, long offset) {
    SequentialModel.requireMapped(mapping);
    long page = Math.floorDiv(offset, PAGE);
    if (!mapping.areas.isMapped(page)) {
      throw new Stop(Errno.EFAULT);
    }
    return mapping.areas.area(page).policy();
  }
}
