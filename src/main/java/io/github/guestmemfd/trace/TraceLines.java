package io.github.guestmemfd.trace;

import java.util.Collections;
import java.util.Map;
import java.util.WeakHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * The lines of a trace that is being recorded: what they are about has names, and what no line can
 * say is a comment, and counted.
 */
abstract class TraceLines {
  final LineWriter lines;
  final AtomicLong inexact = new AtomicLong();

  /** The names of what the program has, as long as it has it. */
  final Map<Object, String> names = Collections.synchronizedMap(new WeakHashMap<>());

  TraceLines(LineWriter lines) {
    this.lines = lines;
  }

  final void comment(String text) {
    inexact.incrementAndGet();
    line("# " + text);
  }

  final void line(String line) {
    lines.add(line);
  }

  /** Names a new object. A failed call defines a name too, which is never used again. */
  final String define(String kind, AtomicInteger last, @Nullable Object object) {
    String name = kind + last.getAndIncrement();
    if (object != null) {
      names.put(object, name);
    }
    return name;
  }

  /** Writes a call on something; in a comment, if the trace does not know it or the failure. */
  final void call(
      String verb, Object on, String arguments, String result, @Nullable RuntimeException failed) {
    String name = names.get(on);
    String word = failed == null ? result : ModelExecutor.word(failed);
    String line = verb + " " + (name == null ? on : name) + arguments + " = ";
    if (name == null || word == null) {
      comment(line + (word == null ? failed : word));
    } else {
      line(line + word);
    }
  }

  /** Writes a call that creates an object from another. */
  final void define(
      String verb,
      String name,
      @Nullable Object made,
      Object of,
      String arguments,
      @Nullable RuntimeException failed) {
    String source = names.get(of);
    String word = failed == null ? "ok" : ModelExecutor.word(failed);
    String line = verb + " " + name + " " + (source == null ? of : source) + arguments + " = ";
    if (source == null || word == null) {
      forget(made);
      comment(line + (word == null ? failed : word));
    } else {
      line(line + word);
    }
  }

  /** Writes a call; in a comment, if a trace has no word for its failure. */
  final void answer(String call, String result, @Nullable RuntimeException failed) {
    String word = failed == null ? result : ModelExecutor.word(failed);
    if (word == null) {
      comment(call + " = " + failed);
    } else {
      line(call + " = " + word);
    }
  }

  /** Forgets an object that no line has named. */
  final void forget(@Nullable Object made) {
    if (made != null) {
      names.remove(made);
    }
  }
}
