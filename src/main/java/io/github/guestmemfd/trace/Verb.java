package io.github.guestmemfd.trace;

import java.util.List;
import java.util.Locale;

/** The calls of a trace, and their arguments. docs/trace-format.md says what each call does. */
public enum Verb {
  /** KVM_CREATE_GUEST_MEMFD. */
  CREATE("new m", "size=number", "flags=number"),
  /** fstat. */
  STAT("m"),
  /** dup. */
  DUP("new m", "m"),
  /** fallocate. */
  FALLOCATE("m", "mode", "number", "number"),
  /** ftruncate. */
  FTRUNCATE("m"),
  /** A call that a guest_memfd has no use for. */
  CALL(
      "m",
      "READ|WRITE|PREAD|PWRITE|LSEEK|FSYNC|FDATASYNC|SYNC_FILE_RANGE|FADVISE|READAHEAD|GET_SEALS"
          + "|ADD_SEALS|FCHMOD|FCHOWN|FUTIMENS"),
  /** cachestat. */
  CACHED("m"),
  /** fork: another process, with a mapping of its own for each of the first one's. */
  FORK("new p", "p"),
  /** exit. */
  EXIT("p"),
  /** mmap. */
  MMAP(
      "new a",
      "m",
      "offset=number",
      "length=number",
      "prot=rw|r|w|none|rx",
      "flags=SHARED|PRIVATE"),
  /** mmap in another process. */
  MMAP_IN(
      "new a",
      "p",
      "m",
      "offset=number",
      "length=number",
      "prot=rw|r|w|none|rx",
      "flags=SHARED|PRIVATE"),
  /** A byte is read. */
  LOAD("a", "number"),
  /** A byte is written. */
  STORE("a", "number", "number"),
  /** madvise. */
  MADVISE(
      "a",
      "number",
      "number",
      "DONTNEED|REMOVE|POPULATE_READ|POPULATE_WRITE|FREE|COLD|PAGEOUT|HUGEPAGE|COLLAPSE|DONTFORK"
          + "|DOFORK|WIPEONFORK|KEEPONFORK"),
  /** munmap of a whole mapping. */
  MUNMAP("a"),
  /** munmap of a part of a mapping. */
  MUNMAP_PART("a", "number", "number"),
  /** mprotect. */
  MPROTECT("a", "number", "number", "rw|r|w|none|rx"),
  /** mbind, without flags. */
  MBIND(
      "a",
      "number",
      "number",
      "DEFAULT|PREFERRED|BIND|INTERLEAVE|LOCAL|PREFERRED_MANY|WEIGHTED_INTERLEAVE",
      "number"),
  /** get_mempolicy of the page that has a byte. */
  GET_MEMPOLICY("a", "number"),
  /** mremap of a part of a mapping to other addresses. */
  MREMAP("new a", "a", "number", "number", "number"),
  /** vmsplice into a pipe. */
  GUP("new g", "a", "number", "number"),
  /** The pipe is read. */
  GUP_RELEASE("g"),
  /** KVM_SET_USER_MEMORY_REGION2 with a file. */
  BIND("new s", "m", "gpa=number", "size=number", "offset=number"),
  /** KVM_SET_USER_MEMORY_REGION2 of size 0. */
  UNBIND("s"),
  /** KVM_CREATE_VM. */
  VM("new v", "type=number"),
  /** KVM_CREATE_GUEST_MEMFD of a given machine. */
  CREATE_IN("new m", "v", "size=number", "flags=number"),
  /** mmap of private anonymous memory, for memslots of a machine. */
  ANON("new a", "v", "length=number"),
  /** KVM_SET_USER_MEMORY_REGION2 with all its arguments. */
  MEMSLOT(
      "v",
      "slot=number",
      "flags=number",
      "gpa=number",
      "size=number",
      "user=number|a",
      "file=m|none",
      "offset=number"),
  /** KVM_GET_DIRTY_LOG. */
  DIRTY_LOG("v", "number"),
  /** KVM_CLEAR_DIRTY_LOG. */
  CLEAR_DIRTY_LOG("v", "number", "number", "number"),
  /** The guest reads a byte. */
  GUEST_LOAD("v", "number"),
  /** The guest writes a byte. */
  GUEST_STORE("v", "number", "number"),
  /** KVM_SET_MEMORY_ATTRIBUTES. */
  ATTRIBUTES("v", "private|shared", "number", "number"),
  /** In-place conversion. */
  CONVERT("m", "private|shared", "number", "number"),
  /** KVM_SET_MEMORY_ATTRIBUTES2 on a file; the last of the reserved numbers is given. */
  SET_ATTRIBUTES(
      "m",
      "offset=number",
      "size=number",
      "attributes=number",
      "flags=number",
      "reserved=number",
      "argument=rw|r|null"),
  /** The attribute of a page is read. */
  ATTR("m", "number"),
  /** close. */
  CLOSE("m");

  @SuppressWarnings("ImmutableEnumChecker") // made by List.of
  private final List<String> arguments;

  private final String word = name().toLowerCase(Locale.ROOT);

  Verb(String... arguments) {
    this.arguments = List.of(arguments);
  }

  /**
   * Returns the kinds of the arguments: a name of a kind ("m"), a name that the call defines ("new
   * m"), a number, a fallocate mode, or one of several of these and of words; after "key=" if the
   * argument has a key.
   *
   * @return one entry for each argument
   */
  public List<String> arguments() {
    return arguments;
  }

  /**
   * Returns the name of the call in a trace.
   *
   * @return the name
   */
  public String word() {
    return word;
  }
}
