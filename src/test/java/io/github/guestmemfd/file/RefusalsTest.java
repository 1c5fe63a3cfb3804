package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.spi.Wait;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Why an operation is refused, in words. */
class RefusalsTest {
  private final Host host = new Host(2, new Host.Options());

  @AfterEach
  void isOutside() {
    Thread.interrupted();
    CallbackContext.forgetReason();
    assertFalse(CallbackContext.isInTheMiddleOfAny());
    host.close();
  }

  private static void refuse(String callback, Errno errno) {
    CallbackContext.enterCallback(callback, "a file", 0, 8);
    assertEquals(errno, CallbackContext.answered(errno));
    CallbackContext.leaveCallback();
  }

  @Test
  void eachErrnoHasItsReason() {
    assertEquals("the file is gone", Refusals.why(Errno.EBADF, host));
    assertEquals("expected more free memory in " + host, Refusals.why(Errno.ENOMEM, host));
    assertEquals("refused", Refusals.why(Errno.EBUSY, host));
    assertTrue(Refusals.why(Errno.EDEADLK, host).contains("keeps a folio lock"));
    refuse("prepare", Errno.EBADF);
    assertTrue(Refusals.why(Errno.EBADF, host).startsWith("callback prepare "));
  }

  /** From inside a callback it is that callback, not what another has answered in it. */
  @Test
  void insideACallbackItIsTheReason() {
    CallbackContext.enterCallback("outer", "a file", 0, 8);
    refuse("inner", Errno.EDEADLK);
    String why = Refusals.why(Errno.EDEADLK, host);
    CallbackContext.leaveCallback();
    assertTrue(why.startsWith("called from inside callback outer "), why);
  }

  @Test
  void anInterruptIsAReasonOfItsOwn() {
    refuse("prepare", Errno.EINTR);
    assertNotNull(CallbackContext.reason(Errno.EINTR));
    assertEquals(Errno.EINTR, Refusals.ended(new InterruptedException()));
    assertNull(CallbackContext.reason(Errno.EINTR));
    assertTrue(Thread.interrupted());
  }

  @Test
  void aWaitForTheThreadItselfIsNoInterrupt() {
    GuestMemfdException e = Refusals.interrupted(Wait.deadlock(), "punch");
    assertEquals(Errno.EDEADLK, e.errno());
    assertTrue(e.getMessage().contains("punch: the thread keeps a folio lock"), e::getMessage);
    assertFalse(Thread.interrupted());
    e = Refusals.interrupted(new InterruptedException(), "punch");
    assertEquals(Errno.EINTR, e.errno());
    assertTrue(e.getMessage().contains("punch: the thread was interrupted"), e::getMessage);
  }
}
