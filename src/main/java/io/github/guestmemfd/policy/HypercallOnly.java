package io.github.guestmemfd.policy;

import io.github.guestmemfd.kvm.MemoryAttribute;
import java.util.Optional;

/** Converts as the guest asks: {@link ConversionPolicy#hypercallOnly}. */
final class HypercallOnly implements ConversionPolicy {
  static final HypercallOnly INSTANCE = new HypercallOnly();

  private HypercallOnly() {}

  @Override
  public String id() {
    return "hypercall";
  }

  @Override
  public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
    return Optional.empty();
  }

  @Override
  public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
    return Optional.of(range);
  }
}
