package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.lang.reflect.Method;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

/** What is counted, of whom: the virtual machine, each vCPU, each memslot. */
class VmMetricsTest extends VmFixture {
  private final Vcpu one = vm.createVcpu();
  private final Vcpu two = vm.createVcpu();
  private static final long FAR = GPA + 0x10_0000;

  private void boundTwice() {
    GuestMemfd memfd = file(4);
    vm.bind(0, GPA, 2L * PAGE, memfd, 0);
    vm.bind(1, FAR, 2L * PAGE, memfd, 2L * PAGE);
  }

  private static Map<String, Long> numbers(VmMetrics metrics) {
    Map<String, Long> numbers = new TreeMap<>(metrics.asMap());
    numbers.values().removeIf(n -> n == 0);
    return numbers;
  }

  @Test
  void faultsAndExitsAreOfTheirVcpuAndMemslot() {
    boundTwice();
    write(one, GPA, 1, SHARED);
    write(one, GPA + 8, 1, SHARED); // mapped: nothing to count
    write(one, FAR, 1, SHARED);
    write(two, FAR + PAGE, 1, SHARED);
    assertFalse(two.tryRead(FAR, 8, PRIVATE)); // another fault, and an exit
    assertFalse(two.tryRead(0, 8, SHARED)); // MMIO: in no memslot
    assertEquals(Map.of("faults", 2L), numbers(one.metrics()));
    assertEquals(
        Map.of("faults", 2L, "memoryFaultExits", 1L, "mmioExits", 1L), numbers(two.metrics()));
    assertEquals(Map.of("faults", 1L), numbers(vm.metrics(0)));
    assertEquals(Map.of("faults", 3L), numbers(vm.metrics(1)));
    assertEquals(
        Map.of("faults", 4L, "memoryFaultExits", 1L, "mmioExits", 1L), numbers(vm.metrics()));
    assertEquals(2, vm.metrics().exits());
  }

  @Test
  void invalidationsAndZapsAreOfTheirMemslot() {
    boundTwice();
    write(one, GPA, 1, SHARED);
    write(one, GPA + PAGE, 1, SHARED);
    write(one, FAR, 1, SHARED);
    VmMetrics before = vm.metrics();
    VmMetrics first = vm.metrics(0);
    VmMetrics second = vm.metrics(1);
    vm.memslotAt(GPA).orElseThrow().memfd().makeInaccessible(0, 4L * PAGE);
    assertEquals(Map.of("invalidations", 1L, "zaps", 3L), numbers(vm.metrics().minus(before)));
    assertEquals(Map.of("invalidations", 1L, "zaps", 2L), numbers(vm.metrics(0).minus(first)));
    assertEquals(Map.of("invalidations", 1L, "zaps", 1L), numbers(vm.metrics(1).minus(second)));
    vm.setMemoryAttributes(FAR, PAGE, SHARED);
    assertEquals(1, vm.metrics(0).invalidations(), "the other half of the file");
    assertEquals(2, vm.metrics(1).invalidations());
  }

  @Test
  void aFaultDoneAgainIsARetryOfItsVcpuAndMemslot() throws Exception {
    boundTwice();
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK, FAR)) {
      fault = Worker.start(() -> one.tryRead(FAR, 8, SHARED));
      gate.awaitReached();
      vm.memslotAt(FAR).orElseThrow().memfd().makeInaccessible(2L * PAGE, PAGE);
    }
    assertFalse(fault.result());
    assertEquals(1, one.metrics().retries());
    assertEquals(0, two.metrics().retries());
    assertEquals(0, vm.metrics(0).retries());
    assertEquals(1, vm.metrics(1).retries());
    assertEquals(1, vm.metrics().retries());
  }

  @Test
  void aMemslotMadeAnewCountsFromZero() {
    GuestMemfd memfd = bound(1);
    write(one, GPA, 1, SHARED);
    vm.unbind(0);
    GuestMemfdException none =
        refused(GuestMemfdException.class, Errno.EINVAL, () -> vm.metrics(0));
    assertEquals("memslot 0: there is none", none.getMessage().replaceFirst("^EINVAL.*?: ", ""));
    vm.bind(0, GPA, PAGE, memfd, 0);
    assertEquals(Map.of(), numbers(vm.metrics(0)));
    assertEquals(1, vm.metrics().faults());
  }

  @Test
  void everyNumberHasAMethod() throws Exception {
    bound(1);
    write(one, GPA, 1, SHARED);
    VmMetrics metrics = vm.metrics();
    Map<String, Long> byMethod = new TreeMap<>();
    for (Method method : VmMetrics.class.getDeclaredMethods()) {
      if (method.getReturnType() == long.class && !method.getName().equals("exits")) {
        byMethod.put(method.getName(), (Long) method.invoke(metrics));
      }
    }
    assertEquals(new TreeMap<>(metrics.asMap()), byMethod);
    assertEquals("VmMetrics[faults=1]", metrics.toString());
  }

  /** Whatever state it is in. */
  @Test
  void aVirtualMachineSaysWhatItHas() {
    assertEquals("VirtualMachine[memslots=0, size=0, vCPUs=0]", new VirtualMachine().toString());
    AtomicReference<String> inside = new AtomicReference<>();
    GuestMemfd memfd =
        file(
            3,
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                inside.set(vm.toString());
                return Errno.OK;
              }
            });
    vm.bind(0, GPA, PAGE, memfd, 0);
    vm.bind(7, GPA + 2L * PAGE, 2L * PAGE, memfd, PAGE);
    vm.createVcpu();
    String all = "VirtualMachine[memslots=2, size=12288, vCPUs=3]";
    assertEquals(all, vm.toString());
    memfd.makeInaccessible(0, PAGE);
    assertEquals(all, inside.get());
    memfd.close();
    assertEquals(all, vm.toString(), "a memslot without memory");
    vm.unbind(7);
    assertEquals("VirtualMachine[memslots=1, size=4096, vCPUs=3]", vm.toString());
  }
}
