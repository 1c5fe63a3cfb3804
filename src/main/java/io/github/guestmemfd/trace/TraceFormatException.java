package io.github.guestmemfd.trace;

/** A trace cannot be parsed. The message names the file, the line, and what was expected there. */
public final class TraceFormatException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  TraceFormatException(String file, int line, String problem) {
    super(file + ":" + line + ": " + problem);
  }
}
