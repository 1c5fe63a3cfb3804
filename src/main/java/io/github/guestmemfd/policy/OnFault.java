package io.github.guestmemfd.policy;

import io.github.guestmemfd.kvm.MemoryAttribute;
import java.util.Optional;

/** Converts what vCPUs use, when they use it: {@link ConversionPolicy#onFault}. */
final class OnFault implements ConversionPolicy {
  static final OnFault INSTANCE = new OnFault();

  private OnFault() {}

  @Override
  public String id() {
    return "on-fault";
  }

  @Override
  public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
    return Optional.of(pages);
  }

  @Override
  public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
    return Optional.empty();
  }
}
