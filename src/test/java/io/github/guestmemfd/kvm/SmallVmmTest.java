package io.github.guestmemfd.kvm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.HostMemory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The virtual machine monitor of docs/examples.md. */
class SmallVmmTest {

  @Test
  @Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
  void theDeviceGetsTheMessagesAndTheGuestItsPagesBack() throws Exception {
    try (HostMemory host = HostMemory.ofBytes(8 << 20)) {
      SmallVmm vmm = new SmallVmm();
      vmm.run(host);
      assertThat(vmm.received).containsExactlyInAnyOrder(42L, 43L);
      assertEquals(0, vmm.refused.getCount(), "the conversion met the pin");
      assertEquals(0, vmm.submitted.size());
      assertEquals(0, host.used(), "everything came home");
    }
  }

  @Test
  void itIsSmall() throws IOException {
    List<String> lines =
        Files.readAllLines(Path.of("src/test/java/io/github/guestmemfd/kvm/SmallVmm.java"));
    assertThat(lines.subList(lines.indexOf("final class SmallVmm {"), lines.size()))
        .hasSizeLessThanOrEqualTo(60);
  }
}
