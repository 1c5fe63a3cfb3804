package io.github.guestmemfd.concurrent;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.time.Duration;

/** A host for each test, with files of whatever protocol. */
abstract class ProtocolFixture extends HostFixture {
  /** For {@code @MethodSource}: every protocol that the library ships. */
  static final String ALL = "io.github.guestmemfd.conversion.ConversionProtocol#all";

  /** Waits as long as it takes, without looking again at first. */
  static final RetryPolicy PATIENT = RetryPolicy.spinThenWait(0, Duration.ofHours(1));

  static ConversionProtocol protocol(String id) {
    return ConversionProtocol.byId(id).orElseThrow();
  }

  /** A file that refuses at the first mismatch, whatever its protocol would do by itself. */
  GuestMemfd file(int pages, ConversionProtocol protocol) {
    return file(pages, protocol, RetryPolicy.failAtOnce());
  }

  GuestMemfd file(int pages, ConversionProtocol protocol, RetryPolicy policy) {
    return file(pages, b -> b.protocol(protocol).retryPolicy(policy));
  }

  /** A vCPU that grabs a page, and stands at a point of that. */
  Worker<Folio> vcpuAt(RacePoints.Gate gate, GuestMemfd memfd, long offset)
      throws InterruptedException {
    Worker<Folio> vcpu = Worker.start(() -> memfd.grab(offset));
    gate.awaitReached();
    return vcpu;
  }

  /** A vCPU that grabs the first page, and stands at a point of that. */
  Worker<Folio> vcpuAt(RacePoint point, GuestMemfd memfd) throws InterruptedException {
    return vcpuAt(races.hold(point), memfd, 0);
  }

  void assertCounts(int refs, int safe, int pfn) {
    long counts = frames().counts(pfn);
    assertEquals(
        refs + " references, " + safe + " safe",
        Counts.refs(counts) + " references, " + Counts.safe(counts) + " safe");
  }

  /** A protocol like another, but for what a test overrides. */
  static class Like extends ForwardingProtocol {
    Like(ConversionProtocol original) {
      super(original);
    }

    @Override
    public String id() {
      return "like-" + super.id();
    }
  }
}
