package io.github.guestmemfd.model;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.model.Outcome.Misuse;
import io.github.guestmemfd.model.Outcome.Signal;
import io.github.guestmemfd.model.Outcome.Stop;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * What guest_memfd does, one call after the other: page numbers lead to contents, contents know
 * their holders. Made to be read and believed, not to be fast.
 *
 * <p>There are no page table entries. A page that was unmapped by a call that failed faults again
 * at its next use and no caller sees a difference, which is what the library promises. Who would
 * see one, a reference through a mapping for writing alone, is not modelled.
 */
final class SequentialModel {
  static final int PAGE = 4096;

  /** Who can hold a frame besides the page cache. */
  enum Holder {
    PLAIN,
    PINNED,
    SAFE
  }

  /** A frame in use, and what it contains. It lives while it is in a page cache or held. */
  static final class Content {
    final File file;
    final byte[] bytes = new byte[PAGE];
    final List<Holder> holders = new ArrayList<>();
    boolean cached = true;

    /** Whether it has been used: zeroed and shown to the client. An allocation alone is no use. */
    boolean ready;

    boolean inDirectMap = true;

    Content(File file) {
      this.file = file;
    }

    int count(Holder kind) {
      return Collections.frequency(holders, kind);
    }

    boolean isHeldUnsafely() {
      return count(Holder.PLAIN) + count(Holder.PINNED) > 0;
    }
  }

  /** A guest_memfd, as long as it is open. */
  static final class File {
    final int number;
    final long pages;
    final Set<CreateFlag> flags;
    final Map<Long, Content> cache = new TreeMap<>();
    final Set<Long> inaccessible = new TreeSet<>();
    int opens = 1;
    Vm vm;

    /** How many frames its page cache has ever had, and how often it has been released. */
    int everCached;

    int released;

    File(int number, long pages, Set<CreateFlag> flags) {
      this.number = number;
      this.pages = pages;
      this.flags = flags;
    }

    long size() {
      return pages * PAGE;
    }
  }

  static final class Descriptor {
    final File file;
    boolean open = true;

    Descriptor(File file) {
      this.file = file;
    }
  }

  /** A process: the first one, or a fork. */
  static final class Mm {
    boolean open = true;

    /** In the order in which they were made. */
    final List<Mapping> mappings = new ArrayList<>();
  }

  static final class Mapping {
    final Mm process;
    final File file;
    final long firstPage;
    final long pages;
    boolean open = true;

    /** Whether it has given up the file: it is closed, or nothing of it is mapped. */
    boolean gone;

    final Areas areas;

    Mapping(Mm process, File file, long firstPage, Areas areas) {
      this.process = process;
      this.file = file;
      this.firstPage = firstPage;
      this.pages = areas.pages;
      this.areas = areas;
    }

    long length() {
      return pages * PAGE;
    }
  }

  /** References taken through a mapping, a page after the other. */
  static final class Reference {
    final List<Content> contents;
    final Holder kind;
    final long offsetInPage;
    final long length;
    final boolean writable;
    boolean open = true;

    Reference(
        List<Content> contents, Holder kind, long offsetInPage, long length, boolean writable) {
      this.contents = contents;
      this.kind = kind;
      this.offsetInPage = offsetInPage;
      this.length = length;
      this.writable = writable;
    }

    /** The first referenced byte of one of its pages. */
    int from(int page) {
      return page == 0 ? (int) offsetInPage : 0;
    }

    /** One past the last referenced byte of one of its pages. */
    int to(int page) {
      return (int) Math.min(PAGE, offsetInPage + length - (long) page * PAGE);
    }
  }

  /** A grabbed folio. */
  static final class Grabbed {
    final Content content;
    final Holder kind;
    boolean open = true;

    Grabbed(Content content, Holder kind) {
      this.content = content;
      this.kind = kind;
    }
  }

  final int frames;
  final List<File> files = new ArrayList<>();

  /** All frames in use. */
  final Set<Content> contents = new HashSet<>();

  /** Frames that have been freed since the last look. */
  final List<Content> freed = new ArrayList<>();

  /** The callbacks that are expected, and the folio of each or null. */
  final List<Callback> callbacks = new ArrayList<>();

