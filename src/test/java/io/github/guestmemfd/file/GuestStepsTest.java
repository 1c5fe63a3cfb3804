package io.github.guestmemfd.file;

import static io.github.guestmemfd.conversion.Step.LOCK;
import static io.github.guestmemfd.conversion.Step.REF;
import static io.github.guestmemfd.conversion.Step.REF_AND_SAFE;
import static io.github.guestmemfd.conversion.Step.SAFE;
import static io.github.guestmemfd.conversion.Step.UNLOCK;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.memory.Counts;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The steps of a user's protocol are checked when a file is created. */
class GuestStepsTest {

  private record Steps(List<Step> guestTakes, List<Step> guestDrops) implements ConversionProtocol {
    @Override
    public String id() {
      return "mine";
    }

    @Override
    public boolean mayTurnInaccessible(int refs, int safe) {
      return false;
    }
  }

  private static void build(ConversionProtocol protocol) {
    try (HostMemory host = HostMemory.metadataOnly(1 << 20)) {
      GuestMemfd.builder(host).size(4096).protocol(protocol).build().close();
    }
  }

  static Stream<Arguments> wrong() {
    return Stream.of(
        Arguments.of(List.of(), List.of(), "at least one step"),
        Arguments.of(List.of(SAFE, REF), List.of(REF, SAFE), "SAFE after REF, or alone"),
        Arguments.of(List.of(LOCK, SAFE), List.of(SAFE, LOCK), "SAFE after REF, or alone"),
        Arguments.of(List.of(REF, REF_AND_SAFE), List.of(REF), "REF_AND_SAFE first"),
        Arguments.of(List.of(LOCK, REF_AND_SAFE), List.of(LOCK), "REF_AND_SAFE first"),
        Arguments.of(List.of(REF_AND_SAFE, REF), List.of(REF), "not both"),
        Arguments.of(List.of(REF, REF), List.of(REF, REF), "each step once"),
        Arguments.of(List.of(REF, UNLOCK), List.of(REF), "UNLOCK after LOCK"),
        Arguments.of(List.of(UNLOCK), List.of(), "UNLOCK after LOCK"),
        Arguments.of(List.of(REF, SAFE), List.of(REF), "to drop what is held"),
        Arguments.of(List.of(REF), List.of(REF, SAFE), "to drop what is held"),
        Arguments.of(List.of(REF, SAFE), List.of(REF, LOCK), "to drop what is held"),
        Arguments.of(List.of(REF, LOCK, UNLOCK), List.of(LOCK, REF), "to drop what is held"),
        Arguments.of(List.of(LOCK, UNLOCK, REF), List.of(REF), "REF first, or with the folio"),
        Arguments.of(List.of(LOCK, UNLOCK), List.of(), "to hold something"));
  }

  @ParameterizedTest
  @MethodSource("wrong")
  void refusesStepsThatMakeNoSense(List<Step> takes, List<Step> drops, String problem) {
    assertThatThrownBy(() -> build(new Steps(takes, drops)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("protocol mine: expected")
        .hasMessageContaining(problem)
        .hasMessageContaining("actual takes " + takes)
        .hasNoSuppressedExceptions(); // the host can be closed
  }

  /** A count that is frozen cannot be raised or lowered by a holder that has no other. */
  @Test
  void refusesToFreezeTheOnlyCountOfItsHolders() {
    ConversionProtocol freezing =
        new ForwardingProtocol(new Steps(List.of(SAFE), List.of(SAFE))) {
          @Override
          public boolean freezes() {
            return true;
          }
        };
    assertThatThrownBy(() -> build(freezing)).hasMessageContaining("holders with a reference");
    build(new Steps(List.of(SAFE), List.of(SAFE)));
  }

  static Stream<Arguments> meanings() {
    return Stream.of(
        Arguments.of(ConversionProtocol.bothCounters(), 1, 2, 2),
        Arguments.of(ConversionProtocol.atomicPair(), 1, 2, 2),
        Arguments.of(ConversionProtocol.safeOnly(), 0, 2, 0),
        Arguments.of(ConversionProtocol.lockOnly(), 0, 0, 0),
        Arguments.of(ConversionProtocol.invalidateLock(), 1, 0, 0));
  }

  /** What the counts of two holders are taken for. */
  @ParameterizedTest
  @MethodSource("meanings")
  void whatIsHeld(ConversionProtocol protocol, int refsOfOne, int safe, int safeRefs) {
    GuestSteps steps = new GuestSteps(protocol);
    assertThat(steps.refsOfOne()).isEqualTo(refsOfOne);
    assertThat(steps.safe(2 * Counts.SAFE_REF)).isEqualTo(safe);
    assertThat(steps.safeRefs(2 * Counts.SAFE_REF)).isEqualTo(safeRefs);
  }

  @Test
  void dropsInReverseOrderWhatIsStillHeld() {
    assertThat(ConversionProtocol.bothCounters().guestDrops()).containsExactly(SAFE, REF);
    assertThat(ConversionProtocol.timedWait().guestDrops()).containsExactly(SAFE, REF);
    assertThat(ConversionProtocol.lockOnly().guestDrops()).containsExactly(LOCK);
    assertThat(ConversionProtocol.atomicPair().guestDrops()).containsExactly(REF_AND_SAFE);
  }

  @Test
  void acceptsEveryShippedProtocol() {
    assertThat(ConversionProtocol.all()).isNotEmpty().doesNotHaveDuplicates();
    for (ConversionProtocol protocol : ConversionProtocol.all()) {
      build(protocol);
      assertThat(ConversionProtocol.byId(protocol.id())).contains(protocol);
    }
    assertThat(ConversionProtocol.all().stream().filter(p -> !p.isSound()))
        .containsExactly(ConversionProtocol.pinCheck());
  }
}
