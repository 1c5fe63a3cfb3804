package io.github.guestmemfd.faults;

import static io.github.guestmemfd.abi.Protection.READ;

import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileCall;

/** Parts of a mapping are unmapped, protected and moved. */
final class Parts extends Scenarios.OneFile {
  private HostMapping moved;
  private HostMapping again;

  Parts(Bench bench) {
    super(bench);
    write(0, 10);
    write(1, 11);
    write(2, 12);
    some(
        "protect",
        () -> {
          w.mprotect(0, PAGE, READ);
          return OK;
        });
    some("write what is protected", () -> same(false, w.tryPutLong(0, 13)));
    expect(0, 10);
    some(
        "protect against everything",
        () -> {
          w.mprotect(PAGE, PAGE);
          return OK;
        });
    some(
        "move",
        () -> {
          moved = bench.mapped(w.mremap(2L * PAGE, PAGE, 3L * PAGE));
          return OK;
        });
    some("read what has moved", () -> same(12L, moved.getLong(0)));
    some(
        "map once more",
        () -> {
          again = bench.mapped(w.mremap(0, 0, 2L * PAGE));
          return OK;
        });
    some(
        "unmap",
        () -> {
          w.munmap(0, PAGE);
          return OK;
        });
    some("read what is unmapped", () -> same(7L, w.tryGetLong(0, 7)));
    inaccessible(0, 4);
    accessible(0, 4);
    some("read again", () -> same(10L, again.getLong(0)));
    some("a call of no use", () -> same(Errno.EINVAL, f.call(FileCall.READ)));
    close("close what has moved", () -> moved);
    close("close", () -> again);
    some(
        "unmap the rest",
        () -> {
          w.munmap(0, 4L * PAGE);
          return OK;
        });
  }
}
