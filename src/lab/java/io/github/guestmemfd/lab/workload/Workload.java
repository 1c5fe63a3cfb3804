package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.lab.workload.Request.Op;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * The memory operations of guests and hosts, modelled on real ones. A workload says which requests
 * each actor makes; they depend on a seed alone.
 *
 * <p>Each vCPU owns a contiguous part of the guest's pages, and only the owner of a page asks for
 * its conversion.
 */
public enum Workload {
  /** A confidential guest boots: shares a pool of bounce buffers, accepts the rest in bulk. */
  BOOT(32) {
    @Override
    Supplier<Request> vcpu(Part part, SplittableRandom random) {
      int pool = part.pages() / 16;
      int chunk = Math.min(512, part.pages() / 8);
      return cycle(
          batch -> {
            batch.add(new Request(Op.ACCEPT, part.first() + pool, chunk));
            batch.add(new Request(Op.SHARE, part.first(), pool));
            for (int at = pool + chunk; at < part.pages(); at += chunk) {
              for (int i = 0; i < 16; i++) {
                batch.add(new Request(Op.SUBMIT, part.first() + random.nextInt(pool), 1));
                batch.add(new Request(Op.SECRET, part.first() + pool + random.nextInt(chunk), 1));
                batch.add(new Request(Op.PEEK, part.neighbour(random), 1));
              }
              int n = Math.min(chunk, part.pages() - at);
              batch.add(new Request(Op.ACCEPT, part.first() + at, n));
            }
            batch.add(new Request(Op.AWAIT, part.first(), pool));
            // The next boot: all memory goes back, and starts shared.
            batch.add(new Request(Op.BALLOON, part.first(), part.pages()));
            batch.add(new Request(Op.SHARE, part.first(), part.pages()));
          });
    }

    @Override
    List<Supplier<Request>> hosts(Part part, SplittableRandom random) {
      return List.of(
          mix(random.split(), part, 32, Op.LOAD, Op.STORE, Op.STORE, Op.SCAN, Op.POPULATE));
    }
  },

  /** Virtio over bounce buffers: DMA by pinned pages is in flight when the pool shrinks. */
  VIRTIO(32) {
    @Override
    Supplier<Request> vcpu(Part part, SplittableRandom random) {
      int pool = Math.max(4, Math.min(256, part.pages() / 4));
      return cycle(
          batch -> {
            for (int i = 0; i < 16; i++) {
              int n = 1 + random.nextInt(4);
              int page = part.first() + random.nextInt(Math.max(1, pool - n));
              batch.add(new Request(Op.SUBMIT, page, n));
              batch.add(new Request(Op.SECRET, part.after(pool, random), 1));
              batch.add(new Request(Op.PEEK, part.neighbour(random), 1));
            }
            if (random.nextInt(4) != 0) {
              batch.add(new Request(Op.AWAIT, part.first(), pool));
            }
            int recycled = part.first() + random.nextInt(Math.max(1, pool - 4));
            batch.add(new Request(Op.SECRET, recycled, 4));
            batch.add(new Request(Op.SHARE, recycled, 4));
          });
    }

    @Override
    List<Supplier<Request>> hosts(Part part, SplittableRandom random) {
      return List.of(mix(random.split(), part, 64, Op.SCAN, Op.LOAD));
    }
  },

  /** A balloon: the guest gives pages back, in runs, and takes them again. */
  BALLOON(32) {
    @Override
    Supplier<Request> vcpu(Part part, SplittableRandom random) {
      return cycle(
          batch -> {
            int n = 1 << random.nextInt(7);
            int page = part.run(random, n);
            batch.add(new Request(Op.SECRET, page, Math.min(n, part.pages())));
            batch.add(new Request(Op.PEEK_PRIVATE, part.neighbour(random), 1));
            batch.add(new Request(Op.BALLOON, page, Math.min(n, part.pages())));
            if (random.nextInt(4) == 0) {
              batch.add(new Request(Op.SHARE, page, 1));
              batch.add(new Request(Op.SUBMIT, page, 1));
            }
          });
    }

    @Override
    List<Supplier<Request>> hosts(Part part, SplittableRandom random) {
      return List.of(
          mix(random.split(), part, 64, Op.SCAN, Op.MIGRATE, Op.LOAD, Op.GUP, Op.GUP_RELEASE));
    }
  },

  /** Pages are shared for each request, and made private as soon as it is answered. */
  SHARE(32) {
    @Override
    Supplier<Request> vcpu(Part part, SplittableRandom random) {
      return cycle(
          batch -> {
            int n = 1 + random.nextInt(4);
            int page = part.run(random, n);
            batch.add(new Request(Op.SHARE, page, n));
            batch.add(new Request(Op.SUBMIT, page, n));
            batch.add(new Request(Op.PEEK, part.neighbour(random), 1));
            batch.add(new Request(Op.AWAIT, page, n));
            batch.add(new Request(Op.SECRET, page, n));
          });
    }

    @Override
    List<Supplier<Request>> hosts(Part part, SplittableRandom random) {
      return List.of(mix(random.split(), part, 16, Op.LOAD, Op.SCAN));
    }
  },

