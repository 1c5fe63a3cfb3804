package io.github.guestmemfd.model;

import io.github.guestmemfd.AddressSpace;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.model.SequentialModel.Content;
import io.github.guestmemfd.model.SequentialModel.Descriptor;
import io.github.guestmemfd.model.SequentialModel.File;
import io.github.guestmemfd.model.SequentialModel.Grabbed;
import io.github.guestmemfd.model.SequentialModel.Mapping;
import io.github.guestmemfd.model.SequentialModel.Mm;
import io.github.guestmemfd.model.SequentialModel.Reference;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.Verb;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.BiConsumer;
import java.util.function.Supplier;

/** The library and the model side by side: makes every call on both and compares. */
final class World {
  private static final int PAGE = SequentialModel.PAGE;

  /** Contents are compared after so many calls, everything else after each. */
  private static final int CALLS_PER_FULL_CHECK = 4;

  /** Chooses one that is closed. */
  static final int CLOSED_ONE = 15;

  /** Something that was opened, in the library and in the model. */
  static final class Pair<R, M> {
    final R real;
    final M model;
    final String name;
    boolean open = true;

    Pair(R real, M model, String name) {
      this.real = real;
      this.model = model;
      this.name = name;
    }

    @Override
    public String toString() {
      return name;
    }
  }

  /** All of a kind that have been opened. */
  static final class Pool<R, M> {
    private final String prefix;
    private final List<Pair<R, M>> all = new ArrayList<>();

    Pool(String prefix) {
      this.prefix = prefix;
    }

    String nextName() {
      return prefix + all.size();
    }

    Pair<R, M> add(R real, M model) {
      return add(real, model, nextName());
    }

    Pair<R, M> add(R real, M model, String name) {
      Pair<R, M> pair = new Pair<>(real, model, name);
      all.add(pair);
      return pair;
    }

    List<Pair<R, M>> open() {
      return all.stream().filter(pair -> pair.open).toList();
    }

    /** One of those that are open, or with {@link #CLOSED_ONE} one that is not; or null. */
    Pair<R, M> choose(int n) {
      List<Pair<R, M>> some =
          n == CLOSED_ONE ? all.stream().filter(pair -> !pair.open).toList() : open();
      return some.isEmpty() ? null : some.get(n % some.size());
    }
  }

  /** A folio grabbed by the library, as an object or, for hot loops, as a bare number. */
  record RealFolio(GuestMemfd memfd, int pfn, HolderKind kind, Folio folio) {}

  final HostMemory host;
  final SequentialModel model;
  final ScriptedOps ops;
  final Pool<GuestMemfd, Descriptor> descriptors = new Pool<>("m");
  final Pool<AddressSpace, Mm> processes = new Pool<>("p");
  final Pool<HostMapping, Mapping> mappings = new Pool<>("a");
  final Pool<HostReference, Reference> references = new Pool<>("g");
  final Pool<RealFolio, Grabbed> folios = new Pool<>("folio");
  final Pool<VirtualMachine, Vm> vms = new Pool<>("vm");

  /** The frames of contents, as far as the library has told them. */
  final Map<Content, Integer> pfns = new HashMap<>();

  /** Frames that were freed while out of the direct map, and have not been seen there again. */
  private final Set<Integer> secret = new TreeSet<>();

  /** A descriptor of each file, open or not. */
  private final Map<File, GuestMemfd> anyDescriptor = new HashMap<>();

  private final List<String> log = new ArrayList<>();
  private int callbacksChecked;
  private int callsSinceFullCheck;

  World(int frames, boolean hasClient, Refusals refusals) {
    host = HostMemory.ofBytes((long) frames * PAGE);
    model = new SequentialModel(frames, hasClient, refusals);
    ops = hasClient ? new ScriptedOps(host, refusals) : null;
    processes.add(host.addressSpace(), model.first);
    log.add("host of " + frames + " frames" + (hasClient ? ", " + refusals.list() : ""));
    vms.add(new VirtualMachine(), new Vm());
    vms.add(new VirtualMachine(), new Vm());
  }

  // ---- making calls ----

