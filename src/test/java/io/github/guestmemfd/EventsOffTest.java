package io.github.guestmemfd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.observe.Events;
import java.io.File;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import jdk.jfr.Recording;
import org.jctools.queues.MessagePassingQueue;
import org.junit.jupiter.api.Test;
import org.slf4j.Logger;

/** Events that are not recorded, and a JVM without the flight recorder. */
class EventsOffTest {

  private static int begun() {
    int begun = 0;
    begun += Events.conversion() == null ? 0 : 1;
    begun += Events.refusal() == null ? 0 : 1;
    begun += Events.retry() == null ? 0 : 1;
    begun += Events.punch() == null ? 0 : 1;
    begun += Events.fault() == null ? 0 : 1;
    return begun;
  }

  @Test
  void theyAreNotMadeWhenNobodyRecords() {
    assertEquals(0, begun());
    assertEquals(0, Allocation.perRun(() -> assertEquals(0, begun()), 10_000));
  }

  /** All but faults are on by default. */
  @Test
  void theyAreMadeWhenSomebodyRecords() {
    try (Recording recording = new Recording()) {
      recording.start();
      assertEquals(4, begun());
      recording.enable("io.github.guestmemfd.Fault");
      assertNotNull(Events.fault());
    }
    assertEquals(0, begun());
  }

  /** Does something of everything that has events. */
  static final class Program {
    private Program() {}

    public static void main(String[] args) {
      try (HostMemory host = HostMemory.ofBytes(1 << 20);
          GuestMemfd memfd =
              GuestMemfd.builder(host)
                  .size(8192)
                  .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                  .build();
          HostMapping window = memfd.mmap(0, 8192, Protection.READ, Protection.WRITE)) {
        window.putLong(0, 1);
        try (HostReference pin = window.pin(0, 4096)) {
          Errno errno = memfd.tryMakeInaccessible(0, pin.length());
          memfd.punchHole(4096, 4096);
          boolean jfr = ModuleLayer.boot().findModule("jdk.jfr").isPresent();
          System.out.println(errno + " " + memfd.metrics().punches() + " " + jfr);
        }
      }
    }
  }

  @Test
  void theLibraryRunsWithoutTheModule() throws Exception {
    String classPath =
        Stream.of(Program.class, GuestMemfd.class, Logger.class, MessagePassingQueue.class)
            .map(c -> c.getProtectionDomain().getCodeSource().getLocation())
            .map(location -> Path.of(URI.create(location.toString())).toString())
            .distinct()
            .collect(Collectors.joining(File.pathSeparator));
    if (!classPath.contains("test-classes")) {
      classPath += File.pathSeparator + Path.of("target", "test-classes");
    }
    Process jvm =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--limit-modules=java.base",
                "-cp",
                classPath,
                Program.class.getName())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    String out = new String(jvm.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertTrue(jvm.waitFor(60, TimeUnit.SECONDS));
    assertEquals("EAGAIN 1 false", out.strip());
    assertEquals(0, jvm.exitValue());
  }
}
