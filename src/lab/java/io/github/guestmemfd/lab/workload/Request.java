package io.github.guestmemfd.lab.workload;

/**
 * One operation that a workload asks for. Its result depends on what the other actors do; the
 * sequence of requests of an actor depends on the seed alone.
 *
 * @param op the operation
 * @param page the first page of the guest, from 0
 * @param pages how many
 */
public record Request(Op op, int page, int pages) {

  /**
   * The operations: those of the guest's vCPUs first, then those of the host's threads. The host's
   * have the names that the calls have in a trace ({@link io.github.guestmemfd.trace.Verb}), where
   * they are such calls. The guest's are no calls but aims, each of which takes several.
   */
  public enum Op {
    /** The guest asks for a range to be private, and writes a secret to each page. */
    ACCEPT,
    /** The guest uses pages as private: looks for the last secret, writes a new one. */
    SECRET,
    /** The guest asks for pages to be shared, and uses them so. */
    SHARE,
    /** The guest lets a device read pages that it shares. */
    SUBMIT,
    /** The guest waits until the device has done what it was given. */
    AWAIT,
    /** The guest reads a page, in the view of a shared one, without asking for anything. */
    PEEK,
    /** The guest reads a page, in the view of a private one, without asking for anything. */
    PEEK_PRIVATE,
    /** The guest gives pages back: they are punched, and read as zero afterwards. */
    BALLOON,
    /** The host fills pages from a snapshot, then the guest uses them as private. */
    RESTORE,

    /** A thread of the host takes a reference, and keeps it for a while. */
    GUP,
    /** As GUP, with a pin, as for DMA. */
    PIN,
    /** A thread of the host lets go what it has held longest. */
    GUP_RELEASE,
    /** A thread of the host reads through its mapping. */
    LOAD,
    /** A thread of the host writes through its mapping. */
    STORE,
    /** A thread of the host faults pages in. */
    POPULATE,
    /** A thread of the host reads and writes frames through the direct map. */
    DIRECT,
    /** The host's memory management looks at frames, by their numbers. */
    SCAN,
    /** The host's memory management tries to move frames. */
    MIGRATE
  }

  @Override
  public String toString() {
    return op + " " + page + " " + pages;
  }
}