  /** A call that traces have, as they write it. */
  static String line(Verb verb, Object... arguments) {
    String[] words = new String[arguments.length];
    for (int i = 0; i < words.length; i++) {
      String kind = verb.arguments().get(i);
      words[i] = kind.substring(0, kind.indexOf('=') + 1) + arguments[i];
    }
    return Trace.Call.of(verb, words).text();
  }

  /** What a load or store is that traces, which move bytes, do not have. */
  static String width(int width, Call.Mode mode) {
    return width == 1 ? "" : " # " + 8 * width + " bits, " + mode;
  }

  /** Makes a call on both sides and compares how it ended, and what else can be seen. */
  Outcome call(String text, Supplier<?> real, Supplier<?> expected) {
    log.add(text);
    Outcome actual = run(real);
    log.set(log.size() - 1, text + " -> " + actual);
    Outcome predicted = Outcome.of(expected);
    if (!actual.equals(predicted)) {
      throw disagree("result", predicted, actual);
    }
    checkState();
    if (++callsSinceFullCheck == CALLS_PER_FULL_CHECK) {
      checkContents();
    }
    return actual;
  }

  Outcome act(String text, Runnable real, Runnable expected) {
    return call(text, returningNothing(real), returningNothing(expected));
  }

  /** A call that opens something. */
  <R, M> void open(
      Pool<R, M> pool,
      String text,
      Supplier<R> real,
      Supplier<M> expected,
      BiConsumer<R, M> alsoCheck) {
    List<R> opened = new ArrayList<>();
    call(
        text,
        () -> {
          R made = real.get();
          opened.add(made);
          return made == null ? "nothing" : null;
        },
        () -> {
          M made = expected.get();
          // From here on the objects are known, so that what is checked after the call sees them.
          R other = opened.isEmpty() ? null : opened.get(0);
          if (made != null && other != null) {
            pool.add(other, made);
            alsoCheck.accept(other, made);
          }
          return made == null ? "nothing" : null;
        });
  }

  /** A call that closes something, whatever its callbacks say. */
  void close(Pair<?, ?> pair, String text, Runnable real, Runnable expected) {
    pair.open = false;
    act(text + " " + pair, real, expected);
  }

  private static Supplier<?> returningNothing(Runnable run) {
    return () -> {
      run.run();
      return null;
    };
  }

  /** Notes which descriptor leads to a file. */
  void know(GuestMemfd real, Descriptor descriptor) {
    anyDescriptor.putIfAbsent(descriptor.file, real);
  }

  /** Notes which frame has a content; each must be the other's only one. */
  void know(Content content, int pfn) {
    Integer before = pfns.put(content, pfn);
    if (before != null) {
      require("frame of a content", before, pfn);
    }
    long others = pfns.values().stream().filter(p -> p == pfn).count();
    require("contents in frame " + pfn, 1L, others);
  }

  // ---- comparing ----

  /** The calls so far, and what came of them. */
  List<String> log() {
    return List.copyOf(log);
  }

  AssertionError disagree(String what, Object expected, Object actual) {
    StringBuilder text = new StringBuilder();
    text.append("The library and the model disagree on: ").append(what);
    text.append("\n  model:   ").append(expected);
    text.append("\n  library: ").append(actual);
    text.append("\nafter these calls:");
    for (String line : log.toArray(new String[0])) { // a call that hangs may end meanwhile
      text.append("\n  ").append(line);
    }
    return new AssertionError(text.append('\n').toString());
  }

  void require(String what, Object expected, Object actual) {
    if (!Objects.equals(expected, actual)) {
      throw disagree(what, expected, actual);
    }
  }

  private Outcome run(Supplier<?> real) {
    try {
      return Outcome.of(real);
    } catch (RuntimeException | Error e) {
      AssertionError failure = disagree("exception", "none of this kind", e);
      failure.initCause(e);
      throw failure;
    }
  }

  /** Compares all that can be seen without using a page. */
  private void checkState() {
    checkCallbacks();
    checkFreed();
    checkSecrets();
    require("host.used()", (long) model.used() * PAGE, host.used());
    for (Map.Entry<Content, Integer> frame : pfns.entrySet()) {
      require(
          "direct map contains frame " + frame.getValue(),
          frame.getKey().inDirectMap,
          host.directMap().contains(frame.getValue()));
    }
    for (File file : model.files) {
      checkFile(file);
    }
  }

