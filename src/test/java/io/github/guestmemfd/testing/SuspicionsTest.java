package io.github.guestmemfd.testing;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.policy.ConversionHandler;
import io.github.guestmemfd.policy.ConversionPolicy;
import io.github.guestmemfd.policy.GpaRange;
import io.github.guestmemfd.spi.Announce;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;

/** The suspicions of docs/guide.md: a wrong client, a wrong protocol, a wrong policy. */
class SuspicionsTest {

  private static GuestMemfd.Builder onePage(HostMemory host) {
    return GuestMemfd.builder(host)
        .size(4096)
        .flags(MMAP, INIT_SHARED)
        .retryPolicy(RetryPolicy.failAtOnce());
  }

  // ---- a client ----

  /** Wrong: a fault maps the page without a second look for an invalidation. */
  static final class HastyClient implements GuestMemfdOps {
    final AtomicBoolean mapped = new AtomicBoolean();

    void fault(GuestMemfd memfd) {
      try (Folio folio = memfd.grab(0, HolderKind.SAFE)) {
        Announce.write(mapped).set(true);
      }
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      Announce.write(mapped).set(false);
      return Errno.OK;
    }
  }

  static final class ClientWorld {
    final HastyClient client = new HastyClient();
    final GuestMemfd memfd = onePage(HostMemory.ofBytes(1 << 16)).ops(client).build();

    ClientWorld() {
      client.fault(memfd);
    }

    void requireNothingStale() {
      boolean hole = memfd.holders(0).isHole();
      assertFalse(hole && client.mapped.get(), "the guest has a page mapped that is punched");
    }
  }

  @Test
  void theHastyClientIsFound() {
    Interleavings.Report report =
        Interleavings.of(ClientWorld::new)
            .thread("vcpu", w -> w.client.fault(w.memfd))
            .thread("vmm", w -> w.memfd.punchHole(0, 4096))
            .atEnd(ClientWorld::requireNothingStale)
            .find();
    assertTrue(report.counterexample().orElseThrow().contains("a page mapped that is punched"));
  }

  // ---- a protocol ----

  /** Wrong: takes a reference too many for a speculative one, which goes away by itself. */
  static final class Optimist implements ConversionProtocol {
    @Override
    public String id() {
      return "optimist";
    }

    @Override
    public boolean mayTurnInaccessible(int refs, int safe) {
      return refs <= safe + 2;
    }
  }

  static final class ProtocolWorld {
    final GuestMemfd memfd = onePage(HostMemory.ofBytes(1 << 16)).protocol(new Optimist()).build();
    final HostMapping window = memfd.mmap(0, 4096, Protection.READ, Protection.WRITE);

    void hostReads() {
      try (HostReference reference = window.getUserPages(0, 4096)) {
        assertEquals(0, reference.buffer(0).getLong(0), "the host has read a secret");
      } catch (GuestMemfdException e) {
        assertEquals(Errno.EFAULT, e.errno()); // the page was inaccessible already
      }
    }

    void guestWrites() {
      memfd.makeInaccessible(0, 4096);
      try (Folio folio = memfd.grab(0, HolderKind.SAFE)) {
        folio.buffer().putLong(0, 42);
      }
    }
  }

  @Test
  void theOptimistIsFound() {
    Interleavings.Report report =
        Interleavings.of(ProtocolWorld::new)
            .thread("host", ProtocolWorld::hostReads)
            .thread("guest", ProtocolWorld::guestWrites)
            .find();
    assertTrue(report.counterexample().orElseThrow().contains("the host has read a secret"));
  }

  // ---- a policy ----

  /** Wrong: takes a conversion that it has asked for as one that has been made. */
  static final class Forgetful implements ConversionPolicy {
    private final AtomicBoolean asked = new AtomicBoolean();

    @Override
    public String id() {
      return "forgetful";
    }

    @Override
    public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
      boolean first = Announce.write(asked).compareAndSet(false, true);
      return first ? Optional.of(pages) : Optional.empty(); // it is private: an error of the guest
    }

    @Override
    public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
      return Optional.of(range);
    }
  }

  static final class PolicyWorld {
    final VirtualMachine vm = new VirtualMachine();
    final GuestMemfd memfd = vm.createGuestMemfd(onePage(HostMemory.ofBytes(1 << 16)));
    final ConversionHandler handler = ConversionHandler.builder(vm, new Forgetful()).build();

    PolicyWorld() {
      vm.bind(0, 0, 4096, memfd, 0);
    }

    void guestWrites() {
      assertTrue(
          vm.createVcpu().run(guest -> guest.write(0, 8, 42, PRIVATE), handler).isEmpty(),
          "the guest has come to its end");
    }
  }

  @Test
  void theForgetfulPolicyIsFound() {
    Interleavings.Report report =
        Interleavings.of(PolicyWorld::new)
            .thread("vcpu 0", PolicyWorld::guestWrites)
            .thread("vcpu 1", PolicyWorld::guestWrites)
            .find();
    assertTrue(report.counterexample().orElseThrow().contains("the guest has come to its end"));
  }
}
