package io.github.guestmemfd.kvm;

/** With references in the guest page table, which are given back when a page is zapped. */
class GmemWithReferencesContractTest extends GmemContractTest {
  @Override
  VirtualMachine machine() {
    return VirtualMachine.builder().keepReferences().build();
  }
}
