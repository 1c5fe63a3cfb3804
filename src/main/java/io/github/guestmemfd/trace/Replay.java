package io.github.guestmemfd.trace;

import io.github.guestmemfd.Advice;
import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Errno;
import io.github.guestmemfd.FileStat;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdException;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.MapType;
import io.github.guestmemfd.Protection;
import io.github.guestmemfd.SigBusException;
import io.github.guestmemfd.SigSegvException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Runs traces against the model and compares every result.
 *
 * <p>Each trace has a host of its own. When it is over everything it left open is closed, and the
 * host must then have all its frames back. Not safe for use by several threads.
 */
public final class Replay {
  private static final long HOST_BYTES = 64L << 30;

  /**
   * A call that returned something else than recorded.
   *
   * @param line the line of the call in its trace
   * @param call the call and its arguments
   * @param expected the recorded result
   * @param actual the result of the model
   */
  public record Difference(int line, String call, String expected, String actual) {
    /**
     * Takes the values as they are.
     *
     * @param line as above
     * @param call as above
     * @param expected as above
     * @param actual as above
     */
    public Difference {
      Objects.requireNonNull(call, "call");
      Objects.requireNonNull(expected, "expected");
      Objects.requireNonNull(actual, "actual");
    }
  }

  /**
   * What a replay found.
   *
   * @param calls how many calls were made
   * @param differences those that returned something else than recorded
   */
  public record Result(int calls, List<Difference> differences) {
    /**
     * Copies the list.
     *
     * @param calls as above
     * @param differences as above
     */
    public Result {
      differences = List.copyOf(differences);
    }
  }

  private final ConversionProtocol protocol;
  private final Map<String, GuestMemfd> memfds = new HashMap<>();
  private final Map<String, HostMapping> mappings = new HashMap<>();
  private final Map<String, HostReference> references = new HashMap<>();
  private final VirtualMachine vm = new VirtualMachine();
  private final HostMemory host;

  private Replay(HostMemory host, ConversionProtocol protocol) {
    this.host = host;
    this.protocol = protocol;
  }

  /**
   * Runs a trace.
   *
   * @param trace the trace
   * @param protocol how conversions tell who holds a folio; they fail at once if somebody does
   * @return what was found
   * @throws GuestMemfdException EBUSY if frames were lost
   */
  public static Result run(Trace trace, ConversionProtocol protocol) {
    try (HostMemory host = HostMemory.ofBytes(HOST_BYTES)) {
      Replay replay = new Replay(host, protocol);
      List<Difference> differences = new ArrayList<>();
      try {
        for (Trace.Call call : trace.calls()) {
          String actual = replay.result(call);
          if (!actual.equals(call.expected())) {
            differences.add(new Difference(call.line(), call.text(), call.expected(), actual));
          }
        }
      } finally {
        replay.references.values().forEach(Replay::closeOnce);
        replay.mappings.values().forEach(HostMapping::close);
        replay.memfds.values().forEach(GuestMemfd::close);
      }
      return new Result(trace.size(), differences);
    }
  }

  private static void closeOnce(HostReference reference) {
    if (reference.isOpen()) {
      reference.close();
    }
  }

  private String result(Trace.Call call) {
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

  /** What a trace calls a failure; null if it has no word for it. */
  static @Nullable String word(RuntimeException failure) {
    if (failure instanceof SigBusException) {
      return "SIGBUS";
    }
    if (failure instanceof SigSegvException || failure instanceof IndexOutOfBoundsException) {
      return "SIGSEGV"; // no permission, or outside the mapping where nothing is
    }
    return failure instanceof GuestMemfdException e ? e.errno().name() : null;
  }

  /** A name that the trace has defined and the model, which differed there, has not. */
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

  private String run(Trace.Call call) {
    String name = call.word(0);
    return switch (call.verb()) {
      case CREATE -> define(memfds, name, create(call));
      case STAT -> stat(find(memfds, name).stat());
      case DUP -> define(memfds, name, find(memfds, call.word(1)).dup());
      case FALLOCATE ->
          ok(() -> find(memfds, name).fallocate(call.mode(1), call.number(2), call.number(3)));
      case FTRUNCATE -> ok(() -> find(memfds, name).ftruncate(0));
      case CACHED -> Long.toString(find(memfds, name).cachedPages());
      case MMAP -> define(mappings, name, mmap(call));
      case LOAD -> String.format("0x%02x", find(mappings, name).getByte(call.number(1)));
      case STORE -> ok(() -> find(mappings, name).putByte(call.number(1), (byte) call.number(2)));
      case MADVISE ->
          ok(
              () ->
                  find(mappings, name)
                      .madvise(call.number(1), call.number(2), Advice.valueOf(call.word(3))));
      case MUNMAP -> ok(() -> find(mappings, name).close());
      case GUP ->
          define(
              references,
              name,
              find(mappings, call.word(1)).getUserPages(call.number(2), call.number(3)));
      case GUP_RELEASE -> {
        HostReference reference = find(references, name);
        String contents = contents(reference);
        reference.close();
        yield contents;
      }
      case BIND ->
          ok(
              () ->
                  vm.bind(
                      slot(name),
                      call.number(2),
                      call.number(3),
                      find(memfds, call.word(1)),
                      call.number(4)));
      case UNBIND -> ok(() -> vm.unbind(slot(name)));
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
    if (busyOffset >= 0) {
      return errno + " error_offset=" + busyOffset;
    }
    return errno == Errno.OK ? "ok" : errno.name();
  }

  /** The bytes as they are now. */
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
    return String.format("bytes=%d first=0x%02x sum31=0x%06x", reference.length(), first, sum);
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

  private static int slot(String name) {
    return Integer.parseInt(name.substring(1));
  }
}
