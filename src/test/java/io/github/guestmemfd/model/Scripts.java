package io.github.guestmemfd.model;

import static io.github.guestmemfd.model.SequentialModel.PAGE;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.model.Call.At;
import io.github.guestmemfd.model.Call.Base;
import io.github.guestmemfd.model.Call.Length;
import io.github.guestmemfd.model.Call.Mode;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.Tuple;

/** Random sequences of calls, with the edges more likely than the middle. */
final class Scripts {
  private static final long MAX = Long.MAX_VALUE;
  private static final long LAST_PAGE = MAX - PAGE + 1;

  private Scripts() {}

  /** A host of so many frames, some files and some calls. */
  record Script(int frames, List<FileSpec> files, List<Call> calls) {

    /** All calls, those that make the files first. */
    List<Call> all() {
      List<Call> all = new ArrayList<>();
      for (int i = 0; i < files.size(); i++) {
        FileSpec file = files.get(i);
        all.add(new Call.Create(file.flags, 0, (long) file.pages * PAGE));
        if (file.mapped) {
          Set<Protection> protection = EnumSet.of(Protection.READ, Protection.WRITE);
          all.add(new Call.Mmap(i, new At(Base.IN, 0, 0), Length.REST, MapType.SHARED, protection));
        }
      }
      all.addAll(calls);
      return all;
    }

    @Override
    public String toString() {
      StringBuilder text = new StringBuilder("a host of " + frames + " frames and");
      all().forEach(call -> text.append("\n  ").append(call));
      return text.append('\n').toString();
    }
  }

  /** A file to begin with. */
  record FileSpec(Set<CreateFlag> flags, int pages, boolean mapped) {}

  static Arbitrary<Script> scripts() {
    return Combinators.combine(
            Arbitraries.frequencyOf(
                Tuple.of(3, ints(1, 12)), Tuple.of(3, ints(13, 40)), Tuple.of(1, ints(60, 80))),
            fileSpecs().list().ofMinSize(1).ofMaxSize(3),
            calls().list().ofMinSize(1).ofMaxSize(80))
        .as(Script::new);
  }

  /** A few callbacks that refuse or throw, more of them early. */
  static Arbitrary<Refusals> refusals() {
    Arbitrary<Integer> callback =
        Arbitraries.frequencyOf(
            Tuple.of(2, ints(0, 5)), Tuple.of(4, ints(0, 30)), Tuple.of(1, ints(0, 100)));
    Arbitrary<Errno> errno =
        Arbitraries.of(
            Errno.OK, Errno.OK, Errno.EPERM, Errno.EAGAIN, Errno.ENOMEM, Errno.EFAULT, Errno.EIO);
    return Combinators.combine(callback, errno)
        .as(Refusals.Refusal::new)
        .list()
        .ofMinSize(1)
        .ofMaxSize(4)
        .map(Refusals::new);
  }

  // ---- numbers ----

  private static Arbitrary<Integer> ints(int from, int to) {
    return Arbitraries.integers().between(from, to);
  }

  private static Arbitrary<Boolean> oneIn(int n) {
    return Arbitraries.frequency(Tuple.of(n - 1, false), Tuple.of(1, true));
  }

  private static Arbitrary<Boolean> coin() {
    return Arbitraries.of(false, true);
  }

  /** Which of the objects that are there. */
  private static Arbitrary<Integer> object() {
    return Arbitraries.frequencyOf(
        Tuple.of(15, ints(0, 5)), Tuple.of(1, Arbitraries.just(World.CLOSED_ONE)));
  }

  private static Arbitrary<Long> extremes() {
    return Arbitraries.of(
        -1L, -PAGE * 1L, 1L << 40, 1L << 62, LAST_PAGE, LAST_PAGE - PAGE, MAX, Long.MIN_VALUE);
  }

  private static Arbitrary<At> at(Arbitrary<Integer> bytes) {
    return Arbitraries.frequencyOf(
        Tuple.of(
            20,
            Combinators.combine(ints(0, 23), bytes).as((page, in) -> new At(Base.IN, page, in))),
        Tuple.of(
            5,
            Combinators.combine(ints(-2, 1), bytes).as((page, in) -> new At(Base.END, page, in))),
        Tuple.of(1, extremes().map(n -> new At(Base.RAW, n, 0))));
  }

