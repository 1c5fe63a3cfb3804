package io.github.guestmemfd.lab.kernel;

import io.github.guestmemfd.abi.FileCall;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.Verb;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.SplittableRandom;

/**
 * Random calls, aimed at the edges: first and last pages, the end of the file and beyond, overlaps,
 * holes, held pages, closed descriptors whose mappings live on, huge, negative and unaligned
 * numbers, wrong modes and flags. The same seed and the same results give the same calls.
 *
 * <p>Left out is what does not depend on guest_memfd alone: mappings longer than {@link
 * KernelExecutor#LONGEST_MAPPING} that the address space could still have, or not; long private
 * mappings, for which the kernel looks at the memory it could need before it asks the file; calls
 * that reach more than a quarter of {@link KernelExecutor#GAP} out of a mapping; more than {@link
 * #MANY} bytes of memory at a time, and memslots of more than 1 TiB, which cost the kernel memory.
 * In-place conversions, types of machines and their attributes are left out because the kernel that
 * was asked has none. Of anonymous memory a model knows the whole only: no part of it is unmapped,
 * protected, moved or hidden from a child, and none is taken a reference on.
 *
 * <p>For one thread.
 */
public final class RandomCalls {

  /**
   * How many calls a trace may have: about one in 24 is for a new memslot, of which a virtual
   * machine has 32764, and a name is used once.
   */
  public static final int MOST_CALLS = 500_000;

  /** What one call allocates at most, in bytes. */
  private static final long MANY = 4L << 20;

  /** How far out of a mapping calls reach. */
  private static final long NEAR = KernelExecutor.GAP / 4;

  private static final long PAGE = 4096;
  private static final long MAX = Long.MAX_VALUE;
  private static final long LARGEST = MAX & -PAGE;
  private static final long MOST_SLOT_BYTES = 1L << 40;

  /** The numbers of the last slots that there are begin here; the last is 32763. */
  private static final int LAST_SLOTS = 32760;

  private static final long[] HUGE = {
    1L << 32, 1L << 40, 1L << 47, 1L << 62, LARGEST - PAGE, LARGEST, MAX, Long.MIN_VALUE, -PAGE, -1
  };

  /** Modes that are refused. */
  private static final String[] MODES = {
    "0x0",
    "PUNCH_HOLE",
    "NO_HIDE_STALE",
    "NO_HIDE_STALE|KEEP_SIZE",
    "COLLAPSE_RANGE",
    "COLLAPSE_RANGE|KEEP_SIZE",
    "ZERO_RANGE",
    "ZERO_RANGE|KEEP_SIZE",
    "INSERT_RANGE",
    "INSERT_RANGE|KEEP_SIZE",
    "UNSHARE_RANGE",
    "UNSHARE_RANGE|KEEP_SIZE",
    "WRITE_ZEROES",
    "WRITE_ZEROES|KEEP_SIZE",
    "PUNCH_HOLE|KEEP_SIZE|ZERO_RANGE",
    "PUNCH_HOLE|KEEP_SIZE|NO_HIDE_STALE",
    "PUNCH_HOLE|KEEP_SIZE|UNSHARE_RANGE",
    "0x100",
    "0x1001",
    "0x1003",
    "0x80000001",
    "0xffffffff"
  };

  private static final String[] OTHER_ADVICE = {
    "FREE", "COLD", "PAGEOUT", "HUGEPAGE", "COLLAPSE", "WIPEONFORK", "KEEPONFORK"
  };

  /** How many processes there are at a time, besides the first: each costs the kernel memory. */
  private static final int MOST_PROCESSES = 3;

  /** The process that there is from the start. */
  private static final String FIRST = "p0";

  private static final long[] WRONG_FLAGS = {
    4, 5, 7, 8, 0x10, 0x80000000L, 1L << 32, 1L << 62, Long.MIN_VALUE, -1
  };

  /** A node that a machine could have, and has not. */
  private static final long NO_NODE = 1 << 15;

