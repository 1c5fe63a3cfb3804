package io.github.guestmemfd.abi;

/**
 * What a guest_memfd of some kernels does and one of Linux 6.18 does not. A virtual machine creates
 * its files with those of its kernel ({@code KernelProfile.fileTraits}).
 */
public enum FileTrait {
  /**
   * The file keeps the NUMA policies that are set through its mappings, by offset in the file: all
   * mappings share them, and they outlive the mapping. Since Linux 6.19 ({@code
   * kvm_gmem_set_policy}); before, each mapping has its own.
   */
  SHARED_POLICY,
  /**
   * {@link CreateFlag#NO_DIRECT_MAP} as in version 12 of the series of April 2026: a folio leaves
   * the direct map just before the host or the guest first maps it, whoever may use it, and comes
   * back when it is freed; there is no GUP of the file. In no released kernel.
   */
  ZAP_BEFORE_MAPPING
}
