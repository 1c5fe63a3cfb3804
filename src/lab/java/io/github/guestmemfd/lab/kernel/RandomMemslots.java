package io.github.guestmemfd.lab.kernel;

import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.Verb;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * Random calls on the memslots of a few virtual machines, with flags and user addresses: mostly
 * near what is there already, so that slots are moved, logged, made read-only, and deleted.
 *
 * <p>For one thread.
 */
final class RandomMemslots {
  private static final long PAGE = 4096;

  /** User addresses at which nothing need be. */
  private static final long USER = 0x1_0000_0000L;

  /** The kernel allocates 8 bytes and more for each page of a memslot: 16 GiB for the largest. */
  private static final long LARGE = 1L << 32;

  private static final int LOG_DIRTY_PAGES = 1;

  /** The numbers that are drawn again and again. */
  private static final int NUMBERS = 6;

  private static final int MOST_MACHINES = 3;

  /** The arguments of a call; of a file or of memory by name. */
  private record Region(
      int slot, int flags, long gpa, long size, String user, String file, long offset) {

    String[] arguments(String machine) {
      return new String[] {
        machine,
        "slot=" + slot,
        "flags=0x" + Integer.toHexString(flags),
        "gpa=0x" + Long.toHexString(gpa),
        "size=" + size,
        "user=" + user,
        "file=" + file,
        "offset=" + offset
      };
    }
  }

  private record Machine(String name, Map<Integer, Region> made) {}

  private final SplittableRandom random;
  private final List<Machine> machines = new ArrayList<>();
  private final Supplier<String> files;
  private final Function<String, List<String>> memory;

  /**
   * Calls on a machine, and on more that are made.
   *
   * @param random draws
   * @param files names a file
   * @param memory names the anonymous memory that a machine has
   */
  RandomMemslots(
      SplittableRandom random, Supplier<String> files, Function<String, List<String>> memory) {
    this.random = random;
    this.files = files;
    this.memory = memory;
    machines.add(new Machine(Trace.MACHINE, new HashMap<>()));
  }

  // ---- numbers ----

  private boolean oneIn(int n) {
    return random.nextInt(n) == 0;
  }

  private long oneOf(long... numbers) {
    return numbers[random.nextInt(numbers.length)];
  }

  private int slot() {
    return oneIn(20)
        ? (int) oneOf(32763, 32764, 32767, 32768, 40000, 65536, 65537, 1 << 31, -1)
        : random.nextInt(NUMBERS);
  }

  private int flags() {
    return oneIn(12) ? random.nextInt(32) : (int) oneOf(0, 0, 1, 2, 3, 4, 4, 4, 4);
  }

  private long gpa() {
    return oneIn(15)
        ? oneOf(
            1, 100, -PAGE, 1L << 51, (1L << 52) - PAGE, (1L << 52) - 2 * PAGE, 1L << 52, 1L << 63)
        : PAGE * random.nextInt(40);
  }

  private long size() {
    if (oneIn(6)) {
      return 0;
    }
    return oneIn(25)
        ? oneOf(1, 4095, -PAGE, LARGE, 1L << 43, 1L << 63)
        : PAGE * (1 + random.nextInt(6));
  }

  private String user(Machine machine) {
    List<String> there = memory.apply(machine.name);
    if (!there.isEmpty() && oneIn(2)) {
      return there.get(random.nextInt(there.size()));
    }
    long address =
        oneIn(10)
            ? oneOf(
                1,
                USER + 8,
                0x7fff_ffff_e000L,
                0x7fff_ffff_f000L,
                0x7fff_ffff_d000L,
                1L << 47,
                0xffff_8000_0000_0000L,
                -PAGE)
            : oneOf(0, USER, USER, USER + PAGE);
    return "0x" + Long.toHexString(address);
  }

  /** Not one whose end wraps, which is accepted: the guest then has pages past the last offset. */
  private long offset() {
    return oneIn(12)
        ? oneOf(1, -PAGE, 1L << 63, 63 * PAGE, 64 * PAGE, 65 * PAGE)
        : PAGE * random.nextInt(16);
  }

  private String file() {
    return oneIn(15) ? "none" : files.get();
  }

  // ---- machines ----

  private Machine machine() {
    return machines.get(random.nextInt(machines.size()));
  }

  /** The name of a machine. */
  String machineName() {
    return machine().name;
  }

