package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.Meanwhile;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

/** How often something is open. */
class OpenCountTest {
  private final OpenCount opens = new OpenCount();

  @Test
  void onceAtFirst() {
    assertFalse(opens.isGone());
    assertTrue(opens.close());
    assertTrue(opens.isGone());
    assertFalse(opens.tryOpen());
    assertTrue(opens.isGone());
  }

  @Test
  void asOftenAsItWasOpened() {
    assertTrue(opens.tryOpen());
    opens.openAgain();
    assertFalse(opens.close());
    assertFalse(opens.close());
    assertFalse(opens.isGone());
    assertTrue(opens.close());
  }

  /** It is opened by another meanwhile, or closed by the last. */
  @Test
  void anotherComesBetween() {
    AtomicReference<Boolean> answer = new AtomicReference<>();
    Meanwhile.beforeWrite(1, opens::openAgain, () -> answer.set(opens.tryOpen()));
    assertEquals(true, answer.get());
    assertFalse(opens.close());
    assertFalse(opens.close());
    Meanwhile.beforeWrite(1, opens::close, () -> answer.set(opens.tryOpen()));
    assertEquals(false, answer.get());
    assertTrue(opens.isGone());
  }
}
