package io.github.guestmemfd.lab;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.lab.workload.Platform;
import io.github.guestmemfd.lab.workload.Workload;
import io.github.guestmemfd.policy.ConversionPolicy;
import java.util.Arrays;
import java.util.Iterator;

/** The names that options take, as the help lists them: asked of what they name. */
final class Names {
  private Names() {}

  /** The shipped protocols. */
  static final class Protocols implements Iterable<String> {
    @Override
    public Iterator<String> iterator() {
      return ConversionProtocol.all().stream().map(ConversionProtocol::id).iterator();
    }
  }

  /** The policies, with a user's own. */
  static final class Policies implements Iterable<String> {
    @Override
    public Iterator<String> iterator() {
      return ConversionPolicy.ids().iterator();
    }
  }

  /** The platforms. */
  static final class Platforms implements Iterable<String> {
    @Override
    public Iterator<String> iterator() {
      return Arrays.stream(Platform.values()).map(Platform::id).iterator();
    }
  }

  /** The kernels whose answers the model gives. */
  static final class Kernels implements Iterable<String> {
    @Override
    public Iterator<String> iterator() {
      return Arrays.stream(KernelProfile.values()).map(KernelProfile::release).iterator();
    }
  }

  /** The workloads. */
  static final class Workloads implements Iterable<String> {
    @Override
    public Iterator<String> iterator() {
      return Arrays.stream(Workload.values()).map(Workload::id).iterator();
    }
  }
}
