package io.github.guestmemfd.abi;

import java.time.Instant;
import java.util.List;
import java.util.Objects;

/**
 * One holder of a host that {@linkplain io.github.guestmemfd.HostMemory.Builder#trackHolders
 * tracks} them: what it holds, and which thread took it, when and where.
 *
 * @param kind what it is
 * @param ino the file, by its inode number, as {@link FileStat#ino} has it
 * @param file the file in words
 * @param offset where in the file it begins, in bytes
 * @param length how much of the file it holds, in bytes
 * @param threadName the name that the thread which took it had then
 * @param since when it was taken, by the clock of the system
 * @param site the line that took it: the first outside the library and the JDK; the topmost line of
 *     the stack if all of it is the JDK's
 * @param stack how it came to be taken, from the line that called the library on: up to 32 lines,
 *     the innermost first
 */
public record TrackedHolder(
    Kind kind,
    long ino,
    String file,
    long offset,
    long length,
    String threadName,
    Instant since,
    StackTraceElement site,
    List<StackTraceElement> stack) {

  /** What a holder is. */
  public enum Kind {
    /** A descriptor: {@link io.github.guestmemfd.GuestMemfd}. */
    DESCRIPTOR("opened"),
    /** A mapping: {@link io.github.guestmemfd.HostMapping}. */
    MAPPING("mapped"),
    /** Plain references: {@link io.github.guestmemfd.HostMapping#getUserPages}. */
    REFERENCE("referenced"),
    /** Pins: {@link io.github.guestmemfd.HostMapping#pin}. */
    PIN("pinned"),
    /** A reference grabbed as {@link HolderKind#SAFE}. */
    SAFE("grabbed as safe"),
    /** A reference grabbed as {@link HolderKind#UNSAFE}. */
    UNSAFE("grabbed as unsafe"),
    /** A reference grabbed as {@link HolderKind#ACCESSIBLE}. */
    ACCESSIBLE("grabbed as accessible"),
    /**
     * A conversion that {@linkplain io.github.guestmemfd.GuestMemfd#makeInaccessibleLater waits}
     * for a holder.
     */
    PENDING_CONVERSION("waited for by a conversion");

    private final String verb;

    Kind(String verb) {
      this.verb = verb;
    }

    /**
     * The kind of a reference.
     *
     * @param kind what it was taken as
     * @return the kind of its holder
     */
    public static Kind of(HolderKind kind) {
      return switch (kind) {
        case SAFE -> SAFE;
        case UNSAFE -> UNSAFE;
        case ACCESSIBLE -> ACCESSIBLE;
      };
    }
  }

  /**
   * Copies the stack.
   *
   * @param kind what it is
   * @param ino the file, by its inode number
   * @param file the file in words
   * @param offset where in the file it begins, in bytes
   * @param length how much of the file it holds, in bytes
   * @param threadName the name that the thread which took it had then
   * @param since when it was taken
   * @param site the line that took it
   * @param stack how it came to be taken
   */
  public TrackedHolder {
    Objects.requireNonNull(kind, "kind");
    Objects.requireNonNull(file, "file");
    Objects.requireNonNull(threadName, "threadName");
    Objects.requireNonNull(since, "since");
    Objects.requireNonNull(site, "site");
    for (Object line : Objects.requireNonNull(stack, "stack")) {
      Objects.requireNonNull(line, "stack");
    }
    stack = List.copyOf(stack);
  }

  /**
   * What it does, without the file, the thread and the line.
   *
   * @return such as {@code pinned at offset 0x1000}
   */
  public String what() {
    return switch (kind) {
      case DESCRIPTOR -> kind.verb;
      case MAPPING, PENDING_CONVERSION -> kind.verb + " at " + range();
      default ->
          kind.verb
              + " at "
              + (length <= Pages.SIZE - offset % Pages.SIZE ? "offset " + Hex.of(offset) : range());
    };
  }

  private String range() {
    return "offsets " + Hex.of(offset) + " to " + Hex.of(offset + length);
  }

  /**
   * The thread and the line that took it, in words.
   *
   * @return such as {@code by vcpu-0 at Foo.java:12}
   */
  public String by() {
    return "by " + threadName + " at " + line(site);
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