  /** A host that tries every way to keep access to what becomes private. */
  ADVERSARY(8) {
    @Override
    Supplier<Request> vcpu(Part part, SplittableRandom random) {
      return cycle(
          batch -> {
            int page = part.first() + random.nextInt(part.hot());
            batch.add(new Request(Op.SHARE, page, 1));
            batch.add(new Request(Op.PEEK, part.neighbour(random), 1));
            batch.add(new Request(Op.SECRET, page, 1));
            batch.add(new Request(Op.PEEK_PRIVATE, part.neighbour(random), 1));
            batch.add(new Request(Op.SECRET, page, 1));
          });
    }

    @Override
    List<Supplier<Request>> hosts(Part part, SplittableRandom random) {
      return List.of(
          mix(
              random.split(),
              part,
              1,
              Op.GUP,
              Op.PIN,
              Op.GUP_RELEASE,
              Op.LOAD,
              Op.STORE,
              Op.GUP_RELEASE),
          mix(
              random.split(),
              part,
              16,
              Op.SCAN,
              Op.MIGRATE,
              Op.DIRECT,
              Op.LOAD,
              Op.STORE,
              Op.GUP,
              Op.GUP_RELEASE));
    }
  },

  /** A snapshot is restored page by page, as the guest touches its memory. */
  RESTORE(32) {
    @Override
    Supplier<Request> vcpu(Part part, SplittableRandom random) {
      return cycle(
          batch -> {
            int n = 1 << random.nextInt(4);
            int page = part.run(random, n);
            batch.add(new Request(Op.RESTORE, page, Math.min(n, part.pages())));
            batch.add(new Request(Op.SECRET, page, 1));
            batch.add(new Request(Op.PEEK_PRIVATE, part.neighbour(random), 1));
          });
    }

    @Override
    List<Supplier<Request>> hosts(Part part, SplittableRandom random) {
      return List.of(mix(random.split(), part, 16, Op.POPULATE, Op.LOAD, Op.SCAN));
    }
  };

  /** How many pages of each vCPU's part are used more often than the others. */
  private final int hot;

  Workload(int hot) {
    this.hot = hot;
  }

  /**
   * Returns its name on the command line.
   *
   * @return the name in lower case
   */
  public String id() {
    return name().toLowerCase(Locale.ROOT);
  }

  /**
   * The sequences of requests, by actor.
   *
   * @param vcpus a sequence of requests for each vCPU
   * @param hosts a sequence for each thread of the host
   */
  public record Plan(List<Supplier<Request>> vcpus, List<Supplier<Request>> hosts) {}

  /**
   * Returns the requests of a run. The sequences are endless.
   *
   * @param pages how many pages the guest has, at least 16 for each vCPU
   * @param vcpus how many vCPUs there are
   * @param seed the seed of the sequences
   * @return the sequences, each for one thread
   */
  public Plan plan(int pages, int vcpus, long seed) {
    SplittableRandom random = new SplittableRandom(seed * 31 + id().hashCode());
    int each = pages / vcpus;
    List<Supplier<Request>> guests = new ArrayList<>();
    for (int i = 0; i < vcpus; i++) {
      guests.add(vcpu(new Part(i * each, each, pages, hot), random.split()));
    }
    return new Plan(List.copyOf(guests), hosts(new Part(0, each, pages, hot), random));
  }

  abstract Supplier<Request> vcpu(Part part, SplittableRandom random);

  abstract List<Supplier<Request>> hosts(Part part, SplittableRandom random);

  /** The part of the guest's memory that a vCPU owns, and how pages are picked; some are hot. */
  record Part(int first, int pages, int all, int hot) {

    /** A page of it that is not of its first {@code pool} ones. */
    int after(int pool, SplittableRandom random) {
      return first + pool + random.nextInt(pages - pool);
    }

    /** The first of {@code n} pages in it; most often among the hot ones. */
    int run(SplittableRandom random, int n) {
      int room = Math.max(1, pages - n + 1);
      int near = Math.min(room, hot);
      return first + (random.nextInt(4) != 0 ? random.nextInt(near) : random.nextInt(room));
    }

    /** Any page of the guest, most often one that another vCPU uses often. */
    int neighbour(SplittableRandom random) {
      int part = random.nextInt(Math.max(1, all / pages));
      return Math.min(all - 1, part * pages + random.nextInt(Math.min(pages, hot)));
    }
  }

  /** A sequence made batch by batch. */
  private static Supplier<Request> cycle(Consumer<List<Request>> nextBatch) {
    ArrayDeque<Request> left = new ArrayDeque<>();
    return () -> {
      while (left.isEmpty()) {
        List<Request> batch = new ArrayList<>();
        nextBatch.accept(batch);
        left.addAll(batch);
      }
      return left.remove();
    };
  }

  /** A sequence of single requests, of up to {@code most} pages, of any of these operations. */
  private static Supplier<Request> mix(SplittableRandom random, Part part, int most, Op... ops) {
    return () -> {
      Op op = ops[random.nextInt(ops.length)];
      int n = 1 + random.nextInt(most);
      return new Request(op, Math.min(part.neighbour(random), part.all() - n), n);
    };
  }
}
