package io.github.guestmemfd.abi;

/**
 * What a file does that a guest_memfd of Linux 6.18 does not. A virtual machine creates its files
 * with those of its kernel ({@code KernelProfile.fileTraits}).
 */
public enum FileTrait {
  /**
   * The file keeps the NUMA policies that are set through its mappings, by offset in the file: all
   * mappings share them, and they outlive the mapping. Since Linux 6.19 ({@code
   * kvm_gmem_set_policy}); before, each mapping has its own.
   */
  SHARED_POLICY,
  /**
   * {@link CreateFlag#NO_DIRECT_MAP} as in version 12 of the series of April 2026 (lore, "Direct
   * Map Removal Support for guest_memfd"), which is in no released kernel:
   *
   * <ul>
   *   <li>a folio leaves the direct map just before the host or the guest first maps it, whichever
   *       may use it, and then the client prepares it;
   *   <li>conversions leave it where it is; when it is freed the client is told, and then it comes
   *       back;
   *   <li>there is no GUP of the file: EFAULT; nor can its mappings be populated: EINVAL;
   *   <li>a write takes the folio out at its end, and a second write of it is EEXIST;
   *   <li>such a file cannot be populated, and a machine whose launch does that has none.
   * </ul>
   *
   * <p>Without that flag it says nothing.
   */
  ZAP_BEFORE_MAPPING,
  /**
   * No child inherits a mapping of the file, whatever it is advised ({@code VM_DONTCOPY} and {@code
   * VM_IO}). For memory that stands for another kind; no guest_memfd has this.
   */
  NOT_INHERITED
}
