package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Counts;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class FileOperationsTest {

  /** The host counts files that are open, and does not close while one is. */
  @Test
  void aFileThatCannotBeMadeIsNotOpen() {
    ConversionProtocol throwing =
        new ForwardingProtocol(ConversionProtocol.lastPut()) {
          @Override
          public boolean waitsWithFolioLock() {
            throw new UnsupportedOperationException("no answer");
          }
        };
    HostMemory host = HostMemory.ofBytes(1 << 20);
    assertThrows(
        UnsupportedOperationException.class,
        () -> GuestMemfd.builder(host).size(4096).protocol(throwing).build());
    host.close();
  }

  /** Also of a page that is ready, and so is found without a lock. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void theHostHasNoReferenceOnAnInaccessiblePage(boolean oneStep) {
    Host host = new Host(2, new Host.Options());
    FileOperations file =
        new FileOperations(
            host,
            4096,
            0,
            null,
            oneStep ? ConversionProtocol.bothCounters() : ConversionProtocol.lastPut(),
            RetryPolicy.failAtOnce());
    for (int i = 0; i < 2; i++) {
      int pfn = file.grab(0, HolderKind.SAFE);
      assertTrue(pfn > 0);
      assertEquals(-Errno.EFAULT.code(), file.grab(0, HolderKind.UNSAFE));
      assertEquals(-Errno.EFAULT.code(), file.grab(0, HolderKind.ACCESSIBLE));
      file.put(0, pfn, HolderKind.SAFE);
    }
    file.inode.close();
    host.close();
  }

  @ParameterizedTest
  @EnumSource(HolderKind.class)
  void everyKindIsCountedByItself(HolderKind kind) {
    Host host = new Host(2, new Host.Options());
    FileOperations file =
        new FileOperations(
            host,
            4096,
            CreateFlag.INIT_SHARED.bit(),
            null,
            ConversionProtocol.bothCounters(),
            RetryPolicy.failAtOnce());
    for (int i = 0; i < 2; i++) { // a first use, and a page that is ready
      int pfn = file.grab(0, kind);
      long counts = host.frames.counts(pfn);
      assertEquals(kind == HolderKind.UNSAFE ? 1 : 0, Counts.unsafe(counts));
      assertEquals(kind == HolderKind.ACCESSIBLE ? 1 : 0, Counts.accessible(counts));
      assertEquals(kind == HolderKind.SAFE ? 1 : 0, Counts.safe(counts));
      file.put(0, pfn, kind);
      assertEquals(Counts.CACHE_REF, host.frames.counts(pfn));
    }
    int pfn = file.guest.take(0); // one step, without the shorter way
    assertEquals(1, Counts.safe(host.frames.counts(pfn)));
    file.guest.drop(0, pfn);
    assertEquals(Counts.CACHE_REF, host.frames.counts(pfn));
    file.inode.close();
    host.close();
  }
}
