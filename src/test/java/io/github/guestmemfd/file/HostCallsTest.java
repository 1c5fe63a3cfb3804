package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.Counts;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a host does for all of its files. */
class HostCallsTest {
  private final WaitProbe probe = new WaitProbe();
  private final Host.Options options = new Host.Options();

  private Host host() {
    options.idle = probe;
    return new Host(8, options);
  }

  private static FileOperations file(Host host) {
    return file(host, null);
  }

  private static FileOperations file(Host host, @Nullable FileClient client) {
    return new FileOperations(
        host,
        Pages.bytes(4),
        CreateFlag.MMAP.bit() | CreateFlag.INIT_SHARED.bit(),
        client,
        ConversionProtocol.bothCounters(),
        RetryPolicy.failAtOnce());
  }

  /** The references of the batches keep frames in use that no file has any more. */
  @Test
  void batchesAreDrained() {
    options.cpus = 1;
    options.batchSize = 4;
    Host host = host();
    FileOperations file = file(host);
    for (int page = 0; page < 2; page++) {
      file.put(page, file.grab(page, HolderKind.UNSAFE), HolderKind.UNSAFE);
    }
    assertEquals(Errno.OK, file.truncation.punch(0, 2, new Mismatch()));
    assertEquals(2, host.frames.used());
    assertEquals(2, host.drainLru());
    assertFalse(CallbackContext.isInTheMiddleOfAny());
    assertEquals(0, host.frames.used());
    assertEquals(0, host.drainLru());
    file.inode.close();
    host.close();
  }

  @Test
  void withoutBatchesThereIsNothingToDrain() {
    assertEquals(0, host().drainLru());
  }

  /** A try of the executor may keep a file open for a moment. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void triesUnderWayAreWaitedFor(boolean closing) throws Exception {
    Host host = host();
    CountDownLatch begun = new CountDownLatch(1);
    CountDownLatch over = new CountDownLatch(1);
    Worker<Void> attempt =
        Worker.start(
            () -> {
              host.completions.attempt(
                  () -> {
                    begun.countDown();
                    await(over);
                  });
              return null;
            });
    begun.await();
    Callable<List<String>> call =
        () -> {
          if (closing) {
            host.close();
            return List.of();
          }
          return new Audit(host).violations();
        };
    Worker<List<String>> caller = Worker.start(call);
    probe.awaitWaiting(caller);
    over.countDown();
    attempt.result();
    assertEquals(List.of(), caller.result());
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aHostInUseSaysByWhom(boolean tracked) {
    options.trackHolders = tracked;
    Host host = host();
    assertEquals("HostMemory[size=32768, used=0]", host.toString());
    FileOperations file = file(host);
    int pfn = file.grab(0, HolderKind.UNSAFE);
    assertEquals("HostMemory[size=32768, used=4096]", host.toString());
    GuestMemfdException e = assertThrows(GuestMemfdException.class, host::close);
    assertEquals(tracked, e.getMessage().contains("\n"), e.getMessage());
    file.put(0, pfn, HolderKind.UNSAFE);
    file.inode.close();
    host.close();
  }

  /** What is written through a view of a frame is not what its next page begins with. */
  @Test
  void aViewMarksItsFrame() {
    Host host = host();
    FileOperations file = file(host);
    assertEquals(Errno.OK, file.allocation.allocate(0, 1));
    int pfn = SlotWord.pfn(file.inode.cache.slot(0));
    host.view(pfn).putLong(0, 42);
    assertEquals(pfn, file.grab(0, HolderKind.UNSAFE));
    assertEquals(0, host.view(pfn).getLong(0), "zeroed at its first use");
    file.put(0, pfn, HolderKind.UNSAFE);
    assertEquals(1, host.checked(1));
    assertEquals(8, host.checked(8));
    for (int none : new int[] {0, 9, -1}) {
      assertThrows(IndexOutOfBoundsException.class, () -> host.view(none));
    }
    assertTrue(host.bytes() == host.contents);
    file.inode.close();
    host.close();
  }

  /** What the batches keep in use is to be had for a page that needs it. */
  @Test
  void batchesAreDrainedWhenThereIsNoMemory() {
    options.cpus = 1;
    options.batchSize = 4;
    options.idle = probe;
    Host host = new Host(2, options);
    FileOperations file = file(host);
    for (int page = 0; page < 2; page++) {
      file.put(page, file.grab(page, HolderKind.UNSAFE), HolderKind.UNSAFE);
    }
    assertEquals(-Errno.ENOMEM.code(), file.grab(2, HolderKind.UNSAFE));
    assertEquals(Errno.OK, file.truncation.punch(0, 2, new Mismatch()));
    file.put(2, file.grab(2, HolderKind.UNSAFE), HolderKind.UNSAFE);
    file.inode.close();
    host.drainLru();
    host.close();
  }

