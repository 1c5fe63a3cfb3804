package io.github.guestmemfd.explore;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.testing.Interleavings;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * A conversion by the call on a file against whatever may have the page, in every order of steps
 * with at most two pre-emptions, under the rule that was applied and the one before it.
 */
@Timeout(value = 900, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class InPlaceOrdersTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long GPA = 0x10_0000;
  private static final long SECRET = 0x5ec2e7;

  /** A page that is there, shared, and mapped by the host; its folio may be in an LRU batch. */
  private static final class World {
    final HostMemory host;
    final VirtualMachine vm =
        VirtualMachine.builder().kernelProfile(KernelProfile.IN_PLACE).build();
    final GuestMemfd memfd;
    final HostMapping window;
    final Vcpu vcpu = vm.createVcpu();

    /** Whether the client has the page as private; changed by callbacks alone. */
    private boolean isMadePrivate;

    /** What was wrong with a callback. */
    private String wrong = "";

    World(ConversionProtocol protocol, boolean batches) {
      HostMemory.Builder builder = HostMemory.builder(4L * PAGE);
      host = (batches ? builder.lruBatches(1, 8) : builder).build();
      memfd =
          vm.createGuestMemfd(
              GuestMemfd.builder(host)
                  .size(PAGE)
                  .flags(3)
                  .protocol(protocol)
                  .retryPolicy(RetryPolicy.failAtOnce()),
              new GuestMemfdOps() {
                @Override
                public Errno makePrivate(Folio folio) {
                  if (memfd().isAccessible(0)) {
                    wrong = "a shared page is made private";
                  }
                  isMadePrivate = true;
                  return Errno.OK;
                }

                @Override
                public void makeShared(Folio folio) {
                  isMadePrivate = false;
                }
              });
      window = memfd.mmap(0, PAGE, Protection.READ, Protection.WRITE);
      vm.bind(0, GPA, PAGE, memfd, 0);
      window.putLong(0, 7);
    }

    private GuestMemfd memfd() {
      return memfd;
    }

    /** A refusal names the page, and has changed no attribute: the caller sees what was before. */
    Errno convert(long attributes) {
      MemoryAttributes2 argument = new MemoryAttributes2(0, PAGE, attributes).errorOffset(-1);
      Errno errno = vm.trySetMemoryAttributes2(memfd, argument);
      assertThat(argument.errorOffset()).isEqualTo(errno == Errno.OK ? -1 : 0);
      assertThat(errno).isIn(Errno.OK, Errno.EAGAIN, Errno.EINTR);
      return errno;
    }

    /** The guest writes what the host may not see. */
    void writeSecret() {
      vcpu.tryWrite(GPA, 8, SECRET, PRIVATE);
    }

    void load() {
      attempt(() -> noSecret(window.getLong(0)));
    }

    void gup(boolean pinned) {
      attempt(
          () -> {
            try (HostReference reference = pinned ? window.pin(0, 8) : window.getUserPages(0, 8)) {
              noSecret(reference.buffer().getLong(0));
              writeSecret(); // if the page has been converted under it
              noSecret(reference.buffer().getLong(0));
            }
          });
    }

    void readShared() {
      if (vcpu.tryRead(GPA, 8, SHARED)) {
        noSecret(vcpu.value());
      }
    }

    void scan() {
      host.pfnWalker().scan(1);
    }

    private static void noSecret(long number) {
      if (number == SECRET) {
        throw new AssertionError("the host has read what the guest wrote as private");
      }
    }

    static void attempt(Runnable access) {
      try {
        access.run();
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isIn(Errno.EFAULT, Errno.EACCES, Errno.EINTR, Errno.EAGAIN);
      }
    }

    void close() {
      assertThat(wrong).isEmpty();
      boolean shared = memfd.isAccessible(0);
      if (shared && isMadePrivate) {
        throw new AssertionError("the page is shared, and the client has it as private");
      }
      MemoryAttribute other = shared ? PRIVATE : SHARED;
      if (vcpu.tryRead(GPA, 8, other)) {
        throw new AssertionError("the guest has it mapped as what it is no more");
      }
      host.drainLru();
      assertThat(memfd.holders(0).unsafe()).isZero();
      assertThat(convert(shared ? MemoryAttributes2.PRIVATE : 0)).isEqualTo(Errno.OK);
      window.close();
      memfd.close();
      assertThat(host.violations()).isEmpty();
      host.drainLru();
      assertThat(host.used()).isZero();
      host.close();
    }
  }

  private record Party(String name, boolean startsPrivate, Consumer<World> act) {
    @Override
    public String toString() {
      return name;
    }
  }

  private static Party party(String name, Consumer<World> act) {
    return new Party(name, false, act);
  }

  static Stream<Arguments> cases() {
    return Stream.of(ConversionProtocol.invalidateLock(), ConversionProtocol.invalidateLockV8())
        .flatMap(
            protocol ->
                Stream.of(
                        party("a load of the host", World::load),
                        party("a shared fault of a vCPU", World::readShared),
                        party("a private fault of a vCPU", World::writeSecret),
                        party("GUP", w -> w.gup(false)),
                        party("a pin", w -> w.gup(true)),
                        party("a walker", World::scan),
                        party("a conversion", w -> w.convert(MemoryAttributes2.PRIVATE)),
                        party("a conversion back", w -> w.convert(0)),
                        party("a punch", w -> World.attempt(() -> w.memfd.punchHole(0, PAGE))),
                        party("a drain", w -> w.host.drainLru()),
                        new Party("private, a private fault", true, World::writeSecret),
                        new Party(
                            "private, a load", true, w -> World.attempt(() -> w.window.getLong(0))),
                        new Party("private, a conversion", true, w -> w.convert(0)))
                    .map(party -> Arguments.of(protocol, party)));
  }

  private static World world(ConversionProtocol protocol, Party party) {
    World made = new World(protocol, party.name.contains("drain") || party.name.contains("load"));
    if (party.startsPrivate) {
      made.convert(MemoryAttributes2.PRIVATE);
      made.writeSecret();
      made.vm.unbind(0);
      made.vm.bind(0, GPA, PAGE, made.memfd, 0);
    }
    return made;
  }

  @ParameterizedTest
  @MethodSource("cases")
  void aConversionAgainst(ConversionProtocol protocol, Party party) {
    long attributes = party.startsPrivate ? 0 : MemoryAttributes2.PRIVATE;
    Interleavings.Report report =
        Interleavings.of(() -> world(protocol, party))
            .thread("converter", w -> w.convert(attributes))
            .thread(party.name, party.act::accept)
            .maxPreemptions(2)
            .atEnd(World::close)
            .explore();
    assertThat(report.complete()).isTrue();
    assertThat(report.orders()).isGreaterThan(1);
  }

  /** The same, and the converter is interrupted at each of its steps. */
  @ParameterizedTest
  @MethodSource("cases")
  void anInterruptedConversionAgainst(ConversionProtocol protocol, Party party) {
    long attributes = party.startsPrivate ? 0 : MemoryAttributes2.PRIVATE;
    Interleavings.Report report =
        Interleavings.of(() -> world(protocol, party))
            .thread(
                "converter",
                w -> {
                  w.convert(attributes);
                  Thread.interrupted();
                })
            .thread(party.name, party.act::accept)
            .interrupt("converter")
            .maxPreemptions(1)
            .atEnd(World::close)
            .explore();
    assertThat(report.complete()).isTrue();
  }
}
