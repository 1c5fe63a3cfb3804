package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What a write or a population answers, and what it leaves, page by page. */
class FillStepsTest {
  private final Host host = new Host(8, new Host.Options());
  private final FileOperations file = file(CreateFlag.INIT_SHARED.bit());

  private FileOperations file(long flags) {
    return new FileOperations(
        host,
        Pages.bytes(4),
        flags,
        null,
        ConversionProtocol.bothCounters(),
        RetryPolicy.completeLater());
  }

  private static ByteBuffer bytes(int pages) {
    return ByteBuffer.allocate(pages * Pages.SIZE).put(0, (byte) 42);
  }

  private static long slot(FileOperations of, long page) {
    return of.inode.cache.slot(page);
  }

  private byte first(FileOperations of, long page) {
    return host.bytes().view(SlotWord.pfn(slot(of, page))).get(0);
  }

  @AfterEach
  void nothingIsLeft() {
    Thread.interrupted();
    if (!file.inode.isGone()) {
      file.inode.close();
    }
    assertFalse(CallbackContext.isInTheMiddleOfAny());
    assertEquals(0, host.frames.used());
    host.close();
  }

  @Test
  void pagesThatAreWrittenAreReady() {
    ByteBuffer from = bytes(2);
    assertEquals(2, file.fill.write(1, 2, from));
    assertEquals(0, from.remaining());
    assertTrue(SlotWord.isReady(slot(file, 1)));
    assertTrue(SlotWord.isReady(slot(file, 2)));
    assertEquals(42, first(file, 1));
    assertEquals(1, file.fill.write(2, 1, bytes(1)), "again");
    assertEquals(42, first(file, 2));
  }

  @Test
  void aFileThatIsGoneIsNotWritten() {
    CallbackContext.outOfMemory(new OutOfMemoryError("planned"));
    file.inode.close();
    assertEquals(-Errno.EBADF.code(), file.fill.write(0, 1, bytes(1)));
    assertNull(CallbackContext.reason(Errno.ENOMEM), "what was before is not the reason");
  }

  /** What has been written before the interrupt is answered. */
  @Test
  void anInterruptEndsIt() {
    FileOperations priv = file(0);
    assertEquals(
        1,
        priv.fill.populate(
            0,
            2,
            null,
            (index, pfn) -> {
              Thread.currentThread().interrupt();
              return Errno.OK;
            }));
    assertEquals(-Errno.EINTR.code(), priv.fill.populate(1, 1, null, (index, pfn) -> Errno.OK));
    assertTrue(Thread.interrupted());
    assertEquals(1, priv.fill.populate(1, 1, null, (index, pfn) -> Errno.OK));
    priv.inode.close();
  }

  /** Populated without bytes a page has zeroes, whatever its frame had before. */
  @Test
  void populatedWithZeroes() {
    for (int page = 0; page < 4; page++) {
      assertEquals(1, file.fill.write(page, 1, bytes(1)));
    }
    assertEquals(Errno.OK, file.truncation.punch(0, 4, new Mismatch()));
    FileOperations priv = file(0);
    assertEquals(4, priv.fill.populate(0, 4, null, (index, pfn) -> Errno.OK));
    for (int page = 0; page < 4; page++) {
      assertEquals(0, first(priv, page));
    }
    priv.inode.close();
  }

  @Test
  void aPageWhoseConversionIsPendingIsNotWritten() {
    int pfn = file.grab(0, HolderKind.UNSAFE);
    PendingConversion later = file.pendingDriver.toInaccessible(0, 1);
    assertEquals(Errno.EAGAIN, file.pendingDriver.begin(later, new Mismatch()));
    assertEquals(-Errno.EAGAIN.code(), file.fill.write(0, 1, bytes(1)));
    later.cancel(false);
    assertEquals(1, file.fill.write(0, 1, bytes(1)));
    file.put(0, pfn, HolderKind.UNSAFE);
  }
}
