package io.github.guestmemfd.model;

import io.github.guestmemfd.AddressSpace;
import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.model.Outcome.Stop;
import io.github.guestmemfd.model.SequentialModel.Content;
import io.github.guestmemfd.model.SequentialModel.Descriptor;
import io.github.guestmemfd.model.SequentialModel.Grabbed;
import io.github.guestmemfd.model.SequentialModel.Mapping;
import io.github.guestmemfd.model.SequentialModel.Mm;
import io.github.guestmemfd.model.SequentialModel.Reference;
import io.github.guestmemfd.model.World.Pair;
import io.github.guestmemfd.model.World.RealFolio;
import io.github.guestmemfd.trace.Verb;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;

/**
 * A call of the library. Where a trace has the call, it has the name and is written as there. It
 * names its object by a number, chosen among those that are there when it runs, so that any
 * sequence of calls can run and any part of a sequence too: a call that finds no object does
 * nothing.
 */
sealed interface Call {
  int PAGE = SequentialModel.PAGE;

  /** Makes the call. */
  void run(World world);

  /** From where a place is counted. */
  enum Base {
    /** From the start, by pages that are inside. */
    IN,
    /** From the end. */
    END,
    /** A number as it is. */
    RAW
  }

  /** A place in a file or a mapping, whose size is not known before the call runs. */
  record At(Base base, long n, int bytes) {
    long in(long size) {
      return switch (base) {
        case IN -> n % Math.max(1, Math.min(size / PAGE, 24)) * PAGE + bytes;
        case END -> size + n * PAGE + bytes;
        case RAW -> n;
      };
    }
  }

  /** A length: so many bytes, or if wanted no more than there are up to the end. */
  record Length(long bytes, boolean upToEnd) {
    static final Length REST = new Length(Long.MAX_VALUE, true);

    long from(long offset, long size) {
      return upToEnd ? Math.min(bytes, size - offset) : bytes;
    }
  }

  /** How a number is read or written. */
  enum Mode {
    PLAIN,
    ORDERED,
    VOLATILE
  }

  /** Bytes to write, different from each other and from those of another seed. */
  static byte[] pattern(int seed, int length) {
    byte[] bytes = new byte[length];
    for (int i = 0; i < length; i++) {
      bytes[i] = (byte) (seed + 31 * i + (i >> 8));
    }
    return bytes;
  }

  // ---- descriptors ----

  /** Creates a file. */
  record Create(Set<CreateFlag> flags, long unknownFlags, long size) implements Call {
    @Override
    public void run(World world) {
      int number = world.model.files.size();
      long bits = CreateFlag.bits(flags.toArray(new CreateFlag[0])) | unknownFlags;
      world.open(
          world.descriptors,
          World.line(
              Verb.CREATE, world.descriptors.nextName(), size, "0x" + Long.toHexString(bits)),
          () -> {
            GuestMemfd.Builder builder =
                GuestMemfd.builder(world.host)
                    .size(size)
                    .retryPolicy(RetryPolicy.failAtOnce())
                    .ops(world.ops == null ? GuestMemfdOps.NONE : world.ops.of(number));
            return unknownFlags == 0
                ? builder.flags(flags.toArray(new CreateFlag[0])).build()
                : builder.flags(unknownFlags).build();
          },
          () -> world.model.create(flags, unknownFlags, size),
          world::know);
    }
  }

  /** Duplicates a descriptor, or opens its file anew. */
  record Dup(int fd, boolean reopen) implements Call {
    @Override
    public void run(World world) {
      Pair<GuestMemfd, Descriptor> on = world.descriptors.choose(fd);
      if (on != null) {
        world.open(
            world.descriptors,
            reopen
                ? "reopen " + world.descriptors.nextName() + " " + on
                : World.line(Verb.DUP, world.descriptors.nextName(), on),
            () -> reopen ? on.real.reopen().orElse(null) : on.real.dup(),
            () -> reopen ? world.model.reopen(on.model) : world.model.dup(on.model),
            (real, model) -> world.require("same file", true, real.sameFile(on.real)));
      }
    }
  }

  /** Closes a descriptor. */
  record Close(int fd) implements Call {
    @Override
    public void run(World world) {
      Pair<GuestMemfd, Descriptor> on = world.descriptors.choose(fd);
      if (on != null) {
        close(world, on);
      }
    }
  }

