package io.github.guestmemfd.abi;

import java.util.Objects;

/**
 * A NUMA policy: on which nodes memory is to be allocated, as {@code mbind} takes it. Immutable.
 *
 * <p>The host has one node, number 0, so a policy decides nothing; it is kept, and said back.
 *
 * @param mode how nodes are chosen
 * @param nodes of which, a bit for each; those that the host does not have are left out when the
 *     policy is set
 */
public record MemoryPolicy(Mode mode, long nodes) {
  /** How nodes are chosen. */
  public enum Mode {
    /** As without a policy ({@code MPOL_DEFAULT}); takes no nodes. */
    DEFAULT(0),
    /** The node first, others when it is full ({@code MPOL_PREFERRED}); LOCAL without nodes. */
    PREFERRED(1),
    /** The nodes alone ({@code MPOL_BIND}). */
    BIND(2),
    /** The nodes in turn ({@code MPOL_INTERLEAVE}). */
    INTERLEAVE(3),
    /** The node of the CPU that allocates ({@code MPOL_LOCAL}); takes no nodes. */
    LOCAL(4),
    /** The nodes first ({@code MPOL_PREFERRED_MANY}). */
    PREFERRED_MANY(5),
    /** The nodes in turn, by their weights ({@code MPOL_WEIGHTED_INTERLEAVE}). */
    WEIGHTED_INTERLEAVE(6);

    private final int number;

    Mode(int number) {
      this.number = number;
    }

    /**
     * The kernel's number for it.
     *
     * @return 0 to 6
     */
    public int number() {
      return number;
    }

    /** Whether it takes no nodes. */
    boolean isWithoutNodes() {
      return this == DEFAULT || this == LOCAL;
    }
  }

  /** Where no policy has been set. */
  public static final MemoryPolicy DEFAULT = new MemoryPolicy(Mode.DEFAULT, 0);

  /** The nodes of a host. */
  private static final long ONLINE = 1;

  /**
   * Creates a policy. Whether it makes sense is found out when it is set.
   *
   * @param mode how nodes are chosen
   * @param nodes of which
   */
  public MemoryPolicy {
    Objects.requireNonNull(mode, "mode");
  }

  /**
   * The policy as it is kept and said back, without nodes that the host does not have.
   *
   * @return the policy; of mode LOCAL for a node that is preferred without being named
   * @throws GuestMemfdException EINVAL if the mode takes no nodes and there are some, or if it
   *     takes nodes and none of them is the host's
   */
  public MemoryPolicy normalized() {
    if (mode == Mode.PREFERRED && nodes == 0) {
      return new MemoryPolicy(Mode.LOCAL, 0);
    }
    if (mode.isWithoutNodes() ? nodes != 0 : (nodes & ONLINE) == 0) {
      throw new GuestMemfdException(
          Errno.EINVAL,
          "memory policy "
              + mode
              + ": expected "
              + (mode.isWithoutNodes() ? "no nodes" : "node 0 among the nodes")
              + ", actual nodes "
              + Hex.of(nodes));
    }
    return new MemoryPolicy(mode, nodes & ONLINE);
  }
}
