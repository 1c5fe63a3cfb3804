package io.github.guestmemfd.observe;

import io.github.guestmemfd.abi.Pages;
import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import org.jspecify.annotations.Nullable;

/** An event of the flight recorder: a conversion of a range, done or refused. */
@Name("io.github.guestmemfd.Conversion")
@Label("Conversion")
@Description("A range of a guest_memfd was converted, or was not")
@Category("guest_memfd")
public final class ConversionEvent extends Event {
  private static final ConversionEvent ANY = new ConversionEvent();

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

  @Label("To inaccessible")
  @Description("Whether the range was to become inaccessible to the host, not accessible")
  boolean inaccessible;

  @Label("Result")
  @Description(
      "An errno name; OK; PENDING, if it completes later and is another event then; or exception, if a callback threw")
  String result = "";

  @Label("Retries")
  @Description("How often it looked at counts again, for all folios")
  int retries;

  private ConversionEvent() {}

  /** An event that has begun, or null if it is not recorded. */
  static @Nullable ConversionEvent begun() {
    if (!ANY.isEnabled()) {
      return null;
    }
    ConversionEvent event = new ConversionEvent();
    event.begin();
    return event;
  }

  /**
   * Ends the event, and records it.
   *
   * @param ino the file
   * @param from the first page
   * @param to the page after the last
   * @param inaccessible whether it was to become inaccessible
   * @param result how it ended
   * @param retries how often counts were looked at again
   */
  public void finish(
      long ino, long from, long to, boolean inaccessible, String result, int retries) {
    if (shouldCommit()) {
      this.file = ino;
      this.offset = from << Pages.SHIFT;
      this.length = (to - from) << Pages.SHIFT;
      this.inaccessible = inaccessible;
      this.result = result;
      this.retries = retries;
      commit();
    }
  }
}
