package io.github.guestmemfd.platform;

import static io.github.guestmemfd.platform.PlatformWorld.PAGE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.testing.Interleavings;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/**
 * A launch that fills a page, against what else is done with the guest and its file, in every order
 * (with at most two pre-emptions). The kernel holds the lock of the memslots, and that of the file.
 */
class LaunchRacesTest {

  /** A guest that has not been launched, with a private page. */
  private static final class World<H, G extends PlatformGuest> {
    final H hardware;
    final PlatformWorld<G> world;
    final G guest;
    Populated populated;

    World(H hardware, G guest) {
      this.hardware = hardware;
      this.guest = guest;
      this.world = new PlatformWorld<>(guest);
      world.memfd.makeInaccessible(0, PAGE);
    }
  }

  private static World<Rmp, SnpGuest> snp() {
    Rmp rmp = new Rmp();
    return new World<>(rmp, new SnpGuest(rmp));
  }

  private static World<TdxModule, TdxGuest> tdx() {
    TdxModule module = new TdxModule();
    return new World<>(module, new TdxGuest(module, new VirtualMachine()));
  }

  private static World<Rmm, CcaGuest> cca() {
    Rmm rmm = new Rmm();
    return new World<>(rmm, new CcaGuest(rmm));
  }

  private static void updateSnp(World<Rmp, SnpGuest> w) {
    w.populated =
        w.guest.launchUpdate(
            w.world.memfd, 0, PAGE, PlatformWorld.pages(1, 5), SnpGuest.LaunchPage.NORMAL);
  }

  private static void addTdx(World<TdxModule, TdxGuest> w) {
    w.populated = w.guest.initMemRegion(w.world.memfd, 0, PAGE, PlatformWorld.pages(1, 5));
  }

  /** A page that is shared in the end is the host's, whatever the launch has answered. */
  @Test
  void aPageThatIsConvertedMeanwhileIsNotAssigned() {
    Interleavings<World<Rmp, SnpGuest>> orders =
        Interleavings.of(LaunchRacesTest::snp)
            .thread("launch", LaunchRacesTest::updateSnp)
            .thread("monitor", w -> w.world.memfd.tryMakeAccessible(0, PAGE))
            .atEnd(
                w -> {
                  assertThat(w.populated.cause()).isIn(Errno.OK, Errno.EINVAL);
                  assertEquals(0, w.hardware.assigned(), "the page is the host's");
                  w.world.close();
                });
    assertThat(orders.maxPreemptions(2).explore().complete()).isTrue();
  }

  @Test
  void nothingIsMeasuredAfterTheLaunchOfAnSnpGuest() {
    Interleavings<World<Rmp, SnpGuest>> orders =
        Interleavings.of(LaunchRacesTest::snp)
            .thread("launch", LaunchRacesTest::updateSnp)
            .thread(
                "monitor",
                w -> {
                  assertEquals(Errno.OK, w.guest.finishLaunch());
                  int assigned = w.hardware.assigned();
                  assertEquals(assigned, w.hardware.assigned());
                })
            .atEnd(
                w -> {
                  assertThat(w.populated.errno()).isIn(Errno.OK, Errno.EINVAL);
                  w.world.close();
                });
    assertThat(orders.maxPreemptions(2).explore().complete()).isTrue();
  }

  @Test
  void nothingIsAddedToADomainThatIsFinalized() {
    Interleavings<World<TdxModule, TdxGuest>> orders =
        Interleavings.of(LaunchRacesTest::tdx)
            .thread("launch", LaunchRacesTest::addTdx)
            .thread(
                "monitor",
                w -> {
                  assertEquals(Errno.OK, w.guest.finishLaunch());
                  boolean mapped = w.guest.isMapped(0);
                  assertEquals(mapped, w.guest.isMapped(0));
                })
            .atEnd(
                w -> {
                  assertThat(w.populated.errno()).isIn(Errno.OK, Errno.EINVAL);
                  assertThat(w.guest.death()).isEmpty();
                  w.world.close();
                });
    assertThat(orders.maxPreemptions(2).explore().complete()).isTrue();
  }

  @Test
  void nothingIsMeasuredOfARealmThatIsActive() {
    Interleavings<World<Rmm, CcaGuest>> orders =
        Interleavings.of(LaunchRacesTest::cca)
            .thread(
                "launch",
                w ->
                    w.populated =
                        w.guest.populate(
                            w.world.memfd, 0, PAGE, PlatformWorld.pages(1, 5), /* measure= */ true))
            .thread(
                "monitor",
                w -> {
                  assertEquals(Errno.OK, w.guest.finishLaunch());
                  long pages = w.guest.measuredPages();
                  assertEquals(pages, w.guest.measuredPages());
                })
            .atEnd(
                w -> {
                  assertEquals(w.populated.done(), w.guest.measuredPages() * PAGE);
                  w.world.close();
                });
    assertThat(orders.maxPreemptions(2).explore().complete()).isTrue();
  }

  /** A guest dies once: of what came first, and the reason stays. */
  @Test
  void theReasonOfADeathStays() {
    Interleavings<World<TdxModule, TdxGuest>> orders =
        Interleavings.of(
                () -> {
                  World<TdxModule, TdxGuest> w = tdx();
                  w.guest.finishLaunch();
                  w.guest.map(w.world.memfd, 0);
                  w.world.memfd.makeInaccessible(PAGE, PAGE);
                  w.hardware.faults().fail(TdxModule.Call.AUG);
                  return w;
                })
            .thread("maps", w -> w.guest.map(w.world.memfd, PAGE))
            .thread(
                "touches",
                w -> {
                  w.guest.read(0);
                  assertThat(w.guest.death()).isPresent().isEqualTo(w.guest.death());
                })
            .atEnd(
                w -> {
                  w.hardware.faults().stop(TdxModule.Call.AUG);
                  w.world.close();
                });
    assertThat(orders.maxPreemptions(2).explore().complete()).isTrue();
  }

  /** What is asked for while another thread makes a call fails that one or the next. */
  @Test
  void aFailureThatIsAskedForIsNotMissed() {
    final class Hardware {
      private final TdxModule calls = new TdxModule();
      private final List<Errno> answers = new ArrayList<>();

      void call() {
        answers.add(calls.call(TdxModule.Call.TRACK));
      }

      void failAndCall() {
        calls.faults().fail(TdxModule.Call.TRACK);
        call();
      }
    }
    Interleavings<Hardware> orders =
        Interleavings.of(Hardware::new)
            .thread("other", Hardware::call)
            .thread("test", Hardware::failAndCall)
            .atEnd(
                hardware ->
                    assertThat(hardware.answers).containsExactlyInAnyOrder(Errno.OK, Errno.EIO));
    assertThat(orders.explore().complete()).isTrue();
  }
}