  /** Where a range begins: on a page, but for a few. */
  private static Arbitrary<At> pageAt() {
    return at(
        Arbitraries.frequencyOf(
            Tuple.of(30, Arbitraries.just(0)), Tuple.of(1, Arbitraries.of(1, 100, PAGE - 1))));
  }

  /** Where an access begins: near the ends of pages more than elsewhere. */
  private static Arbitrary<At> byteAt() {
    return at(
        Arbitraries.frequencyOf(
            Tuple.of(3, ints(0, 16)),
            Tuple.of(3, ints(PAGE - 8, PAGE - 1)),
            Tuple.of(2, ints(0, PAGE / 8 - 1).map(n -> 8 * n)),
            Tuple.of(1, ints(0, PAGE - 1))));
  }

  /** Where an atomic access begins: aligned, but for a few. */
  private static Arbitrary<At> atomicAt() {
    return at(
        Arbitraries.frequencyOf(
            Tuple.of(6, ints(0, PAGE / 8 - 1).map(n -> 8 * n)), Tuple.of(1, ints(0, PAGE - 1))));
  }

  private static Arbitrary<Length> length() {
    return Arbitraries.frequencyOf(
        Tuple.of(12, ints(1, 4).map(n -> new Length((long) n * PAGE, true))),
        Tuple.of(6, Arbitraries.just(Length.REST)),
        Tuple.of(3, ints(1, 26).map(n -> new Length((long) n * PAGE, false))),
        Tuple.of(2, Arbitraries.of(0L, 1L, 4095L, 4097L, 9000L).map(n -> new Length(n, false))),
        Tuple.of(1, extremes().map(n -> new Length(n, false))));
  }

  /** How many bytes to move: none, few, or up to some pages. */
  private static Arbitrary<Integer> moved() {
    return Arbitraries.frequencyOf(
        Tuple.of(2, ints(0, 20)), Tuple.of(2, ints(21, PAGE)), Tuple.of(3, ints(PAGE, 5 * PAGE)));
  }

  private static Arbitrary<Long> values() {
    return Arbitraries.longs();
  }

  private static Arbitrary<Byte> byteValues() {
    return Arbitraries.bytes();
  }

  // ---- files ----

  private static Arbitrary<Set<CreateFlag>> flags() {
    return Combinators.combine(oneIn(6), oneIn(4), oneIn(3))
        .as(
            (noMmap, notShared, noDirectMap) -> {
              Set<CreateFlag> flags = EnumSet.noneOf(CreateFlag.class);
              if (!noMmap) {
                flags.add(CreateFlag.MMAP);
              }
              if (!notShared) {
                flags.add(CreateFlag.INIT_SHARED);
              }
              if (noDirectMap) {
                flags.add(CreateFlag.NO_DIRECT_MAP);
              }
              return flags;
            });
  }

  private static Arbitrary<Integer> pages() {
    return Arbitraries.frequencyOf(Tuple.of(3, ints(1, 4)), Tuple.of(2, ints(5, 24)));
  }

  private static Arbitrary<FileSpec> fileSpecs() {
    return Combinators.combine(flags(), pages(), oneIn(8))
        .as((flags, pages, unmapped) -> new FileSpec(flags, pages, !unmapped));
  }

  private static Arbitrary<Call> create() {
    Arbitrary<Long> size =
        Arbitraries.frequencyOf(
            Tuple.of(6, pages().map(n -> (long) n * PAGE)),
            Tuple.of(1, Arbitraries.of(0L, 1L, 4095L, 4097L, -4096L, MAX)));
    Arbitrary<Long> unknown =
        Arbitraries.frequencyOf(
            Tuple.of(8, Arbitraries.just(0L)),
            Tuple.of(1, Arbitraries.of(4L, 7L, 1L << 31, 1L << 32, -1L)));
    return Combinators.combine(flags(), unknown, size).as(Call.Create::new);
  }