  private record Memfd(String name, long size, boolean mappable, boolean shared) {}

  /** A mapping of a process; the length is in whole pages. */
  private record Window(String process, String name, Memfd memfd, long offset, long length) {
    /** Where the end of the file is, in bytes from the start of the mapping; perhaps outside. */
    long fileEnd() {
      return memfd.size - offset;
    }
  }

  private record Slot(String name, Memfd memfd, long gpa, long size, long offset) {
    boolean isOf(Memfd other) {
      return memfd.equals(other);
    }
  }

  private final SplittableRandom random;
  private final List<Memfd> open = new ArrayList<>();
  private final List<Memfd> closed = new ArrayList<>();
  private final List<Window> windows = new ArrayList<>();
  private final List<String> forked = new ArrayList<>();
  private final List<String> references = new ArrayList<>();
  private final List<Slot> slots = new ArrayList<>();
  private final List<Slot> deleted = new ArrayList<>();

  /** Mappings of anonymous memory; in place of a file each has its machine. */
  private final List<Window> memory = new ArrayList<>();

  private final RandomMemslots memslots;

  /** The names of all slots, also of those that were not made: a name is used once. */
  private final Set<String> slotNames = new HashSet<>();

  private int names;
  private int slotNumbers;
  private Runnable ifOk = RandomCalls::nothing;

  /**
   * Calls of a seed.
   *
   * @param seed any number
   */
  public RandomCalls(long seed) {
    random = new SplittableRandom(seed);
    memslots = new RandomMemslots(random, () -> memfd().name, this::memoryOf);
  }

  /**
   * The next call, for what the calls so far have made.
   *
   * @return the call
   */
  public Trace.Call next() {
    ifOk = RandomCalls::nothing;
    if (open.isEmpty() && windows.isEmpty()) {
      return create();
    }
    if (oneIn(8)) {
      return ofMachines();
    }
    int kind = random.nextInt(1000);
    if (kind < 20 || open.isEmpty()) {
      return open.size() < 8 ? create() : close();
    } else if (kind < 190) {
      return fallocate();
    } else if (kind < 250) {
      return Trace.Call.of(Verb.CACHED, memfd().name);
    } else if (kind < 256) {
      return Trace.Call.of(Verb.STAT, memfd().name);
    } else if (kind < 258) {
      return Trace.Call.of(Verb.FTRUNCATE, memfd().name);
    } else if (kind < 259) {
      return setAttributes();
    } else if (kind < 261) {
      FileCall[] calls = FileCall.values();
      String call = calls[random.nextInt(calls.length)].name();
      return Trace.Call.of(Verb.CALL, memfd().name, call);
    } else if (kind < 268) {
      return dup();
    } else if (kind < 285) {
      return close();
    } else if (kind < 325) {
      return bind(); // these two cost the kernel a thousand times as much as the others
    } else if (kind < 337) {
      return unbind();
    } else if (kind < 420 || windows.isEmpty()) {
      return windows.size() < 10 ? mmap() : munmap();
    } else if (kind < 442) {
      return munmap();
    } else if (kind < 455) {
      return munmapPart();
    } else if (kind < 480) {
      return mprotect();
    } else if (kind < 500) {
      return windows.size() < 16 ? mremap() : munmap();
    } else if (kind < 502) {
      return forked.size() < MOST_PROCESSES ? fork() : exit();
    } else if (kind < 503 && !forked.isEmpty()) {
      return exit();
    } else if (kind < 516) {
      return mbind();
    } else if (kind < 528) {
      Window w = pick(windows);
      return Trace.Call.of(Verb.GET_MEMPOLICY, w.name, "" + touched(w));
    } else if (kind < 630) {
      Window w = window();
      return Trace.Call.of(Verb.LOAD, w.name, "" + touched(w));
    } else if (kind < 780) {
      Window w = window();
      String value = String.format(Locale.ROOT, "0x%02x", random.nextInt(256));
      return Trace.Call.of(Verb.STORE, w.name, "" + touched(w), value);
    } else if (kind < 910) {
      return madvise();
    } else if ((kind < 960 && references.size() < 24) || references.isEmpty()) {
      return gup();
    }
    return release();
  }