  /** Asks and tries what changes nothing. */
  record Look(int fd, At at) implements Call {
    @Override
    public void run(World world) {
      Pair<GuestMemfd, Descriptor> on = world.descriptors.choose(fd);
      if (on == null) {
        return;
      }
      GuestMemfd memfd = on.real;
      long offset = at.in(memfd.size());
      world.call(
          World.line(Verb.ATTR, on, offset),
          () -> memfd.isAccessible(offset),
          () -> world.model.isAccessible(on.model, offset));
      world.call(
          World.line(Verb.CACHED, on), memfd::cachedPages, () -> world.model.cachedPages(on.model));
      for (long length : new long[] {0, 1, 2 * PAGE}) {
        world.call(
            "cachedPages " + on + " " + offset + " " + length,
            () -> memfd.cachedPages(offset, length),
            () -> world.model.cachedPages(on.model, offset, length));
      }
      world.call(
          World.line(Verb.STAT, on),
          () -> {
            FileStat s = memfd.stat();
            return "size "
                + s.size()
                + " blocks "
                + s.blocks()
                + " blksize "
                + s.blksize()
                + " mode "
                + Integer.toOctalString(s.mode());
          },
          () -> world.model.stat(on.model));
      world.act(
          World.line(Verb.FTRUNCATE, on) + " # to " + offset,
          () -> memfd.ftruncate(offset),
          () -> world.model.ftruncate(on.model));
    }
  }

  /** Allocates, punches, or asks for what is refused. */
  record Fallocate(int fd, int mode, At at, Length length) implements Call {
    @Override
    public void run(World world) {
      Pair<GuestMemfd, Descriptor> on = world.descriptors.choose(fd);
      if (on == null) {
        return;
      }
      long offset = at.in(on.real.size());
      long bytes = length.from(offset, on.real.size());
      world.act(
          World.line(Verb.FALLOCATE, on, "0x" + Integer.toHexString(mode), offset, bytes),
          () -> {
            switch (mode) {
              case 0x01 -> on.real.allocate(offset, bytes);
              case 0x03 -> on.real.punchHole(offset, bytes);
              default -> on.real.fallocate(mode, offset, bytes);
            }
          },
          () -> world.model.fallocate(on.model, mode, offset, bytes));
    }
  }

  /** Converts, by the call that throws or by the one that answers. */
  record Convert(int fd, boolean inaccessible, boolean answering, At at, Length length)
      implements Call {
    @Override
    public void run(World world) {
      Pair<GuestMemfd, Descriptor> on = world.descriptors.choose(fd);
      if (on == null) {
        return;
      }
      long offset = at.in(on.real.size());
      long bytes = length.from(offset, on.real.size());
      world.act(
          World.line(Verb.CONVERT, on, inaccessible ? "private" : "shared", offset, bytes)
              + (answering ? " # by the call that answers" : ""),
          () -> {
            if (answering) {
              tryToConvert(on.real, offset, bytes);
            } else if (inaccessible) {
              on.real.makeInaccessible(offset, bytes);
            } else {
              on.real.makeAccessible(offset, bytes);
            }
          },
          () -> world.model.convert(on.model, offset, bytes, inaccessible));
    }

    private void tryToConvert(GuestMemfd memfd, long offset, long bytes) {
      BusyFolio busy = new BusyFolio();
      Errno errno =
          inaccessible
              ? memfd.tryMakeInaccessible(offset, bytes, busy)
              : memfd.tryMakeAccessible(offset, bytes);
      if (busy.offset() >= 0) {
        throw new Stop(
            new Outcome.Blocked(
                busy.offset(), busy.unsafeHolders(), busy.pinnedHolders(), busy.safeHolders()));
      }
      if (errno != Errno.OK) {
        throw new Stop(errno);
      }
    }
  }

  // ---- mappings ----

  /** Maps. */
  record Mmap(int fd, At at, Length length, MapType type, Set<Protection> protection)
      implements Call {
    @Override
    public void run(World world) {
      Pair<GuestMemfd, Descriptor> on = world.descriptors.choose(fd);
      if (on == null) {
        return;
      }
      long offset = at.in(on.real.size());
      long bytes = length.from(offset, on.real.size());
      Protection[] list = protection.toArray(new Protection[0]);
      world.open(
          world.mappings,
          World.line(
              Verb.MMAP, world.mappings.nextName(), on, offset, bytes, word(protection), type),
          () -> on.real.mmap(offset, bytes, type, list),
          () -> world.model.mmap(world.model.first, on.model, offset, bytes, type, protection),
          (real, model) -> world.require("length", model.length(), real.length()));
    }

    static String word(Set<Protection> protection) {
      String letters =
          (protection.contains(Protection.READ) ? "r" : "")
              + (protection.contains(Protection.WRITE) ? "w" : "")
              + (protection.contains(Protection.EXEC) ? "x" : "");
      return letters.isEmpty() ? "none" : letters;
    }
  }

