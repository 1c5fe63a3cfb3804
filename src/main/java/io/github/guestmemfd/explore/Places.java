package io.github.guestmemfd.explore;

import java.lang.StackWalker.StackFrame;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Where in the code a step is. */
final class Places {
  private static final int FRAMES = 3;

  private Places() {}

  /** The methods that lead to the step that the calling thread announces, the innermost first. */
  static String ofStep() {
    return StackWalker.getInstance().walk(Places::describe);
  }

  /** The stacks of threads, a frame a line. */
  static String of(List<Thread> threads) {
    StringBuilder text = new StringBuilder();
    for (Thread thread : threads) {
      text.append(System.lineSeparator()).append(thread.getName());
      for (StackTraceElement frame : thread.getStackTrace()) {
        text.append(System.lineSeparator()).append("    at ").append(frame);
      }
    }
    return text.toString();
  }

  private static String describe(Stream<StackFrame> frames) {
    return frames
        .dropWhile(Places::isOfTheExplorer)
        .limit(FRAMES)
        .map(Places::name)
        .collect(Collectors.joining(" < "));
  }

  private static boolean isOfTheExplorer(StackFrame frame) {
    String name = frame.getClassName();
    return name.startsWith(Places.class.getPackageName() + ".")
        || name.equals("io.github.guestmemfd.memory.SharedLongs") // the caller has the word
        || name.equals("io.github.guestmemfd.spi.Announce")
        || name.equals("io.github.guestmemfd.spi.Exploration")
        || name.equals("io.github.guestmemfd.spi.Mutex")
        || name.equals("io.github.guestmemfd.spi.Wait");
  }

  private static String name(StackFrame frame) {
    String type = frame.getClassName();
    return type.substring(type.lastIndexOf('.') + 1)
        + "."
        + frame.getMethodName()
        + ":"
        + frame.getLineNumber();
  }
}
