package io.github.guestmemfd.conformance;

import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import org.junit.jupiter.api.AfterEach;

/** A host and a virtual machine for each test; all memory must have come home after it. */
abstract class ConformanceFixture {
  static final long PAGE = HostMemory.PAGE_SIZE;

  final HostMemory host = HostMemory.ofBytes(256 * PAGE);
  final VirtualMachine vm = new VirtualMachine();
  private final Deque<AutoCloseable> open = new ArrayDeque<>();

  @AfterEach
  void nothingIsLost() throws Exception {
    while (!open.isEmpty()) {
      open.pop().close();
    }
    assertThat(host.used()).isZero();
    host.close();
  }

  <T extends AutoCloseable> T closing(T resource) {
    open.push(resource);
    return resource;
  }

  GuestMemfd.Builder describe(long size, long flags) {
    return GuestMemfd.builder(host).size(size).flags(flags).retryPolicy(RetryPolicy.failAtOnce());
  }

  /** A file of the virtual machine, closed after the test. */
  GuestMemfd file(long pages, long flags) {
    return closing(vm.createGuestMemfd(describe(pages * PAGE, flags)));
  }

  /** A mapping of the whole file, closed after the test. */
  HostMapping map(GuestMemfd memfd) {
    return closing(memfd.mmap(0, memfd.size(), READ, WRITE));
  }

  static Errno errno(Runnable call) {
    GuestMemfdException e = catchThrowableOfType(GuestMemfdException.class, call::run);
    return e == null ? Errno.OK : e.errno();
  }

  static void assertSigbus(Runnable access, long offset) {
    SigBusException e = catchThrowableOfType(SigBusException.class, access::run);
    assertThat(e).as("SIGBUS").isNotNull();
    assertThat(e.offset()).isEqualTo(offset);
  }

  /** Writes every byte of some pages. */
  static void fill(HostMapping map, long firstPage, long pages, int value) {
    byte[] page = new byte[(int) PAGE];
    Arrays.fill(page, (byte) value);
    for (long i = firstPage; i < firstPage + pages; i++) {
      map.put(i * PAGE, page, 0, page.length);
    }
  }

  /** Every byte of some pages is this one. */
  static void assertFilled(HostMapping map, long firstPage, long pages, int value) {
    byte[] page = new byte[(int) PAGE];
    for (long i = firstPage; i < firstPage + pages; i++) {
      map.get(i * PAGE, page, 0, page.length);
      for (int j = 0; j < page.length; j++) {
        if (page[j] != (byte) value) {
          assertThat(page[j]).as("byte %s of page %s", j, i).isEqualTo((byte) value);
        }
      }
    }
  }
}
