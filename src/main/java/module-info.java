/**
 * A model of the folio lifecycle of Linux's guest_memfd: the memory of a virtual machine as the
 * host and the guest hold, share, convert and free it.
 */
module io.github.guestmemfd {
  requires org.jctools.core;
  requires org.slf4j;
  requires static org.jspecify;
  requires static jdk.jfr;
  requires static org.junit.jupiter.api;

  exports io.github.guestmemfd;
  exports io.github.guestmemfd.abi;
  exports io.github.guestmemfd.conversion;
  exports io.github.guestmemfd.gunyah;
  exports io.github.guestmemfd.kvm;
  exports io.github.guestmemfd.platform;
  exports io.github.guestmemfd.policy;
  exports io.github.guestmemfd.spi;
  exports io.github.guestmemfd.testing;
  exports io.github.guestmemfd.trace;

  uses io.github.guestmemfd.conversion.ConversionProtocol;
  uses io.github.guestmemfd.policy.ConversionPolicy;
}
