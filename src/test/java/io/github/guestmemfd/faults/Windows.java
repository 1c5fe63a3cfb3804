package io.github.guestmemfd.faults;

import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/** Ranges of a mapping are used in place, and private pages get their first content. */
final class Windows extends Scenarios.OneFile {
  Windows(Bench bench) {
    super(bench);
    some("write in a window", this::write);
    some("read in a window", this::read);
    expect(0, 1);
    expect(1, PAGE + 1);
    inaccessible(2, 1);
    some("populate", this::populate);
    some("the guest reads it", () -> same(42L, guestReads()));
    accessible(2, 1);
    some("unmap", () -> close());
  }

  private String write() {
    w.window(0, 2 * PAGE, WRITE, (at, bytes) -> bytes.putLong(0, at + 1));
    return OK;
  }

  private String read() {
    List<Long> seen = new ArrayList<>();
    w.window(0, 2 * PAGE, READ, (at, bytes) -> seen.add(bytes.getLong(0) - at));
    return same(List.of(1L, 1L), seen);
  }

  private String populate() {
    ByteBuffer content = ByteBuffer.allocate(PAGE).order(ByteOrder.LITTLE_ENDIAN).putLong(0, 42);
    try {
      return same((long) PAGE, f.populate(2L * PAGE, PAGE, content, folio -> Errno.OK));
    } catch (GuestMemfdException e) {
      return e.errno() == Errno.EEXIST ? OK : e.errno().name(); // it was done before
    }
  }

  private long guestReads() {
    try (var folio = f.grab(2L * PAGE)) {
      return folio.buffer().getLong(0);
    }
  }

  private String close() throws Exception {
    bench.close(w);
    return OK;
  }
}
