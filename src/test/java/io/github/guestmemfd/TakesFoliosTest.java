package io.github.guestmemfd;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A client is called for single folios if it says so, also as the second of a virtual machine. */
class TakesFoliosTest {
  private static final long PAGE = 4096;

  private final HostMemory host = HostMemory.ofBytes(4 * PAGE);
  private final List<String> calls = new ArrayList<>();

  private final class Client implements GuestMemfdOps {
    private final boolean takesFolios;

    Client(boolean takesFolios) {
      this.takesFolios = takesFolios;
    }

    @Override
    public boolean takesFolios() {
      return takesFolios;
    }

    @Override
    public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
      calls.add("begin");
      return Errno.OK;
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      calls.add("end");
    }

    private Errno called(Folio folio, String name) {
      calls.add(name + " " + folio.buffer().getLong(0));
      return Errno.OK;
    }

    @Override
    public Errno prepareAccessible(Folio folio) {
      return called(folio, "accessible");
    }

    @Override
    public Errno prepareInaccessible(Folio folio) {
      return called(folio, "inaccessible");
    }

    @Override
    public void makeShared(Folio folio) {
      calls.add("shared");
    }

    @Override
    public void freeFolio(Folio folio) {
      calls.add("free");
    }

    @Override
    public void release() {
      calls.add("release");
    }
  }

  @AfterEach
  void close() {
    host.close();
  }

  @ParameterizedTest
  @CsvSource({"true, false", "false, false", "true, true", "false, true"})
  void convertedThereAndBack(boolean takesFolios, boolean ofMachine) {
    GuestMemfd.Builder builder =
        GuestMemfd.builder(host).size(PAGE).flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED);
    Client client = new Client(takesFolios);
    GuestMemfd memfd =
        ofMachine
            ? VirtualMachine.builder().build().createGuestMemfd(builder, client)
            : builder.ops(client).build();
    try (memfd) {
      try (Folio folio = memfd.grab(0)) {
        folio.buffer().putLong(0, 7);
      }
      memfd.makeInaccessible(0, PAGE);
      memfd.makeAccessible(0, PAGE);
      try (Folio folio = memfd.grab(0)) {
        assertEquals(7, folio.buffer().getLong(0));
      }
    }
    assertEquals(
        takesFolios
            ? List.of(
                "accessible 0",
                "begin",
                "inaccessible 7",
                "end",
                "begin",
                "accessible 7",
                "shared",
                "end",
                "release",
                "free")
            : List.of("begin", "end", "begin", "end", "release"),
        calls);
  }

  /** A frame that such a client has had shows nothing of it to the next file. */
  @ParameterizedTest
  @CsvSource({"true", "false"})
  void whatItLeavesIsNotSeen(boolean takesFolios) {
    for (int i = 0; i < 3; i++) {
      try (GuestMemfd memfd =
          GuestMemfd.builder(host)
              .size(4 * PAGE)
              .flags(CreateFlag.INIT_SHARED)
              .ops(new Client(takesFolios))
              .build()) {
        for (long at = 0; at < 4 * PAGE; at += PAGE) {
          try (Folio folio = memfd.grab(at)) {
            assertEquals(0, folio.buffer().getLong(8));
            folio.buffer().putLong(8, at + 1);
          }
        }
      }
    }
  }
}