  private void checkFile(File file) {
    GuestMemfd memfd = anyDescriptor.get(file).reopen().orElse(null);
    require("file" + file.number + " exists", file.opens > 0, memfd != null);
    if (memfd == null) {
      return;
    }
    try (memfd) {
      require("cachedPages of file" + file.number, (long) file.cache.size(), memfd.cachedPages());
      for (long page = 0; page < file.pages; page++) {
        require(
            "accessible: page " + page + " of file" + file.number,
            !file.inaccessible.contains(page),
            memfd.isAccessible(page * PAGE));
      }
    }
  }

  private void checkCallbacks() {
    if (ops == null) {
      return;
    }
    for (; callbacksChecked < ops.callbacks.size(); callbacksChecked++) {
      Callback actual = ops.callbacks.get(callbacksChecked);
      if (callbacksChecked == model.callbacks.size()) {
        throw disagree("callback " + callbacksChecked, "none", actual);
      }
      Callback expected = model.callbacks.get(callbacksChecked);
      if (!actual.isAsExpected(expected)) {
        throw disagree("callback " + callbacksChecked, expected, actual);
      }
      Content content = model.callbackContents.get(callbacksChecked);
      if (content != null && model.contents.contains(content)) {
        know(content, ops.pfns.get(callbacksChecked));
      }
    }
    if (callbacksChecked < model.callbacks.size()) {
      throw disagree("callback " + callbacksChecked, model.callbacks.get(callbacksChecked), "none");
    }
  }

  /** A free frame is not in the direct map. */
  private void checkFreed() {
    for (Content content : model.freed) {
      Integer pfn = pfns.remove(content);
      if (pfn != null) {
        require("direct map contains freed frame " + pfn, false, host.directMap().contains(pfn));
        if (!content.inDirectMap) {
          secret.add(pfn);
        }
      }
    }
    model.freed.clear();
  }

  /**
   * A frame that was out of the direct map when it was freed contains nothing when it is there
   * again. That can be seen while no other frame could be the one: all that were used are known.
   */
  private void checkSecrets() {
    boolean allKnown = model.contents.stream().allMatch(c -> !c.ready || pfns.containsKey(c));
    for (int pfn : List.copyOf(secret)) {
      if (host.directMap().contains(pfn)) {
        secret.remove(pfn);
        if (allKnown && !pfns.containsValue(pfn)) {
          ByteBuffer bytes = ByteBuffer.allocate(PAGE);
          host.directMap().read(pfn, 0, bytes);
          requireBytes("frame " + pfn + ", allocated and not used", new byte[PAGE], bytes.flip());
        }
      }
    }
  }

  /** Compares the content of every frame that has been used, by every way to it. */
  void checkContents() {
    callsSinceFullCheck = 0;
    for (File file : model.files) {
      if (file.opens > 0) {
        checkContents(file);
      }
    }
    for (Pair<HostReference, Reference> reference : references.open()) {
      for (int page = 0; page < reference.real.pages(); page++) {
        Content content = reference.model.contents.get(page);
        byte[] part =
            Arrays.copyOfRange(content.bytes, reference.model.from(page), reference.model.to(page));
        requireBytes("page " + page + " of " + reference, part, reference.real.buffer(page));
      }
    }
    for (Pair<RealFolio, Grabbed> folio : folios.open()) {
      Folio real = folio.real.folio;
      if (real != null) {
        Content content = folio.model.content;
        requireBytes(folio.toString(), content.bytes, real.buffer());
        require(folio + " is an orphan", !content.cached, real.isOrphan());
      }
    }
    for (Map.Entry<Content, Integer> frame : pfns.entrySet()) {
      if (frame.getKey().inDirectMap) {
        ByteBuffer bytes = ByteBuffer.allocate(PAGE);
        host.directMap().read(frame.getValue(), 0, bytes);
        requireBytes("frame " + frame.getValue(), frame.getKey().bytes, bytes.flip());
      }
    }
  }

