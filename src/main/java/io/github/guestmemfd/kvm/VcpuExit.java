package io.github.guestmemfd.kvm;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Hex;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Why a vCPU left the guest: what the kernel writes to {@code struct kvm_run}. */
public sealed interface VcpuExit {

  /**
   * Returns the guest address of the exit.
   *
   * @return the guest physical address; 0 for {@link Interrupted}
   */
  long gpa();

  /**
   * A page could not be mapped for an access: {@code KVM_EXIT_MEMORY_FAULT}.
   *
   * @param gpa the first address of the page
   * @param size its size in bytes, 4096
   * @param attribute the view that the access had of the page ({@code
   *     KVM_MEMORY_EXIT_FLAG_PRIVATE})
   * @param access what the access was
   * @param errno what {@code KVM_RUN} answers: EFAULT if the page is of the other attribute, or its
   *     file is gone; EHWPOISON if its memory has failed; EAGAIN if a conversion of it is pending;
   *     ENOMEM; EINVAL past the end of the file, which a memslot can reach; EOPNOTSUPP if the file
   *     was not created by the virtual machine; EDEADLK from inside a callback; EIO if the virtual
   *     machine is {@linkplain VirtualMachine#isDead dead}; what a prepare callback answers. After
   *     {@link Vcpu#failMemoryFault} what the conversion answered that would have been needed:
   *     EAGAIN if a host holder had a page
   * @param busy the page that blocked that conversion, and its holders; null if none did. Compared
   *     by identity, and not overwritten
   */
  record MemoryFault(
      long gpa,
      long size,
      MemoryAttribute attribute,
      Access access,
      Errno errno,
      @Nullable BusyGuestPage busy)
      implements VcpuExit {
    /**
     * Creates the exit.
     *
     * @param gpa as above
     * @param size as above
     * @param attribute as above
     * @param access as above
     * @param errno as above
     * @param busy as above
     */
    public MemoryFault {
      Objects.requireNonNull(attribute, "attribute");
      Objects.requireNonNull(access, "access");
      Objects.requireNonNull(errno, "errno");
    }

    /**
     * Creates an exit without a busy page.
     *
     * @param gpa as above
     * @param size as above
     * @param attribute as above
     * @param access as above
     * @param errno as above
     */
    public MemoryFault(long gpa, long size, MemoryAttribute attribute, Access access, Errno errno) {
      this(gpa, size, attribute, access, errno, null);
    }

    @Override
    public String toString() {
      return "MemoryFault[gpa=%s, size=%d, attribute=%s, access=%s, errno=%s: %s]"
          .formatted(
              Hex.of(gpa),
              size,
              attribute,
              access,
              errno,
              busy == null ? why() : "the conversion that it needs was refused, " + busy);
    }

    /** What the errno says; a prepare callback may answer any. */
    private String why() {
      return switch (errno) {
        case EFAULT -> "the page is not " + attribute + ", or its file is gone";
        case EOPNOTSUPP ->
            "the file is not of this virtual machine, which could not follow its conversions;"
                + " expected one from createGuestMemfd, or adopted";
        case EAGAIN -> "a conversion of the page is pending";
        case EDEADLK -> "from inside a callback";
        case EINTR -> "the thread was interrupted";
        case EHWPOISON -> "the memory of the page has failed";
        case EINVAL -> "past the end of the file, or answered by a prepare callback";
        case ENOMEM -> "no memory on the host, or in the JVM: see -XX:MaxDirectMemorySize";
        case EIO -> "the virtual machine is dead, or a prepare callback has answered this";
        default -> "answered by a prepare callback";
      };
    }
  }

  /**
   * The host has no memory for a shared page: {@code KVM_RUN} answers EFAULT, and fills in nothing
   * ({@code KVM_EXIT_UNKNOWN}). The kernel does not say where; here it is known.
   *
   * @param gpa the first address of the page
   * @param userAddress the user address of the page, where nothing is
   * @param access what the access was
   */
  record HostFault(long gpa, long userAddress, Access access) implements VcpuExit {
    /**
     * Creates the exit.
     *
     * @param gpa as above
     * @param userAddress as above
     * @param access as above
     */
    public HostFault {
      Objects.requireNonNull(access, "access");
    }

    @Override
    public String toString() {
      return "HostFault[gpa=%s, user address=%s, access=%s: no memory of the host there]"
          .formatted(Hex.of(gpa), Hex.of(userAddress), access);
    }
  }

  /**
   * An access where there is no memslot, or a write to a read-only one: {@code KVM_EXIT_MMIO}.
   *
   * @param gpa the first address
   * @param size how many bytes; for a bulk access those up to the end of the page, at most
   * @param access what the access was
   * @param value what was to be written; 0 for a read or a bulk access
   */
  record Mmio(long gpa, long size, Access access, long value) implements VcpuExit {
    /**
     * Creates the exit.
     *
     * @param gpa as above
     * @param size as above
     * @param access as above
     * @param value as above
     */
    public Mmio {
      Objects.requireNonNull(access, "access");
    }

    @Override
    public String toString() {
      return "Mmio[gpa=%s, size=%d, access=%s, value=%s: no memslot%s]"
          .formatted(
              Hex.of(gpa),
              size,
              access,
              Hex.of(value),
              access == Access.WRITE ? ", or a read-only one" : "");
    }
  }

  /**
   * The guest asks for a conversion: {@code KVM_EXIT_HYPERCALL} with {@code KVM_HC_MAP_GPA_RANGE}.
   *
   * <p>A guest can be told only that the range is done, that it is to ask again from some address
   * on, or that it must not ask for this. See {@link #answerTo}.
   *
   * @param gpa the first address, a multiple of 4096
   * @param pages how many pages, at least 1
   * @param attribute what they are to become
   */
  record Hypercall(long gpa, long pages, MemoryAttribute attribute) implements VcpuExit {
    /**
     * Creates the exit.
     *
     * @param gpa as above
     * @param pages as above
     * @param attribute as above
     */
    public Hypercall {
      Objects.requireNonNull(attribute, "attribute");
    }

    @Override
    public String toString() {
      return "Hypercall[gpa=%s, pages=%d, attribute=%s]".formatted(Hex.of(gpa), pages, attribute);
    }

    /**
     * Returns the answer to the guest for an errno that its monitor has met: what KVM takes as a
     * result of {@code KVM_HC_MAP_GPA_RANGE} for guests of TDX and SEV-SNP.
     *
     * @param errno the errno of a conversion
     * @return {@link Errno#OK}; EAGAIN, which tells the guest to ask again, for errnos that pass:
     *     EAGAIN, EBUSY and EINTR; EINVAL for everything else
     */
    public static Errno answerTo(Errno errno) {
      return switch (errno) {
        case OK -> Errno.OK;
        case EAGAIN, EBUSY, EINTR -> Errno.EAGAIN;
        default -> Errno.EINVAL;
      };
    }
  }

  /** The thread was interrupted, or {@link Vcpu#requestExit} called: {@code KVM_EXIT_INTR}. */
  record Interrupted() implements VcpuExit {
    @Override
    public long gpa() {
      return 0;
    }
  }
}