  /**
   * Tells what the last call returned. To be called before the next.
   *
   * @param result the result
   */
  public void ended(String result) {
    if (result.equals("ok")) {
      ifOk.run();
    }
  }

  private static void nothing() {}

  // ---- numbers ----

  private boolean oneIn(int n) {
    return random.nextInt(n) == 0;
  }

  private <T> T pick(List<T> list) {
    return list.get(random.nextInt(list.size()));
  }

  private long pick(long... numbers) {
    return numbers[random.nextInt(numbers.length)];
  }

  private String newName(String kind) {
    return kind + names++;
  }

  /** The start of a page of a range, of its first 4096 pages. */
  private long page(long size) {
    return PAGE * random.nextLong(Math.max(1, Math.min(size / PAGE, 4096)));
  }

  private long pages(int most) {
    return PAGE * (1 + random.nextInt(most));
  }

  private long inPage() {
    return oneIn(2) ? pick(1, 2, PAGE / 2, PAGE - 1) : 1 + random.nextLong(PAGE - 1);
  }

  /** An offset in a file of a size, or next to its end, or wrong. */
  private long offset(long size) {
    return switch (random.nextInt(24)) {
      case 0, 1 -> 0;
      case 2, 3 -> size - PAGE;
      case 4 -> size;
      case 5 -> size + PAGE;
      case 6 -> size - 2 * PAGE;
      case 7 -> -pages(8);
      case 8 -> page(size) + inPage();
      case 9 -> oneIn(3) ? pick(HUGE) : 2 * size;
      default -> page(size);
    };
  }

  /** A length for a range that begins somewhere in a file of a size. */
  private long length(long offset, long size) {
    return switch (random.nextInt(24)) {
      case 0 -> 0;
      case 1 -> size;
      case 2, 3 -> size - offset;
      case 4 -> size - offset + PAGE;
      case 5 -> size - offset - PAGE;
      case 6 -> -pages(8);
      case 7 -> pages(4) + pick(-1, 1, inPage());
      case 8 -> pick(HUGE);
      case 9 ->
          oneIn(3)
              ? pick(
                  MAX - offset,
                  MAX - offset + 1,
                  (MAX - offset) & -PAGE,
                  ((MAX - offset) & -PAGE) + PAGE)
              : 2 * size;
      default -> pages(4);
    };
  }

  // ---- files ----

  /** A descriptor: an open one, or at times one that is closed. */
  private Memfd memfd() {
    return !closed.isEmpty() && (open.isEmpty() || oneIn(40)) ? pick(closed) : pick(open);
  }

  private Trace.Call create() {
    long size =
        switch (random.nextInt(20)) {
          case 0 -> 0;
          case 1 -> pages(8) + inPage();
          case 2 -> -pages(8);
          case 3 -> pick(HUGE);
          case 4 -> PAGE;
          case 5 -> 2L << 20;
          case 6 -> (2L << 20) + pick(-PAGE, PAGE);
          case 7 -> 300 * PAGE;
          default -> pages(32);
        };
    long flags = oneIn(20) ? pick(WRONG_FLAGS) : oneIn(4) ? random.nextInt(4) : 3;
    String name = newName("m");
    ifOk = () -> open.add(new Memfd(name, size, (flags & 1) != 0, (flags & 2) != 0));
    return Trace.Call.of(Verb.CREATE, name, "size=" + size, "flags=0x" + Long.toHexString(flags));
  }

