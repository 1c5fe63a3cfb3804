package org.example;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;

import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.SigBusException;

public class FirstProgram {
  public static void main(String[] args) {
    try (HostMemory host = HostMemory.ofBytes(1L << 30);
        GuestMemfd memfd =
            GuestMemfd.builder(host).size(256L << 20).flags(MMAP, INIT_SHARED).build();
        HostMapping window = memfd.mmap(0, memfd.size(), READ, WRITE)) {

      window.putLong(0, 42); // faults the page in
      try (HostReference pin = window.pin(0, 4096)) { // GUP, as for DMA
        System.out.println("pinned: " + pin.isPinned());
        memfd.makeInaccessible(0, 4096);
      } catch (ConversionBlockedException e) {
        System.out.println(e.getMessage()); // EAGAIN: one pinned reference
      }

      memfd.makeInaccessible(0, 4096); // no reference is left
      try (Folio folio = memfd.grab(0)) { // the guest's side: a safe reference
        System.out.println(folio.buffer().getLong(0)); // 42
      }
      try {
        window.getLong(0);
      } catch (SigBusException e) {
        System.out.println(e.getMessage()); // the host is kept out
      }
    }
  }
}
