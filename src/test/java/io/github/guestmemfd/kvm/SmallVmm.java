package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Errno.EAGAIN;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.policy.ConversionHandler;
import io.github.guestmemfd.policy.ConversionPolicy;
import io.github.guestmemfd.policy.GpaRange;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;

/** A virtual machine monitor: two vCPUs, and a device that reads what they share with it. */
final class SmallVmm {
  private static final long SIZE = 4 << 20;
  private static final long DOORBELL = 1 << 30; // no memory there: a write is MMIO

  final BlockingQueue<HostReference> submitted = new LinkedBlockingQueue<>();
  final Queue<Long> received = new ConcurrentLinkedQueue<>();
  final CountDownLatch refused = new CountDownLatch(1);

  void run(HostMemory host) throws Exception {
    VirtualMachine vm = new VirtualMachine();
    try (GuestMemfd memfd = vm.createGuestMemfd(GuestMemfd.builder(host).size(SIZE).flags(MMAP));
        HostMapping window = memfd.mmap(0, SIZE, READ, WRITE)) {
      vm.bind(0, 0, SIZE, memfd, 0);
      ConversionHandler handler =
          ConversionHandler.builder(vm, ConversionPolicy.eager())
              .otherwise((vcpu, exit) -> doorbell(vcpu, exit, window))
              .build();
      handler.start(new GpaRange(0, SIZE));
      Thread device = new Thread(this::device);
      device.start();
      Future<?> one = vm.createVcpu().start(Thread::new, this::guest, handler);
      Future<?> other = vm.createVcpu().start(Thread::new, this::guest, handler);
      one.get();
      other.get();
      device.interrupt();
      device.join();
    }
  }

  private boolean doorbell(Vcpu vcpu, VcpuExit exit, HostMapping window) {
    if (!(exit instanceof VcpuExit.Mmio write)) {
      return false; // an error of the guest ends its run
    }
    submitted.add(window.pin(write.value(), 4096)); // for DMA
    vcpu.completeMmio(0);
    return true;
  }

  private void device() {
    while (true) {
      try (HostReference dma = submitted.take()) {
        refused.await(); // it takes its time
        received.add(dma.buffer().getLong(0));
      } catch (InterruptedException e) {
        return; // switched off
      }
    }
  }

  private void guest(Vcpu vcpu) {
    long buffer = (1 << 20) + 4096L * vcpu.id();
    vcpu.mapGpaRange(buffer, 1, SHARED);
    vcpu.write(buffer, 8, 42 + vcpu.id(), SHARED);
    vcpu.write(DOORBELL, 8, buffer, SHARED);
    while (vcpu.mapGpaRange(buffer, 1, PRIVATE) == EAGAIN) {
      refused.countDown(); // the device still has it
    }
    vcpu.write(buffer, 8, 0, PRIVATE);
  }
}
