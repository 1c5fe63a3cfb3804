package io.github.guestmemfd.observe;

import io.github.guestmemfd.abi.Pages;
import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import org.jspecify.annotations.Nullable;

/** An event of the flight recorder: a hole punched into a guest_memfd, or refused. */
@Name("io.github.guestmemfd.Punch")
@Label("Punch")
@Description("A hole was punched into a guest_memfd, or was not")
@Category("guest_memfd")
public final class PunchEvent extends Event {
  private static final PunchEvent ANY = new PunchEvent();

  @Label("File")
  @Description("Inode number of the guest_memfd, unique within its host")
  long file;

  @Label("Offset")
  @Description("Start of the range in the file")
  @DataAmount
  long offset;

  @Label("Length")
  @DataAmount
  long length;

  @Label("Result")
  @Description("An errno name; OK; or exception, if a callback threw")
  String result = "";

  private PunchEvent() {}

  /** An event that has begun, or null if it is not recorded. */
  static @Nullable PunchEvent begun() {
    if (!ANY.isEnabled()) {
      return null;
    }
    PunchEvent event = new PunchEvent();
    event.begin();
    return event;
  }

  /**
   * Ends the event, and records it.
   *
   * @param ino the file
   * @param from the first page
   * @param to the page after the last
   * @param result how it ended
   */
  public void finish(long ino, long from, long to, String result) {
    if (shouldCommit()) {
      this.file = ino;
      this.offset = from << Pages.SHIFT;
      this.length = (to - from) << Pages.SHIFT;
      this.result = result;
      commit();
    }
  }
}
