package io.github.guestmemfd.lab.report;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What the verdict says of a protocol comes from the protocol. */
class VerdictTest {

  @Test
  void eachShippedProtocolSaysWhenToChooseIt() {
    List<Verdict.Row> rows = Verdict.of(Measurements.sample(1)).rows();
    assertThat(rows)
        .extracting(Verdict.Row::when)
        .containsExactlyElementsOf(
            ConversionProtocol.all().stream().map(ConversionProtocol::chooseIt).toList())
        .doesNotHaveDuplicates()
        .allSatisfy(text -> assertThat(text).matches("[a-z].+[.]").hasSizeLessThan(100));
  }

  @Test
  void oneThatIsNotKnownDoesNotSayWhen() {
    assertThat(Verdict.of(Measurements.rounds("unknown", 1, 2, 3)).rows())
        .extracting(Verdict.Row::when)
        .containsExactly("as you know best: it does not say when.");
  }
}
