package io.github.guestmemfd.observe;

import io.github.guestmemfd.abi.Pages;
import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Enabled;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import org.jspecify.annotations.Nullable;

/**
 * An event of the flight recorder: the host touched a page that its mapping did not have yet. There
 * is one for each page, so it is off unless asked for.
 */
@Name("io.github.guestmemfd.Fault")
@Label("Host fault")
@Description(
    "The host touched a page that its mapping did not have yet; one for each page, so off unless asked for")
@Category("guest_memfd")
@Enabled(false)
@StackTrace(false)
public final class FaultEvent extends Event {
  private static final FaultEvent ANY = new FaultEvent();

  @Label("File")
  @Description("Inode number of the guest_memfd, unique within its host")
  long file;

  @Label("Offset")
  @Description("The page in the file")
  @DataAmount
  long offset;

  @Label("Write")
  @Description("Whether the access was a write")
  boolean write;

  @Label("Result")
  @Description("OK, SIGBUS, UNMAPPED, or an errno name")
  String result = "";

  private FaultEvent() {}

  /** An event that has begun, or null if it is not recorded. */
  static @Nullable FaultEvent begun() {
    if (!ANY.isEnabled()) {
      return null;
    }
    FaultEvent event = new FaultEvent();
    event.begin();
    return event;
  }

  /**
   * Ends the event, and records it.
   *
   * @param ino the file
   * @param index the page
   * @param write whether the access was a write
   * @param result how it ended
   */
  public void finish(long ino, long index, boolean write, String result) {
    if (shouldCommit()) {
      this.file = ino;
      this.offset = index << Pages.SHIFT;
      this.write = write;
      this.result = result;
      commit();
    }
  }
}
