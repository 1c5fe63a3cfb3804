package io.github.guestmemfd.testing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.Wait;
import org.junit.jupiter.api.Test;

/** Results that no order of whole calls has are found, and no others. */
class LinearizabilityTest {
  private static final IdleStrategy IDLE = IdleStrategy.spinThenPark();

  /** Counters whose words are announced. */
  private static final class Counters {
    private final int[] words = new int[3];

    int get(int i) {
      Announce.read(words, i);
      return words[i];
    }

    void set(int i, int value) {
      Announce.write(words, i);
      words[i] = value;
    }

    int addAndGet(int i) {
      Announce.write(words, i);
      return ++words[i];
    }

    /** Broken: in two steps. */
    int addInTwo(int i) {
      int value = get(i) + 1;
      set(i, value);
      return value;
    }

    int total() {
      return words[0] + words[1] + words[2];
    }
  }

  @Test
  void anUpdateInOneStepIs() {
    Interleavings.Report report =
        Interleavings.of(Counters::new)
            .call("a", c -> c.addAndGet(0))
            .call("a", c -> c.addAndGet(0))
            .call("b", c -> c.addAndGet(0))
            .linearizable(Counters::total)
            .explore();
    assertThat(report.complete()).isTrue();
  }

  @Test
  void anUpdateInTwoStepsIsNot() {
    assertThatThrownBy(
            () ->
                Interleavings.of(Counters::new)
                    .call("a", c -> c.addInTwo(0))
                    .call("b", c -> c.addInTwo(0))
                    .linearizable(Counters::total)
                    .explore())
        .isInstanceOf(AssertionError.class)
        .hasMessageContaining("not linearizable: a 1, b 1, at the end 1")
        .hasMessageContaining("a 1, b 2, at the end 2");
  }

  /** Each result for itself could be right: a call that is over is not seen by a later one. */
  @Test
  void aCallThatIsOverIsSeen() {
    assertThatThrownBy(
            () ->
                Interleavings.of(Counters::new)
                    .call("writer", c -> null)
                    .call("writer", c -> setLate(c))
                    .call("reader", c -> c.get(0))
                    .call("other", c -> c.get(1))
                    .linearizable(c -> "")
                    .explore())
        .hasMessageContaining("not linearizable");
  }

  /** Broken: lets a reader of the first word see what a later reader of the second does not. */
  private static Object setLate(Counters c) {
    c.set(0, 1);
    c.set(1, 1);
    return "set";
  }

  /** Calls on different words do not depend on each other, and yet one is over before the other. */
  @Test
  void callsOnDifferentWordsAreOrderedToo() {
    assertThatThrownBy(
            () ->
                Interleavings.of(Counters::new)
                    .call("b", c -> c.get(1) * 10 + c.get(0))
                    .call("a", c -> c.addAndGet(0))
                    .call("c", c -> c.addAndGet(1))
                    .linearizable(c -> "")
                    .explore())
        .hasMessageContaining("not linearizable");
  }

  @Test
  void anExceptionIsAResult() {
    Interleavings.Report report =
        Interleavings.of(Counters::new)
            .call("a", LinearizabilityTest::refuseTheSecond)
            .call("b", LinearizabilityTest::refuseTheSecond)
            .linearizable(Counters::total)
            .explore();
    assertThat(report.complete()).isTrue();
    assertThat(report.counterexample()).isEmpty();
  }

  private static Object refuseTheSecond(Counters c) {
    if (c.addAndGet(0) == 2) {
      throw new GuestMemfdException(Errno.EBUSY, "second");
    }
    return "first";
  }

  /** A call that waits for another thread lets it go on. */
  @Test
  void aCallMayWaitForAnother() {
    Interleavings.Report report =
        Interleavings.of(Counters::new)
            .call(
                "a",
                c -> {
                  Wait.await(IDLE, () -> c.get(0) > 0, 1_000);
                  return c.get(1);
                })
            .call("b", c -> c.addAndGet(1))
            .call("b", c -> c.addAndGet(0))
            .linearizable(Counters::total)
            .explore();
    assertThat(report.complete()).isTrue();
  }

  @Test
  void whatIsWrongOneAtATimeIsSaid() {
    assertThatThrownBy(
            () ->
                Interleavings.of(Counters::new)
                    .call("a", c -> c.addAndGet(0))
                    .linearizable(Counters::total)
                    .atEnd(
                        c -> {
                          throw new IllegalStateException("never right");
                        })
                    .explore())
        .hasMessageContaining("calls one at a time are wrong")
        .hasMessageContaining("never right");
  }
}