  // ---- calls ----

  private static Arbitrary<Call> fallocate() {
    Arbitrary<Integer> mode =
        Arbitraries.frequencyOf(
            Tuple.of(6, Arbitraries.just(0x01)),
            Tuple.of(8, Arbitraries.just(0x03)),
            Tuple.of(
                1,
                Arbitraries.frequencyOf(
                    Tuple.of(3, ints(0, 0xff)),
                    Tuple.of(3, Arbitraries.of(0, 2, 8, 9, 0x10, 0x11, 0x20, 0x40, 0x41, 0x80)),
                    Tuple.of(1, Arbitraries.of(0x101, 0x1003, -1, Integer.MIN_VALUE)))));
    return Combinators.combine(object(), mode, pageAt(), length()).as(Call.Fallocate::new);
  }

  private static Arbitrary<Call> convert() {
    return Combinators.combine(object(), coin(), oneIn(4), pageAt(), length())
        .as(Call.Convert::new);
  }

  private static Arbitrary<Set<Protection>> protection() {
    return Arbitraries.frequency(
        Tuple.of(12, protections(Protection.READ, Protection.WRITE)),
        Tuple.of(4, protections(Protection.READ)),
        Tuple.of(3, protections(Protection.WRITE)),
        Tuple.of(2, protections()),
        Tuple.of(1, protections(Protection.READ, Protection.EXEC)));
  }

  private static Arbitrary<Call> mmap() {
    Arbitrary<MapType> type =
        Arbitraries.frequency(Tuple.of(15, MapType.SHARED), Tuple.of(1, MapType.PRIVATE));
    return Combinators.combine(object(), pageAt(), length(), type, protection()).as(Call.Mmap::new);
  }

  private static Set<Protection> protections(Protection... some) {
    Set<Protection> set = EnumSet.noneOf(Protection.class);
    set.addAll(List.of(some));
    return set;
  }

  private static Arbitrary<Call> mbind() {
    Arbitrary<MemoryPolicy> policy =
        Combinators.combine(
                Arbitraries.of(MemoryPolicy.Mode.class), Arbitraries.of(0L, 1L, 1L, 1L, 2L, 3L))
            .as(MemoryPolicy::new);
    return Combinators.combine(object(), pageAt(), length(), policy).as(Call.Mbind::new);
  }

  private static Arbitrary<Integer> widths() {
    return Arbitraries.of(1, 2, 4, 8);
  }

  private static Arbitrary<Mode> modes() {
    return Arbitraries.frequency(
        Tuple.of(4, Mode.PLAIN), Tuple.of(1, Mode.ORDERED), Tuple.of(1, Mode.VOLATILE));
  }

  private static Arbitrary<Call> bind() {
    Arbitrary<Integer> slot =
        Arbitraries.frequencyOf(
            Tuple.of(10, ints(0, 3)), Tuple.of(1, Arbitraries.of(-1, 32763, 32764)));
    Arbitrary<Long> gpa =
        Arbitraries.frequencyOf(
            Tuple.of(10, ints(0, 12).map(n -> (long) n * PAGE)),
            Tuple.of(1, Arbitraries.of(1L, -4096L, (1L << 52) - PAGE, 1L << 52, Long.MIN_VALUE)));
    Arbitrary<Long> size =
        Arbitraries.frequencyOf(
            Tuple.of(10, ints(1, 5).map(n -> (long) n * PAGE)),
            Tuple.of(3, Arbitraries.just(0L)),
            Tuple.of(1, Arbitraries.of(1L, -4096L, 1L << 43, (1L << 43) - PAGE)));
    // Not further out than 2^62: the sum of offset and size must not wrap, the kernel lets it pass.
    Arbitrary<At> offset =
        Arbitraries.frequencyOf(
            Tuple.of(10, ints(0, 23).map(n -> new At(Base.IN, n, 0))),
            Tuple.of(2, ints(-2, 1).map(n -> new At(Base.END, n, 0))),
            Tuple.of(
                1,
                Arbitraries.of(1L, -4096L, 1L << 62, Long.MIN_VALUE)
                    .map(n -> new At(Base.RAW, n, 0))));
    return Combinators.combine(ints(0, 1), slot, gpa, size, object(), offset).as(Call.Bind::new);
  }

