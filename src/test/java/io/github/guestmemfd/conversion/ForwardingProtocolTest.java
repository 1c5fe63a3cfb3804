package io.github.guestmemfd.conversion;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

/** Nothing that a protocol can say is left to a default by one that forwards. */
class ForwardingProtocolTest {

  @Test
  void forwardsEveryMethodThereIs() {
    assertThat(ConversionProtocol.class.getMethods())
        .filteredOn(method -> !Modifier.isStatic(method.getModifiers()))
        .isNotEmpty()
        .allSatisfy(
            method ->
                assertThat(declared(method))
                    .as(method.getName())
                    .isEqualTo(method.getReturnType()));
  }

  private static Class<?> declared(Method method) throws NoSuchMethodException {
    return ForwardingProtocol.class
        .getDeclaredMethod(method.getName(), method.getParameterTypes())
        .getReturnType();
  }

  /** Each shipped protocol, asked by way of another, gives the same answers. */
  @Test
  void givesTheAnswersOfTheOriginal() {
    for (ConversionProtocol original : ConversionProtocol.all()) {
      ConversionProtocol forwarding = new ForwardingProtocol(original) {};
      assertThat(answers(forwarding)).isEqualTo(answers(original));
    }
    assertThat(ConversionProtocol.all().stream().map(ForwardingProtocolTest::answers))
        .doesNotHaveDuplicates();
  }

  private static String answers(ConversionProtocol protocol) {
    StringBuilder text = new StringBuilder(protocol.id()).append(protocol.chooseIt());
    for (int refs = 1; refs <= 3; refs++) {
      for (int safe = 0; safe < refs; safe++) {
        text.append(protocol.mayTurnInaccessible(refs, safe))
            .append(protocol.mayPunch(refs, safe))
            .append(protocol.isWorthWaiting(refs, safe, refs - safe - 1))
            .append(protocol.refusesOutright(1024 * refs, safe));
      }
    }
    return text.append(protocol.guestTakes())
        .append(protocol.guestDrops())
        .append(
            Arrays.asList(
                protocol.freezes(),
                protocol.waitsWithFolioLock(),
                protocol.locksWholeFile(),
                protocol.isSound()))
        .append(protocol.retryPolicy())
        .toString();
  }
}