  private Trace.Call setAttributes() {
    Memfd of = memfd();
    long offset = offset(of.size);
    return Trace.Call.of(
        Verb.SET_ATTRIBUTES,
        of.name,
        "offset=" + offset,
        "size=" + length(offset, of.size),
        "attributes=" + pick(0, 8, 8, 1),
        "flags=" + (oneIn(8) ? 1 : 0),
        "reserved=" + (oneIn(8) ? 1 : 0),
        "argument=" + (oneIn(8) ? "null" : oneIn(8) ? "r" : "rw"));
  }

  private Trace.Call dup() {
    Memfd of = memfd();
    String name = newName("m");
    ifOk = () -> open.add(new Memfd(name, of.size, of.mappable, of.shared));
    return Trace.Call.of(Verb.DUP, name, of.name);
  }

  private Trace.Call close() {
    Memfd memfd = memfd();
    ifOk =
        () -> {
          open.remove(memfd);
          closed.add(memfd);
        };
    return Trace.Call.of(Verb.CLOSE, memfd.name);
  }

  private Trace.Call fallocate() {
    Memfd memfd = memfd();
    int kind = random.nextInt(20);
    String mode =
        kind < 9
            ? "PUNCH_HOLE|KEEP_SIZE"
            : kind < 16 ? "KEEP_SIZE" : MODES[random.nextInt(MODES.length)];
    long offset = offset(memfd.size);
    long length = length(offset, memfd.size);
    if (mode.equals("KEEP_SIZE") && length > MANY && memfd.size > MANY) {
      length = pages(16);
    }
    return Trace.Call.of(Verb.FALLOCATE, memfd.name, mode, "" + offset, "" + length);
  }

  // ---- mappings ----

  private Trace.Call mmap() {
    Memfd memfd = memfd();
    if (!(memfd.mappable && memfd.shared) && !oneIn(3)) {
      memfd = memfd();
    }
    boolean all = oneIn(3);
    long offset = all ? 0 : offset(memfd.size);
    long length =
        all
            ? memfd.size
            : oneIn(12)
                ? pick(1L << 47, (1L << 47) - PAGE, pick(HUGE))
                : length(offset, memfd.size);
    if (length > KernelExecutor.LONGEST_MAPPING && length < (1L << 47) - PAGE) {
      length = pages(16);
    }
    String process = forked.isEmpty() || !oneIn(8) ? FIRST : pick(forked);
    int kind = random.nextInt(20);
    String prot = kind < 12 ? "rw" : kind < 15 ? "r" : kind < 17 ? "w" : kind < 19 ? "none" : "rx";
    String type = oneIn(12) && length <= MANY ? "PRIVATE" : "SHARED";
    String name = newName("a");
    Window window = new Window(process, name, memfd, offset, (length + PAGE - 1) & -PAGE);
    ifOk = () -> windows.add(window);
    List<String> arguments = new ArrayList<>();
    arguments.add(name);
    if (!process.equals(FIRST)) {
      arguments.add(process);
    }
    arguments.add(memfd.name);
    arguments.addAll(
        List.of("offset=" + offset, "length=" + length, "prot=" + prot, "flags=" + type));
    return Trace.Call.of(
        process.equals(FIRST) ? Verb.MMAP : Verb.MMAP_IN, arguments.toArray(new String[0]));
  }

  // ---- processes ----

  private Trace.Call fork() {
    String parent = forked.isEmpty() || oneIn(2) ? FIRST : pick(forked);
    String name = newName("p");
    ifOk =
        () -> {
          forked.add(name);
          for (Window w : List.copyOf(windows)) {
            if (w.process.equals(parent)) {
              windows.add(new Window(name, w.name + name, w.memfd, w.offset, w.length));
            }
          }
        };
    return Trace.Call.of(Verb.FORK, name, parent);
  }

  private Trace.Call exit() {
    String name = pick(forked);
    ifOk =
        () -> {
          forked.remove(name);
          windows.removeIf(w -> w.process.equals(name));
        };
    return Trace.Call.of(Verb.EXIT, name);
  }

  // ---- parts of mappings, and advice ----

