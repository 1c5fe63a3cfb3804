package io.github.guestmemfd;

import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.file.CallbackContext;
import io.github.guestmemfd.file.FileInsides;
import io.github.guestmemfd.file.Inode;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.FrameTable;
import java.lang.reflect.Field;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;

/** What tests look at that no user can see. */
@SuppressWarnings("exports") // types of packages that are not exported, for tests alone
public final class Insides {
  private Insides() {}

  public static FrameTable frames(HostMemory host) {
    return host.host.frames;
  }

  public static FrameContents contents(HostMemory host) {
    return host.host.bytes();
  }

  /** The slot of a page, a word for {@link SlotWord}. */
  public static long slot(GuestMemfd memfd, long offset) {
    return inode(memfd).cache.slot(offset >> Pages.SHIFT);
  }

  /** The page table entry of a page of a mapping. */
  public static long entry(HostMapping mapping, long page) {
    return mapping.mapping.table.entry(page);
  }

  /** Whether two objects are of one file. */
  public static boolean isOf(HostMapping mapping, GuestMemfd memfd) {
    return mapping.file().inode == inode(memfd);
  }

  /** The page of its file that a mapping begins with. */
  public static long firstIndex(HostMapping mapping) {
    return mapping.mapping.firstIndex;
  }

  /** Conversions of a file that wait for the last holder. */
  public static int pending(GuestMemfd memfd) {
    return FileInsides.pending(memfd.file);
  }

  /** Frames whose counts are watched. */
  public static int watched(HostMemory host) {
    return field(FrameTable.class.getSuperclass(), frames(host), "watchers", Map.class).size();
  }

  /** Frames that can be had. */
  public static int free(HostMemory host) {
    Object allocator = field(FrameTable.class, frames(host), "allocator", Object.class);
    return field(allocator.getClass(), allocator, "available", AtomicLong.class).intValue();
  }

  /** Whether this thread is inside a callback or a range operation. */
  public static boolean isInside() {
    return CallbackContext.isInTheMiddleOfAny();
  }

  private static Inode inode(GuestMemfd memfd) {
    return memfd.file.inode;
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
