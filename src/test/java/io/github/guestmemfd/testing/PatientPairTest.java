package io.github.guestmemfd.testing;

import io.github.guestmemfd.conversion.ConversionProtocol;

class PatientPairTest extends ConversionProtocolContract {
  @Override
  protected ConversionProtocol protocol() {
    return new PatientPair();
  }
}
