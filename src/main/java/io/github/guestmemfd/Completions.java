package io.github.guestmemfd;

import java.util.concurrent.atomic.AtomicInteger;
import org.jctools.queues.atomic.MpscUnboundedAtomicArrayQueue;

/**
 * Pending conversions whose turn to be completed may have come.
 *
 * <p>It comes with a put, on whatever thread and in whatever situation that is. A thread that is
 * inside a callback or a range operation holds pages, and completing needs pages; so it only enters
 * the conversion here, and completes it when it is out of everything. One thread at a time
 * completes, for itself and for those that come meanwhile; nobody waits for it.
 */
final class Completions {
  private final MpscUnboundedAtomicArrayQueue<LaterConversion> queue =
      new MpscUnboundedAtomicArrayQueue<>(64);

  /** Calls of {@link #run} that have not been answered; who raises it from 0 works for all. */
  private final AtomicInteger calls = new AtomicInteger();

  /** Enters a conversion, and completes it at once if this thread may. */
  void add(LaterConversion conversion) {
    queue.offer(conversion);
    run();
  }

  /** Completes what can be completed, unless this thread holds pages. */
  void run() {
    if (queue.isEmpty() || Callbacks.holdsPages() || calls.getAndIncrement() != 0) {
      return;
    }
    for (int answered = 1; answered != 0; answered = calls.addAndGet(-answered)) {
      for (LaterConversion c = queue.poll(); c != null; c = queue.poll()) {
        c.tryComplete();
      }
    }
  }
}
