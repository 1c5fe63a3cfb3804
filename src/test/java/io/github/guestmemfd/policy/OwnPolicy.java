package io.github.guestmemfd.policy;

import io.github.guestmemfd.kvm.MemoryAttribute;
import java.util.Optional;

/** A user's own policy, as a service is found. */
public final class OwnPolicy implements ConversionPolicy {

  /** For who finds it as a service. */
  public OwnPolicy() {}

  @Override
  public String id() {
    return "own";
  }

  @Override
  public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
    return Optional.of(pages);
  }

  @Override
  public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
    return Optional.of(range);
  }
}
