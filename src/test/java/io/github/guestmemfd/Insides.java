package io.github.guestmemfd;

import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameTable;
import java.lang.reflect.Field;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;

/** What tests look at that no user can see. */
@SuppressWarnings("exports") // types of packages that are not exported, for tests alone
public final class Insides {
  private Insides() {}

  public static FrameTable frames(HostMemory host) {
    return host.frames;
  }

  /** The slot of a page, a word for {@link SlotWord}. */
  public static long slot(GuestMemfd memfd, long offset) {
    return inode(memfd).cache.slot(offset >> HostMemory.PAGE_SHIFT);
  }

  /** The page table entry of a page of a mapping. */
  public static long entry(HostMapping mapping, long page) {
    return mapping.table.entry(page);
  }

  /** Whether two objects are of one file. */
  public static boolean isOf(HostMapping mapping, GuestMemfd memfd) {
    return mapping.inode() == inode(memfd);
  }

  /** The page of its file that a mapping begins with. */
  public static long firstIndex(HostMapping mapping) {
    return mapping.firstIndex;
  }

  /** Conversions of a file that wait for the last holder. */
  public static int pending(GuestMemfd memfd) {
    return field(Inode.class, inode(memfd), "pending", Map.class).size();
  }

  /** Frames of which somebody wants to know when their counts change. */
  public static int watched(HostMemory host) {
    return field(FrameTable.class.getSuperclass(), host.frames, "watchers", Map.class).size();
  }

  /** Frames that can be had. */
  public static int free(HostMemory host) {
    Object allocator = field(FrameTable.class, host.frames, "allocator", Object.class);
    return field(allocator.getClass(), allocator, "available", AtomicLong.class).intValue();
  }

  /** Whether this thread is inside a callback or a range operation. */
  public static boolean isInside() {
    return Callbacks.holdsPages();
  }

  private static Inode inode(GuestMemfd memfd) {
    return field(GuestMemfd.class, memfd, "inode", Inode.class);
  }

  /** A private field of an object. */
  public static <T> T field(Class<?> of, Object object, String name, Class<T> type) {
    try {
      Field field = of.getDeclaredField(name);
      field.setAccessible(true);
      return type.cast(field.get(object));
    } catch (ReflectiveOperationException e) {
      throw new LinkageError(e.getMessage(), e);
    }
  }
}