  private static Arbitrary<Call> direct() {
    Arbitrary<Integer> at =
        Arbitraries.frequencyOf(
            Tuple.of(12, ints(0, PAGE - 64)), Tuple.of(1, Arbitraries.of(-1, PAGE, PAGE - 1)));
    return Combinators.combine(ints(0, 30), at, ints(0, 64), coin(), ints(0, 99))
        .as(Call.Direct::new);
  }

  private static Arbitrary<Call> calls() {
    Arbitrary<HolderKind> kind =
        Arbitraries.frequency(Tuple.of(2, HolderKind.SAFE), Tuple.of(1, HolderKind.UNSAFE));
    return Arbitraries.frequencyOf(
        Tuple.of(1, create()),
        Tuple.of(2, Combinators.combine(object(), coin()).as(Call.Dup::new)),
        Tuple.of(2, object().map(Call.Close::new)),
        Tuple.of(1, Combinators.combine(object(), byteAt()).as(Call.Look::new)),
        Tuple.of(10, fallocate()),
        Tuple.of(16, convert()),
        Tuple.of(4, mmap()),
        Tuple.of(
            1, Combinators.combine(object(), object(), pageAt(), length()).as(Call.MmapIn::new)),
        Tuple.of(1, object().map(Call.Fork::new)),
        Tuple.of(1, object().map(Call.Exit::new)),
        Tuple.of(2, object().map(Call.Munmap::new)),
        Tuple.of(3, Combinators.combine(object(), pageAt(), length()).as(Call.MunmapPart::new)),
        Tuple.of(
            4,
            Combinators.combine(object(), pageAt(), length(), protection()).as(Call.Mprotect::new)),
        Tuple.of(3, mbind()),
        Tuple.of(
            3,
            Combinators.combine(object(), pageAt(), length(), length(), coin())
                .as(Call.Mremap::new)),
        Tuple.of(8, Combinators.combine(object(), byteAt(), widths(), modes()).as(Call.Load::new)),
        Tuple.of(2, Combinators.combine(object(), atomicAt(), values()).as(Call.TryLoad::new)),
        Tuple.of(2, Combinators.combine(object(), atomicAt(), values()).as(Call.TryStore::new)),
        Tuple.of(
            12,
            Combinators.combine(object(), byteAt(), widths(), modes(), values())
                .as(Call.Store::new)),
        Tuple.of(
            3,
            Combinators.combine(object(), atomicAt(), Arbitraries.of(4, 8), coin(), values())
                .as(Call.CompareAndSet::new)),
        Tuple.of(2, Combinators.combine(object(), atomicAt(), values()).as(Call.Add::new)),
        Tuple.of(
            8,
            Combinators.combine(object(), byteAt(), moved(), coin(), coin(), ints(0, 99))
                .as(Call.Move::new)),
        Tuple.of(
            7,
            Combinators.combine(object(), pageAt(), length(), Arbitraries.of(Advice.class))
                .as(Call.Madvise::new)),
        Tuple.of(5, Combinators.combine(object(), byteAt(), length(), coin()).as(Call.Gup::new)),
        Tuple.of(
            3,
            Combinators.combine(object(), ints(0, 7), ints(0, PAGE - 1), byteValues())
                .as(Call.WriteReference::new)),
        Tuple.of(4, object().map(Call.GupRelease::new)),
        Tuple.of(6, Combinators.combine(object(), byteAt(), kind, oneIn(3)).as(Call.GrabAt::new)),
        Tuple.of(
            3,
            Combinators.combine(object(), ints(0, PAGE - 1), byteValues(), oneIn(6))
                .as(Call.WriteFolio::new)),
        Tuple.of(4, object().map(Call.CloseFolio::new)),
        Tuple.of(3, direct()),
        Tuple.of(4, bind()),
        Tuple.of(1, Arbitraries.just(new Call.CloseHost())));
  }
}
