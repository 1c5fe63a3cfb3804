package io.github.guestmemfd.kvm;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileTrait;
import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A kernel whose answers a virtual machine gives, where kernels differ. docs/kernel-versions.md has
 * each difference with its source. Kernels between two that are named here answer as the earlier.
 *
 * <p>It is chosen once, when a virtual machine is described ({@link
 * VirtualMachine.Builder#kernelProfile}); memslots, files and platforms follow their machine.
 */
public enum KernelProfile {

  /** Linux 6.18, the first release whose guest_memfd can be mapped by the host. The default. */
  LINUX_6_18("6.18", Errno.EINVAL, true, true),

  /** Linux 6.19: NUMA policies are the file's, and TDX holds no reference on mapped pages. */
  LINUX_6_19("6.19", Errno.EINVAL, true, false, FileTrait.SHARED_POLICY),

  /** Linux 7.2: binding a range of a file twice is EEXIST, and offset + size cannot overflow. */
  LINUX_7_2("7.2", Errno.EEXIST, false, false, FileTrait.SHARED_POLICY),

  /**
   * Linux 7.2 with version 12 of the series "Direct Map Removal Support for guest_memfd", which is
   * in no released kernel: {@link FileTrait#ZAP_BEFORE_MAPPING}. Found by its whole name alone.
   */
  NO_DIRECT_MAP_V12(
      "7.2+no-direct-map-v12",
      Errno.EEXIST,
      false,
      false,
      FileTrait.SHARED_POLICY,
      FileTrait.ZAP_BEFORE_MAPPING),

  /**
   * In-place conversion, version 13, as it was applied in September 2026, switched on: {@code
   * KVM_SET_MEMORY_ATTRIBUTES2} on a file; attributes of files and not of machines; faults of the
   * guest that hold no reference, and make a private page private each time. Which release will
   * have it is inferred: 7.4 at the earliest.
   */
  IN_PLACE("7.4", Errno.EEXIST, false, false, FileTrait.SHARED_POLICY);

  private static final Pattern RELEASE =
      Pattern.compile("([0-9]{1,9})\\.([0-9]{1,9})(?:[^0-9].*)?");

  private final String release;
  final Errno fileOverlap;
  final boolean signedOffsets;
  private final boolean tdxHoldsReferences;

  @SuppressWarnings("ImmutableEnumChecker") // made by Set.of
  private final Set<FileTrait> fileTraits;

  KernelProfile(
      String release,
      Errno fileOverlap,
      boolean signedOffsets,
      boolean tdxHoldsReferences,
      FileTrait... fileTraits) {
    this.release = release;
    this.fileOverlap = fileOverlap;
    this.signedOffsets = signedOffsets;
    this.tdxHoldsReferences = tdxHoldsReferences;
    this.fileTraits = Set.of(fileTraits);
  }

  /**
   * Returns the kernel's release, as {@code uname -r} begins.
   *
   * @return two numbers with a dot; for a kernel with a series that is in no release, a plus sign
   *     and the series after them
   */
  public String release() {
    return release;
  }

  /** See {@link VirtualMachine#hasTwoMemories}. */
  boolean hasTwoMemories(@Nullable VmType type) {
    return type != null && !convertsInPlace();
  }

  /** Whether files are converted in place: the module parameter gmem_in_place_conversion. */
  boolean convertsInPlace() {
    return this == IN_PLACE;
  }

  /**
   * What a file of this kernel does that one of Linux 6.18 does not.
   *
   * @return the traits; immutable
   */
  public Set<FileTrait> fileTraits() {
    return fileTraits;
  }

  /**
   * Whether TDX holds a reference on each private page that it has mapped.
   *
   * @return true before Linux 6.19
   */
  public boolean tdxHoldsReferences() {
    return tdxHoldsReferences;
  }

  /**
   * Finds the profile of a kernel: the one that has this {@link #release}, or else the last
   * released one that is not above it.
   *
   * @param release a release as {@code uname -r} has it: two numbers with a dot, and whatever
   *     follows
   * @return the profile; none for kernels before the first, and for what is not a release
   */
  public static Optional<KernelProfile> of(String release) {
    Matcher wanted = RELEASE.matcher(Objects.requireNonNull(release, "release"));
    Optional<KernelProfile> named =
        Arrays.stream(values()).filter(p -> p.release.equals(release)).findFirst();
    return named.isPresent() || !wanted.matches()
        ? named
        : Arrays.stream(values())
            .filter(p -> p.isReleased() && p.compareTo(wanted) <= 0)
            .reduce((p, later) -> later);
  }

  private boolean isReleased() {
    return release.indexOf('+') < 0;
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
