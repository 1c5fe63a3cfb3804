package io.github.guestmemfd;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.abi.Advice;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Each width in each mode: the same little-endian bytes, and aligned where it must be. */
class HostMappingTest {
  private final HostMemory host = HostMemory.ofBytes(4096);
  private final GuestMemfd memfd =
      GuestMemfd.builder(host).size(4096).flags(MMAP, INIT_SHARED).build();
  private final HostMapping map = memfd.mmap(0, 4096, READ, WRITE);

  @AfterEach
  void close() {
    map.close();
    memfd.close();
    host.close();
  }

  @Test
  void numbersAreLittleEndianInEveryMode() {
    map.putLong(0, 0x8877665544332211L);
    assertThat(map.getByte(0)).isEqualTo((byte) 0x11);
    assertThat(map.getShort(1)).isEqualTo((short) 0x3322);
    assertThat(map.getShortAcquire(2)).isEqualTo((short) 0x4433);
    assertThat(map.getShortVolatile(6)).isEqualTo((short) 0x8877);
    assertThat(map.getInt(3)).isEqualTo(0x77665544);
    assertThat(map.getIntAcquire(4)).isEqualTo(0x88776655);
    assertThat(map.getIntVolatile(0)).isEqualTo(0x44332211);
    assertThat(map.getLongAcquire(0)).isEqualTo(map.getLongVolatile(0));
    map.putShortRelease(8, (short) -2);
    map.putShortVolatile(10, (short) -3);
    map.putShort(13, (short) -4);
    map.putIntRelease(16, -5);
    map.putIntVolatile(20, -6);
    map.putInt(25, -7);
    map.putLongRelease(32, -8);
    map.putLongVolatile(40, -9);
    assertThat(map.getShort(8)).isEqualTo((short) -2);
    assertThat(map.getShort(10)).isEqualTo((short) -3);
    assertThat(map.getShort(13)).isEqualTo((short) -4);
    assertThat(map.getInt(16)).isEqualTo(-5);
    assertThat(map.getInt(20)).isEqualTo(-6);
    assertThat(map.getInt(25)).isEqualTo(-7);
    assertThat(map.getLong(32)).isEqualTo(-8);
    assertThat(map.getLong(40)).isEqualTo(-9);
  }

  @Test
  void atomicUpdates() {
    assertThat(map.compareAndSetLong(8, 1, 2)).isFalse();
    assertThat(map.compareAndSetLong(8, 0, 2)).isTrue();
    assertThat(map.getAndAddLong(8, 5)).isEqualTo(2);
    assertThat(map.getLong(8)).isEqualTo(7);
    assertThat(map.compareAndSetInt(8, 7, 9)).isTrue();
    assertThat(map.getLong(8)).isEqualTo(9);
  }

  @Test
  void orderedAccessesMustBeAligned() {
    assertThatThrownBy(() -> map.getShortVolatile(1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("multiple of 2, actual 0x1");
    assertThatThrownBy(() -> map.putIntRelease(2, 0)).isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> map.compareAndSetLong(4, 0, 0))
        .isInstanceOf(IllegalArgumentException.class);
    assertThat(memfd.cachedPages()).isZero();
  }

  @Test
  void withoutContentBytesAreRefusedAndTheRestWorks() {
    try (HostMemory bare = HostMemory.metadataOnly(4096);
        GuestMemfd file = GuestMemfd.builder(bare).size(4096).flags(MMAP, INIT_SHARED).build();
        HostMapping window = file.mmap(0, 4096, READ, WRITE)) {
      assertThatThrownBy(() -> window.getLong(0)).isInstanceOf(UnsupportedOperationException.class);
      window.madvise(0, 4096, Advice.POPULATE_WRITE);
      assertThat(file.cachedPages()).isEqualTo(1);
      file.makeInaccessible(0, 4096);
      assertThat(file.isAccessible(0)).isFalse();
    }
  }
}
