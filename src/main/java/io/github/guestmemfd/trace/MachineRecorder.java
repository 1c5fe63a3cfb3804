package io.github.guestmemfd.trace;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.MemoryAttributes2;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.MemslotFlag;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import java.util.BitSet;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.WeakHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Makes and records the calls on virtual machines, which do not belong to a file: memslots, dirty
 * logs, attributes, and the files that a machine creates.
 */
final class MachineRecorder {
  private final TraceLines out;

  /** Makes a memslot call and its line one step. */
  private final Mutex slotsLock = new Mutex(LockClass.RECORDER_LOCK);

  /** The memslots of the program's machine, with the numbers that they have in the trace. */
  private final Map<Integer, Integer> slots = new HashMap<>();

  /** Set while a thread is in {@link #setMemoryAttributes2}. */
  @SuppressWarnings("ThreadLocalUsage") // one for each recorder
  private final ThreadLocal<@Nullable Boolean> settingAttributes = new ThreadLocal<>();

  /** The kernel that the trace is of. */
  private final KernelProfile kernel;

  /** The machine of which all memslots are made by {@link #bind}: that of every trace. */
  private @Nullable VirtualMachine machine;

  private final AtomicInteger machines = new AtomicInteger(1);

  /** The machines of descriptors, but those of the machine of every trace. */
  private final Map<Object, String> owners = Collections.synchronizedMap(new WeakHashMap<>());

  /** The file that this thread is creating in a machine. */
  @SuppressWarnings("ThreadLocalUsage") // one for each recorder
  private final ThreadLocal<@Nullable Creation> creations = new ThreadLocal<>();

  /** A file that is being created; the call is known once it has a name. */
  static final class Creation {
    final String machine;
    @Nullable String call;

    Creation(String machine) {
      this.machine = machine;
    }
  }

  private int lastSlot = -1;

  MachineRecorder(TraceLines out, @Nullable VirtualMachine machine) {
    this.out = out;
    this.machine = machine;
    this.kernel = machine == null ? KernelProfile.LINUX_6_18 : machine.kernelProfile();
  }

  /** The kernel that the trace is of. */
  KernelProfile kernel() {
    return kernel;
  }

  /** The file that this thread is creating in a machine; null if it is not. */
  @Nullable Creation creation() {
    return creations.get();
  }

  /** Whether this thread is in {@link Recorder#setMemoryAttributes2}. */
  boolean isSettingAttributes() {
    return settingAttributes.get() != null;
  }

  /** Notes that a descriptor is of the machine that another is of. */
  void dup(GuestMemfd memfd, GuestMemfd dup) {
    String owner = owners.get(memfd);
    if (owner != null) {
      owners.put(dup, owner);
    }
  }

  /** See {@link Recorder#setMemoryAttributes2}. */
  Errno setMemoryAttributes2(
      VirtualMachine vm, GuestMemfd memfd, @Nullable MemoryAttributes2 argument) {
    String line = argument == null ? NO_ARGUMENT : line(argument);
    boolean exact = argument == null || isSayable(argument);
    MemoryAttributes2 written = argument != null && argument.isWritable() ? argument : null;
    long before = written == null ? 0 : written.errorOffset();
    if (written != null) {
      written.errorOffset(ModelExecutor.UNTOUCHED);
    }
    String result = "an exception of a callback";
    settingAttributes.set(Boolean.TRUE); // what it converts is not recorded as a call of its own
    try {
      Errno errno = vm.trySetMemoryAttributes2(memfd, argument);
      result =
          ModelExecutor.setAttributes(
              errno, written == null ? ModelExecutor.UNTOUCHED : written.errorOffset());
      return errno;
    } catch (Throwable e) {
      exact = false;
      throw e;
    } finally {
      settingAttributes.remove();
      if (written != null && written.errorOffset() == ModelExecutor.UNTOUCHED) {
        written.errorOffset(before);
      }
      if (exact) {
        out.call("set_attributes", memfd, line, result, null);
      } else {
        out.comment("set_attributes " + out.names.get(memfd) + line + " = " + result);
      }
    }
  }

  private static final String NO_ARGUMENT =
      " offset=0 size=0 attributes=0 flags=0 reserved=0 argument=null";

