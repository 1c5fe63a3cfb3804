package io.github.guestmemfd;

import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.HolderKind;
import java.time.Instant;
import java.util.List;

/**
 * One holder of a host that {@linkplain HostMemory.Builder#trackHolders tracks} them: what it
 * holds, and who took it, when and where. Immutable.
 */
public final class TrackedHolder {

  /** What a holder is. */
  public enum Kind {
    /** A descriptor: {@link GuestMemfd}. */
    DESCRIPTOR("opened"),
    /** A mapping: {@link HostMapping}. */
    MAPPING("mapped"),
    /** Plain references: {@link HostMapping#getUserPages}. */
    REFERENCE("referenced"),
    /** Pins: {@link HostMapping#pin}. */
    PIN("pinned"),
    /** A reference grabbed as {@link HolderKind#SAFE}. */
    SAFE("grabbed as safe"),
    /** A reference grabbed as {@link HolderKind#UNSAFE}. */
    UNSAFE("grabbed as unsafe"),
    /** A reference grabbed as {@link HolderKind#ACCESSIBLE}. */
    ACCESSIBLE("grabbed as accessible"),
    /** A conversion that {@linkplain GuestMemfd#makeInaccessibleLater waits} for a holder. */
    PENDING_CONVERSION("waited for by a conversion");

    private final String verb;

    Kind(String verb) {
      this.verb = verb;
    }

    static Kind of(HolderKind kind) {
      return switch (kind) {
        case SAFE -> SAFE;
        case UNSAFE -> UNSAFE;
        case ACCESSIBLE -> ACCESSIBLE;
      };
    }
  }

  /** The order in which holders came. */
  final long number;

  private final Inode inode;
  private final Kind kind;
  private final long offset;
  private final long length;
  private final int[] pfns;
  private final Thread thread;
  private final String threadName;
  private final Instant since;
  private final CallSite here;

  /**
   * Takes the values as they are.
   *
   * @param pfns the frames that it has references on; none for what holds a file, not a frame
   */
  TrackedHolder(
      long number, Inode inode, Kind kind, long offset, long length, int[] pfns, CallSite here) {
    this.number = number;
    this.inode = inode;
    this.kind = kind;
    this.offset = offset;
    this.length = length;
    this.pfns = pfns;
    this.thread = Thread.currentThread();
    this.threadName = thread.getName();
    this.since = Instant.now();
    this.here = here;
  }

  /**
   * What it is.
   *
   * @return the kind
   */
  public Kind kind() {
    return kind;
  }

  /**
   * The file.
   *
   * @return its inode number, as {@link FileStat#ino} has it
   */
  public long ino() {
    return inode.ino;
  }

  /**
   * Where in the file it begins.
   *
   * @return the offset in bytes
   */
  public long offset() {
    return offset;
  }

  /**
   * How much of the file it holds.
   *
   * @return the length in bytes
   */
  public long length() {
    return length;
  }

  /**
   * Who took it.
   *
   * @return the name that the thread had then
   */
  public String threadName() {
    return threadName;
  }

  /**
   * When it was taken.
   *
   * @return the time, by the clock of the system
   */
  public Instant since() {
    return since;
  }

  /**
   * The line that took it: the first outside the library and the JDK.
   *
   * @return the topmost line of {@link #stack} if all of it is the JDK's
   */
  public StackTraceElement site() {
    return here.site();
  }

  /**
   * How it came to be taken, from the line that called the library on.
   *
   * @return up to 32 lines, the innermost first
   */
  public List<StackTraceElement> stack() {
    return here.stack();
  }

  Inode inode() {
    return inode;
  }

  boolean isByThisThread() {
    return thread == Thread.currentThread();
  }

  /** The frames that it has a reference on, one each. Not to be changed. */
  int[] frames() {
    return pfns;
  }

  boolean holds(int pfn) {
    for (int p : pfns) {
      if (p == pfn) {
        return true;
      }
    }
    return false;
  }

  /** What it does, without the file and the line: {@code pinned at offset 0x1000}. */
  String what() {
    return switch (kind) {
      case DESCRIPTOR -> kind.verb;
      case MAPPING, PENDING_CONVERSION -> kind.verb + " at " + range();
      default ->
          kind.verb
              + " at "
              + (length <= HostMemory.PAGE_SIZE - offset % HostMemory.PAGE_SIZE
                  ? "offset " + Hex.of(offset)
                  : range());
    };
  }

  private String range() {
    return "offsets " + Hex.of(offset) + " to " + Hex.of(offset + length);
  }

  /** By whom: {@code by vcpu-0 at Foo.java:12}. */
  String by() {
    return "by " + threadName + " at " + line(site());
  }

  private static String line(StackTraceElement frame) {
    String file = frame.getFileName();
    return file == null
        ? frame.getClassName() + "." + frame.getMethodName()
        : file + ":" + frame.getLineNumber();
  }

  /** Such as {@code pinned at offset 0x1000 by vcpu-0 at Foo.java:12}. */
  @Override
  public String toString() {
    return what() + " " + by();
  }
}
