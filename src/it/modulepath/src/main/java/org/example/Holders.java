package org.example;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;

public class Holders {
  public static void main(String[] args) {
    try (HostMemory host = HostMemory.builder(1 << 20).trackHolders().build();
        GuestMemfd memfd = GuestMemfd.builder(host).size(65536).flags(MMAP, INIT_SHARED).build();
        HostMapping window = memfd.mmap(0, 65536, READ, WRITE)) {
      HostReference pin = window.pin(4096, 4096);
      System.out.println(memfd.tryMakeInaccessible(0, 65536)); // EAGAIN
      System.out.println(memfd.holders(4096)); // how many, by kind
      System.out.print(host.dump()); // who, since when, and from which line
      pin.close();
      System.out.println(memfd.tryMakeInaccessible(0, 65536)); // OK
      System.out.println(host.violations()); // []
    }
    System.out.println(GuestMemfd.class.getModule());
  }
}