  private static String line(MemoryAttributes2 argument) {
    return " offset="
        + argument.offset()
        + " size="
        + argument.size()
        + " attributes=0x"
        + Long.toHexString(argument.attributes())
        + " flags=0x"
        + Long.toHexString(argument.flags())
        + " reserved=0x"
        + Long.toHexString(argument.reserved(MemoryAttributes2.RESERVED - 1))
        + " argument="
        + (argument.isWritable() ? "rw" : "r");
  }

  /** A trace says of the reserved numbers the last alone. */
  private static boolean isSayable(MemoryAttributes2 argument) {
    for (int i = 0; i < MemoryAttributes2.RESERVED - 1; i++) {
      if (argument.reserved(i) != 0) {
        return false;
      }
    }
    return true;
  }

  // ---- memslots ----

  /** See {@link Recorder#bind}. */
  void bind(VirtualMachine vm, int slot, long gpa, long size, GuestMemfd memfd, long offset) {
    step(() -> bindAndRecord(vm, slot, gpa, size, memfd, offset));
  }

  /** Makes a memslot call and its line one step; what depends on conversions comes after it. */
  private void step(Runnable call) {
    GuestMemfd.completingAfter(
        () -> {
          slotsLock.lock();
          try {
            call.run();
          } finally {
            slotsLock.unlock();
          }
          return null;
        });
  }

  private void bindAndRecord(
      VirtualMachine vm, int slot, long gpa, long size, GuestMemfd memfd, long offset) {
    if (out.names.containsKey(vm)) {
      setAndRecord(vm, new Memslot(slot, gpa, size, memfd, offset));
      return;
    }
    if (machine == null) {
      machine = vm;
      if (vm.kernelProfile() != kernel) {
        out.comment("the machine answers as Linux " + vm.kernelProfile().release());
      }
    }
    boolean taken = vm != machine || slots.containsKey(slot);
    boolean known = slot >= 0 && slot < VirtualMachine.USER_SLOTS;
    int number = known ? ++lastSlot : slot; // a name is used once, so numbers are too
    String arguments = " gpa=0x" + Long.toHexString(gpa) + " size=" + size + " offset=" + offset;
    RuntimeException failed = null;
    try {
      vm.bind(slot, gpa, size, memfd, offset);
    } catch (RuntimeException e) {
      failed = e;
    }
    if (taken || slot < 0) {
      out.comment("bind of slot " + slot + arguments + " = " + (failed == null ? "ok" : failed));
    } else {
      if (failed == null) {
        slots.put(slot, number);
      }
      out.define("bind", "s" + number, null, memfd, arguments, failed);
    }
    if (failed != null) {
      throw failed;
    }
  }

  /** See {@link Recorder#unbind}. */
  void unbind(VirtualMachine vm, int slot) {
    step(() -> unbindAndRecord(vm, slot));
  }

  private void unbindAndRecord(VirtualMachine vm, int slot) {
    if (out.names.containsKey(vm)) {
      setAndRecord(vm, new Memslot(slot, 0, 0, 0, 0, null, 0));
      return;
    }
    RuntimeException failed = null;
    try {
      vm.unbind(slot);
    } catch (RuntimeException e) {
      failed = e;
    }
    Integer number = vm == machine ? slots.remove(slot) : null;
    if (number == null) {
      out.comment("unbind of slot " + slot + " = " + (failed == null ? "ok" : failed));
    } else {
      out.line("unbind s" + number + " = " + (failed == null ? "ok" : ModelExecutor.word(failed)));
    }
    if (failed != null) {
      throw failed;
    }
  }

  // ---- memslots with all their arguments ----

  /** See {@link Recorder#createGuestMemfd}. */
  GuestMemfd createGuestMemfd(VirtualMachine vm, GuestMemfd.Builder builder) {
    String name = name(vm);
    Creation creation = new Creation(name == null ? Trace.MACHINE : name);
    RuntimeException failed = null;
    creations.set(creation);
    try {
      GuestMemfd memfd = vm.createGuestMemfd(builder);
      if (name != null) {
        owners.put(memfd, name);
      }
      return memfd;
    } catch (RuntimeException e) {
      failed = e;
      throw e;
    } finally {
      creations.remove();
      if (creation.call != null) {
        out.answer(creation.call, "ok", failed);
      }
    }
  }