  final List<Content> callbackContents = new ArrayList<>();

  private final boolean hasClient;
  private final Refusals refusals;

  SequentialModel(int frames, boolean hasClient, Refusals refusals) {
    this.frames = frames;
    this.hasClient = hasClient;
    this.refusals = refusals;
  }

  // ---- descriptors ----

  Descriptor create(Set<CreateFlag> flags, long unknownFlags, long size) {
    if (unknownFlags != 0 || size <= 0 || size % PAGE != 0) {
      throw new Stop(Errno.EINVAL);
    }
    File file = new File(files.size(), size / PAGE, flags);
    if (!flags.contains(CreateFlag.INIT_SHARED)) {
      for (long page = 0; page < file.pages; page++) {
        file.inaccessible.add(page);
      }
    }
    files.add(file);
    return new Descriptor(file);
  }

  Descriptor dup(Descriptor fd) {
    requireOpen(fd);
    return reopen(fd);
  }

  /** Opens the file of a descriptor, open or not; null if the file is gone. */
  Descriptor reopen(Descriptor fd) {
    if (fd.file.opens == 0) {
      return null;
    }
    fd.file.opens++;
    return new Descriptor(fd.file);
  }

  void close(Descriptor fd) {
    if (fd.open) {
      fd.open = false;
      close(fd.file);
    }
  }

  private void close(File file) {
    file.opens--;
    if (file.opens > 0) {
      return;
    }
    file.released++;
    FirstFailure failure = new FirstFailure();
    failure.attempt(() -> tell(file, "release", -1, 0, null));
    for (long page : List.copyOf(file.cache.keySet())) {
      failure.attempt(() -> removeFromCache(file, page));
    }
    failure.throwIfAny();
  }

  static void requireOpen(Descriptor fd) {
    if (!fd.open) {
      throw new Stop(Errno.EBADF);
    }
  }

  long cachedPages(Descriptor fd) {
    requireOpen(fd);
    return fd.file.cache.size();
  }

  /** By the unsigned arithmetic of the kernel, with numbers that cannot overflow. */
  long cachedPages(Descriptor fd, long offset, long length) {
    requireOpen(fd);
    BigInteger all = BigInteger.ONE.shiftLeft(64);
    BigInteger last =
        length == 0 ? all : BigInteger.valueOf(offset).add(BigInteger.valueOf(length - 1)).mod(all);
    BigInteger page = BigInteger.valueOf(PAGE);
    BigInteger first = BigInteger.valueOf(offset).mod(all).divide(page);
    return fd.file.cache.keySet().stream()
        .map(BigInteger::valueOf)
        .filter(i -> i.compareTo(first) >= 0 && i.compareTo(last.divide(page)) <= 0)
        .count();
  }

  String stat(Descriptor fd) {
    requireOpen(fd);
    return "size " + fd.file.size() + " blocks 0 blksize 4096 mode 100600";
  }

  void ftruncate(Descriptor fd) {
    requireOpen(fd);
    throw new Stop(Errno.EINVAL);
  }

  boolean isAccessible(Descriptor fd, long offset) {
    requireOpen(fd);
    if (offset < 0 || offset >= fd.file.size()) {
      throw new Stop(Errno.EINVAL);
    }
    return !fd.file.inaccessible.contains(offset / PAGE);
  }

  // ---- fallocate ----

  /**
   * KEEP_SIZE is 1, PUNCH_HOLE 2, COLLAPSE 8, ZERO 0x10, INSERT 0x20, UNSHARE 0x40, ZEROES 0x80.
   */
  void fallocate(Descriptor fd, int mode, long offset, long length) {
    requireOpen(fd);
    if (offset < 0 || length <= 0) {
      throw new Stop(Errno.EINVAL);
    }
    if (!List.of(0x00, 0x01, 0x03, 0x08, 0x10, 0x11, 0x20, 0x40, 0x41, 0x80).contains(mode)) {
      throw new Stop(Errno.EOPNOTSUPP);
    }
    if (length > Long.MAX_VALUE - offset) {
      throw new Stop(Errno.EFBIG);
    }
    if (mode != 0x01 && mode != 0x03) {
      throw new Stop(Errno.EOPNOTSUPP);
    }
    if (offset % PAGE != 0 || length % PAGE != 0) {
      throw new Stop(Errno.EINVAL);
    }
    File file = fd.file;
    if (mode == 0x03) {
      punch(file, offset / PAGE, (offset + length) / PAGE);
    } else if (offset + length > file.size()) {
      throw new Stop(Errno.EINVAL);
    } else {
      allocate(file, offset / PAGE, (offset + length) / PAGE);
    }
  }

