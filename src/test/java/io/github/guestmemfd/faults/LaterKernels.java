package io.github.guestmemfd.faults;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.VirtualMachine;

/**
 * Calls of kernels after 6.18: conversion in place by a call on the file, frames without a
 * reference, NUMA policies, and a file that is handed over to another machine.
 */
final class LaterKernels extends Scenario {
  private static final MemoryPolicy POLICY = new MemoryPolicy(MemoryPolicy.Mode.BIND, 1);

  private VirtualMachine source;
  private VirtualMachine target;
  private GuestMemfd f;
  private GuestMemfd linked;
  private HostMapping w;

  LaterKernels(Bench bench) {
    super(bench);
    whole(
        "create",
        () -> {
          source = machine();
          target = machine();
          Ops client = new Ops(bench.injector);
          f = source.createGuestMemfd(bench.describe(4, MMAP, INIT_SHARED), client);
          bench.known(f, client);
          w = bench.mapped(f.mmap(0, f.size(), READ, WRITE));
          return OK;
        });
    some(
        "set a policy",
        () -> {
          w.mbind(0, PAGE, POLICY);
          return same(POLICY, w.getMempolicy(0));
        });
    some("a frame for the guest", () -> frame(0));
    whole(
        "to private",
        () -> {
          long size = 2L * PAGE;
          source.setMemoryAttributes2(f, new MemoryAttributes2(0, size, MemoryAttributes2.PRIVATE));
          return OK;
        });
    some("a private frame", () -> frame(PAGE));
    whole(
        "to shared",
        () -> source.trySetMemoryAttributes2(f, new MemoryAttributes2(0, 2L * PAGE, 0)).name());
    some(
        "link",
        () -> {
          linked = bench.opened(target.linkGuestMemfd(f, 0));
          return same(true, linked.sameFile(f));
        });
    some(
        "move",
        () -> {
          if (!source.isDead()) { // or it has been done before
            target.moveContextFrom(source);
          }
          return same(true, source.isDead());
        });
    some(
        "close what is linked",
        () -> {
          bench.close(linked);
          return OK;
        });
  }

  private VirtualMachine machine() {
    VirtualMachine vm =
        VirtualMachine.builder()
            .kernelProfile(KernelProfile.IN_PLACE)
            .raceHook(bench.injector)
            .build();
    bench.vms.add(new Bench.Vm(vm, false));
    return vm;
  }

  private String frame(long offset) {
    int pfn = f.tryGetPfn(offset);
    return pfn > 0 ? OK : Errno.ofResult(pfn).name();
  }
}