  private Trace.Call munmap() {
    Window window = window();
    ifOk = () -> (memory.contains(window) ? memory : windows).remove(window);
    return Trace.Call.of(Verb.MUNMAP, window.name);
  }

  private Trace.Call munmapPart() {
    Window w = pick(windows);
    long offset = inWindow(w);
    return Trace.Call.of(Verb.MUNMAP_PART, w.name, "" + offset, "" + length(w, offset, 4));
  }

  private Trace.Call mprotect() {
    Window w = pick(windows);
    long offset = inWindow(w);
    int kind = random.nextInt(16);
    String prot = kind < 9 ? "rw" : kind < 11 ? "r" : kind < 13 ? "w" : kind < 15 ? "none" : "rx";
    String length = "" + length(w, offset, 8);
    return Trace.Call.of(Verb.MPROTECT, w.name, "" + offset, length, prot);
  }

  /** Of the nodes node 0 is there on every machine, and the last on hardly any. */
  private Trace.Call mbind() {
    Window w = pick(windows);
    long offset = inWindow(w);
    MemoryPolicy.Mode[] modes = MemoryPolicy.Mode.values();
    MemoryPolicy.Mode mode = oneIn(3) ? MemoryPolicy.Mode.BIND : modes[random.nextInt(7)];
    boolean none = mode == MemoryPolicy.Mode.DEFAULT || mode == MemoryPolicy.Mode.LOCAL;
    long nodes = none != oneIn(8) ? 0 : pick(1, 1, 1, NO_NODE, NO_NODE | 1);
    return Trace.Call.of(
        Verb.MBIND,
        w.name,
        "" + offset,
        "" + length(w, offset, 8),
        mode.name(),
        "0x" + Long.toHexString(nodes));
  }

  /** Mostly of the same length: only such a move takes holes and protections along. */
  private Trace.Call mremap() {
    Window w = pick(windows);
    long offset = inWindow(w);
    long oldLength = oneIn(8) ? 0 : length(w, offset, 8);
    long newLength =
        switch (random.nextInt(12)) {
          case 0 -> pick(0, 1, inPage(), -1, -PAGE, -PAGE + 1, 1L << 47, pick(HUGE));
          case 1, 2 -> pages(8);
          case 3, 4 -> oldLength + pages(4);
          case 5 -> oldLength - pages(2);
          default -> oldLength;
        };
    if (newLength > KernelExecutor.LONGEST_MAPPING && newLength < 1L << 47) {
      newLength = pages(16);
    }
    String name = newName("a");
    long length = (newLength + PAGE - 1) & -PAGE;
    ifOk = () -> windows.add(new Window(w.process, name, w.memfd, w.offset + offset, length));
    return Trace.Call.of(Verb.MREMAP, name, w.name, "" + offset, "" + oldLength, "" + newLength);
  }

  /** Where a range begins that is to be changed: a page of a mapping, or next to it, or wrong. */
  private long inWindow(Window w) {
    return switch (random.nextInt(20)) {
      case 0 -> page(w.length) + inPage();
      case 1 -> -pages(4);
      case 2 -> w.length + PAGE * random.nextInt(3);
      case 3 -> w.length - PAGE;
      case 4, 5, 6 -> 0;
      default -> page(w.length);
    };
  }

  /** How long it is: mostly a few pages, so that something is left. */
  private long length(Window w, long offset, int most) {
    long length =
        switch (random.nextInt(24)) {
          case 0 -> 0;
          case 1 -> pick(-1, -PAGE + 1, -PAGE, -pages(64), -(1L << 40));
          case 2 -> pages(most) + pick(-1, 1, inPage());
          case 3, 4 -> w.length - offset;
          case 5 -> w.length - offset + pages(4);
          case 6 -> w.length;
          default -> pages(most);
        };
    return offset + length > w.length + NEAR ? pages(most) : length;
  }

