package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Counts;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What a lookup of a page that is not ready answers. */
class LookupStepsTest {
  private final Host host = new Host(1, new Host.Options());
  private final FileOperations file =
      new FileOperations(
          host,
          Pages.bytes(2),
          CreateFlag.INIT_SHARED.bit(),
          null,
          ConversionProtocol.bothCounters(),
          RetryPolicy.completeLater());

  private int get(long index) {
    return file.lookup.get(index, Counts.REF, Wanted.ANY);
  }

  @AfterEach
  void nothingIsLeft() {
    Leftovers.assertNone(file, host);
  }

  @Test
  void ofAFileThatIsGone() {
    file.inode.close();
    assertEquals(-Errno.EBADF.code(), get(0));
    assertEquals(0, host.frames.used());
  }

  /** Why an earlier call was refused is no reason for this answer. */
  @Test
  void whatWasBeforeIsNotTheReason() {
    int pfn = get(0);
    CallbackContext.outOfMemory(new OutOfMemoryError("planned"));
    assertEquals(-Errno.ENOMEM.code(), get(1));
    assertNull(CallbackContext.reason(Errno.ENOMEM));
    host.frames.put(pfn, Counts.REF);
  }

  /** A frame that a batch keeps from being free is had once the batch is drained. */
  @Test
  void whatABatchHoldsIsDrainedForAHole() {
    Host.Options options = new Host.Options();
    options.cpus = 1;
    options.batchSize = 8;
    Host batching = new Host(1, options);
    FileOperations other =
        new FileOperations(
            batching,
            Pages.bytes(2),
            CreateFlag.INIT_SHARED.bit(),
            null,
            ConversionProtocol.bothCounters(),
            RetryPolicy.failAtOnce());
    assertEquals(Errno.OK, other.allocation.allocate(0, 1));
    assertEquals(Errno.OK, other.truncation.punch(0, 1, new Mismatch()));
    assertEquals(1, batching.frames.used());
    int pfn = other.lookup.get(1, Counts.REF, Wanted.ANY);
    assertEquals(pfn, other.holders.of(1).pfn());
    batching.frames.put(pfn, Counts.REF);
    other.inode.close();
    batching.close();
  }

  /** Nor is a callback that has refused with the same number. */
  @Test
  void whatACallbackHasRefusedIsNotTheReason() {
    int pfn = file.grab(0, HolderKind.UNSAFE);
    PendingConversion later = file.pendingDriver.toInaccessible(0, 1);
    assertEquals(Errno.EAGAIN, file.pendingDriver.begin(later, new Mismatch()));
    CallbackContext.enterCallback("planned", file.inode, 0, 0);
    CallbackContext.answered(Errno.EAGAIN);
    CallbackContext.leaveCallback();
    assertEquals(-Errno.EAGAIN.code(), get(0));
    assertNull(CallbackContext.reason(Errno.EAGAIN));
    later.cancel(false);
    file.put(0, pfn, HolderKind.UNSAFE);
  }
}
