package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.GuestMemfdException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.SplittableRandom;
import java.util.function.Supplier;

/** A host thread of a workload: uses the guest's memory in all the ways a host has. */
final class HostActor implements Runnable {
  /** The most references that it holds at once. */
  private static final int HOLDINGS = 8;

  /** The most frames that it remembers. */
  private static final int KNOWN = 16;

  private final Machine m;
  private final Supplier<Request> requests;
  private final SplittableRandom random;
  private final Holdings holdings;
  private final Checker look;
  private final ByteBuffer number = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
  private final int frames;

  /** Frames that it has held; 0 for none. */
  private final int[] known = new int[KNOWN];

  private int knownNext;
  private long done;

  HostActor(Machine m, Supplier<Request> requests, SplittableRandom random) {
    this.m = m;
    this.requests = requests;
    this.random = random;
    this.holdings = new Holdings(m, "the host's");
    this.look = new Checker(m);
    this.frames = (int) (m.host().size() / HostMemory.PAGE_SIZE);
  }

  /** How many requests were carried out. Read when it has ended. */
  long done() {
    return done;
  }

  @Override
  public void run() {
    try (holdings) {
      while (!m.stop().isSet()) {
        perform(requests.get());
        done++;
      }
    }
  }

  private void perform(Request request) {
    int page = request.page();
    int end = Math.min(m.pages(), page + request.pages());
    holdings.use(random.nextLong());
    switch (request.op()) {
      case GUP, PIN -> {
        if (holdings.size() == HOLDINGS) {
          holdings.release(random.nextLong());
        }
        if (holdings.take(page, 1, request.op() == Request.Op.PIN)) {
          known[knownNext++ % KNOWN] = holdings.newestFrame();
        }
      }
      case GUP_RELEASE -> holdings.release(random.nextLong());
      case LOAD -> {
        for (int i = page; i < end; i++) {
          look.mapping(i);
        }
      }
      case STORE -> {
        for (int i = page; i < end; i++) {
          long data = Secrets.data(random.nextLong());
          if (m.isForHost(i)) {
            m.window().tryPutLong(Machine.offset(i) + Secrets.WRITE_AT, data);
          }
        }
      }
      case POPULATE -> populate(page, end);
      case DIRECT -> {
        for (int i = 0; i < request.pages(); i++) {
          direct(anyFrame());
        }
      }
      case SCAN -> {
        int from = anyFrame();
        m.host().pfnWalker().scan(from, Math.min(frames + 1, from + request.pages()));
      }
      case MIGRATE -> m.host().pfnWalker().migrate(anyFrame());
      default -> throw new IllegalStateException("expected an operation of hosts: " + request);
    }
  }

  /** Returns a frame that it has held, about half of the time, or any frame. */
  private int anyFrame() {
    int pfn = known[random.nextInt(KNOWN)];
    return pfn != 0 && random.nextBoolean() ? pfn : 1 + random.nextInt(frames);
  }

  private void populate(int page, int wanted) {
    int end = page;
    while (end < wanted && m.isForHost(end)) {
      end++;
    }
    try {
      m.window().madvise(Machine.offset(page), Machine.offset(end - page), Advice.POPULATE_WRITE);
    } catch (GuestMemfdException refused) {
      // EFAULT at the first private page: those before it are there.
    }
  }

  private void direct(int pfn) {
    look.direct(pfn);
    if (!m.host().directMap().contains(pfn)) {
      return;
    }
    try {
      number.clear().putLong(0, Secrets.data(random.nextLong()));
      m.host().directMap().write(pfn, Secrets.WRITE_AT, number);
    } catch (GuestMemfdException gone) {
      // EFAULT: it has been taken out of the direct map, or freed.
    }
  }
}