  /** Unmaps a part. */
  record MunmapPart(int map, At at, Length length) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on != null) {
        long offset = at.in(on.real.length());
        long bytes = length.from(offset, on.real.length());
        world.act(
            World.line(Verb.MUNMAP_PART, on, offset, bytes),
            () -> on.real.munmap(offset, bytes),
            () -> world.model.munmap(on.model, offset, bytes));
      }
    }
  }

  /** Protects a part. */
  record Mprotect(int map, At at, Length length, Set<Protection> protection) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on != null) {
        long offset = at.in(on.real.length());
        long bytes = length.from(offset, on.real.length());
        Protection[] list = protection.toArray(new Protection[0]);
        world.act(
            World.line(Verb.MPROTECT, on, offset, bytes, Mmap.word(protection)),
            () -> on.real.mprotect(offset, bytes, list),
            () -> world.model.mprotect(on.model, offset, bytes, protection));
      }
    }
  }

  /** Sets a NUMA policy, and asks what it is afterwards. */
  record Mbind(int map, At at, Length length, MemoryPolicy policy) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on != null) {
        long offset = at.in(on.real.length());
        long bytes = length.from(offset, on.real.length());
        world.act(
            World.line(Verb.MBIND, on, offset, bytes, policy.mode(), policy.nodes()),
            () -> on.real.mbind(offset, bytes, policy),
            () -> Mempolicies.mbind(on.model, offset, bytes, policy));
        for (long asked : new long[] {offset - 1, offset, offset + bytes - 1, offset + bytes}) {
          world.call(
              World.line(Verb.GET_MEMPOLICY, on, asked),
              () -> word(on.real.getMempolicy(asked)),
              () -> word(Mempolicies.get(on.model, asked)));
        }
      }
    }

    private static String word(MemoryPolicy policy) {
      return "mode=" + policy.mode() + " nodes=0x" + Long.toHexString(policy.nodes());
    }
  }

  /** Moves a part. */
  record Mremap(int map, At at, Length from, Length to, boolean same) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on != null) {
        long offset = at.in(on.real.length());
        long was = from.from(offset, on.real.length());
        long is = same ? was : to.from(offset, on.real.length());
        world.open(
            world.mappings,
            World.line(Verb.MREMAP, world.mappings.nextName(), on, offset, was, is),
            () -> on.real.mremap(offset, was, is),
            () -> world.model.mremap(on.model, offset, was, is),
            (real, model) -> world.require("length", model.length(), real.length()));
      }
    }
  }

  /** Maps in a process. */
  record MmapIn(int process, int fd, At at, Length length) implements Call {
    @Override
    public void run(World world) {
      Pair<AddressSpace, Mm> in = world.processes.choose(process);
      Pair<GuestMemfd, Descriptor> on = world.descriptors.choose(fd);
      if (in == null || on == null || in.model == world.model.first) {
        return;
      }
      long offset = at.in(on.real.size());
      long bytes = length.from(offset, on.real.size());
      Set<Protection> protection = Set.of(Protection.READ, Protection.WRITE);
      MapType type = MapType.SHARED;
      world.open(
          world.mappings,
          World.line(Verb.MMAP_IN, world.mappings.nextName(), in, on, offset, bytes, "rw", type),
          () -> in.real.mmap(on.real, offset, bytes, type, Protection.READ, Protection.WRITE),
          () -> world.model.mmap(in.model, on.model, offset, bytes, type, protection),
          (real, model) -> world.require("length", model.length(), real.length()));
    }
  }

  /** Forks a process. */
  record Fork(int process) implements Call {
    /** Each has what the others have, and all are compared. */
    private static final int MOST = 4;

    @Override
    public void run(World world) {
      Pair<AddressSpace, Mm> parent = world.processes.choose(process);
      if (parent == null || world.processes.open().size() == MOST) {
        return;
      }
      String name = world.processes.nextName();
      world.open(
          world.processes,
          World.line(Verb.FORK, name, parent),
          parent.real::fork,
          () -> world.model.fork(parent.model),
          (real, model) -> know(world, name, parent.model, real, model));
    }

    /** What the child has inherited, in the order in which the parent has it. */
    private static void know(World world, String name, Mm parent, AddressSpace real, Mm model) {
      world.require("mappings of " + name, model.mappings.size(), real.mappings().size());
      for (int i = 0; i < model.mappings.size(); i++) {
        Mapping parents = parent.mappings.get(i);
        Pair<HostMapping, Mapping> of =
            world.mappings.open().stream()
                .filter(p -> p.model == parents)
                .findFirst()
                .orElseThrow();
        HostMapping heir = real.inherited(of.real);
        world.require("mapping " + i + " of " + name, real.mappings().get(i), heir);
        world.mappings.add(heir, model.mappings.get(i), of.name + name);
      }
    }
  }

  /** Ends a process that was forked. */
  record Exit(int process) implements Call {
    @Override
    public void run(World world) {
      Pair<AddressSpace, Mm> on = world.processes.choose(process);
      if (on != null && on.model != world.model.first) {
        world.mappings.open().stream()
            .filter(mapping -> mapping.model.process == on.model)
            .forEach(mapping -> mapping.open = false);
        world.close(on, Verb.EXIT.word(), on.real::close, () -> world.model.exit(on.model));
      }
    }
  }

  /** Unmaps. */
  record Munmap(int map) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on != null) {
        close(world, on);
      }
    }
  }

  /** Reads a number. */
  record Load(int map, At at, int width, Mode mode) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on == null) {
        return;
      }
      long offset = at.in(on.real.length());
      Mode used = width == 1 ? Mode.PLAIN : mode;
      world.call(
          World.line(Verb.LOAD, on, offset) + World.width(width, used),
          () -> load(on.real, offset, used),
          () -> world.model.load(on.model, offset, width, used != Mode.PLAIN));
    }

    private long load(HostMapping mapping, long offset, Mode used) {
      return switch (width) {
        case 1 -> mapping.getByte(offset);
        case 2 -> used == Mode.PLAIN ? mapping.getShort(offset) : mapping.getShortAcquire(offset);
        case 4 ->
            switch (used) {
              case PLAIN -> mapping.getInt(offset);
              case ORDERED -> mapping.getIntAcquire(offset);
              case VOLATILE -> mapping.getIntVolatile(offset);
            };
        default ->
            switch (used) {
              case PLAIN -> mapping.getLong(offset);
              case ORDERED -> mapping.getLongAcquire(offset);
              case VOLATILE -> mapping.getLongVolatile(offset);
            };
      };
    }
  }

  /** Reads eight bytes where no exception is wanted. */
  record TryLoad(int map, At at, long otherwise) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on != null) {
        long offset = at.in(on.real.length());
        world.call(
            "tryGetLong " + on + " " + offset + " " + otherwise,
            () -> on.real.tryGetLong(offset, otherwise),
            () -> world.model.tryLoad(on.model, offset, otherwise));
      }
    }
  }

  /** Writes eight bytes where no exception is wanted. */
  record TryStore(int map, At at, long value) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on != null) {
        long offset = at.in(on.real.length());
        world.call(
            "tryPutLong " + on + " " + offset + " " + value,
            () -> on.real.tryPutLong(offset, value),
            () -> world.model.tryStore(on.model, offset, value));
      }
    }
  }

  /** Writes a number. */
  record Store(int map, At at, int width, Mode mode, long value) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on == null) {
        return;
      }
      long offset = at.in(on.real.length());
      Mode used = width == 1 ? Mode.PLAIN : mode;
      world.act(
          World.line(Verb.STORE, on, offset, value) + World.width(width, used),
          () -> store(on.real, offset, used),
          () -> world.model.store(on.model, offset, width, used != Mode.PLAIN, value));
    }

    private void store(HostMapping mapping, long offset, Mode used) {
      switch (width) {
        case 1 -> mapping.putByte(offset, (byte) value);
        case 2 -> {
          if (used == Mode.PLAIN) {
            mapping.putShort(offset, (short) value);
          } else {
            mapping.putShortRelease(offset, (short) value);
          }
        }
        case 4 -> {
          switch (used) {
            case PLAIN -> mapping.putInt(offset, (int) value);
            case ORDERED -> mapping.putIntRelease(offset, (int) value);
            case VOLATILE -> mapping.putIntVolatile(offset, (int) value);
          }
        }
        default -> {
          switch (used) {
            case PLAIN -> mapping.putLong(offset, value);
            case ORDERED -> mapping.putLongRelease(offset, value);
            case VOLATILE -> mapping.putLongVolatile(offset, value);
          }
        }
      }
    }
  }

  /** Replaces a number: what is there, as far as the model knows it, or something else. */
  record CompareAndSet(int map, At at, int width, boolean matching, long value) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on == null) {
        return;
      }
      long offset = at.in(on.real.length());
      long expected = matching ? current(on.model, offset) : value + 1;
      long replacement = width == 4 ? (int) value : value;
      world.call(
          "compareAndSet" + 8 * width + " " + on + " " + offset + " " + expected + " " + value,
          () ->
              width == 4
                  ? on.real.compareAndSetInt(offset, (int) expected, (int) value)
                  : on.real.compareAndSetLong(offset, expected, value),
          () ->
              world.model.compareAndSet(
                  on.model, offset, width, width == 4 ? (int) expected : expected, replacement));
    }

    private long current(Mapping mapping, long offset) {
      Content content = mapping.file.cache.get(mapping.firstPage + offset / PAGE);
      int in = (int) (offset % PAGE);
      if (content == null || in < 0 || in > PAGE - width) {
        return 0;
      }
      ByteBuffer bytes = ByteBuffer.wrap(content.bytes).order(ByteOrder.LITTLE_ENDIAN);
      return width == 4 ? bytes.getInt(in) : bytes.getLong(in);
    }
  }

  /** Adds to a number. */
  record Add(int map, At at, long delta) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on != null) {
        long offset = at.in(on.real.length());
        world.call(
            "getAndAddLong " + on + " " + offset + " " + delta,
            () -> on.real.getAndAddLong(offset, delta),
            () -> world.model.getAndAdd(on.model, offset, delta));
      }
    }
  }

  /** Reads or writes many bytes, from or to an array or a buffer. */
  record Move(int map, At at, int length, boolean write, boolean buffer, int seed) implements Call {
    private static final int BEFORE = 3;

    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on == null || (length == 0 && !on.open)) {
        return; // nothing says what becomes of nothing
      }
      long offset = at.in(on.real.length());
      byte[] bytes = pattern(seed, length);
      world.call(
          (write ? "put " : "get ")
              + (on + " " + offset + " " + length)
              + (buffer ? " # ByteBuffer, seed " : " # byte[], seed ")
              + seed,
          () -> buffer ? moveBuffer(on.real, offset) : moveArray(on.real, offset),
          () -> {
            Outcome.Moved moved = world.model.move(on.model, offset, bytes, write);
            return buffer ? moved : new Outcome.Moved(moved.end(), -1, moved.hash());
          });
    }

    private Outcome moveArray(HostMapping mapping, long offset) {
      byte[] array = new byte[length + 2 * BEFORE];
      System.arraycopy(pattern(seed, length), 0, array, BEFORE, length);
      Outcome end =
          Outcome.of(
              () -> {
                if (write) {
                  mapping.put(offset, array, BEFORE, length);
                } else {
                  mapping.get(offset, array, BEFORE, length);
                }
                return null;
              });
      byte[] moved = Arrays.copyOfRange(array, BEFORE, BEFORE + length);
      return new Outcome.Moved(end, -1, Arrays.hashCode(moved));
    }

    private Outcome moveBuffer(HostMapping mapping, long offset) {
      ByteBuffer whole = ByteBuffer.allocateDirect(length + 2 * BEFORE);
      whole.put(BEFORE, pattern(seed, length));
      whole.position(BEFORE).limit(BEFORE + length);
      Outcome end =
          Outcome.of(
              () -> {
                if (write) {
                  mapping.put(offset, whole);
                } else {
                  mapping.get(offset, whole);
                }
                return null;
              });
      byte[] moved = new byte[length];
      whole.get(BEFORE, moved);
      return new Outcome.Moved(end, whole.position() - BEFORE, Arrays.hashCode(moved));
    }
  }

  /** Advises. */
  record Madvise(int map, At at, Length length, Advice advice) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on != null) {
        long offset = at.in(on.real.length());
        long bytes = length.from(offset, on.real.length());
        world.act(
            World.line(Verb.MADVISE, on, offset, bytes, advice),
            () -> on.real.madvise(offset, bytes, advice),
            () -> world.model.madvise(on.model, offset, bytes, advice));
      }
    }
  }

  // ---- references ----

  /** Takes references through a mapping. */
  record Gup(int map, At at, Length length, boolean pinned) implements Call {
    @Override
    public void run(World world) {
      Pair<HostMapping, Mapping> on = world.mappings.choose(map);
      if (on == null || on.model.areas.isForWritingAlone()) {
        return; // of a mapping for writing alone it gives what is mapped, which the model knows not
      }
      long offset = at.in(on.real.length());
      long bytes = length.from(offset, on.real.length());
      world.open(
          world.references,
          World.line(Verb.GUP, world.references.nextName(), on, offset, bytes)
              + (pinned ? " # pinned" : ""),
          () -> pinned ? on.real.pin(offset, bytes) : on.real.getUserPages(offset, bytes),
          () -> world.model.getUserPages(on.model, offset, bytes, pinned),
          (real, model) -> {
            world.require("length of the reference", model.length, real.length());
            world.require("pages of the reference", model.contents.size(), real.pages());
            world.require("pinned", pinned, real.isPinned());
            for (int page = 0; page < real.pages(); page++) {
              world.know(model.contents.get(page), real.pfn(page));
            }
          });
    }
  }

  /** Writes through a reference, or reads if it is of a mapping that cannot be written. */
  record WriteReference(int ref, int page, int at, byte value) implements Call {
    @Override
    public void run(World world) {
      Pair<HostReference, Reference> on = world.references.choose(ref);
      if (on == null || on.real.pages() == 0) {
        return;
      }
      int chosen = page % on.real.pages();
      int from = on.model.from(chosen);
      int in = at % (on.model.to(chosen) - from);
      world.call(
          "putByte " + on + " " + in + " " + value + " # page " + chosen,
          () -> {
            ByteBuffer buffer = on.real.buffer(chosen);
            world.require("read only", !on.model.writable, buffer.isReadOnly());
            byte old = buffer.get(in);
            if (on.model.writable) {
              buffer.put(in, value);
            }
            return old;
          },
          () -> {
            byte[] bytes = world.model.content(on.model, chosen).bytes;
            byte old = bytes[from + in];
            if (on.model.writable) {
              bytes[from + in] = value;
            }
            return old;
          });
    }
  }

  /** Drops a reference. */
  record GupRelease(int ref) implements Call {
    @Override
    public void run(World world) {
      Pair<HostReference, Reference> on = world.references.choose(ref);
      if (on != null) {
        close(world, on);
      }
    }
  }

  /** Grabs a folio by a descriptor chosen before, as an object or as a bare number. */
  record Grab(Pair<GuestMemfd, Descriptor> on, long offset, HolderKind kind, boolean bare)
      implements Call {
    @Override
    public void run(World world) {
      world.open(
          world.folios,
          (bare ? "tryGrab " : "grab ")
              + (world.folios.nextName() + " " + on + " " + offset + " " + kind),
          () -> {
            if (!bare) {
              Folio folio = on.real.grab(offset, kind);
              world.require("offset of the folio", offset / PAGE * PAGE, folio.offset());
              return new RealFolio(on.real, folio.pfn(), kind, folio);
            }
            int pfn = on.real.tryGrab(offset, kind);
            if (pfn < 0) {
              throw new Stop(errno(-pfn));
            }
            return new RealFolio(on.real, pfn, kind, null);
          },
          () -> world.model.grab(on.model, offset, kind),
          (real, model) -> world.know(model.content, real.pfn()));
    }

    private static Errno errno(int code) {
      for (Errno errno : Errno.values()) {
        if (errno.code() == code) {
          return errno;
        }
      }
      throw new AssertionError("errno " + code);
    }
  }

  /** Grabs a folio. */
  record GrabAt(int fd, At at, HolderKind kind, boolean bare) implements Call {
    @Override
    public void run(World world) {
      Pair<GuestMemfd, Descriptor> on = world.descriptors.choose(fd);
      if (on != null) {
        new Grab(on, at.in(on.real.size()), kind, bare).run(world);
      }
    }
  }

  /** Writes a byte of a grabbed folio, or fills it with zeroes. */
  record WriteFolio(int folio, int at, byte value, boolean zero) implements Call {
    @Override
    public void run(World world) {
      Pair<RealFolio, Grabbed> on = world.folios.choose(folio);
      if (on == null || on.real.folio() == null) {
        return;
      }
      world.act(
          zero ? "zero " + on : "putByte " + on + " " + at + " " + value,
          () -> {
            if (zero) {
              on.real.folio().zero();
            } else {
              on.real.folio().buffer().put(at, value);
            }
          },
          () -> {
            byte[] bytes = world.model.content(on.model).bytes;
            if (zero) {
              Arrays.fill(bytes, (byte) 0);
            } else {
              bytes[at] = value;
            }
          });
    }
  }

  /** Puts a folio. */
  record CloseFolio(int folio) implements Call {
    @Override
    public void run(World world) {
      Pair<RealFolio, Grabbed> on = world.folios.choose(folio);
      if (on != null && (on.open || on.real.folio() != null)) {
        close(world, on); // a bare number put twice could be another holder's reference
      }
    }
  }

  // ---- the direct map ----

  /** Reads or writes a frame in use whose number is known, as the host kernel would. */
  record Direct(int frame, int at, int length, boolean write, int seed) implements Call {
    @Override
    public void run(World world) {
      List<Content> known = new ArrayList<>(world.pfns.keySet());
      if (known.isEmpty()) {
        return;
      }
      known.sort((a, b) -> Integer.compare(world.pfns.get(a), world.pfns.get(b)));
      Content content = known.get(frame % known.size());
      int pfn = world.pfns.get(content);
      ByteBuffer buffer = ByteBuffer.wrap(pattern(seed, length));
      byte[] bytes = pattern(seed, length);
      world.call(
          (write ? "directWrite " : "directRead ") + pfn + " " + at + " " + length,
          () -> {
            if (write) {
              world.host.directMap().write(pfn, at, buffer);
            } else {
              world.host.directMap().read(pfn, at, buffer);
            }
            return Arrays.hashCode(buffer.array());
          },
          () -> {
            world.model.direct(content, at, bytes, write);
            return Arrays.hashCode(bytes);
          });
    }
  }

  // ---- memslots ----

  /** Makes a memslot, or with size 0 deletes one. */
  record Bind(int vm, int slot, long gpa, long size, int fd, At at) implements Call {
    @Override
    public void run(World world) {
      Pair<VirtualMachine, Vm> on = world.vms.choose(vm);
      Pair<GuestMemfd, Descriptor> of = world.descriptors.choose(fd);
      if (of == null) {
        return;
      }
      long offset = at.in(of.real.size());
      world.act(
          World.line(Verb.BIND, "s" + slot, of, gpa, size, offset) + " # " + on,
          () -> on.real.setUserMemoryRegion2(slot, gpa, size, of.real, offset),
          () -> on.model.set(slot, gpa, size, of.model, offset));
      world.call(
          "memslotAt " + on + " " + gpa,
          () -> on.real.memslotAt(gpa).map(Memslot::slot).orElse(-1),
          () -> on.model.slotAt(gpa));
    }
  }

  // ---- the host ----

  /** Closes the host too early. */
  record CloseHost() implements Call {
    @Override
    public void run(World world) {
      if (world.model.used() > 0 || world.model.files.stream().anyMatch(f -> f.opens > 0)) {
        world.act(
            "closeHost",
            world.host::close,
            () -> {
              throw new Stop(Errno.EBUSY);
            });
      }
    }
  }

  // ---- closing ----

  /** Closes one of a pair of any kind. */
  static void close(World world, Pair<?, ?> on) {
    if (on.real instanceof GuestMemfd real && on.model instanceof Descriptor model) {
      world.close(on, Verb.CLOSE.word(), real::close, () -> world.model.close(model));
    } else if (on.real instanceof HostMapping real && on.model instanceof Mapping model) {
      world.close(on, Verb.MUNMAP.word(), real::close, () -> world.model.munmap(model));
    } else if (on.real instanceof HostReference real && on.model instanceof Reference model) {
      world.close(on, Verb.GUP_RELEASE.word(), real::close, () -> world.model.close(model));
    } else if (on.real instanceof RealFolio real && on.model instanceof Grabbed model) {
      world.close(
          on,
          "put",
          () -> {
            if (real.folio() != null) {
              real.folio().close();
            } else {
              real.memfd().put(real.pfn(), real.kind());
            }
          },
          () -> world.model.close(model));
    } else {
      throw new AssertionError(on);
    }
  }
}
