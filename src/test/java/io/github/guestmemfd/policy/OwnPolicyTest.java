package io.github.guestmemfd.policy;

import io.github.guestmemfd.testing.ConversionPolicyContract;

class OwnPolicyTest extends ConversionPolicyContract {
  @Override
  protected ConversionPolicy policy() {
    return new OwnPolicy();
  }
}
