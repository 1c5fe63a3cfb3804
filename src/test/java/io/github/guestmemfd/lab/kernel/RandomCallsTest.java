package io.github.guestmemfd.lab.kernel;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.Verb;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Random calls make a trace, whatever is answered. */
class RandomCallsTest {
  private static final Set<Verb> DEFINE =
      EnumSet.of(
          Verb.CREATE,
          Verb.CREATE_IN,
          Verb.DUP,
          Verb.MMAP,
          Verb.ANON,
          Verb.GUP,
          Verb.BIND,
          Verb.VM);
  private static final int SLOTS = 32764;

  @Test
  void aNameIsUsedOnceInTheLongestTraceToo() {
    SplittableRandom random = new SplittableRandom(1);
    RandomCalls calls = new RandomCalls(1);
    Set<String> names = new HashSet<>();
    int beyond = 0;
    for (int i = 0; i < RandomCalls.MOST_CALLS; i++) {
      Trace.Call call = calls.next();
      if (DEFINE.contains(call.verb())) {
        assertThat(names.add(call.word(0))).as(call.text()).isTrue();
      }
      if (call.verb() == Verb.BIND && Integer.parseInt(call.word(0).substring(1)) >= SLOTS) {
        beyond++;
      }
      calls.ended(random.nextBoolean() ? "ok" : "EINVAL");
    }
    assertThat(beyond).isEqualTo(4); // asked for on purpose, each once
  }
}
