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
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.testing.Interleavings;
import java.util.Set;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * A conversion of two pages by the call on a file, against what uses one of them or both: in every
 * order of steps with few pre-emptions it is all or nothing, and says which page was in the way.
 */
@Timeout(value = 900, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class InPlaceRangeOrdersTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long BOTH = 2L * PAGE;
  private static final long GPA = 0x10_0000;
  private static final long SECRET = 0x5ec2e7;
  private static final long UNTOUCHED = -1;

  /** Two pages that are there, shared, and mapped by the host and by the guest. */
  private static final class World {
    final HostMemory host = HostMemory.ofBytes(4L * PAGE);
    final VirtualMachine vm =
        VirtualMachine.builder().kernelProfile(KernelProfile.IN_PLACE).build();
    final GuestMemfd memfd;
    final HostMapping window;
    final Vcpu vcpu = vm.createVcpu();

    /** Of the client: an invalidation has begun and not ended; and what was wrong. */
    private boolean isInside;

    private String wrong = "";

    /** How the conversion of both pages ended; null before it has. */
    private Errno ended;

    World(ConversionProtocol protocol) {
      memfd =
          vm.createGuestMemfd(
              GuestMemfd.builder(host)
                  .size(BOTH)
                  .flags(3)
                  .protocol(protocol)
                  .retryPolicy(RetryPolicy.failAtOnce()),
              new GuestMemfdOps() {
                @Override
                public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
                  wrong = isInside ? "two invalidations at once" : wrong;
                  isInside = true;
                  return Errno.OK;
                }

                @Override
                public void invalidateEnd(long offset, long length) {
                  wrong = isInside ? wrong : "an end without a begin";
                  isInside = false;
                }
              });
      window = memfd.mmap(0, BOTH, Protection.READ, Protection.WRITE);
      vm.bind(0, GPA, BOTH, memfd, 0);
      for (int page = 0; page < 2; page++) {
        window.putLong((long) page * PAGE, 7);
        vcpu.tryRead(GPA + (long) page * PAGE, 8, SHARED);
      }
    }

    /** All or nothing; a refusal names the page that the other thread uses. */
    void convertBoth(Set<Long> inTheWay) {
      MemoryAttributes2 argument =
          new MemoryAttributes2(0, BOTH, MemoryAttributes2.PRIVATE).errorOffset(UNTOUCHED);
      ended = vm.trySetMemoryAttributes2(memfd, argument);
      assertThat(ended).isIn(Errno.OK, Errno.EAGAIN, Errno.EINTR);
      Set<Long> expected = ended == Errno.OK ? Set.of(UNTOUCHED) : Set.of(0L);
      assertThat(argument.errorOffset())
          .as("after " + ended)
          .isIn(ended == Errno.EAGAIN ? inTheWay : expected);
    }

    /** Uses a reference on pages, before and after the guest has written into those it has. */
    void use(long from, long bytes, boolean pinned) {
      attempt(
          () -> {
            try (HostReference reference =
                pinned ? window.pin(from, bytes) : window.getUserPages(from, bytes)) {
              noSecret(reference);
              vcpu.tryWrite(GPA, 8, SECRET, PRIVATE);
              vcpu.tryWrite(GPA + PAGE, 8, SECRET, PRIVATE);
              noSecret(reference);
            }
          });
    }

    private static void noSecret(HostReference reference) {
      for (int page = 0; page < reference.pages(); page++) {
        noSecret(reference.buffer(page).getLong(0));
      }
    }

    private static void noSecret(long number) {
      if (number == SECRET) {
        throw new AssertionError("the host has read what the guest wrote as private");
      }
    }

    void load(long offset) {
      vcpu.tryWrite(GPA + offset, 8, SECRET, PRIVATE);
      attempt(() -> noSecret(window.getLong(offset)));
    }

    static void attempt(Runnable access) {
      try {
        access.run();
      } catch (GuestMemfdException e) {
        assertThat(e.errno()).isIn(Errno.EFAULT, Errno.EACCES, Errno.EINTR, Errno.EAGAIN);
      }
    }

    private static void require(boolean good, String what) {
      if (!good) {
        throw new AssertionError(what);
      }
    }

    /** What holds whatever the other thread has done, but for one that converts itself. */
    void closeUnchanged() {
      boolean isPrivate = ended == Errno.OK;
      for (long at = 0; at < BOTH; at += PAGE) {
        require(memfd.isAccessible(at) != isPrivate, "not all or nothing at " + at);
      }
      close();
    }

    void close() {
      assertThat(wrong).isEmpty();
      require(!isInside, "a begin without an end");
      for (long at = 0; at < BOTH; at += PAGE) {
        boolean shared = memfd.isAccessible(at);
        require(!vcpu.tryRead(GPA + at, 8, shared ? PRIVATE : SHARED), "mapped as what it was");
        require(shared || memfd.holders(at).mapped() == 0, "mapped by the host");
        assertThat(memfd.holders(at).unsafe()).isZero();
      }
      MemoryAttributes2 argument = new MemoryAttributes2(0, BOTH, MemoryAttributes2.PRIVATE);
      assertThat(vm.trySetMemoryAttributes2(memfd, argument)).isEqualTo(Errno.OK);
      window.close();
      memfd.close();
      assertThat(host.violations()).isEmpty();
      assertThat(host.used()).isZero();
      host.close();
    }
  }

  /**
   * Who comes beside the conversion.
   *
   * @param inTheWay the offsets that a refusal for this one may have
   * @param converts whether it changes attributes itself
   */
  private record Party(String name, Set<Long> inTheWay, boolean converts, Consumer<World> act) {
    @Override
    public String toString() {
      return name;
    }
  }

  private static final Set<Long> NONE = Set.of();
  private static final Set<Long> SECOND = Set.of((long) PAGE);

  /** References are taken and dropped one after the other. */
  private static final Set<Long> EITHER = Set.of(0L, (long) PAGE);

  static Stream<Party> parties() {
    return Stream.of(
        new Party("a pin of the second page", SECOND, false, w -> w.use(PAGE, 8, true)),
        new Party("GUP of both pages", EITHER, false, w -> w.use(0, BOTH, false)),
        new Party("a fault of the second page", SECOND, false, w -> w.load(PAGE)),
        new Party(
            "a punch of the second page",
            NONE,
            false,
            w -> World.attempt(() -> w.memfd.punchHole(PAGE, PAGE))),
        new Party(
            "a conversion of the first page",
            NONE,
            true,
            w ->
                w.vm.trySetMemoryAttributes2(
                    w.memfd, new MemoryAttributes2(0, PAGE, MemoryAttributes2.PRIVATE))),
        new Party(
            "a conversion of both back",
            NONE,
            true,
            w -> w.vm.trySetMemoryAttributes2(w.memfd, new MemoryAttributes2(0, BOTH, 0))));
  }

  private static Interleavings<World> scenario(Party party) {
    return scenario(ConversionProtocol.invalidateLock(), party);
  }

  private static Interleavings<World> scenario(ConversionProtocol protocol, Party party) {
    return Interleavings.of(() -> new World(protocol))
        .thread(
            "converter",
            w -> {
              w.convertBoth(party.inTheWay);
              Thread.interrupted();
            })
        .thread(party.name, party.act::accept)
        .atEnd(party.converts ? World::close : World::closeUnchanged);
  }

  @ParameterizedTest
  @MethodSource("parties")
  void aConversionOfBothAgainst(Party party) {
    Interleavings.Report report = scenario(party).maxPreemptions(3).explore();
    assertThat(report.complete()).isTrue();
    assertThat(report.orders()).isGreaterThan(1);
  }

  /** That it would see: a rule that looks for pins alone. */
  @Test
  void aRuleThatLooksForPinsAloneIsFoundOut() {
    Party gup = new Party("GUP of both pages", EITHER, false, w -> w.use(0, BOTH, false));
    assertThat(scenario(ConversionProtocol.pinCheck(), gup).find().counterexample())
        .hasValueSatisfying(text -> assertThat(text).contains("what the guest wrote as private"));
  }

  /** The same, and the converter is interrupted at each of its steps. */
  @ParameterizedTest
  @MethodSource("parties")
  void anInterruptedConversionOfBothAgainst(Party party) {
    Interleavings.Report report =
        scenario(party).interrupt("converter").maxPreemptions(2).explore();
    assertThat(report.complete()).isTrue();
  }

  /** Three at once: what one leaves behind by its refusal, another must not trip over. */
  @Test
  void twoConversionsAgainstAPin() {
    Party party = parties().findFirst().orElseThrow();
    Interleavings.Report report =
        Interleavings.of(() -> new World(ConversionProtocol.invalidateLock()))
            .thread("converter", w -> w.convertBoth(EITHER))
            .thread(
                "converter back",
                w -> w.vm.trySetMemoryAttributes2(w.memfd, new MemoryAttributes2(PAGE, PAGE, 0)))
            .thread(party.name, party.act::accept)
            .atEnd(World::close)
            .maxPreemptions(1)
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /** A private page of a file that is closed, and what its client was told. */
  private static final class Ending {
    final HostMemory host = HostMemory.ofBytes(2L * PAGE);
    final GuestMemfd memfd;
    private boolean isMaking;
    private boolean isReleased;
    private String wrong = "";

    Ending() {
      memfd =
          GuestMemfd.builder(host)
              .size(PAGE)
              .protocol(ConversionProtocol.invalidateLock())
              .ops(
                  new GuestMemfdOps() {
                    @Override
                    public Errno makePrivate(Folio folio) {
                      wrong = isReleased ? "a folio of a file that is gone" : wrong;
                      isMaking = true;
                      Announce.write(Ending.this); // a step: the release may come in between
                      isMaking = false;
                      return Errno.OK;
                    }

                    @Override
                    public void release() {
                      Announce.read(Ending.this);
                      wrong = isMaking ? "the file is gone while its page is made private" : wrong;
                      isReleased = true;
                    }
                  })
              .build();
      memfd.grab(0).close();
    }

    void fault() {
      assertThat(memfd.tryGetPfn(0)).matches(pfn -> pfn > 0 || pfn == -Errno.EBADF.code());
    }

    void atEnd() {
      assertThat(wrong).isEmpty();
      World.require(isReleased, "the file is not gone");
      assertThat(host.used()).isZero();
      host.close();
    }
  }

  @Test
  void aFaultAgainstTheEndOfTheFile() {
    Interleavings.Report report =
        Interleavings.of(Ending::new)
            .thread("fault", Ending::fault)
            .thread("other fault", Ending::fault)
            .thread("close", e -> e.memfd.close())
            .atEnd(Ending::atEnd)
            .maxPreemptions(1)
            .explore();
    assertThat(report.complete()).isTrue();
    assertThat(report.orders()).isGreaterThan(1);
  }
}