  /** The pages of a file that have been used: by grabbing, and through a mapping made for it. */
  private void checkContents(File file) {
    byte[] bytes = new byte[PAGE];
    try (GuestMemfd memfd = anyDescriptor.get(file).reopen().orElseThrow();
        HostMapping window =
            file.flags.contains(CreateFlag.MMAP)
                ? memfd.mmap(0, file.size(), Protection.READ)
                : null) {
      for (Map.Entry<Long, Content> cached : file.cache.entrySet()) {
        long page = cached.getKey();
        Content content = cached.getValue();
        String what = "page " + page + " of file" + file.number;
        if (!content.ready) {
          continue; // looking at it would be its first use
        }
        try (Folio folio = memfd.grab(page * PAGE)) {
          know(content, folio.pfn());
          requireBytes(what, content.bytes, folio.buffer());
        }
        if (window != null && !file.inaccessible.contains(page)) {
          window.get(page * PAGE, bytes, 0, PAGE);
          requireBytes(what + " through a mapping", content.bytes, ByteBuffer.wrap(bytes));
        }
      }
    }
  }

  void requireBytes(String what, byte[] expected, ByteBuffer actual) {
    require("size of " + what, expected.length, actual.remaining());
    int at = ByteBuffer.wrap(expected).mismatch(actual);
    if (at >= 0) {
      throw disagree(
          "byte " + at + " of " + what, expected[at], actual.get(actual.position() + at));
    }
  }

  // ---- the end ----

  /** Uses every page once, closes everything, and finds nothing left. */
  void end() {
    checkContents();
    for (Pair<GuestMemfd, Descriptor> fd : descriptors.open()) {
      File file = fd.model.file;
      for (long page = 0; page < file.pages; page++) {
        Content content = file.cache.get(page);
        if (content == null ? model.used() < model.frames : !content.ready) {
          useOnce(fd, page * PAGE);
        }
      }
    }
    checkContents();
    folios.open().forEach(folio -> Call.close(this, folio));
    references.open().forEach(reference -> Call.close(this, reference));
    mappings.open().forEach(mapping -> Call.close(this, mapping));
    descriptors.open().forEach(descriptor -> Call.close(this, descriptor));
    require("host.used() after everything is closed", 0L, host.used());
    act("host.close()", host::close, () -> {});
    if (ops != null) {
      checkPairs();
    }
  }

  private void useOnce(Pair<GuestMemfd, Descriptor> fd, long offset) {
    int held = folios.all.size();
    new Call.Grab(fd, offset, HolderKind.SAFE, false).run(this);
    if (folios.all.size() > held) {
      Call.close(this, folios.all.remove(held));
    }
  }

  /** What holds of the callbacks whatever the model says. */
  private void checkPairs() {
    Map<Integer, Deque<Callback>> begun = new HashMap<>();
    Map<Integer, Integer> released = new HashMap<>();
    Map<Integer, Integer> freed = new HashMap<>();
    for (int i = 0; i < ops.callbacks.size(); i++) {
      Callback callback = ops.callbacks.get(i);
      int file = callback.file();
      switch (callback.method()) {
        case "invalidateBegin" -> {
          if (ops.agreed.get(i)) {
            begun.computeIfAbsent(file, f -> new ArrayDeque<>()).add(callback);
          }
        }
        case "invalidateEnd" -> {
          require("begun at " + callback, true, begun.containsKey(file));
          Callback begin = begun.get(file).remove(); // in the order of the begins
          if (begun.get(file).isEmpty()) {
            begun.remove(file);
          }
          require("offset", begin.offset(), callback.offset());
          require("length", begin.length(), callback.length());
        }
        case "release" -> released.merge(file, 1, Integer::sum);
        case "freeFolio" -> freed.merge(file, 1, Integer::sum);
        default -> {}
      }
    }
    require("begun and not ended", Map.of(), begun);
    for (File file : model.files) {
      require("releases of file" + file.number, 1, released.get(file.number));
      require(
          "freeFolio of file" + file.number, file.everCached, freed.getOrDefault(file.number, 0));
    }
  }
}
