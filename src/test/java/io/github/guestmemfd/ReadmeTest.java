package io.github.guestmemfd;

import static io.github.guestmemfd.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.CreateFlag.MMAP;
import static io.github.guestmemfd.Protection.READ;
import static io.github.guestmemfd.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

/** The program in README.md does what its comments say. */
class ReadmeTest {

  @Test
  void firstProgram() {
    try (HostMemory host = HostMemory.ofBytes(1L << 30);
        GuestMemfd memfd =
            GuestMemfd.builder(host).size(256L << 20).flags(MMAP, INIT_SHARED).build();
        HostMapping window = memfd.mmap(0, memfd.size(), READ, WRITE)) {
      window.putLong(0, 42);
      try (HostReference pin = window.pin(0, 4096)) {
        assertThat(pin.isPinned()).isTrue();
        assertThatThrownBy(() -> memfd.makeInaccessible(0, 4096))
            .isInstanceOf(ConversionBlockedException.class)
            .hasMessage("EAGAIN: busy folio at offset 0x0 held by 0 unsafe, 1 pinned, 0 safe");
      }
      memfd.makeInaccessible(0, 4096);
      try (Folio folio = memfd.grab(0)) {
        assertThat(folio.buffer().getLong(0)).isEqualTo(42);
      }
      assertThatThrownBy(() -> window.getLong(0))
          .isInstanceOf(SigBusException.class)
          .hasMessageContaining("SIGBUS at offset 0");
    }
  }
}
