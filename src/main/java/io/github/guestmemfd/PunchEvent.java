package io.github.guestmemfd;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import org.jspecify.annotations.Nullable;

/** A hole was punched into a guest_memfd, or was not. */
@Name("io.github.guestmemfd.Punch")
@Label("Punch")
@Description("A hole was punched into a guest_memfd, or was not")
@Category("guest_memfd")
final class PunchEvent extends Event {
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

  /** An event that has begun, or null if it is not recorded. */
  static @Nullable PunchEvent begun() {
    if (!ANY.isEnabled()) {
      return null;
    }
    PunchEvent event = new PunchEvent();
    event.begin();
    return event;
  }

  void finish(Inode inode, long from, long to, String result) {
    if (shouldCommit()) {
      this.file = inode.ino;
      this.offset = from << HostMemory.PAGE_SHIFT;
      this.length = (to - from) << HostMemory.PAGE_SHIFT;
      this.result = result;
      commit();
    }
  }
}
