package io.github.guestmemfd.testing;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.spi.RacePoint;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Test;

/** The example in the package's documentation compiles, and passes. */
class RacePointsExampleTest {
  @AutoClose final RacePoints races = new RacePoints();

  @Test
  void aFaultUnderWayKeepsItsPageAccessible() throws Exception {
    try (HostMemory host = HostMemory.builder(1 << 20).raceHook(races).build();
        GuestMemfd memfd =
            GuestMemfd.builder(host)
                .size(8192)
                .flags(MMAP, INIT_SHARED)
                .retryPolicy(RetryPolicy.failAtOnce())
                .build();
        HostMapping window = memfd.mmap(0, 8192, READ, WRITE)) {
      CompletableFuture<Void> fault;
      try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_INSTALL)) {
        fault = CompletableFuture.runAsync(() -> window.putLong(0, 7));
        gate.awaitReached();
        assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 4096));
      }
      fault.join();

      races.at(RacePoint.BEFORE_COMMIT, () -> assertTrue(memfd.isAccessible(0)));
      memfd.makeInaccessible(0, 4096);
    }
  }

  /** The text there is the text here. */
  @Test
  void isTheOneInTheDocumentation() throws IOException {
    String documentation = source("src/main/java", "package-info").replaceAll("(?m)^ \\* ?", "");
    String example =
        documentation.substring(
            documentation.indexOf("<pre>{@code") + "<pre>{@code".length(),
            documentation.indexOf("}</pre>"));
    assertThat(words(source("src/test/java", getClass().getSimpleName()))).contains(words(example));
  }

  private String source(String root, String name) throws IOException {
    String folder = getClass().getPackageName().replace('.', '/');
    return Files.readString(Path.of(root, folder, name + ".java"));
  }

  private static String words(String text) {
    return text.strip().replaceAll("\\s+", " ");
  }
}
