package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Bytes that a client is shown, and those of a frame that is given back. */
class PreparationStepsTest {
  private static final long SHARED = CreateFlag.INIT_SHARED.bit();
  private static final long OUT_OF_DIRECT_MAP = CreateFlag.NO_DIRECT_MAP.bit();
  private static final byte POISON = (byte) 0xAA;

  private final RuntimeException planned = new IllegalArgumentException("planned");

  private static FileOperations file(Host host, long flags, @Nullable FileClient client) {
    return new FileOperations(
        host,
        Pages.bytes(1),
        flags,
        client,
        ConversionProtocol.bothCounters(),
        RetryPolicy.failAtOnce());
  }

  private static byte first(Host host, int pfn) {
    return host.bytes().view(pfn).get(0);
  }

  private static int pfn(FileOperations file) {
    return file.holders.of(0).pfn();
  }

  private static Errno punch(FileOperations file) {
    return file.truncation.punch(0, 1, new Mismatch());
  }

  /** A page that was never used is shown to the client as it turns accessible. */
  @Test
  void whatTheClientIsShownIsNotAnotherFiles() {
    Host host = new Host(1, new Host.Options());
    FileOperations other = file(host, SHARED, null);
    assertEquals(1, other.fill.write(0, 1, ByteBuffer.allocate(Pages.SIZE).put(0, (byte) 42)));
    assertEquals(Errno.OK, punch(other));
    List<Byte> shown = new ArrayList<>();
    FileClient client =
        new AgreeingClient() {
          @Override
          public void makeShared(long index, int pfn) {
            shown.add(first(host, pfn));
          }
        };
    FileOperations file = file(host, 0, client);
    assertEquals(Errno.OK, file.allocation.allocate(0, 1));
    assertEquals(42, first(host, pfn(file)), "until it is used, or shown");
    assertEquals(Errno.OK, file.conversion.convert(0, 1, false, null));
    assertEquals(List.of((byte) 0), shown);
    other.inode.close();
    file.inode.close();
    host.close();
  }

  /** What is to become of the bytes does, whatever the client throws; if there are any. */
  @ParameterizedTest
  @CsvSource({
    "false, false, true",
    "false, true, true",
    "true, false, true",
    "true, true, true",
    "true, false, false",
    "true, true, false",
  })
  void theBytesOfAFrameThatIsFreed(boolean metadataOnly, boolean poisons, boolean throwing) {
    Host.Options options = new Host.Options();
    options.metadataOnly = metadataOnly;
    options.poisonViews = poisons;
    Host host = new Host(1, options);
    FileClient client =
        new AgreeingClient() {
          @Override
          public void freeFolio(int pfn) {
            if (throwing) {
              throw planned;
            }
          }
        };
    FileOperations file = file(host, OUT_OF_DIRECT_MAP, client);
    int pfn = file.grab(0, HolderKind.SAFE);
    if (!metadataOnly) {
      host.bytes().view(pfn).put(0, (byte) 42);
    }
    file.put(0, pfn, HolderKind.SAFE);
    if (throwing) {
      assertSame(planned, assertThrows(RuntimeException.class, () -> punch(file)));
    } else {
      assertEquals(Errno.OK, punch(file));
    }
    assertFalse(CallbackContext.isInTheMiddleOfAny());
    if (!metadataOnly) {
      assertEquals(poisons ? POISON : 0, first(host, pfn));
    }
    file.inode.close();
    host.close();
  }
}