  /** A byte of a mapping, or at times one next to it. */
  private long touched(Window w) {
    long in = page(w.length) + (oneIn(2) ? 0 : random.nextLong(PAGE));
    return switch (random.nextInt(20)) {
      case 0 -> pick(w.length, w.length + pages(4), -1, -PAGE);
      case 1 -> w.length - 1;
      case 2, 3 -> near(w, w.fileEnd() + pick(-PAGE, -1, 0, 1, PAGE), in);
      case 4 -> w.length - PAGE;
      default -> in;
    };
  }

  /** An offset that calls can be made with, or another one. */
  private static long near(Window w, long offset, long otherwise) {
    return offset > -NEAR && offset < w.length + NEAR ? offset : otherwise;
  }

  private Trace.Call madvise() {
    Window w = window();
    String advice =
        switch (random.nextInt(16)) {
          case 0 -> OTHER_ADVICE[random.nextInt(OTHER_ADVICE.length)];
          case 1 -> oneIn(2) ? "DONTFORK" : "DOFORK";
          case 2, 3 -> "DONTNEED";
          case 4, 5, 6, 7 -> "REMOVE";
          case 8, 9, 10, 11 -> "POPULATE_READ";
          default -> "POPULATE_WRITE";
        };
    if (memory.contains(w) && advice.endsWith("FORK")) {
      advice = "COLD";
    }
    long offset =
        switch (random.nextInt(16)) {
          case 0 -> page(w.length) + inPage();
          case 1 -> -pages(4);
          case 2 -> w.length + PAGE * random.nextInt(3);
          case 3 -> w.length - PAGE;
          case 4 -> near(w, w.fileEnd(), 0);
          case 5, 6 -> 0;
          default -> page(w.length);
        };
    long length =
        switch (random.nextInt(20)) {
          case 0 -> 0;
          case 1 -> pick(-1, -PAGE + 1, -PAGE, -pages(64), -(1L << 40));
          case 2 -> pages(4) + pick(-1, 1, inPage());
          case 3, 4, 5 -> w.length - offset;
          case 6 -> w.length - offset + pages(4);
          case 7 -> w.length;
          default -> pages(8);
        };
    if (offset + length > w.length + NEAR || (advice.startsWith("POPULATE") && length > MANY)) {
      length = pages(8);
    }
    return Trace.Call.of(Verb.MADVISE, w.name, "" + offset, "" + length, advice);
  }

  // ---- references ----

  private Trace.Call gup() {
    Window w = pick(windows);
    long offset = touched(w);
    long length =
        switch (random.nextInt(16)) {
          case 0 -> 0;
          case 1 -> pick(1, 100, PAGE - 1, PAGE + 1);
          case 2 -> pages(5);
          case 3 -> (oneIn(8) ? pick(256, 257) : pick(16, 17, 20, 33)) * PAGE;
          case 4 -> pick(-1, -PAGE, Long.MIN_VALUE);
          case 5 -> pick(HUGE);
          case 6 -> w.length - offset;
          default -> PAGE;
        };
    if (length > MANY && w.length > MANY) {
      length = 17 * PAGE;
    }
    String name = newName("g");
    ifOk = () -> references.add(name);
    return Trace.Call.of(Verb.GUP, name, w.name, "" + offset, "" + length);
  }

  private Trace.Call release() {
    String name = references.remove(random.nextInt(references.size()));
    return Trace.Call.of(Verb.GUP_RELEASE, name);
  }

  // ---- memslots ----

  /** Calls on memslots with all their arguments, and what else these machines need. */
  private Trace.Call ofMachines() {
    int kind = random.nextInt(100);
    if (kind < 2 && memslots.canHaveAnotherMachine()) {
      String name = newName("v");
      ifOk = () -> memslots.add(name);
      return Trace.Call.of(Verb.VM, name, "type=0");
    } else if (kind < 8 && memory.size() < 6) {
      return anonymous();
    } else if (kind < 14 && open.size() < 12) {
      return createIn();
    } else if (kind < 24) {
      return kind < 20 ? memslots.dirtyLog() : memslots.clearDirtyLog();
    } else if (kind < 55 && memslots.hasGuest()) {
      return memslots.guest();
    }
    return memslots.memslot(made -> ifOk = made);
  }