  /** The name of a machine; null for the one of {@link #bind}. Names it if it has none. */
  private @Nullable String name(VirtualMachine vm) {
    Objects.requireNonNull(vm, "vm");
    slotsLock.lock();
    try {
      if (vm == machine) {
        return null;
      }
      String known = out.names.get(vm);
      if (known != null) {
        return known;
      }
      String name = out.define("v", machines, vm);
      int type = vm.type().orElse(VmType.DEFAULT).number();
      out.line("vm " + name + " type=" + type + " = ok");
      return name;
    } finally {
      slotsLock.unlock();
    }
  }

  /** See {@link Recorder#setUserMemoryRegion2}. */
  void setUserMemoryRegion2(VirtualMachine vm, Memslot wanted) {
    Objects.requireNonNull(wanted, "wanted");
    name(vm);
    step(() -> setAndRecord(vm, wanted));
  }

  private void setAndRecord(VirtualMachine vm, Memslot wanted) {
    RuntimeException failed = null;
    try {
      vm.setUserMemoryRegion2(wanted);
    } catch (RuntimeException e) {
      failed = e;
    }
    String name = out.names.get(vm);
    GuestMemfd memfd = wanted.memfd();
    String file = memfd == null ? "none" : out.names.get(memfd);
    String call =
        "memslot %s slot=%d flags=0x%x gpa=0x%x size=%d user=0x%x file=%s offset=%d"
            .formatted(
                name,
                wanted.slot(),
                wanted.flags(),
                wanted.gpa(),
                wanted.size(),
                wanted.userAddress(),
                file,
                wanted.offset());
    boolean isForeign = failed == null && isOfAnother(name, wanted);
    if (name == null || file == null || isForeign) {
      out.comment(call + " = " + (failed == null ? "ok" : failed));
    } else {
      out.answer(call, "ok", failed);
    }
    if (failed != null) {
      throw failed;
    }
  }

  /** Whether a file was not created in the machine, as far as the trace knows. */
  private boolean isOfAnother(@Nullable String name, Memslot wanted) {
    GuestMemfd memfd = wanted.memfd();
    return wanted.size() != 0
        && wanted.has(MemslotFlag.GUEST_MEMFD)
        && memfd != null
        && !Objects.equals(name, owners.get(memfd));
  }

  /** See {@link Recorder#getDirtyLog}. */
  BitSet getDirtyLog(VirtualMachine vm, int slot) {
    return log(vm, "dirty_log", slot, "", () -> vm.getDirtyLog(slot));
  }

  /** See {@link Recorder#clearDirtyLog}. */
  BitSet clearDirtyLog(VirtualMachine vm, int slot, BitSet pages) {
    int first = Math.max(0, pages.nextSetBit(0));
    int count = pages.cardinality();
    boolean isRange = pages.length() - first == count || count == 0;
    String range = isRange ? " " + first + " " + count : " " + pages;
    return log(vm, "clear_dirty_log", slot, range, () -> vm.clearDirtyLog(slot, pages));
  }

  private BitSet log(
      VirtualMachine vm, String verb, int slot, String range, Supplier<BitSet> take) {
    String name = name(vm);
    BitSet taken = new BitSet();
    RuntimeException failed = null;
    try {
      taken = take.get();
      return taken;
    } catch (RuntimeException e) {
      failed = e;
      throw e;
    } finally {
      String call = verb + " " + name + " " + slot + range;
      String result = verb.equals("dirty_log") ? ModelExecutor.pages(taken) : "ok";
      if (name == null || !taken.isEmpty() || range.contains("{")) {
        out.comment(call + " = " + (failed == null ? result : failed));
      } else {
        out.answer(call, result, failed);
      }
    }
  }

  /** See {@link Recorder#trySetMemoryAttributes}. */
  Errno trySetMemoryAttributes(
      VirtualMachine vm, long gpa, long size, MemoryAttribute attribute, BusyGuestPage busy) {
    if (vm.type().isEmpty()) {
      return vm.trySetMemoryAttributes(gpa, size, attribute, busy);
    }
    String name = name(vm);
    Errno errno = vm.trySetMemoryAttributes(gpa, size, attribute, busy);
    String word = attribute == MemoryAttribute.PRIVATE ? "private" : "shared";
    String call = "attributes " + name + " " + word + " 0x" + Long.toHexString(gpa) + " " + size;
    if (name == null) {
      out.comment(call + " = " + errno);
    } else {
      out.line(call + " = " + ModelExecutor.answer(errno));
    }
    return errno;
  }
}
