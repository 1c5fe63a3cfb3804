package io.github.guestmemfd.policy;

import io.github.guestmemfd.kvm.MemoryAttribute;
import java.util.List;
import java.util.Optional;

/**
 * When the pages of a guest are converted, and how many at a time. A policy decides; {@code
 * ConversionHandler} does what it decides.
 *
 * <p>A policy may keep state, and is then for one virtual machine. Its methods are called by the
 * threads of all vCPUs at once.
 */
public interface ConversionPolicy {

  /**
   * Its name, as on the command line.
   *
   * @return lower-case words with hyphens
   */
  String id();

  /**
   * What to convert to private before the first vCPU runs.
   *
   * @param memory the guest's memory
   * @return ranges in it; none by default
   */
  default List<GpaRange> beforeFirstRun(GpaRange memory) {
    return List.of();
  }

  /**
   * What to convert because a vCPU has used pages with the other view.
   *
   * @param pages what it used
   * @param attribute the view that it used, which pages have to become for it to go on
   * @return a range that contains the pages; or nothing, if this is an error of the guest
   */
  Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute);

  /**
   * What to convert because the guest asks for it.
   *
   * @param range what it asked for
   * @param attribute what it is to be
   * @return a range; or nothing, if the hypercall is to succeed without a conversion
   */
  Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute);

  /**
   * Hears of a conversion that was done for one of its answers.
   *
   * @param range what has been converted
   * @param attribute what it is now
   */
  default void converted(GpaRange range, MemoryAttribute attribute) {}
}
