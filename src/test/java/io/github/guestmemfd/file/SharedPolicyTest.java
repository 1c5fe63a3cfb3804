package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.fixtures.Meanwhile;
import org.junit.jupiter.api.Test;

/** The policies that a file keeps. */
class SharedPolicyTest {
  private static final int ON_0 = Areas.policy(new MemoryPolicy(MemoryPolicy.Mode.BIND, 1));
  private static final int LOCAL = Areas.policy(new MemoryPolicy(MemoryPolicy.Mode.LOCAL, 0));
  private static final long LAST = Pages.index(Long.MAX_VALUE);

  private final SharedPolicy policies = new SharedPolicy();

  @Test
  void upToTheLastPageThatAnOffsetCanName() {
    assertEquals(0, policies.at(LAST));
    policies.set(LAST, LAST + 1, ON_0);
    assertEquals(ON_0, policies.at(LAST));
    assertEquals(0, policies.at(LAST - 1));
  }

  /** Of two that are set at the same time both are there. */
  @Test
  void anotherIsSetMeanwhile() {
    Meanwhile.beforeWrite(1, () -> policies.set(0, 2, ON_0), () -> policies.set(1, 3, LOCAL));
    assertEquals(ON_0, policies.at(0));
    assertEquals(LOCAL, policies.at(1));
    assertEquals(LOCAL, policies.at(2));
  }
}
