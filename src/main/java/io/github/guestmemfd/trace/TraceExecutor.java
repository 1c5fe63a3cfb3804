package io.github.guestmemfd.trace;

/**
 * Makes the calls of a trace on the model ({@link ModelExecutor}), or on a kernel. An executor
 * starts without any objects, and remembers the names that calls define.
 *
 * <p>Several threads may make calls at a time if the implementation says so.
 */
public interface TraceExecutor extends AutoCloseable {

  /**
   * Makes a call.
   *
   * @param call the call; its expected result is ignored
   * @return the result, in the words of the trace format; {@code NAME does not exist} if the call
   *     uses a name that no successful call has defined
   */
  String execute(Trace.Call call);

  /** Closes everything that calls have left open. */
  @Override
  void close();
}
