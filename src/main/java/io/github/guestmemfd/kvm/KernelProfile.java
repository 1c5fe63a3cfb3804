package io.github.guestmemfd.kvm;

import io.github.guestmemfd.Errno;
import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;

/**
 * A kernel whose answers a virtual machine gives, where released kernels differ.
 * docs/kernel-versions.md has each difference with its source. Kernels between two that are named
 * here answer as the earlier.
 */
public enum KernelProfile {

  /** Linux 6.18, the first release whose guest_memfd can be mapped by the host. The default. */
  LINUX_6_18("6.18", Errno.EINVAL, true),

  /** Linux 7.2: binding a range of a file twice is EEXIST, and offset + size cannot overflow. */
  LINUX_7_2("7.2", Errno.EEXIST, false);

  private final String release;
  final Errno fileOverlap;
  final boolean signedOffsets;

  KernelProfile(String release, Errno fileOverlap, boolean signedOffsets) {
    this.release = release;
    this.fileOverlap = fileOverlap;
    this.signedOffsets = signedOffsets;
  }

  /**
   * The kernel's release, as {@code uname -r} begins.
   *
   * @return two numbers with a dot
   */
  public String release() {
    return release;
  }

  /**
   * Finds a profile.
   *
   * @param release as {@link #release}
   * @return the profile, if there is one of that name
   */
  public static Optional<KernelProfile> of(String release) {
    Objects.requireNonNull(release);
    return Arrays.stream(values()).filter(p -> p.release.equals(release)).findFirst();
  }
}