  @Test
  void aPageThatIsNotReadyIsNotHadInsideACallback() {
    Host host = host();
    FileOperations file = file(host);
    assertEquals(-Errno.EFAULT.code(), file.lookup.get(4, Counts.UNSAFE_REF), "past the end");
    CallbackContext.enterCallback("a test", file.inode, 0, 1);
    assertEquals(-Errno.EDEADLK.code(), file.grab(0, HolderKind.UNSAFE));
    assertEquals(-Errno.EDEADLK.code(), file.grab(0, HolderKind.SAFE));
    CallbackContext.leaveCallback();
    file.inode.close();
    assertEquals(-Errno.EBADF.code(), file.grab(0, HolderKind.UNSAFE));
    host.close();
  }

  /** What a freed frame has in it is there until its next use, unless views are poisoned. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aFreedFrameIsZeroedForItsNextPage(boolean poisons) {
    options.poisonViews = poisons;
    Host host = host();
    FileOperations file = file(host);
    int pfn = file.grab(0, HolderKind.UNSAFE);
    host.bytes().view(pfn).putLong(0, 42);
    file.put(0, pfn, HolderKind.UNSAFE);
    assertEquals(Errno.OK, file.truncation.punch(0, 1, new Mismatch()));
    assertEquals(!poisons, host.bytes().view(pfn).getLong(0) == 42);
    for (int page = 0; page < 4; page++) { // frames that were never used, too
      assertEquals(Errno.OK, file.allocation.allocate(page, page + 1));
      assertEquals(Errno.OK, file.truncation.punch(page, page + 1, new Mismatch()));
      int next = file.grab(page, HolderKind.UNSAFE);
      assertEquals(0, host.bytes().view(next).getLong(0));
      file.put(page, next, HolderKind.UNSAFE);
    }
    file.inode.close();
    host.close();
  }

  /** A client may write to a frame that is being freed, though no page has ever used it. */
  @Test
  void whatAClientLeavesIsZeroed() {
    Host host = host();
    FileClient client =
        new AgreeingClient() {
          @Override
          public void freeFolio(int pfn) {
            assertEquals(0, host.bytes().view(pfn).getLong(0));
            host.bytes().view(pfn).putLong(0, 42);
          }
        };
    FileOperations file = file(host, client);
    for (int i = 0; i < 2; i++) { // the second time what the client has left is there
      assertEquals(Errno.OK, file.allocation.allocate(0, 1));
      assertEquals(Errno.OK, file.truncation.punch(0, 1, new Mismatch()));
    }
    int pfn = file.grab(0, HolderKind.UNSAFE);
    assertEquals(0, host.bytes().view(pfn).getLong(0));
    file.put(0, pfn, HolderKind.UNSAFE);
    file.inode.close();
    host.close();
  }

  /** All of what is missing, or nothing; what is there costs nothing. */
  @Test
  void allocationTakesWhatIsMissing() {
    options.idle = probe;
    Host host = new Host(4, options);
    FileOperations file = file(host);
    file.put(1, file.grab(1, HolderKind.UNSAFE), HolderKind.UNSAFE);
    FileOperations other = file(host);
    assertEquals(Errno.OK, other.allocation.allocate(0, 1));
    assertEquals(2, host.frames.used());
    long before = file.inode.stat().mtimeNanos();
    while (System.currentTimeMillis() * 1_000_000 == before) {
      Thread.onSpinWait();
    }
    assertEquals(Errno.ENOMEM, file.allocation.allocate(0, 4));
    assertEquals(2, host.frames.used());
    assertEquals(before, file.inode.stat().mtimeNanos());
    Thread.currentThread().interrupt();
    assertEquals(Errno.EINTR, file.allocation.allocate(0, 3));
    assertTrue(Thread.interrupted());
    assertEquals(Errno.OK, file.allocation.allocate(0, 3), "nothing is promised any more");
    assertEquals(4, host.frames.used());
    assertTrue(file.inode.stat().mtimeNanos() > before);
    other.inode.close();
    assertEquals(Errno.OK, file.allocation.allocate(0, 4));
    file.inode.close();
    host.close();
  }
}
