package io.github.guestmemfd.trace;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileCall;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/**
 * Makes the calls of a trace on the model. It has its own host and virtual machine; conversions
 * fail at once if a folio is held. Any number of threads may make calls at the same time.
 */
public final class ModelExecutor implements TraceExecutor {
  private static final long HOST_BYTES = 64L << 30;

  private final HostMemory host;
  private final ConversionProtocol protocol;
  private final VirtualMachine vm;
  private final Map<String, GuestMemfd> memfds = new ConcurrentHashMap<>();
  private final Map<String, HostMapping> mappings = new ConcurrentHashMap<>();
  private final Map<String, HostReference> references = new ConcurrentHashMap<>();

  /** The memslots created so far, including deleted ones: the virtual machine knows which exist. */
  private final Map<String, Integer> slots = new ConcurrentHashMap<>();

  /**
   * Creates a model with 64 GiB of memory, all of it free.
   *
   * @param protocol how conversions detect holders of a folio
   * @param profile the kernel whose answers it gives
   */
  public ModelExecutor(ConversionProtocol protocol, KernelProfile profile) {
    this(HostMemory.ofBytes(HOST_BYTES), protocol, profile);
  }

  /**
   * Creates a model on a host of the caller, for instance one with race points.
   *
   * @param host the host, which is closed with the executor
   * @param protocol how conversions detect holders of a folio
   * @param profile the kernel whose answers it gives
   */
  public ModelExecutor(HostMemory host, ConversionProtocol protocol, KernelProfile profile) {
    this.host = Objects.requireNonNull(host, "host");
    this.protocol = Objects.requireNonNull(protocol, "protocol");
    Objects.requireNonNull(profile, "profile");
    this.vm = VirtualMachine.builder().kernelProfile(profile).build();
  }

  /**
   * Closes what calls have left open, and then the host.
   *
   * @throws GuestMemfdException EBUSY if frames were lost
   */
  @Override
  public void close() {
    references.values().forEach(HostReference::close);
    mappings.values().forEach(HostMapping::close);
    memfds.values().forEach(GuestMemfd::close);
    host.close();
  }

  @Override
  public String execute(Trace.Call call) {
    try {
      return run(call);
    } catch (Missing e) {
      return e.name + " does not exist";
    } catch (GuestMemfdException | IndexOutOfBoundsException e) {
      return Objects.requireNonNull(word(e));
    } catch (IllegalStateException e) {
      return "misuse: " + e.getMessage();
    }
  }

  /** The name of a failure in traces; null if there is none. */
  static @Nullable String word(RuntimeException failure) {
    if (failure instanceof SigBusException) {
      return "SIGBUS";
    }
    if (failure instanceof SigSegvException || failure instanceof IndexOutOfBoundsException) {
      return "SIGSEGV"; // no permission, or outside the mapping where nothing is
    }
    return failure instanceof GuestMemfdException e ? e.errno().name() : null;
  }

  /** A name that the trace has defined but the model, whose result differed there, has not. */
  private static final class Missing extends RuntimeException {
    private static final long serialVersionUID = 1L;
    final String name;

    Missing(String name) {
      super(name);
      this.name = name;
    }
  }

  private static <T> T find(Map<String, T> objects, String name) {
    T object = objects.get(name);
    if (object == null) {
      throw new Missing(name);
    }
    return object;
  }

  private static <T> T take(Map<String, T> objects, String name) {
    T object = find(objects, name);
    objects.remove(name);
    return object;
  }

