package io.github.guestmemfd.explore;

import static io.github.guestmemfd.explore.SmallVm.Operation.LOAD_BYTES;
import static io.github.guestmemfd.explore.SmallVm.Operation.MAKE_INACCESSIBLE;
import static io.github.guestmemfd.explore.SmallVm.Operation.MUNMAP;
import static io.github.guestmemfd.explore.SmallVm.Operation.PUNCH;
import static io.github.guestmemfd.explore.SmallVm.Operation.UNBIND;
import static io.github.guestmemfd.explore.SmallVm.Operation.VCPU_READ_SHARED_MAPPED;
import static io.github.guestmemfd.explore.SmallVm.Operation.VCPU_WRITE_PRIVATE;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.explore.SmallVm.Operation;
import io.github.guestmemfd.explore.SmallVm.Range;
import io.github.guestmemfd.testing.Interleavings;
import org.junit.jupiter.api.Test;

/**
 * Faults that were in the library once, each in the smallest scenario that has it: an access under
 * way to a page whose entry is gone already, so that an operation which waits only for entries that
 * it removes itself frees or converts the frame too early. Of three threads each.
 */
class SoundnessTest {
  private static final Range PAGE = new Range(0, 1);
  private static final ConversionProtocol PROTOCOL =
      ConversionProtocol.byId("atomic-pair").orElseThrow();

  private static final RetryPolicy RETRIES = RetryPolicy.failAtOnce();

  private static Interleavings<SmallVm> scenario(boolean guestMapped, int preemptions) {
    return Interleavings.of(() -> new SmallVm(1, guestMapped, PROTOCOL, RETRIES))
        .atEnd(SmallVm::close)
        .maxPreemptions(Integer.getInteger("explore.preemptions", preemptions));
  }

  private static void add(Interleavings<SmallVm> orders, String thread, Operation... operations) {
    for (Operation operation : operations) {
      Matrix.add(orders, thread, operation, PAGE);
    }
  }

  private static void explore(Interleavings<SmallVm> orders) {
    Interleavings.Report report = orders.explore();
    assertThat(report.complete()).isTrue();
    assertThat(report.orders()).isGreaterThan(100);
  }

  /** The first conversion has removed the entry, and is interrupted while it waits. */
  @Test
  void aSecondConversionWaitsForTheAccessToo() {
    Interleavings<SmallVm> orders = scenario(false, 1);
    add(orders, "host", LOAD_BYTES);
    add(orders, "first", MAKE_INACCESSIBLE);
    add(orders, "second", MAKE_INACCESSIBLE, VCPU_WRITE_PRIVATE);
    explore(orders.interrupt("first"));
  }

  /** A munmap has removed the entry, and waits for the access. */
  @Test
  void aPunchWaitsForTheAccessThatAMunmapWaitsFor() {
    Interleavings<SmallVm> orders = scenario(false, 1);
    add(orders, "host", LOAD_BYTES);
    add(orders, "unmapper", MUNMAP);
    add(orders, "puncher", PUNCH, MAKE_INACCESSIBLE, VCPU_WRITE_PRIVATE);
    explore(orders);
  }

  /** The memslot is deleted, with its entries, while a vCPU still reads by one of them. */
  @Test
  void aPunchWaitsForTheVcpuOfAMemslotThatIsDeleted() {
    Interleavings<SmallVm> orders = scenario(true, 2);
    add(orders, "vcpu", VCPU_READ_SHARED_MAPPED);
    add(orders, "vmm", UNBIND);
    add(orders, "puncher", PUNCH, MAKE_INACCESSIBLE);
    explore(orders.call("puncher", SmallVm::writeSecret));
  }
}
