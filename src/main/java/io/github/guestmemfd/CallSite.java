package io.github.guestmemfd;

import java.security.CodeSource;
import java.util.List;
import java.util.Objects;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * From where the library was called.
 *
 * @param stack the lines outside the library, the innermost first
 * @param site the first of them that is not the JDK's
 */
record CallSite(List<StackTraceElement> stack, StackTraceElement site) {
  private static final int MAX_LINES = 32;

  private static final StackWalker WALKER =
      StackWalker.getInstance(StackWalker.Option.RETAIN_CLASS_REFERENCE);

  private static final String PACKAGE = HostMemory.class.getPackageName();
  private static final @Nullable CodeSource LIBRARY = source(HostMemory.class);

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

  /** Where this thread is. */
  static CallSite here() {
    List<StackWalker.StackFrame> outside =
        WALKER.walk(
            frames ->
                frames
                    .dropWhile(f -> IS_LIBRARY.get(f.getDeclaringClass()))
                    .limit(MAX_LINES)
                    .collect(Collectors.toList()));
    List<StackTraceElement> stack =
        outside.stream().map(StackWalker.StackFrame::toStackTraceElement).toList();
    for (int i = 0; i < stack.size(); i++) {
      if (!isJdk(outside.get(i).getDeclaringClass())) {
        return new CallSite(stack, stack.get(i));
      }
    }
    // A thread of the library's own, whose outermost lines are the JDK's or nobody's.
    StackTraceElement site =
        stack.isEmpty() ? new StackTraceElement("the library", "itself", null, -1) : stack.get(0);
    return new CallSite(stack, site);
  }

  private static boolean isJdk(Class<?> type) {
    ClassLoader loader = type.getClassLoader();
    return loader == null || loader == ClassLoader.getPlatformClassLoader();
  }
}
