package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** The end of an open file: when its task is run, and what that throws. */
class OpenFileTest {
  private final Host host = new Host(1, new Host.Options());
  private final Inode inode =
      new FileOperations(
              host,
              Pages.bytes(1),
              0,
              null,
              ConversionProtocol.bothCounters(),
              RetryPolicy.failAtOnce())
          .inode;
  private final OpenFile opened = new OpenFile(inode);

  /** Whether the inode was gone when the task was run. */
  private final List<Boolean> run = new ArrayList<>();

  @AfterEach
  void isGone() {
    assertTrue(inode.isGone());
    assertFalse(CallbackContext.isInTheMiddleOfAny());
    host.close();
  }

  @Test
  void itsTaskIsRunBeforeTheInodeIsGivenUp() {
    opened.atEnd(() -> run.add(inode.isGone()));
    assertTrue(opened.tryOpen());
    opened.close();
    assertEquals(List.of(), run);
    opened.close();
    assertEquals(List.of(false), run);
  }

  /** In the middle of an operation it waits until that is over. */
  @Test
  void itsTaskWaitsForTheEndOfAnOperation() {
    opened.atEnd(() -> run.add(inode.isGone()));
    CallbackContext.enterOperation();
    opened.close();
    assertEquals(List.of(), run);
    assertFalse(inode.isGone());
    CallbackContext.leaveOperation();
    assertEquals(List.of(false), run);
  }

  /** The inode is given up, whatever the task throws. */
  @Test
  void itsTaskThrows() {
    RuntimeException planned = new IllegalArgumentException("planned");
    opened.atEnd(
        () -> {
          throw planned;
        });
    assertSame(planned, assertThrows(RuntimeException.class, opened::close));
  }

  @Test
  void withoutATask() {
    opened.close();
    assertFalse(opened.tryOpen());
  }
}
