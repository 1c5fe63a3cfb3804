package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.Insides;
import java.util.ArrayList;
import java.util.List;

/** What a virtual machine has mapped for its guest, for tests of other packages. */
public final class Mapped {

  /** A page that the guest can use without a fault. */
  public record Page(GuestMemfd memfd, long offset, MemoryAttribute attribute) {}

  private Mapped() {}

  public static List<Page> pages(VirtualMachine vm) {
    List<Page> mapped = new ArrayList<>();
    for (BoundSlot slot : vm.regions.memslots().all()) {
      for (long page = 0; page < slot.pages(); page++) {
        long entry = slot.table.get(page);
        for (MemoryAttribute attribute : MemoryAttribute.values()) {
          if (TdpEntry.maps(entry, attribute, false)) {
            mapped.add(new Page(slot.memslot.memfd(), slot.offset(page), attribute));
          }
        }
      }
    }
    return mapped;
  }

  /** Invalidations that have begun and not ended. */
  public static int invalidations(VirtualMachine vm) {
    return Insides.field(Mmu.class, vm.mmu, "inProgress", Integer.class);
  }
}
