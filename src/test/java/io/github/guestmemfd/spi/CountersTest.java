package io.github.guestmemfd.spi;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.spi.Counters.Reading;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;

class CountersTest {
  private enum Event {
    PAGE_TURNED,
    CUP_FILLED,
    DOOR_SLAMMED_SHUT
  }

  private final Counters<Event> whole = new Counters<>(Event.class);

  @Test
  void theWholeCountsWhatItsPartsCount() {
    Counters<Event> part = whole.part();
    Counters<Event> ofThePart = part.part();
    whole.count(Event.CUP_FILLED);
    part.add(Event.CUP_FILLED, 10);
    ofThePart.add(Event.CUP_FILLED, 100);
    assertThat(ofThePart.read().of(Event.CUP_FILLED)).isEqualTo(100);
    assertThat(part.read().of(Event.CUP_FILLED)).isEqualTo(110);
    assertThat(whole.read().of(Event.CUP_FILLED)).isEqualTo(111);
    assertThat(whole.read().of(Event.PAGE_TURNED)).isZero();
  }

  @Test
  void aReadingStaysAsItIs() {
    whole.count(Event.PAGE_TURNED);
    Reading<Event> then = whole.read();
    whole.add(Event.PAGE_TURNED, 2);
    assertThat(then.of(Event.PAGE_TURNED)).isEqualTo(1);
    assertThat(whole.read().minus(then).of(Event.PAGE_TURNED)).isEqualTo(2);
    assertThat(then.minus(whole.read()).of(Event.PAGE_TURNED)).isEqualTo(-2);
  }

  @Test
  void readingsAreEqualIfTheirNumbersAre() {
    Reading<Event> none = whole.read();
    assertThat(whole.read()).isEqualTo(none).hasSameHashCodeAs(none);
    whole.count(Event.DOOR_SLAMMED_SHUT);
    assertThat(whole.read()).isNotEqualTo(none);
    assertThat(whole.read().minus(whole.read())).isEqualTo(none);
  }

  @Test
  void namesAreWrittenAsMethodsAre() {
    whole.add(Event.DOOR_SLAMMED_SHUT, 3);
    whole.count(Event.CUP_FILLED);
    assertThat(whole.read().asMap())
        .containsExactly(
            Map.entry("pageTurned", 0L),
            Map.entry("cupFilled", 1L),
            Map.entry("doorSlammedShut", 3L));
    assertThat(whole.read()).hasToString("[cupFilled=1, doorSlammedShut=3]");
    assertThatThrownBy(() -> whole.read().asMap().put("cupFilled", 2L))
        .isInstanceOf(UnsupportedOperationException.class);
  }

  @Test
  void nothingIsLostBetweenThreads() throws Exception {
    CountDownLatch start = new CountDownLatch(2);
    Thread[] threads = new Thread[2];
    for (int i = 0; i < threads.length; i++) {
      threads[i] =
          new Thread(
              () -> {
                start.countDown();
                Counters<Event> part = whole.part();
                while (start.getCount() > 0) {
                  Thread.onSpinWait();
                }
                for (int n = 0; n < 100_000; n++) {
                  part.count(Event.PAGE_TURNED);
                }
              });
      threads[i].start();
    }
    for (Thread thread : threads) {
      thread.join();
    }
    assertThat(whole.read().of(Event.PAGE_TURNED)).isEqualTo(200_000);
  }
}
