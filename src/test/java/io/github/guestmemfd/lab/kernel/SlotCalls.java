package io.github.guestmemfd.lab.kernel;

/**
 * The calls that make, change and delete memslots, on the model or on a kernel. Numbers may be any.
 * A file is named by a number; one that no call has created, or that is closed, is a bad
 * descriptor.
 */
interface SlotCalls extends AutoCloseable {
  /** KVM_SET_USER_MEMORY_REGION2. */
  String set(Region region);

  /** KVM_GET_DIRTY_LOG. */
  String dirtyLog(int slot);

  /** KVM_CLEAR_DIRTY_LOG of all pages; the memslot has so many, as far as the caller knows. */
  String clearDirtyLog(int slot, int pages);

  /** KVM_CREATE_GUEST_MEMFD, in place of the file of that number. */
  String create(int file, long size, long flags);

  /** Closes a descriptor; the file ends. */
  void close(int file);

  @Override
  void close();

  /** The arguments of a call, as the kernel takes them. */
  record Region(int slot, int flags, long gpa, long size, long user, int file, long offset) {
    @Override
    public String toString() {
      return "set slot=%d flags=0x%x gpa=0x%x size=0x%x user=0x%x file=%d offset=0x%x"
          .formatted(slot, flags, gpa, size, user, file, offset);
    }
  }
}