  private void allocate(File file, long from, long to) {
    List<Long> holes = new ArrayList<>();
    for (long page = from; page < to; page++) {
      if (!file.cache.containsKey(page)) {
        holes.add(page);
      }
    }
    if (contents.size() + holes.size() > frames) {
      throw new Stop(Errno.ENOMEM);
    }
    for (long page : holes) {
      addToCache(file, page);
    }
  }

  private void punch(File file, long from, long end) {
    long to = Math.min(end, file.pages);
    if (from >= to) {
      return;
    }
    ask(file, "invalidateBegin", from * PAGE, (to - from) * PAGE, null);
    FirstFailure failure = new FirstFailure();
    for (long page = from; page < to; page++) {
      if (file.cache.containsKey(page)) {
        long cached = page;
        failure.attempt(() -> removeFromCache(file, cached));
      }
    }
    failure.attempt(() -> tell(file, "invalidateEnd", from * PAGE, (to - from) * PAGE, null));
    failure.throwIfAny();
  }

  // ---- the life of a frame ----

  private Content addToCache(File file, long page) {
    Content content = new Content(file);
    file.cache.put(page, content);
    file.everCached++;
    contents.add(content);
    return content;
  }

  private void removeFromCache(File file, long page) {
    Content content = file.cache.remove(page);
    content.cached = false;
    freeIfUnused(content);
  }

  private void drop(Content content, Holder kind) {
    content.holders.remove(kind);
    freeIfUnused(content);
  }

  /** The frame is free even if the client throws. */
  private void freeIfUnused(Content content) {
    if (!content.cached && content.holders.isEmpty()) {
      contents.remove(content);
      freed.add(content);
      tell(content.file, "freeFolio", -1, PAGE, content);
    }
  }

  /** The folio of a page for its user: allocated, zeroed, and shown to the client. */
  private Content use(File file, long page) {
    Content content = file.cache.get(page);
    if (content == null) {
      if (contents.size() == frames) {
        throw new Stop(Errno.ENOMEM);
      }
      content = addToCache(file, page);
    }
    if (!content.ready) {
      content.ready = true;
      try {
        prepare(file, page, file.inaccessible.contains(page));
      } catch (Stop e) {
        content.ready = false;
        throw e;
      }
    }
    return content;
  }

  // ---- callbacks ----

  /** A callback that has a result. */
  private void ask(File file, String method, long offset, long length, Content content) {
    if (hasClient) {
      int number = write(file, method, offset, length, content);
      Outcome answer = refusals.answer(number);
      if (answer != null) {
        throw new Stop(answer);
      }
    }
  }

  /** A callback that has none. */
  private void tell(File file, String method, long offset, long length, Content content) {
    if (hasClient) {
      int number = write(file, method, offset, length, content);
      if (refusals.throwsAt(number)) {
        throw new Stop(new Outcome.CallbackThrew(number));
      }
    }
  }

  private int write(File file, String method, long offset, long length, Content content) {
    // A folio that never was used has no content; what others left there is not shown.
    Integer hash =
        content == null ? null : Integer.valueOf(ByteBuffer.wrap(content.bytes).hashCode());
    Boolean inDirectMap =
        method.equals("prepareInaccessible") ? Boolean.valueOf(content.inDirectMap) : null;
    callbacks.add(new Callback(file.number, method, offset, length, inDirectMap, hash));
    callbackContents.add(content);
    return callbacks.size() - 1;
  }

  /** Asks the client about a folio; its place in the direct map changes, if the client agrees. */
  private void prepare(File file, long page, boolean inaccessible) {
    Content content = file.cache.get(page);
    boolean before = content.inDirectMap;
    content.inDirectMap = !(inaccessible && file.flags.contains(CreateFlag.NO_DIRECT_MAP));
    try {
      String method = inaccessible ? "prepareInaccessible" : "prepareAccessible";
      ask(file, method, page * PAGE, PAGE, content);
    } catch (Stop e) {
      content.inDirectMap = before;
      throw e;
    }
  }

