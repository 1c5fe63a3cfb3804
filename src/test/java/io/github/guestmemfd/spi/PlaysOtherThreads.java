package io.github.guestmemfd.spi;

import java.lang.reflect.Method;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.InvocationInterceptor;
import org.junit.jupiter.api.extension.ReflectiveInvocationContext;

/**
 * For tests in which one thread plays others too: it takes locks and announces accesses for threads
 * that there are none of, so what it holds is in no order.
 */
@SuppressWarnings("exports") // of a test
public class PlaysOtherThreads implements InvocationInterceptor {
  /** For JUnit. */
  public PlaysOtherThreads() {}

  @Override
  public void interceptTestMethod(
      Invocation<Void> test, ReflectiveInvocationContext<Method> call, ExtensionContext context)
      throws Throwable {
    Throwable[] thrown = new Throwable[1];
    playing( // on the thread that runs it
        () -> {
          try {
            test.proceed();
          } catch (Throwable e) {
            thrown[0] = e;
          }
        });
    if (thrown[0] != null) {
      throw thrown[0];
    }
  }

  /** Runs a part of a test that other threads would run. */
  public static void playing(Runnable others) {
    LockOrder.playing(others);
  }
}
