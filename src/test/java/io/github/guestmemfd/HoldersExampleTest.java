package io.github.guestmemfd;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.FutureTask;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** "Who holds this page?" of docs/guide.md, and the texts quoted there. */
class HoldersExampleTest {
  record Disk(HostMapping window) {
    HostReference read() {
      return window.pin(4096, 4096); // for DMA
    }
  }

  @Test
  void aLeakedPinIsNamed() throws Exception {
    HostMemory host = HostMemory.builder(1 << 20).trackHolders().build();
    HostReference leaked;
    try (GuestMemfd memfd =
            GuestMemfd.builder(host)
                .size(16384)
                .flags(MMAP, INIT_SHARED)
                .retryPolicy(RetryPolicy.failAtOnce())
                .build();
        HostMapping window = memfd.mmap(0, 16384, READ, WRITE)) {
      FutureTask<HostReference> dma = new FutureTask<>(new Disk(window)::read);
      new Thread(dma, "disk-0").start();
      leaked = dma.get();

      assertEquals(1, memfd.holders(4096).pinned()); // converts nothing, waits for nothing
      ConversionBlockedException refused =
          assertThrows(ConversionBlockedException.class, () -> memfd.makeInaccessible(0, 16384));
      assertEquals("disk-0", refused.busyFolio().holders().get(0).threadName());
      assertIsQuoted(refused.getMessage());
    }
    GuestMemfdException tooEarly = assertThrows(GuestMemfdException.class, host::close);
    assertIsQuoted(tooEarly.getMessage());

    leaked.close();
    assertEquals(List.of(), host.holders());
    assertEquals(List.of(), host.violations());
    host.close();
  }

  /** Word for word, but for the time, the module's name and the lines of the JDK. */
  private static void assertIsQuoted(String text) throws IOException {
    String quoted =
        text.lines()
            .filter(line -> !line.contains("at java.base/"))
            .map(line -> line.replaceAll("\\d{4}-\\d\\d-\\d\\dT\\S+Z", "2026-12-01T09:30:00Z"))
            .map(line -> line.replaceAll("^( *at )\\S+/", "$1"))
            .collect(Collectors.joining("\n", "```text\n", "\n```"));
    assertThat(Files.readString(Path.of("docs", "guide.md"))).contains(quoted);
  }
}