  /** Undoes {@link #prepare}. The client is told; what it answers changes nothing any more. */
  private void unprepare(File file, List<Long> pages, boolean inaccessible) {
    for (long page : pages) {
      try {
        prepare(file, page, !inaccessible);
      } catch (Stop e) {
        Content content = file.cache.get(page);
        content.inDirectMap = inaccessible || !file.flags.contains(CreateFlag.NO_DIRECT_MAP);
      }
    }
  }

  // ---- conversion ----

  void convert(Descriptor fd, long offset, long length, boolean inaccessible) {
    requireOpen(fd);
    File file = fd.file;
    if (offset % PAGE != 0
        || length % PAGE != 0
        || offset < 0
        || length <= 0
        || offset > file.size() - length) {
      throw new Stop(Errno.EINVAL);
    }
    List<Long> changing = new ArrayList<>();
    for (long page = offset / PAGE; page < (offset + length) / PAGE; page++) {
      if (file.inaccessible.contains(page) != inaccessible) {
        changing.add(page);
      }
    }
    if (changing.isEmpty()) {
      return;
    }
    if (inaccessible) {
      for (long page : changing) {
        Content content = file.cache.get(page);
        if (content != null && content.isHeldUnsafely()) {
          int plain = content.count(Holder.PLAIN);
          int pinned = content.count(Holder.PINNED);
          int safe = content.count(Holder.SAFE);
          throw new Stop(new Outcome.Blocked(page * PAGE, plain, pinned, safe));
        }
      }
    }
    List<long[]> begun = new ArrayList<>();
    List<Long> prepared = new ArrayList<>();
    Stop failure = null;
    try {
      for (long[] run : runs(changing)) {
        ask(file, "invalidateBegin", run[0] * PAGE, run[1] * PAGE, null);
        begun.add(run);
      }
      for (long page : changing) {
        Content content = file.cache.get(page);
        if (content != null && content.ready) { // others are prepared at their first use
          prepare(file, page, inaccessible);
          prepared.add(page);
        }
      }
    } catch (Stop e) {
      failure = e;
      unprepare(file, prepared, inaccessible);
    }
    Stop thrown = null;
    for (long[] run : begun) {
      try {
        tell(file, "invalidateEnd", run[0] * PAGE, run[1] * PAGE, null);
      } catch (Stop e) {
        thrown = thrown == null ? e : thrown;
      }
    }
    if (thrown != null) {
      if (failure == null) {
        undo(file, runs(changing), prepared, inaccessible);
      }
      if (failure == null || failure.outcome instanceof Outcome.Refused) {
        failure = thrown; // what is thrown goes before what is answered
      }
    }
    if (failure != null) {
      throw failure;
    }
    for (long page : changing) {
      if (inaccessible) {
        file.inaccessible.add(page);
      } else {
        file.inaccessible.remove(page);
      }
    }
  }

  /** Undoes a conversion that was done but for its end; what the client answers changes nothing. */
  private void undo(File file, List<long[]> runs, List<Long> prepared, boolean inaccessible) {
    for (long[] run : runs) {
      boolean begun = true;
      try {
        ask(file, "invalidateBegin", run[0] * PAGE, run[1] * PAGE, null);
      } catch (Stop e) {
        begun = false;
      }
      unprepare(
          file,
          prepared.stream().filter(p -> p >= run[0] && p < run[0] + run[1]).toList(),
          inaccessible);
      if (begun) {
        try {
          tell(file, "invalidateEnd", run[0] * PAGE, run[1] * PAGE, null);
        } catch (Stop e) {
          // logged
        }
      }
    }
  }

  /** The runs of neighbouring pages: the first page and the number of each. */
  private static List<long[]> runs(List<Long> pages) {
    List<long[]> runs = new ArrayList<>();
    for (long page : pages) {
      long[] last = runs.isEmpty() ? null : runs.get(runs.size() - 1);
      if (last != null && last[0] + last[1] == page) {
        last[1]++;
      } else {
        runs.add(new long[] {page, 1});
      }
    }
    return runs;
  }

