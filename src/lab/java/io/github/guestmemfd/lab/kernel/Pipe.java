package io.github.guestmemfd.lab.kernel;

/**
 * A pipe.
 *
 * @param out the end that is read
 * @param in the end that is written
 */
record Pipe(int out, int in) implements AutoCloseable {
  /** A new one. */
  static Pipe make() {
    int[] ends = new int[2];
    if (Libc.pipe2(ends, Libc.O_CLOEXEC) < 0) {
      throw new IllegalStateException("pipe2: " + Libc.name(Libc.errno()));
    }
    return new Pipe(ends[0], ends[1]);
  }

  @Override
  public void close() {
    Libc.close(out);
    Libc.close(in);
  }
}
