package io.github.guestmemfd.faults;

import static io.github.guestmemfd.abi.Protection.READ;

import io.github.guestmemfd.AddressSpace;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.MapType;

/** Another process over the file, which inherits a mapping and makes one. */
final class Processes extends Scenarios.OneFile {
  private AddressSpace child;
  private HostMapping heir;
  private HostMapping own;

  Processes(Bench bench) {
    super(bench);
    write(0, 10);
    some(
        "fork",
        () -> {
          child = bench.host.addressSpace().fork();
          heir = bench.mapped(child.inherited(w));
          return OK;
        });
    some("read what is inherited", () -> same(10L, heir.getLong(0)));
    inaccessible(0, 4);
    accessible(0, 4);
    some("read again", () -> same(10L, heir.getLong(0)));
    some(
        "map in the child",
        () -> {
          own = bench.mapped(child.mmap(f, PAGE, PAGE, MapType.SHARED, READ));
          return OK;
        });
    some("read in the child", () -> same(0L, own.getLong(0)));
    some(
        "exit",
        () -> {
          child.close();
          return OK;
        });
    some("read in the parent", () -> same(10L, w.getLong(0)));
  }
}