  // ---- mapping ----

  final Mm first = new Mm();

  Mm fork(Mm parent) {
    requireAlive(parent);
    Mm child = new Mm();
    for (Mapping mapping : parent.mappings) {
      Mapping heir = new Mapping(child, mapping.file, mapping.firstPage, mapping.areas.forChild());
      heir.gone = heir.areas.isEmpty();
      mapping.file.opens += heir.gone ? 0 : 1;
      child.mappings.add(heir);
    }
    return child;
  }

  void exit(Mm process) {
    process.open = false;
    Stop failure = null;
    for (Mapping mapping : List.copyOf(process.mappings)) {
      try {
        munmap(mapping);
      } catch (Stop e) {
        failure = failure == null ? e : failure;
      }
    }
    if (failure != null) {
      throw failure;
    }
  }

  private static void requireAlive(Mm process) {
    if (!process.open) {
      throw new Stop(new Misuse("illegal state"));
    }
  }

  Mapping mmap(
      Mm process,
      Descriptor fd,
      long offset,
      long length,
      MapType type,
      Set<Protection> protection) {
    requireFit(fd, offset, length, type, protection);
    requireAlive(process);
    fd.file.opens++;
    Areas areas = new Areas((length + PAGE - 1) / PAGE, Areas.Area.of(protection));
    Mapping mapping = new Mapping(process, fd.file, offset / PAGE, areas);
    process.mappings.add(mapping);
    return mapping;
  }

  private static void requireFit(
      Descriptor fd, long offset, long length, MapType type, Set<Protection> protection) {
    if (offset % PAGE != 0) {
      throw new Stop(Errno.EINVAL);
    }
    requireOpen(fd);
    if (length == 0) {
      throw new Stop(Errno.EINVAL);
    }
    if (length < 0 || length > (1L << 47) - 2 * PAGE) {
      throw new Stop(Errno.ENOMEM);
    }
    long pages = (length + PAGE - 1) / PAGE;
    if (offset < 0 || offset / PAGE + pages > Long.MAX_VALUE / PAGE) {
      throw new Stop(Errno.EOVERFLOW);
    }
    if (protection.contains(Protection.EXEC)) {
      throw new Stop(Errno.EPERM);
    }
    if (!fd.file.flags.contains(CreateFlag.MMAP)) {
      throw new Stop(Errno.ENODEV);
    }
    if (type == MapType.PRIVATE) {
      throw new Stop(Errno.EINVAL);
    }
  }

  void munmap(Mapping mapping) {
    if (mapping.open) {
      mapping.open = false;
      mapping.process.mappings.remove(mapping);
      giveUp(mapping);
    }
  }

  private void giveUp(Mapping mapping) {
    if (!mapping.gone) {
      mapping.gone = true;
      close(mapping.file);
    }
  }

  void munmap(Mapping mapping, long offset, long length) {
    requireMapped(mapping);
    if (offset % PAGE != 0 || length <= 0 || length > (1L << 47) - PAGE) {
      throw new Stop(Errno.EINVAL);
    }
    unmap(mapping, Math.floorDiv(offset, PAGE), pages(length));
  }

  private void unmap(Mapping mapping, long from, long pages) {
    mapping.areas.change(from, from + pages, area -> Areas.Area.UNMAPPED);
    if (mapping.areas.isEmpty()) {
      giveUp(mapping);
    }
  }

  static long pages(long length) {
    return (length - 1) / PAGE + 1;
  }

  void mprotect(Mapping mapping, long offset, long length, Set<Protection> protection) {
    requireMapped(mapping);
    if (offset % PAGE != 0) {
      throw new Stop(Errno.EINVAL);
    }
    if (length == 0) {
      return;
    }
    long first = Math.floorDiv(offset, PAGE);
    if (length < 0 || !mapping.areas.isMapped(first)) {
      throw new Stop(Errno.ENOMEM);
    }
    if (protection.contains(Protection.EXEC)) {
      throw new Stop(Errno.EACCES);
    }
    long end = first + pages(length);
    long to = first;
    while (to < end && mapping.areas.isMapped(to)) {
      to = mapping.areas.end(to);
    }
    mapping.areas.change(first, Math.min(to, end), a -> a.with(protection));
    if (to < end) {
      throw new Stop(Errno.ENOMEM);
    }
  }

