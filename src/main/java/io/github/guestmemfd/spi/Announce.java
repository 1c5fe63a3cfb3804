package io.github.guestmemfd.spi;

import java.util.Objects;

/**
 * Announces the steps of a thread: its accesses to words that other threads change or read. A
 * {@link Scheduler} that explores orders of steps holds the thread there.
 *
 * <p>Each access to a shared word stands behind an announcement; a test of the library's bytecode
 * sees to that. Before the first {@link Exploration} an announcement costs nothing in compiled
 * code.
 *
 * <p>This class is for the library's own packages. A program that wants its own words explored
 * announces its accesses too.
 */
public final class Announce {
  private Announce() {}

  /**
   * Announces that the calling thread is about to read a word.
   *
   * @param owner the object that has the word
   * @param index which of its words
   */
  public static void read(Object owner, long index) {
    Objects.requireNonNull(owner, "owner");
    if (Exploration.isOn()) {
      access(owner, index, false);
    }
  }

  /**
   * Announces that the calling thread is about to write a word, or to read and write it in one.
   *
   * @param owner the object that has the word
   * @param index which of its words
   */
  public static void write(Object owner, long index) {
    Objects.requireNonNull(owner, "owner");
    if (Exploration.isOn()) {
      access(owner, index, true);
    }
  }

  /**
   * Announces that the calling thread is about to read an object that has one word, or whose words
   * count as one: an atomic variable, a concurrent collection, the volatile fields of an object.
   *
   * @param <T> its type
   * @param word the object
   * @return the object, to be read now
   */
  public static <T> T read(T word) {
    read(Objects.requireNonNull(word, "word"), 0);
    return word;
  }

  /**
   * Announces that the calling thread is about to write an object that has one word, or to read and
   * write it in one.
   *
   * @param <T> its type
   * @param word the object
   * @return the object, to be written now
   */
  public static <T> T write(T word) {
    write(Objects.requireNonNull(word, "word"), 0);
    return word;
  }

  private static void access(Object owner, long index, boolean write) {
    Scheduler scheduler = Exploration.scheduler();
    if (scheduler != null) {
      scheduler.access(owner, index, write);
    }
  }
}
