package io.github.guestmemfd.testing;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.policy.ConversionPolicy;
import io.github.guestmemfd.policy.GpaRange;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;

/** Policies with one mistake each, and the contract run on them. */
final class WrongPolicies {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long BLOCK = 512L * PAGE;

  private WrongPolicies() {}

  /** The aligned blocks of 2 MiB that a range touches. */
  private static GpaRange blocksOf(GpaRange range) {
    long from = range.gpa() & -BLOCK;
    return new GpaRange(from, (range.end() + BLOCK - 1 & -BLOCK) - from);
  }

  /** The base of the mistakes: converts what is used, and what is asked for. */
  private static class Both implements ConversionPolicy {
    @Override
    public String id() {
      return "both";
    }

    @Override
    public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
      return Optional.of(pages);
    }

    @Override
    public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
      return Optional.of(range);
    }
  }

  /** Without its mistake the contract holds: what is caught below is the mistake. */
  static class NoMistake extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both();
    }
  }

  /** Answers the first page of several. */
  static class ConvertsOnePage extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        @Override
        public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
          return Optional.of(new GpaRange(pages.gpa(), PAGE));
        }
      };
    }
  }

  /** Rounds a hypercall up to 2 MiB, beyond the memory too. */
  static class RoundsHypercallsUp extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        @Override
        public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
          return Optional.of(blocksOf(range));
        }
      };
    }
  }

  /** Converts 2 MiB around what is used, either way. */
  static class ConvertsBlocksEitherWay extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        @Override
        public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
          return Optional.of(blocksOf(pages));
        }
      };
    }
  }

  /** Converts 2 MiB to private, whatever of it the guest wants shared. */
  static class ConvertsBlocksToPrivate extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        @Override
        public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
          return Optional.of(attribute == MemoryAttribute.SHARED ? pages : blocksOf(pages));
        }
      };
    }
  }

  /** Keeps guest addresses in ints. */
  static class KeepsAddressesInInts extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        @Override
        public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
          int gpa = (int) pages.gpa();
          return Optional.of(new GpaRange(gpa & 0xffff_ffffL, pages.size()));
        }
      };
    }
  }

  /** Takes what it has answered for done, though it may have been refused. */
  static class TakesAnswersForDone extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        private final Map<GpaRange, MemoryAttribute> done = new ConcurrentHashMap<>();

        @Override
        public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
          return done.put(pages, attribute) == attribute ? Optional.empty() : Optional.of(pages);
        }
      };
    }
  }

  /** Does a hypercall once: the guest may not change its mind. */
  static class HearsOnlyTheFirst extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        private final Set<GpaRange> heard = ConcurrentHashMap.newKeySet();

        @Override
        public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
          return Optional.empty();
        }

        @Override
        public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
          return heard.add(range) ? Optional.of(range) : Optional.empty();
        }
      };
    }
  }

  /** Puts hypercalls off, and never does them. */
  static class PutsHypercallsOff extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        @Override
        public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
          return Optional.empty();
        }

        @Override
        public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
          return Optional.empty();
        }
      };
    }
  }

  /** Gives up after a number of faults on one page. */
  static class GivesUp extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        private final Map<Long, AtomicInteger> tries = new ConcurrentHashMap<>();

        @Override
        public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
          int n = tries.computeIfAbsent(pages.gpa(), k -> new AtomicInteger()).incrementAndGet();
          return n > 1000 ? Optional.empty() : Optional.of(pages);
        }
      };
    }
  }

  /** Converts everything before the first run, and 4 KiB more. */
  static class StartsBeyondTheEnd extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        @Override
        public List<GpaRange> beforeFirstRun(GpaRange memory) {
          return List.of(new GpaRange(memory.gpa(), memory.size() + PAGE));
        }
      };
    }
  }

  /** Takes the memory to begin at 0. */
  static class StartsAtZero extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        @Override
        public List<GpaRange> beforeFirstRun(GpaRange memory) {
          return List.of(new GpaRange(0, memory.size()));
        }
      };
    }
  }

  /** Converts the neighbours of what is used, to and fro. */
  static class TakesItsNeighbours extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        private final Set<Long> shared = ConcurrentHashMap.newKeySet();

        @Override
        public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
          if (attribute == MemoryAttribute.SHARED) {
            shared.add(pages.gpa());
            return Optional.of(pages);
          }
          return Optional.of(new GpaRange(pages.gpa(), pages.size() + PAGE)); // shared or not
        }
      };
    }
  }

  /** Writes a journal of all requests. */
  static class KeepsAJournal extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        private final List<GpaRange> journal = Collections.synchronizedList(new ArrayList<>());

        @Override
        public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
          journal.add(new GpaRange(pages.gpa(), pages.size()));
          return Optional.of(pages);
        }
      };
    }
  }

  /** Sleeps before it answers, to collect more requests. */
  static class SleepsBeforeItAnswers extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        @Override
        public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
          LockSupport.parkNanos(500_000);
          return Optional.of(range);
        }
      };
    }
  }

  /** Waits for a second request, which may never come. */
  static class WaitsForASecondRequest extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        private final AtomicInteger requests = new AtomicInteger();

        @Override
        public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
          int mine = requests.incrementAndGet();
          while (mine % 50 == 0 && requests.get() == mine) {
            Thread.onSpinWait();
          }
          return Optional.of(range);
        }
      };
    }
  }

  /** Keeps what vCPUs want in a map for one thread. */
  static class HasAMapForOneThread extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        private final Map<Long, MemoryAttribute> wanted = new HashMap<>();

        @Override
        public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
          wanted.put(pages.gpa(), attribute);
          if (wanted.get(pages.gpa()) != attribute) {
            throw new IllegalStateException("lost what is wanted of " + pages);
          }
          wanted.keySet().removeIf(gpa -> gpa == pages.gpa() + BLOCK);
          return Optional.of(pages);
        }
      };
    }
  }

  /** Has the name of a shipped policy. */
  static class HasAShippedName extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return new Both() {
        @Override
        public String id() {
          return "on-fault";
        }
      };
    }
  }
}
