package io.github.guestmemfd.trace;

import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.Wait;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.util.Objects;
import org.jctools.queues.atomic.MpscAtomicArrayQueue;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Lines of any number of threads, and the thread that writes them. */
final class LineWriter {
  /**
   * The longest sleep of a wait for lines or for room. It is longer than {@link
   * Wait#LOOK_AGAIN_NANOS}: the writing thread is idle for most of a program's life.
   */
  private static final long LOOK_AGAIN_NANOS = 1_000_000;

  private static final Logger LOG = LoggerFactory.getLogger(LineWriter.class);

  private final Writer out;
  private final IdleStrategy idle;
  private final MpscAtomicArrayQueue<String> lines;

  private volatile boolean closing;
  private volatile boolean done;
  private volatile @Nullable IOException failure;

  LineWriter(Writer out, int capacity, IdleStrategy idle) {
    this.out = Objects.requireNonNull(out, "out");
    this.idle = Objects.requireNonNull(idle, "idle");
    this.lines = new MpscAtomicArrayQueue<>(capacity);
    Thread writer = new Thread(this::write, "guest-memfd-recorder");
    writer.setDaemon(true);
    writer.start();
  }

  /**
   * Waits until all lines are written; later ones are not.
   *
   * @throws UncheckedIOException if something could not be written
   */
  void close() {
    closing = true;
    Wait.awaitUninterruptibly(idle, () -> done, LOOK_AGAIN_NANOS);
    IOException e = failure;
    if (e != null) {
      throw new UncheckedIOException("recording: expected to write all lines", e);
    }
  }

  /** The writing thread. */
  private void write() {
    try (out) {
      for (; ; ) {
        boolean last = closing;
        String line = lines.poll();
        if (line != null) {
          append(line);
        } else if (last) {
          break;
        } else {
          Wait.awaitUninterruptibly(idle, () -> closing || !lines.isEmpty(), LOOK_AGAIN_NANOS);
        }
      }
    } catch (IOException e) {
      failed(e);
    } finally {
      done = true;
    }
  }

  private void append(String line) {
    if (failure == null) {
      try {
        out.append(line).append('\n');
      } catch (IOException e) {
        failed(e);
      } catch (RuntimeException e) {
        failed(new IOException(e));
      }
    }
  }

  private void failed(IOException e) {
    if (failure == null) {
      failure = e;
      LOG.warn("the recording breaks off", e);
    }
  }

  /** Adds a line; waits for room, and takes no interrupt meanwhile. */
  void add(String line) {
    if (!closing && !lines.offer(line)) {
      Wait.awaitUninterruptibly(idle, () -> closing || lines.offer(line), LOOK_AGAIN_NANOS);
    }
  }
}