  boolean canHaveAnotherMachine() {
    return machines.size() < MOST_MACHINES;
  }

  void add(String machine) {
    machines.add(new Machine(machine, new HashMap<>()));
  }

  // ---- memslots ----

  /**
   * A memslot is made, changed or deleted.
   *
   * @param ifOk receives what is to be run if the call succeeds
   */
  Trace.Call memslot(IfOk ifOk) {
    Machine machine = machine();
    Region drawn = region(machine);
    boolean isGone = drawn.user.startsWith("a") && !memory.apply(machine.name).contains(drawn.user);
    Region region = isGone ? withUser(drawn, user(machine)) : drawn;
    ifOk.then(
        () -> {
          if (region.size == 0) {
            machine.made.remove(region.slot);
          } else {
            machine.made.put(region.slot, region);
          }
        });
    return Trace.Call.of(Verb.MEMSLOT, region.arguments(machine.name));
  }

  /** What a call leaves behind if it succeeds. */
  interface IfOk {
    void then(Runnable made);
  }

  private Region region(Machine machine) {
    Region old = machine.made.get(random.nextInt(NUMBERS));
    if (old == null || !oneIn(3)) {
      return new Region(slot(), flags(), gpa(), size(), user(machine), file(), offset());
    }
    Region region = old; // a change of one that is there, in one or two ways
    for (int i = random.nextInt(2); i >= 0; i--) {
      region = changed(machine, region);
    }
    return region;
  }

  private static Region withUser(Region r, String user) {
    return new Region(r.slot, r.flags, r.gpa, r.size, user, r.file, r.offset);
  }

  private Region changed(Machine machine, Region r) {
    return switch (random.nextInt(7)) {
      case 0 -> r;
      case 1 -> new Region(r.slot, flags(), r.gpa, r.size, r.user, r.file, r.offset);
      case 2 ->
          new Region(r.slot, r.flags ^ LOG_DIRTY_PAGES, r.gpa, r.size, r.user, r.file, r.offset);
      case 3 -> new Region(r.slot, r.flags, gpa(), r.size, r.user, r.file, r.offset);
      case 4 -> new Region(r.slot, r.flags, r.gpa, size(), r.user, r.file, r.offset);
      case 5 -> withUser(r, user(machine));
      default -> new Region(r.slot, r.flags, r.gpa, r.size, r.user, file(), offset());
    };
  }

  Trace.Call dirtyLog() {
    return Trace.Call.of(Verb.DIRTY_LOG, machineName(), "" + slot());
  }

  /**
   * Whether a guest can be asked. The first machine has none: memslots of all sizes are bound to
   * it, also where the guest is.
   */
  boolean hasGuest() {
    return KernelGuest.IS_POSSIBLE && machines.size() > 1;
  }

  /** The guest reads or writes a byte, mostly in a memslot. */
  Trace.Call guest() {
    Machine machine = machines.get(1 + random.nextInt(machines.size() - 1));
    Region region = machine.made.get(random.nextInt(NUMBERS));
    long gpa =
        region == null || oneIn(10)
            ? PAGE * random.nextInt(50)
            : region.gpa + PAGE * random.nextInt(6) % Math.max(PAGE, region.size);
    if (gpa < 0 || gpa >= KernelGuest.REACH) {
      gpa = PAGE * random.nextInt(50);
    }
    String address = "0x" + Long.toHexString(gpa + (oneIn(2) ? 0 : random.nextLong(PAGE)));
    return oneIn(2)
        ? Trace.Call.of(Verb.GUEST_LOAD, machine.name, address)
        : Trace.Call.of(Verb.GUEST_STORE, machine.name, address, "" + random.nextInt(256));
  }

  /** Of all pages, of some, and of more than there are. */
  Trace.Call clearDirtyLog() {
    Machine machine = machine();
    int slot = slot();
    Region region = machine.made.get(slot);
    long pages =
        region != null && region.size >= PAGE && region.size <= 1000 * PAGE
            ? region.size / PAGE
            : 1;
    long first = oneIn(2) ? 0 : random.nextLong(pages + 1);
    long count = oneIn(2) ? pages - first : random.nextLong(pages + 2);
    return Trace.Call.of(Verb.CLEAR_DIRTY_LOG, machine.name, "" + slot, "" + first, "" + count);
  }
}
