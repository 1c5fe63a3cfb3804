package io.github.guestmemfd.observe;

import io.github.guestmemfd.abi.Pages;
import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import org.jspecify.annotations.Nullable;

/**
 * An event of the flight recorder: a range operation met a holder that it did not expect, and
 * looked again as its retry policy says.
 */
@Name("io.github.guestmemfd.Retry")
@Label("Retry")
@Description(
    "A range operation met a holder that it did not expect, and looked again as its retry policy says")
@Category("guest_memfd")
public final class RetryEvent extends Event {
  private static final RetryEvent ANY = new RetryEvent();

  @Label("File")
  @Description("Inode number of the guest_memfd, unique within its host")
  long file;

  @Label("Offset")
  @Description("The folio in the file")
  @DataAmount
  long offset;

  @Label("Looks")
  @Description(
      "How often it looked again after idling or waiting; 0 if the policy is to fail at once")
  int looks;

  @Label("Passed")
  @Description("Whether the folio could go on in the end")
  boolean passed;

  private RetryEvent() {}

  /** An event that has begun, or null if it is not recorded. */
  static @Nullable RetryEvent begun() {
    if (!ANY.isEnabled()) {
      return null;
    }
    RetryEvent event = new RetryEvent();
    event.begin();
    return event;
  }

  /**
   * Ends the event, and records it.
   *
   * @param ino the file
   * @param index the page
   * @param looks how often counts were looked at again
   * @param passed whether the folio passed in the end
   */
  public void finish(long ino, long index, int looks, boolean passed) {
    if (shouldCommit()) {
      this.file = ino;
      this.offset = index << Pages.SHIFT;
      this.looks = looks;
      this.passed = passed;
      commit();
    }
  }
}