  Mapping mremap(Mapping mapping, long offset, long oldLength, long newLength) {
    requireMapped(mapping);
    long most = (1L << 47) - 2 * PAGE;
    boolean good = offset % PAGE == 0 && newLength > 0 && newLength <= most && oldLength <= most;
    if (!good) {
      throw new Stop(Errno.EINVAL);
    }
    long first = Math.floorDiv(offset, PAGE);
    boolean tooLong = oldLength <= -PAGE; // as unsigned; what lies above rounds up to 0
    long was = tooLong ? Long.MAX_VALUE / PAGE : oldLength <= 0 ? 0 : pages(oldLength);
    long is = pages(newLength);
    long kept = Math.min(was, is);
    boolean alike = mapping.areas.isMapped(first) && mapping.areas.end(first) >= first + kept;
    if (!mapping.areas.isMapped(first) || (was != is && !alike)) {
      throw new Stop(Errno.EFAULT);
    }
    if (tooLong) {
      throw new Stop(Errno.EINVAL);
    }
    Mapping moved =
        new Mapping(
            mapping.process,
            mapping.file,
            mapping.firstPage + first,
            new Areas(is, was == is ? Areas.Area.UNMAPPED : mapping.areas.area(first)));
    if (was == is) {
      for (long page = first; page < Math.min(first + is, mapping.pages); ) {
        long end = Math.min(mapping.areas.end(page), first + is);
        moved.areas.set(page - first, end - first, mapping.areas.area(page));
        page = end;
      }
    }
    mapping.file.opens++;
    mapping.process.mappings.add(moved);
    unmap(mapping, first, was);
    return moved;
  }

  static void requireMapped(Mapping mapping) {
    if (!mapping.open) {
      throw new Stop(new Misuse("illegal state"));
    }
  }

  // ---- touching ----

  private static void check(Mapping mapping, long offset, int width, boolean atomic) {
    if (offset < 0 || offset > mapping.length() - width) {
      throw new Stop(new Misuse("out of bounds"));
    }
    if (atomic && offset % width != 0) {
      throw new Stop(new Misuse("illegal argument"));
    }
  }

  /** The folio behind a byte of a mapping, for an access. */
  private Content touch(Mapping mapping, long offset, boolean write) {
    requireMapped(mapping);
    long page = offset / PAGE;
    if (write ? !mapping.areas.canWrite(page) : !mapping.areas.canRead(page)) {
      throw new Stop(new Signal("SIGSEGV", offset));
    }
    return touch(mapping, offset);
  }

  /** The folio behind a byte of a mapping. */
  private Content touch(Mapping mapping, long offset) {
    long page = mapping.firstPage + offset / PAGE;
    if (page >= mapping.file.pages || mapping.file.inaccessible.contains(page)) {
      throw new Stop(new Signal("SIGBUS", offset));
    }
    return use(mapping.file, page);
  }

  /** Reads a number: byte by byte, from the first to the last. */
  long load(Mapping mapping, long offset, int width, boolean atomic) {
    check(mapping, offset, width, atomic);
    byte[] bytes = new byte[width];
    for (int i = 0; i < width; i++) {
      bytes[i] = touch(mapping, offset + i, false).bytes[(int) ((offset + i) % PAGE)];
    }
    return number(bytes, 0, width);
  }

  /** Writes a number: all of its bytes, or none if one of them cannot be touched. */
  void store(Mapping mapping, long offset, int width, boolean atomic, long value) {
    check(mapping, offset, width, atomic);
    for (int i = 0; i < width; i++) {
      touch(mapping, offset + i, true);
    }
    for (int i = 0; i < width; i++) {
      byte b = (byte) (value >>> (8 * i));
      touch(mapping, offset + i).bytes[(int) ((offset + i) % PAGE)] = b;
    }
  }

