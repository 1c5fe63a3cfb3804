package io.github.guestmemfd.observe;

import java.lang.StackWalker.StackFrame;
import java.security.CodeSource;
import java.util.List;
import java.util.Objects;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The place from which the library was called. Lines are looked up when they are asked for: most
 * never are.
 */
public final class CallSite {
  private static final int MAX_LINES = 32;

  private static final StackWalker WALKER =
      StackWalker.getInstance(StackWalker.Option.RETAIN_CLASS_REFERENCE);

  /** The package of the facades, which all packages of the library begin with. */
  private static final String PACKAGE =
      CallSite.class.getPackageName().replaceFirst("\\.\\w+$", "");

  private static final @Nullable CodeSource LIBRARY = source(CallSite.class);

  /** Whether the class comes from where the library does: its jar, say. */
  private static final ClassValue<Boolean> IS_LIBRARY =
      new ClassValue<>() {
        @Override
        protected Boolean computeValue(Class<?> type) {
          return type.getName().startsWith(PACKAGE) && Objects.equals(source(type), LIBRARY);
        }
      };

  private static @Nullable CodeSource source(Class<?> type) {
    return type.getProtectionDomain().getCodeSource();
  }

  /** The frames outside the library, the innermost first. */
  private final List<StackFrame> frames;

  private CallSite(List<StackFrame> frames) {
    this.frames = frames;
  }

  /**
   * Where this thread is.
   *
   * @return the place
   */
  public static CallSite here() {
    return new CallSite(
        WALKER.walk(
            all ->
                all.dropWhile(f -> IS_LIBRARY.get(f.getDeclaringClass()))
                    .limit(MAX_LINES)
                    .collect(Collectors.toList())));
  }

  /**
   * The lines outside the library, the innermost first.
   *
   * @return up to 32 lines
   */
  public List<StackTraceElement> stack() {
    return frames.stream().map(StackFrame::toStackTraceElement).toList();
  }

  /**
   * The first of them that is not the JDK's.
   *
   * @return the line; the topmost one if all are the JDK's
   */
  public StackTraceElement site() {
    return frames.stream()
        .filter(frame -> !isJdk(frame.getDeclaringClass()))
        .findFirst()
        .or(() -> frames.stream().findFirst())
        .map(StackFrame::toStackTraceElement)
        .orElseGet(() -> new StackTraceElement("the library", "itself", null, -1));
  }

  private static boolean isJdk(Class<?> type) {
    ClassLoader loader = type.getClassLoader();
    return loader == null || loader == ClassLoader.getPlatformClassLoader();
  }
}
