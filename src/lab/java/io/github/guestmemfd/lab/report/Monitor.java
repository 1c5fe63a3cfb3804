package io.github.guestmemfd.lab.report;

import io.github.guestmemfd.policy.PrivatePages;
import io.github.guestmemfd.policy.SharedPages;
import java.util.Arrays;

/**
 * A kind of virtual machine monitor: what memory its guest has, and what it discards.
 *
 * @param memory where shared pages are
 * @param discard what it discards when pages turn
 * @param pinnable how many bytes a device that is passed through to the guest may pin; 0 if there
 *     is no such device
 */
public record Monitor(Memory memory, Discard discard, long pinnable) {

  /** The usual one: pages are converted where they are, with their content. */
  public static final Monitor IN_PLACE = new Monitor(Memory.IN_PLACE, Discard.NEVER, 0);

  /** Where shared pages are, as {@code --memory} names it. */
  public enum Memory {
    /** In the file, where they are converted: in-place conversion. */
    IN_PLACE("in-place"),
    /** In memory of the host beside the file, which has the private ones alone. */
    TWO("two");

    private final String id;

    Memory(String id) {
      this.id = id;
    }

    /**
     * Its name on the command line.
     *
     * @return the name
     */
    public String id() {
      return id;
    }
  }

  /** What is discarded when pages turn, as {@code --discard} names it. */
  public enum Discard {
    /** Nothing. */
    NEVER("never", PrivatePages.KEEP, SharedPages.KEEP),
    /** Private pages when they turn shared. */
    PRIVATE("private", PrivatePages.DISCARD, SharedPages.KEEP),
    /** Shared pages when they turn private; only with two memories is there something. */
    SHARED("shared", PrivatePages.KEEP, SharedPages.DISCARD),
    /** Both. */
    BOTH("both", PrivatePages.DISCARD, SharedPages.DISCARD);

    private final String id;
    private final PrivatePages onShared;
    private final SharedPages onPrivate;

    Discard(String id, PrivatePages onShared, SharedPages onPrivate) {
      this.id = id;
      this.onShared = onShared;
      this.onPrivate = onPrivate;
    }

    /**
     * Its name on the command line.
     *
     * @return the name
     */
    public String id() {
      return id;
    }

    /**
     * What becomes of private pages that turn shared.
     *
     * @return kept or discarded
     */
    public PrivatePages onShared() {
      return onShared;
    }

    /**
     * What becomes of shared pages that turn private.
     *
     * @return kept or discarded
     */
    public SharedPages onPrivate() {
      return onPrivate;
    }

    /** What is left of it where there is no other memory to discard. */
    private Discard inPlace() {
      return Arrays.stream(values())
          .filter(d -> d.onShared == onShared && d.onPrivate == SharedPages.KEEP)
          .findFirst()
          .orElseThrow();
    }
  }

  /**
   * Describes one; in place there are no shared pages to discard, and no device is told of them.
   *
   * @param memory where shared pages are
   * @param discard what it discards when pages turn
   * @param pinnable how many bytes a device may pin; 0 if there is none
   */
  public Monitor {
    if (memory == Memory.IN_PLACE) {
      discard = discard.inPlace();
      pinnable = 0;
    }
  }

  /**
   * Whether shared pages are apart from the file.
   *
   * @return true if so
   */
  public boolean hasTwoMemories() {
    return memory == Memory.TWO;
  }

  /**
   * Its name, in tables.
   *
   * @return a few words, without those that go without saying
   */
  public String name() {
    return (hasTwoMemories() ? "two" : "in place")
        + (hasTwoMemories() || discard != Discard.NEVER ? ", discard " + discard.id() : "")
        + (pinnable == 0 ? "" : ", pins " + Numbers.bytes(pinnable));
  }
}