  /**
   * Reads eight bytes; answers otherwise where that would throw, but for what a callback throws.
   */
  long tryLoad(Mapping mapping, long offset, long otherwise) {
    try {
      return load(mapping, offset, 8, true);
    } catch (Stop e) {
      if (e.outcome instanceof Outcome.CallbackThrew) {
        throw e;
      }
      return otherwise;
    }
  }

  /** Writes eight bytes, and says whether it could. */
  boolean tryStore(Mapping mapping, long offset, long value) {
    try {
      store(mapping, offset, 8, true, value);
      return true;
    } catch (Stop e) {
      if (e.outcome instanceof Outcome.CallbackThrew) {
        throw e;
      }
      return false;
    }
  }

  boolean compareAndSet(Mapping mapping, long offset, int width, long expected, long value) {
    check(mapping, offset, width, true);
    touch(mapping, offset, true);
    long old = load(mapping, offset, width, true);
    if (old != expected) {
      return false;
    }
    store(mapping, offset, width, true, value);
    return true;
  }

  long getAndAdd(Mapping mapping, long offset, long delta) {
    check(mapping, offset, 8, true);
    touch(mapping, offset, true);
    long old = load(mapping, offset, 8, true);
    store(mapping, offset, 8, true, old + delta);
    return old;
  }

  /** Moves bytes, one by one, until one cannot be touched. */
  Outcome.Moved move(Mapping mapping, long offset, byte[] bytes, boolean write) {
    int moved = 0;
    Outcome end = new Outcome.Returned(null);
    try {
      check(mapping, offset, bytes.length, false);
      for (; moved < bytes.length; moved++) {
        Content content = touch(mapping, offset + moved, write);
        int at = (int) ((offset + moved) % PAGE);
        if (write) {
          content.bytes[at] = bytes[moved];
        } else {
          bytes[moved] = content.bytes[at];
        }
      }
    } catch (Stop e) {
      end = e.outcome;
    }
    return new Outcome.Moved(end, moved, Arrays.hashCode(bytes));
  }

  /** Eight bytes or fewer as a number, the first byte the lowest, with the sign of the width. */
  private static long number(byte[] bytes, int from, int width) {
    long value = 0;
    for (int i = width - 1; i >= 0; i--) {
      value = (value << 8) | (bytes[from + i] & 0xff);
    }
    int unused = 64 - 8 * width;
    return value << unused >> unused;
  }

  // ---- madvise ----

  void madvise(Mapping mapping, long offset, long length, Advice advice) {
    requireMapped(mapping);
    if (offset % PAGE != 0 || length < 0) {
      throw new Stop(Errno.EINVAL);
    }
    if (length == 0) {
      return;
    }
    long first = Math.floorDiv(offset, PAGE);
    long end = first + (length - 1) / PAGE + 1;
    boolean populate = advice == Advice.POPULATE_READ || advice == Advice.POPULATE_WRITE;
    Protection needed = advice == Advice.POPULATE_READ ? Protection.READ : Protection.WRITE;
    boolean partlyUnmapped = first < 0 || end > mapping.pages;
    if (populate && first < 0) {
      throw new Stop(Errno.ENOMEM);
    }
    long to = Math.min(end, mapping.pages);
    for (long page = Math.max(first, 0), next; page < to; page = next) {
      next = Math.min(mapping.areas.end(page), to);
      if (!mapping.areas.isMapped(page)) {
        if (populate) {
          throw new Stop(Errno.ENOMEM);
        }
        partlyUnmapped = true;
      } else if (Set.of(Advice.FREE, Advice.COLLAPSE, Advice.WIPEONFORK).contains(advice)) {
        throw new Stop(Errno.EINVAL);
      } else if (populate && !mapping.areas.isFor(page, needed)) {
        throw new Stop(Errno.EINVAL);
      } else if (populate) {
        for (long each = page; each < next; each++) {
          touchForKernel(mapping, each);
        }
      } else if (advice == Advice.REMOVE) { // may be refused by the file
        punch(mapping.file, mapping.firstPage + page, mapping.firstPage + next);
      } else {
        mapping.areas.change(page, next, area -> area.advised(advice));
      }
    }
    if (partlyUnmapped) {
      throw new Stop(Errno.ENOMEM);
    }
  }

