package io.github.guestmemfd.policy;

import io.github.guestmemfd.kvm.MemoryAttribute;
import java.util.List;
import java.util.Optional;

/** Everything private at the start, then as the guest asks: {@link ConversionPolicy#eager}. */
final class Eager implements ConversionPolicy {
  static final Eager INSTANCE = new Eager();

  private Eager() {}

  @Override
  public String id() {
    return "eager";
  }

  @Override
  public List<GpaRange> beforeFirstRun(GpaRange memory) {
    return List.of(memory);
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
