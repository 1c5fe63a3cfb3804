package io.github.guestmemfd.trace;

/**
 * Makes the calls of a trace, on whatever answers them: the model ({@link ModelExecutor}), or a
 * kernel. An executor begins with nothing, and remembers what calls have named.
 *
 * <p>Calls may be made by several threads at a time if the implementation says so.
 */
public interface TraceExecutor extends AutoCloseable {

  /**
   * Makes a call.
   *
   * @param call the call; what it is expected to return is not looked at
   * @return what it returned, in the words of the trace format; {@code NAME does not exist} if it
   *     is for something that no successful call has made
   */
  String execute(Trace.Call call);

  /** Gives back everything that calls have left open. */
  @Override
  void close();
}
