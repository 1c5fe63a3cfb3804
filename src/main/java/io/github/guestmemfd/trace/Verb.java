package io.github.guestmemfd.trace;

import java.util.List;

/** The calls of a trace, and what follows each name. */
enum Verb {
  CREATE("new m", "size=number", "flags=number"),
  STAT("m"),
  DUP("new m", "m"),
  FALLOCATE("m", "mode", "number", "number"),
  FTRUNCATE("m"),
  CACHED("m"),
  MMAP(
      "new a",
      "m",
      "offset=number",
      "length=number",
      "prot=rw|r|w|none|rx",
      "flags=SHARED|PRIVATE"),
  LOAD("a", "number"),
  STORE("a", "number", "number"),
  MADVISE(
      "a",
      "number",
      "number",
      "DONTNEED|REMOVE|POPULATE_READ|POPULATE_WRITE|FREE|COLD|PAGEOUT|HUGEPAGE|COLLAPSE"),
  MUNMAP("a"),
  GUP("new g", "a", "number", "number"),
  GUP_RELEASE("g"),
  BIND("new s", "m", "gpa=number", "size=number", "offset=number"),
  UNBIND("s"),
  CONVERT("m", "private|shared", "number", "number"),
  ATTR("m", "number"),
  CLOSE("m");

  /**
   * One entry for each argument: a name of a kind ("m"), a name that the call defines ("new m"), a
   * number, a fallocate mode, or one of several words; after "key=" if the argument has a key.
   */
  @SuppressWarnings("ImmutableEnumChecker") // made by List.of
  final List<String> arguments;

  Verb(String... arguments) {
    this.arguments = List.of(arguments);
  }

  String word() {
    return name().toLowerCase(java.util.Locale.ROOT);
  }
}
