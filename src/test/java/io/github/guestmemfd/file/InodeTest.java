package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Worker;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** The life of a file, and what it is called. */
class InodeTest {
  private final Host host = new Host(8, new Host.Options());
  private final AtomicInteger ended = new AtomicInteger();

  /** What the client throws at the end. */
  private @Nullable RuntimeException planned;

  private final FileClient client =
      new AgreeingClient() {
        @Override
        public void release() {
          ended.incrementAndGet();
          if (planned != null) {
            throw planned;
          }
        }
      };

  private FileOperations file(ConversionProtocol protocol) {
    return new FileOperations(
        host,
        Pages.bytes(4),
        CreateFlag.MMAP.bit() | CreateFlag.INIT_SHARED.bit(),
        client,
        protocol,
        RetryPolicy.failAtOnce());
  }

  private FileOperations file() {
    return file(ConversionProtocol.bothCounters());
  }

  @AfterEach
  void noFileIsOpen() {
    assertFalse(CallbackContext.isInTheMiddleOfAny());
    assertEquals(0, host.frames.used());
    host.close();
  }

  @Test
  void inWords() {
    Inode inode = file().inode;
    assertEquals("guest_memfd[ino=1, size=16384, flags=MMAP|INIT_SHARED]", inode.toString());
    assertEquals("the page at offset 0x2000 of " + inode, inode.page(2));
    inode.close();
  }

  @Test
  void endsWithTheLastThatHoldsItOpen() {
    Inode inode = file().inode;
    assertTrue(inode.tryOpen());
    inode.close();
    assertFalse(inode.isGone());
    assertTrue(inode.beginOperation());
    inode.close();
    assertEquals(0, ended.get(), "the operation holds it open");
    inode.endOperation();
    assertEquals(1, ended.get());
    assertTrue(inode.isGone());
    assertFalse(inode.tryOpen());
    assertFalse(inode.beginOperation());
  }

  /** In the middle of something the end waits until that is over. */
  @Test
  void doesNotEndInTheMiddle() {
    Inode inode = file().inode;
    CallbackContext.enterOperation();
    inode.close();
    assertEquals(0, ended.get());
    CallbackContext.leaveOperation();
    assertEquals(1, ended.get());
  }

  @Test
  void whatTheClientThrowsAtTheEndIsThrown() {
    Inode inode = file().inode;
    planned = new IllegalArgumentException("planned");
    assertSame(planned, assertThrows(RuntimeException.class, inode::close));
  }

  /** A page that is busy though no operation is under way is a mistake: an interrupt shows it. */
  @Test
  void aPageIsBusyAtTheEnd() throws Exception {
    Inode inode = file().inode;
    assertTrue(Worker.start(() -> inode.cache.lock(0, 1)).result());
    Thread.currentThread().interrupt();
    assertThrows(IllegalStateException.class, inode::close);
    assertTrue(Thread.interrupted());
    inode.abandon();
  }

  @Test
  void anOpenFileIsBoundToOne() {
    OpenFile opened = new OpenFile(file().inode);
    Object vm = new Object();
    assertTrue(opened.bindTo(vm));
    assertTrue(opened.bindTo(vm));
    assertFalse(opened.bindTo(new Object()));
    opened.close();
  }

  /** Of a file that cannot be made nothing is left, its frames' listener included. */
  @Test
  void cannotBeMade() {
    ConversionProtocol throwing =
        new ForwardingProtocol(ConversionProtocol.lastPut()) {
          @Override
          public boolean waitsWithFolioLock() {
            throw new UnsupportedOperationException("no answer");
          }
        };
    assertThrows(UnsupportedOperationException.class, () -> file(throwing));
    assertEquals(0, host.frames.listeners().size());
  }
}
