package io.github.guestmemfd.abi;

/**
 * Calls of user space on a descriptor that a guest_memfd has no use for: what tests of monitors ask
 * for to see that content is reached by mapping alone. Each answers the same with any valid
 * arguments, whatever the file's state, and changes nothing.
 */
public enum FileCall {
  /** {@code read}, also of 0 bytes. */
  READ(Errno.EINVAL),
  /** {@code write}, also of 0 bytes. */
  WRITE(Errno.EINVAL),
  /** {@code pread}. */
  PREAD(Errno.ESPIPE),
  /** {@code pwrite}. */
  PWRITE(Errno.ESPIPE),
  /** {@code lseek}: there is no position, and no looking for data or holes. */
  LSEEK(Errno.ESPIPE),
  /** {@code fsync}: there is nothing behind the memory. */
  FSYNC(Errno.EINVAL),
  /** {@code fdatasync}. */
  FDATASYNC(Errno.EINVAL),
  /** {@code sync_file_range}. */
  SYNC_FILE_RANGE(Errno.OK),
  /** {@code posix_fadvise} with POSIX_FADV_DONTNEED, which drops no folio. */
  FADVISE(Errno.OK),
  /** {@code readahead}. */
  READAHEAD(Errno.EINVAL),
  /** {@code fcntl} with F_GET_SEALS: a guest_memfd is no memfd, and has no seals. */
  GET_SEALS(Errno.EINVAL),
  /** {@code fcntl} with F_ADD_SEALS. */
  ADD_SEALS(Errno.EINVAL),
  /** {@code fchmod}. */
  FCHMOD(Errno.EINVAL),
  /** {@code fchown}. */
  FCHOWN(Errno.EINVAL),
  /** {@code futimens}. */
  FUTIMENS(Errno.EINVAL);

  private final Errno answer;

  FileCall(Errno answer) {
    this.answer = answer;
  }

  /**
   * What it answers on an open descriptor.
   *
   * @return OK if it succeeds, and does nothing
   */
  public Errno answer() {
    return answer;
  }
}