  private Trace.Call anonymous() {
    long length = oneIn(20) ? pick(0, 1L << 47, 1L << 62) : pages(16) - (oneIn(4) ? inPage() : 0);
    String name = newName("a");
    long whole = (length + PAGE - 1) & -PAGE;
    String machine = memslots.machineName();
    Window window = new Window(FIRST, name, new Memfd(machine, whole, true, true), 0, whole);
    ifOk = () -> memory.add(window);
    return Trace.Call.of(Verb.ANON, name, machine, "length=" + length);
  }

  private List<String> memoryOf(String machine) {
    return memory.stream().filter(w -> w.memfd.name.equals(machine)).map(Window::name).toList();
  }

  /** A mapping, at times of anonymous memory. */
  private Window window() {
    return memory.isEmpty() || (!windows.isEmpty() && !oneIn(6)) ? pick(windows) : pick(memory);
  }

  private Trace.Call createIn() {
    long size = oneIn(10) ? pick(0, -PAGE, 1, pages(8) + inPage()) : 64 * PAGE;
    long flags = oneIn(10) ? pick(WRONG_FLAGS) : random.nextInt(4);
    String name = newName("m");
    ifOk = () -> open.add(new Memfd(name, size, (flags & 1) != 0, (flags & 2) != 0));
    String machine = memslots.machineName();
    String word = "flags=0x" + Long.toHexString(flags);
    return Trace.Call.of(Verb.CREATE_IN, name, machine, "size=" + size, word);
  }

  private Trace.Call bind() {
    Memfd memfd = memfd();
    long gpa = 0x1000_0000 + PAGE * random.nextInt(256);
    long offset = oneIn(4) ? offset(memfd.size) : page(memfd.size);
    long size = oneIn(4) ? length(offset, memfd.size) : pages(4);
    if (!slots.isEmpty() && oneIn(3)) { // next to another, or over it
      Slot other = pick(slots);
      if (oneIn(2)) {
        gpa = pick(other.gpa + other.size, other.gpa - size, other.gpa, other.gpa + PAGE);
      }
      if (other.isOf(memfd)) {
        offset =
            pick(
                other.offset + other.size,
                other.offset - size,
                other.offset,
                other.offset + other.size - PAGE);
      }
    }
    if (oneIn(16)) {
      gpa = pick(gpa + inPage(), 0, -PAGE, -size, 1L << 52, (1L << 52) - size, pick(HUGE));
    }
    if (oneIn(40)) {
      size = pick(1L << 43, (1L << 43) - PAGE, 1L << 62, size + inPage());
    }
    if (size > MOST_SLOT_BYTES && size < 1L << 43 && memfd.size > MOST_SLOT_BYTES) {
      size = pages(16);
    }
    String name = "s" + (oneIn(60) ? LAST_SLOTS + random.nextInt(8) : slotNumbers++);
    if (!slotNames.add(name)) {
      name = "s" + slotNumbers++;
    }
    Slot slot = new Slot(name, memfd, gpa, size, offset);
    ifOk = () -> slots.add(slot);
    return Trace.Call.of(
        Verb.BIND,
        name,
        memfd.name,
        "gpa=0x" + Long.toHexString(gpa),
        "size=" + size,
        "offset=" + offset);
  }

  private Trace.Call unbind() {
    if (slots.isEmpty() || (!deleted.isEmpty() && oneIn(20))) {
      return deleted.isEmpty() ? bind() : Trace.Call.of(Verb.UNBIND, pick(deleted).name);
    }
    Slot slot = pick(slots);
    ifOk =
        () -> {
          slots.remove(slot);
          deleted.add(slot);
        };
    return Trace.Call.of(Verb.UNBIND, slot.name);
  }
}