  /** As {@link #touch}, by a system call: EFAULT where there would be a signal. */
  private Content touchForKernel(Mapping mapping, long page) {
    try {
      return touch(mapping, page * PAGE);
    } catch (Stop e) {
      throw e.outcome instanceof Signal ? new Stop(Errno.EFAULT) : e;
    }
  }

  // ---- references ----

  Reference getUserPages(Mapping mapping, long offset, long length, boolean pinned) {
    Holder kind = pinned ? Holder.PINNED : Holder.PLAIN;
    requireMapped(mapping);
    if (length < 0) {
      throw new Stop(Errno.EINVAL);
    }
    List<Content> taken = new ArrayList<>();
    if (length == 0) {
      return new Reference(taken, kind, 0, 0, true);
    }
    if (offset < 0 || offset >= mapping.length()) {
      throw new Stop(Errno.EFAULT);
    }
    long end = offset + Math.min(length, mapping.length() - offset);
    boolean writable = true;
    for (long page = offset / PAGE; page * PAGE < end; page++) {
      try {
        if (!mapping.areas.isFor(page, Protection.READ)) {
          throw new Stop(Errno.EFAULT);
        }
        Content content = touchForKernel(mapping, page);
        writable &= mapping.areas.canWrite(page);
        content.holders.add(kind);
        taken.add(content);
      } catch (Stop e) {
        boolean thrown = e.outcome instanceof Outcome.CallbackThrew;
        if (taken.isEmpty() || thrown) {
          taken.forEach(content -> drop(content, kind));
          throw e;
        }
        end = page * PAGE; // shorter than asked for
      }
    }
    return new Reference(taken, kind, offset % PAGE, end - offset, writable);
  }

  void close(Reference reference) {
    if (!reference.open) {
      throw new Stop(new Misuse("illegal state"));
    }
    reference.open = false;
    FirstFailure failure = new FirstFailure();
    for (Content content : reference.contents) {
      failure.attempt(() -> drop(content, reference.kind));
    }
    failure.throwIfAny();
  }

  /** The content behind a page of a reference, for as long as it is held. */
  Content content(Reference reference, int page) {
    if (!reference.open) {
      throw new Stop(new Misuse("illegal state"));
    }
    return reference.contents.get(page);
  }

  Grabbed grab(Descriptor fd, long offset, HolderKind kind) {
    requireOpen(fd);
    File file = fd.file;
    if (offset < 0 || offset >= file.size()) {
      throw new Stop(Errno.EINVAL);
    }
    long page = offset / PAGE;
    if (kind == HolderKind.UNSAFE && file.inaccessible.contains(page)) {
      throw new Stop(Errno.EFAULT);
    }
    Holder holder = kind == HolderKind.SAFE ? Holder.SAFE : Holder.PLAIN;
    Content content = use(file, page);
    content.holders.add(holder);
    return new Grabbed(content, holder);
  }

  void close(Grabbed grabbed) {
    content(grabbed);
    grabbed.open = false;
    drop(grabbed.content, grabbed.kind);
  }

  /** The content of a folio, for as long as it is held. */
  Content content(Grabbed grabbed) {
    if (!grabbed.open) {
      throw new Stop(new Misuse("illegal state"));
    }
    return grabbed.content;
  }

  // ---- the direct map ----

  /** Moves bytes between a frame and the caller. */
  void direct(Content content, int at, byte[] bytes, boolean write) {
    if (at < 0 || at > PAGE - bytes.length) {
      throw new Stop(new Misuse("out of bounds"));
    }
    if (!content.inDirectMap) {
      throw new Stop(Errno.EFAULT);
    }
    if (write) {
      System.arraycopy(bytes, 0, content.bytes, at, bytes.length);
    } else {
      System.arraycopy(content.bytes, at, bytes, 0, bytes.length);
    }
  }

  // ---- what can be asked of all ----

  /** Frames in use, in page caches or held. */
  int used() {
    return contents.size();
  }

  /** Goes on although a step has failed, and fails with the first in the end. */
  private static final class FirstFailure {
    private Stop first;

    void attempt(Runnable step) {
      try {
        step.run();
      } catch (Stop e) {
        first = first == null ? e : first;
      }
    }

    void throwIfAny() {
      if (first != null) {
        throw first;
      }
    }
  }
}