  private String run(Trace.Call call) {
    String name = call.word(0);
    return switch (call.verb()) {
      case CREATE -> define(memfds, name, create(call));
      case STAT -> stat(find(memfds, name).stat());
      case DUP -> define(memfds, name, find(memfds, call.word(1)).dup());
      case FALLOCATE ->
          ok(() -> find(memfds, name).fallocate(call.mode(1), call.number(2), call.number(3)));
      case FTRUNCATE -> ok(() -> find(memfds, name).ftruncate(0));
      case CALL -> answer(find(memfds, name).call(FileCall.valueOf(call.word(1))));
      case CACHED -> Long.toString(find(memfds, name).cachedPages());
      case MMAP -> define(mappings, name, mmap(call));
      case LOAD ->
          String.format(Locale.ROOT, "0x%02x", find(mappings, name).getByte(call.number(1)));
      case STORE -> ok(() -> find(mappings, name).putByte(call.number(1), (byte) call.number(2)));
      case MADVISE ->
          ok(
              () ->
                  find(mappings, name)
                      .madvise(call.number(1), call.number(2), Advice.valueOf(call.word(3))));
      case MUNMAP -> ok(() -> take(mappings, name).close());
      case MUNMAP_PART -> ok(() -> find(mappings, name).munmap(call.number(1), call.number(2)));
      case MPROTECT ->
          ok(
              () ->
                  find(mappings, name)
                      .mprotect(call.number(1), call.number(2), protection(call.word(3))));
      case MREMAP ->
          define(
              mappings,
              name,
              find(mappings, call.word(1)).mremap(call.number(2), call.number(3), call.number(4)));
      case GUP ->
          define(
              references,
              name,
              find(mappings, call.word(1)).getUserPages(call.number(2), call.number(3)));
      case GUP_RELEASE -> {
        HostReference reference = take(references, name);
        String contents = contents(reference);
        reference.close();
        yield contents;
      }
      case BIND -> define(slots, name, bind(call));
      case UNBIND -> ok(() -> vm.unbind(find(slots, name)));
      case CONVERT ->
          convert(
              find(memfds, name), call.word(1).equals("private"), call.number(2), call.number(3));
      case ATTR -> find(memfds, name).isAccessible(call.number(1)) ? "shared" : "private";
      case CLOSE -> close(find(memfds, name));
    };
  }

  private static String ok(Runnable call) {
    call.run();
    return "ok";
  }

  private static String close(GuestMemfd memfd) {
    if (!memfd.isOpen()) {
      return Errno.EBADF.name();
    }
    memfd.close();
    return "ok";
  }

  private static <T> String define(Map<String, T> objects, String name, T object) {
    objects.put(name, object);
    return "ok";
  }

  private GuestMemfd create(Trace.Call call) {
    return GuestMemfd.builder(host)
        .traits(vm.kernelProfile().fileTraits())
        .size(call.number(1))
        .flags(call.number(2))
        .protocol(protocol)
        .retryPolicy(RetryPolicy.failAtOnce())
        .build();
  }

  static String stat(FileStat stat) {
    return "size="
        + stat.size()
        + " blocks="
        + stat.blocks()
        + " blksize="
        + stat.blksize()
        + " mode=0"
        + Integer.toOctalString(stat.mode());
  }

  private HostMapping mmap(Trace.Call call) {
    return find(memfds, call.word(1))
        .mmap(
            call.number(2),
            call.number(3),
            MapType.valueOf(call.word(5)),
            protection(call.word(4)));
  }

  private static String convert(GuestMemfd memfd, boolean inaccessible, long offset, long length) {
    BusyFolio busy = new BusyFolio();
    Errno errno =
        inaccessible
            ? memfd.tryMakeInaccessible(offset, length, busy)
            : memfd.tryMakeAccessible(offset, length);
    return converted(errno, busy.offset());
  }

  static String converted(Errno errno, long busyOffset) {
    return busyOffset >= 0 ? errno + " error_offset=" + busyOffset : answer(errno);
  }

  static String answer(Errno errno) {
    return errno == Errno.OK ? "ok" : errno.name();
  }

  /** A copy of the bytes. */
  static String contents(HostReference reference) {
    int sum = 0;
    int first = 0;
    for (int page = 0; page < reference.pages(); page++) {
      ByteBuffer bytes = reference.buffer(page);
      if (page == 0) {
        first = bytes.get(0) & 0xff;
      }
      while (bytes.hasRemaining()) {
        sum = (sum * 31 + (bytes.get() & 0xff)) & 0xffffff;
      }
    }
    return String.format(
        Locale.ROOT, "bytes=%d first=0x%02x sum31=0x%06x", reference.length(), first, sum);
  }

  private static Protection[] protection(String word) {
    List<Protection> protection = new ArrayList<>();
    if (word.contains("r")) {
      protection.add(Protection.READ);
    }
    if (word.contains("w")) {
      protection.add(Protection.WRITE);
    }
    if (word.contains("x")) {
      protection.add(Protection.EXEC);
    }
    return protection.toArray(new Protection[0]);
  }

  private int bind(Trace.Call call) {
    int slot = Integer.parseInt(call.word(0).substring(1));
    GuestMemfd memfd = find(memfds, call.word(1));
    vm.bind(slot, call.number(2), call.number(3), memfd, call.number(4));
    return slot;
  }
}
