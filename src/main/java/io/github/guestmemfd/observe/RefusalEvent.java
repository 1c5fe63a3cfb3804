package io.github.guestmemfd.observe;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import org.jspecify.annotations.Nullable;

/**
 * An event of the flight recorder: a folio that kept a range from being converted or punched, with
 * the counts that were seen last.
 */
@Name("io.github.guestmemfd.Refusal")
@Label("Refusal")
@Description(
    "A folio kept a range from being converted or punched, by the counts that were seen last")
@Category("guest_memfd")
public final class RefusalEvent extends Event {
  private static final RefusalEvent ANY = new RefusalEvent();

  @Label("File")
  @Description("Inode number of the guest_memfd, unique within its host")
  long file;

  @Label("Offset")
  @Description("The folio in the file")
  @DataAmount
  long offset;

  @Label("Punch")
  @Description("Whether the range was to be punched, not converted")
  boolean punch;

  @Label("Unsafe holders")
  @Description(
      "Plain references besides the page cache and the safe ones; some may have been about to go")
  int unsafe;

  @Label("Pinned holders")
  int pinned;

  @Label("Accessible users")
  @Description("Users that asked for the page to be accessible")
  int accessible;

  @Label("Safe holders")
  int safe;

  private RefusalEvent() {}

  /** An event that has begun, or null if it is not recorded. */
  static @Nullable RefusalEvent begun() {
    if (!ANY.isEnabled()) {
      return null;
    }
    RefusalEvent event = new RefusalEvent();
    event.begin();
    return event;
  }

  /**
   * Ends the event, and records it.
   *
   * @param ino the file
   * @param offset where the folio is, in bytes
   * @param punch whether it was a punch
   * @param unsafe holders of plain references
   * @param pinned holders of pins
   * @param accessible users that asked for the page to be accessible
   * @param safe safe holders
   */
  public void finish(
      long ino, long offset, boolean punch, int unsafe, int pinned, int accessible, int safe) {
    if (shouldCommit()) {
      this.file = ino;
      this.offset = offset;
      this.punch = punch;
      this.unsafe = unsafe;
      this.pinned = pinned;
      this.accessible = accessible;
      this.safe = safe;
      commit();
    }
  }
}
