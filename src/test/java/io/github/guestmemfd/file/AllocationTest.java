package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Meanwhile;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What an allocation is promised, and what it makes of that. */
class AllocationTest {
  /** The writes of an allocation: it opens the file, is promised frames, and takes new ones. */
  private static final int PROMISE = 2;

  private static final int NEW_FRAME = 3;

  private Host host = new Host(1, new Host.Options());
  private FileOperations file = file();

  private FileOperations file() {
    return new FileOperations(
        host,
        Pages.bytes(4),
        CreateFlag.INIT_SHARED.bit(),
        null,
        ConversionProtocol.bothCounters(),
        RetryPolicy.failAtOnce());
  }

  @AfterEach
  void nothingIsLeft() {
    Leftovers.assertNone(file, host);
  }

  @Test
  void inAFileThatIsGone() {
    file.inode.close();
    assertEquals(Errno.EBADF, file.allocation.allocate(0, 1));
    assertEquals(0, host.frames.used());
  }

  /** What the batches had is drained, and is too little even then. */
  @Test
  void theBatchesHoldTooLittle() {
    file.inode.close();
    host.close();
    Host.Options options = new Host.Options();
    options.cpus = 1;
    options.batchSize = 8;
    host = new Host(2, options);
    file = file();
    assertEquals(Errno.OK, file.allocation.allocate(0, 2));
    assertEquals(Errno.ENOMEM, file.allocation.allocate(0, 4));
    assertEquals(2, host.frames.used());
  }

  /** A page that was there, and has gone before it was its turn, has no promise. */
  @Test
  void aPageThatHasGoneMeanwhile() {
    FileOperations other = file();
    assertEquals(Errno.OK, file.allocation.allocate(0, 1));
    AtomicReference<Errno> answer = new AtomicReference<>();
    Meanwhile.beforeWrite(
        PROMISE,
        () -> {
          assertEquals(Errno.OK, file.truncation.punch(0, 1, new Mismatch()));
          assertEquals(Errno.OK, other.allocation.allocate(0, 1));
        },
        () -> answer.set(file.allocation.allocate(0, 1)));
    assertEquals(Errno.ENOMEM, answer.get());
    assertTrue(other.inode.cache.slot(0) != 0);
    assertEquals(1, host.frames.used());
    other.inode.close();
  }

  /** That the JVM has no memory for a frame is the answer, and the promise is given back. */
  @Test
  void aFrameThatCannotBeMade() {
    AtomicReference<Errno> answer = new AtomicReference<>();
    Meanwhile.beforeWrite(
        NEW_FRAME,
        () -> {
          throw new OutOfMemoryError("planned");
        },
        () -> answer.set(file.allocation.allocate(0, 1)));
    assertEquals(Errno.ENOMEM, answer.get());
    assertEquals(0, host.frames.used());
    assertEquals(Errno.OK, file.allocation.allocate(0, 1), "later");
  }
}
