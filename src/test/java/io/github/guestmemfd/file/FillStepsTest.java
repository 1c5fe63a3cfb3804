package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.spi.RacePoint;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a write or a population answers, and what it leaves, page by page. */
class FillStepsTest {
  private final WaitProbe probe = new WaitProbe();

  /** What is done the next time a point is passed before a folio is locked. */
  private @Nullable Runnable beforeLock;

  private final Host host = new Host(8, options());
  private final FileOperations file = file(CreateFlag.INIT_SHARED.bit());

  private Host.Options options() {
    Host.Options options = new Host.Options();
    options.idle = probe;
    options.hook =
        (point, index) -> {
          Runnable step = beforeLock;
          if (point == RacePoint.BEFORE_FOLIO_LOCK && step != null) {
            beforeLock = null;
            step.run();
          }
        };
    return options;
  }

  private FileOperations file(long flags, FileTrait... traits) {
    return new FileOperations(
        host,
        Pages.bytes(4),
        flags,
        Set.of(traits),
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
    file.inode.close();
    CallbackContext.outOfMemory(new OutOfMemoryError("planned"));
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

  /** An interrupt ends the wait for a folio lock: what was done before is the answer, if any. */
  @ParameterizedTest
  @CsvSource({"0, 2, 1", "1, 1, -4"})
  void anInterruptEndsTheWaitForTheLock(int first, int pages, long answer) throws Exception {
    assertEquals(2, file.fill.write(0, 2, bytes(2)));
    int pfn = SlotWord.pfn(slot(file, 1));
    host.frames.lock(pfn);
    Worker<Long> filler = Worker.start(() -> file.fill.write(first, pages, bytes(pages)));
    probe.awaitWaiting(filler);
    filler.interrupt();
    assertEquals(answer, filler.result());
    host.frames.unlock(pfn);
  }

  /** A page that is busy is waited for. */
  @Test
  void aBusyPageIsWaitedFor() throws Exception {
    assertEquals(1, file.fill.write(0, 1, bytes(1)));
    assertTrue(file.inode.cache.lock(0, 1));
    Worker<Long> filler = Worker.start(() -> file.fill.write(0, 1, bytes(1)));
    probe.awaitWaiting(filler);
    assertFalse(filler.isDone());
    file.inode.cache.unlock(0, 1);
    assertEquals(1, filler.result());
  }

  @Test
  void aPageThatIsConvertedMeanwhileIsNotWritten() {
    assertEquals(1, file.fill.write(0, 1, ByteBuffer.allocate(Pages.SIZE)));
    beforeLock = () -> assertEquals(Errno.OK, file.conversion.convert(0, 1, true, new Mismatch()));
    assertEquals(-Errno.EFAULT.code(), file.fill.write(0, 1, bytes(1)));
    assertEquals(0, first(file, 0));
  }

  @Test
  void firstUsesAndUsesOfPoisonAreCounted() {
    assertEquals(2, file.fill.write(0, 2, bytes(2)));
    assertEquals(1, file.fill.write(1, 1, bytes(1)));
    assertEquals(2, host.meters.read().of(Meter.FIRST_USES));
    host.frames.poison(SlotWord.pfn(slot(file, 0)));
    assertEquals(-Errno.EHWPOISON.code(), file.fill.write(0, 1, bytes(1)));
    assertEquals(1, host.meters.read().of(Meter.POISONED_USES));
  }

  /** Populated, it is out of the direct map; refused, it is where it was. */
  @Test
  void aPopulatedPageLeavesTheDirectMap() {
    FileOperations priv = file(CreateFlag.NO_DIRECT_MAP.bit());
    List<Boolean> removed = new ArrayList<>();
    Fill.Hook refuses =
        (index, pfn) -> {
          removed.add(host.frames.isRemovedFromDirectMap(pfn));
          return Errno.EPERM;
        };
    assertEquals(-Errno.EPERM.code(), priv.fill.populate(0, 1, null, refuses));
    assertEquals(List.of(true), removed);
    int pfn = SlotWord.pfn(slot(priv, 0));
    assertFalse(host.frames.isRemovedFromDirectMap(pfn));
    Fill.Hook throwing =
        (index, same) -> {
          throw new IllegalArgumentException("planned");
        };
    assertThrows(RuntimeException.class, () -> priv.fill.populate(0, 1, null, throwing));
    assertFalse(host.frames.isRemovedFromDirectMap(pfn));
    assertEquals(1, priv.fill.populate(0, 1, null, (index, same) -> Errno.OK));
    assertTrue(host.frames.isRemovedFromDirectMap(pfn));
    priv.inode.close();
  }

  /**
   * A file whose pages are out of it from their first use on is written once, and not populated.
   */
  @Test
  void aPageThatIsWrittenLeavesTheDirectMapWhereAllDo() {
    long flags = CreateFlag.NO_DIRECT_MAP.bit() | CreateFlag.INIT_SHARED.bit();
    FileOperations all = file(flags, FileTrait.ZAP_BEFORE_MAPPING);
    assertEquals(1, all.fill.write(0, 1, bytes(1)));
    assertTrue(host.frames.isRemovedFromDirectMap(SlotWord.pfn(slot(all, 0))));
    assertEquals(-Errno.EEXIST.code(), all.fill.write(0, 1, bytes(1)));
    CallbackContext.enterCallback("planned", all.inode, 0, 0);
    CallbackContext.answered(Errno.EOPNOTSUPP);
    CallbackContext.leaveCallback();
    assertNotNull(CallbackContext.reason(Errno.EOPNOTSUPP));
    assertEquals(-Errno.EOPNOTSUPP.code(), all.fill.populate(1, 1, null, (index, pfn) -> Errno.OK));
    assertNull(CallbackContext.reason(Errno.EOPNOTSUPP), "what a callback has refused before");
    all.inode.close();
  }
}
