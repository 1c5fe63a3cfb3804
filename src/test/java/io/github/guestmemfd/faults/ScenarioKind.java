package io.github.guestmemfd.faults;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.util.EnumSet;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;

/** A scenario, how to begin it, and for which protocols it makes sense. */
final class ScenarioKind {
  final String name;
  final Function<Bench, Scenario> factory;
  final Set<Fault.Kind> lacks = EnumSet.noneOf(Fault.Kind.class);
  boolean lruBatches;
  boolean usesUpFrames;
  boolean remembersFrames;
  boolean recorded;
  private Predicate<ConversionProtocol> suits = ConversionProtocol::isSound;

  ScenarioKind(String name, Function<Bench, Scenario> factory) {
    this.name = name;
    this.factory = factory;
  }

  /** It has nothing that could fail in these ways. */
  ScenarioKind without(Fault.Kind... kinds) {
    lacks.addAll(Set.of(kinds));
    return this;
  }

  /** Nothing of it is the client's to fail. */
  ScenarioKind withoutClient() {
    for (Fault.Kind kind : Fault.Kind.values()) {
      if (kind.isOfCallbacks()) {
        lacks.add(kind);
      }
    }
    return this;
  }

  /** Only where that holds of the protocol. */
  ScenarioKind onlyIf(Predicate<ConversionProtocol> condition) {
    suits = suits.and(condition);
    return this;
  }

  ScenarioKind withLruBatches() {
    lruBatches = true;
    return this;
  }

  /** Frames fail in it for good, so that each run needs a host of its own. */
  ScenarioKind usesUpFrames() {
    usesUpFrames = true;
    return this;
  }

  /** It names frames by number that it has seen in pages, which therefore must not move. */
  ScenarioKind remembersFrames() {
    remembersFrames = true;
    return this;
  }

  /** Its files have a listener, and so descriptors and mappings of other classes. */
  ScenarioKind recorded() {
    recorded = true;
    return this;
  }

  boolean suits(ConversionProtocol protocol) {
    return suits.test(protocol);
  }

  @Override
  public String toString() {
    return name;
  }
}
