package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.file.CallbackContext;
import java.util.Objects;

/**
 * Calls of clients that are not a file's own: what stands between files and their clients, a
 * virtual machine for instance, may have more to tell them than {@link GuestMemfdOps} does.
 */
public final class ClientCall {
  /** A call of a client. */
  @FunctionalInterface
  public interface Body {
    /**
     * Makes it.
     *
     * @return what the client answers
     */
    Errno call();
  }

  private ClientCall() {}

  /**
   * Makes a call of a client as one of its callbacks: what would have to wait for pages answers
   * {@link Errno#EDEADLK} inside, and {@link GuestMemfd#isInsideCallback} is true.
   *
   * @param name its method, for messages
   * @param memfd the file whose pages it is about, perhaps closed
   * @param offset where they begin in the file
   * @param length how many bytes they are
   * @param call the call
   * @return what it answers
   * @throws NullPointerException if it answers null
   */
  public static Errno make(String name, GuestMemfd memfd, long offset, long length, Body call) {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(memfd, "memfd");
    Objects.requireNonNull(call, "call");
    return CallbackContext.inCallback(name, memfd, offset, length, call::call);
  }
}
