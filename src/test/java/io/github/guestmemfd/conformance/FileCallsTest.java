package io.github.guestmemfd.conformance;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileCall;
import io.github.guestmemfd.abi.FileStat;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Calls on the descriptor that a guest_memfd has no use for. */
class FileCallsTest extends ConformanceFixture {
  @ParameterizedTest
  @CsvSource({
    "READ, EINVAL",
    "WRITE, EINVAL",
    "PREAD, ESPIPE",
    "PWRITE, ESPIPE",
    "LSEEK, ESPIPE",
    "FSYNC, EINVAL",
    "FDATASYNC, EINVAL",
    "SYNC_FILE_RANGE, OK",
    "FADVISE, OK",
    "READAHEAD, EINVAL",
    "GET_SEALS, EINVAL",
    "ADD_SEALS, EINVAL",
    "FCHMOD, EINVAL",
    "FCHOWN, EINVAL",
    "FUTIMENS, EINVAL"
  })
  void answersAlways(FileCall call, Errno answer) {
    for (long flags : new long[] {0, 3}) {
      assertThat(file(2, flags).call(call)).isEqualTo(answer);
    }
  }

  @ParameterizedTest
  @EnumSource
  void changesNothing(FileCall call) {
    GuestMemfd memfd = file(2, 3);
    HostMapping map = map(memfd);
    map.putLong(0, 42);
    FileStat before = memfd.stat();
    memfd.call(call);
    assertThat(memfd.stat()).isEqualTo(before);
    assertThat(memfd.cachedPages()).isEqualTo(1);
    assertThat(map.getLong(0)).isEqualTo(42);
  }

  @ParameterizedTest
  @EnumSource
  void ofAClosedDescriptorIsEbadf(FileCall call) {
    GuestMemfd memfd = file(1, 3);
    try (GuestMemfd dup = memfd.dup()) {
      memfd.close();
      assertThat(memfd.call(call)).isEqualTo(Errno.EBADF);
      assertThat(dup.call(call)).isEqualTo(call.answer());
    }
  }
}
