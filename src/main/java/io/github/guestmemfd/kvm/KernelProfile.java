package io.github.guestmemfd.kvm;

import io.github.guestmemfd.abi.Errno;
import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A kernel whose answers a virtual machine gives, where released kernels differ.
 * docs/kernel-versions.md has each difference with its source. Kernels between two that are named
 * here answer as the earlier.
 */
public enum KernelProfile {

  /** Linux 6.18, the first release whose guest_memfd can be mapped by the host. The default. */
  LINUX_6_18("6.18", Errno.EINVAL, true),

  /** Linux 7.2: binding a range of a file twice is EEXIST, and offset + size cannot overflow. */
  LINUX_7_2("7.2", Errno.EEXIST, false),

  /**
   * In-place conversion, version 13, as it was applied in September 2026, switched on: {@code
   * KVM_SET_MEMORY_ATTRIBUTES2} on a file; attributes of files and not of machines; faults of the
   * guest that hold no reference, and make a private page private each time. Which release will
   * have it is inferred: 7.4 at the earliest.
   */
  IN_PLACE("7.4", Errno.EEXIST, false);

  private static final Pattern RELEASE =
      Pattern.compile("([0-9]{1,9})\\.([0-9]{1,9})(?:[^0-9].*)?");

  private final String release;
  final Errno fileOverlap;
  final boolean signedOffsets;

  KernelProfile(String release, Errno fileOverlap, boolean signedOffsets) {
    this.release = release;
    this.fileOverlap = fileOverlap;
    this.signedOffsets = signedOffsets;
  }

  /**
   * Returns the kernel's release, as {@code uname -r} begins.
   *
   * @return two numbers with a dot
   */
  public String release() {
    return release;
  }

  /** Whether files are converted in place: the module parameter gmem_in_place_conversion. */
  boolean convertsInPlace() {
    return this == IN_PLACE;
  }

  /**
   * Finds the profile of a kernel: the last that is not above it.
   *
   * @param release a release as {@code uname -r} has it: two numbers with a dot, and whatever
   *     follows
   * @return the profile; none for kernels before the first, and for what is not a release
   */
  public static Optional<KernelProfile> of(String release) {
    Matcher wanted = RELEASE.matcher(Objects.requireNonNull(release, "release"));
    return wanted.matches()
        ? Arrays.stream(values()).filter(p -> p.compareTo(wanted) <= 0).reduce((p, later) -> later)
        : Optional.empty();
  }

  private int compareTo(MatchResult other) {
    Matcher own = RELEASE.matcher(release);
    own.matches();
    int major = Integer.compare(number(own, 1), number(other, 1));
    return major != 0 ? major : Integer.compare(number(own, 2), number(other, 2));
  }

  private static int number(MatchResult release, int group) {
    return Integer.parseInt(release.group(group));
  }
}
