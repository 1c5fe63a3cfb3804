package io.github.guestmemfd.cache;

import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.memory.SharedLongs;
import io.github.guestmemfd.spi.Announce;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * A very long array of longs, of which only the parts that differ from their neighbours cost
 * memory: a radix tree with 512 children to a node, where a subtree whose words are all equal and
 * not <i>present</i> may stand as one word.
 *
 * <p>The tree only grows. A child goes from a uniform word to another uniform word or to a node, by
 * compare-and-set; a node stays. So a reader that has reached a leaf can rely on it.
 *
 * <p>All reads of words are volatile. Neighbouring words are placed 128 bytes apart in their leaf,
 * so that threads which work on neighbouring pages do not share cache lines.
 */
final class SparseWords {

  private static final int FANOUT_SHIFT = 9;
  private static final int FANOUT = 1 << FANOUT_SHIFT;
  private static final int FANOUT_MASK = FANOUT - 1;

  private static final VarHandle CHILDREN = MethodHandles.arrayElementVarHandle(Object[].class);

  /** A change of one word, or of all words of a subtree that are equal. Must be free of effects. */
  @FunctionalInterface
  interface Change {
    /** Returned instead of a word: go no further. */
    long STOP = -1L;

    /** The new word for an old one. */
    long apply(long word);

    /** The new word for all words of a subtree. */
    default long applyToAll(long word) {
      return apply(word);
    }

    /**
     * Changes words of one leaf, as {@link SparseWords#update} does.
     *
     * @return the index at which this said stop; {@code to} when it never did
     */
    default long applyToLeaf(long[] leaf, long from, long to, boolean owned) {
      for (long at = from; at < to; ) {
        int position = position(at);
        long old = SharedLongs.getVolatile(leaf, position);
        long word = apply(old);
        if (word == STOP) {
          return at;
        }
        if (owned) {
          SharedLongs.setRelease(leaf, position, word);
          at++;
        } else if (word == old || SharedLongs.compareAndSet(leaf, position, old, word)) {
          at++;
        }
      }
      return to;
    }
  }

  /** A subtree of equal words, none of them present. Immutable. */
  private static final class Uniform {
    final long word;

    Uniform(long word) {
      this.word = word;
    }
  }

  /** A node above the leaves. A child is a Node, a leaf ({@code long[]}), a Uniform, or null. */
  private static final class Node {
    final @Nullable Object[] children;

    /** What a null child stands for. */
    final Uniform initial;

    Node(int fanout, Uniform initial) {
      this.children = new @Nullable Object[fanout];
      this.initial = initial;
    }

    Object child(int i) {
      Announce.read(children, i);
      Object child = CHILDREN.getVolatile(children, i);
      return child == null ? initial : child;
    }

    boolean casChild(int i, Object expected, Object child) {
      Announce.write(children, i);
      // A null child and the initial Uniform mean the same; it is never stored as itself.
      return CHILDREN.compareAndSet(
          children, i, expected == initial ? null : expected, child == initial ? null : child);
    }
  }

  /** A change of a range was cut short by lack of memory. */
  static final class Incomplete extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** The first index that was not changed. */
    final long at;

    Incomplete(long at, OutOfMemoryError cause) {
      super("no memory for a node", cause, false, false);
      this.at = at;
    }
  }

  private final long size;
  private final long presentMask;
  private final Uniform[] uniforms;
  private final Node root;
  private final int rootShift;

  /**
   * Makes an array in which all words are equal.
   *
   * @param size how many words
   * @param presentMask a word with one of these bits is present
   * @param initial every word, not present
   * @param others what a subtree of equal words may become; made here, so that changing such a
   *     subtree needs no memory
   */
  SparseWords(long size, long presentMask, long initial, long... others) {
    this.size = size;
    this.presentMask = presentMask;
    this.uniforms = new Uniform[others.length + 1];
    this.uniforms[0] = new Uniform(initial);
    for (int i = 0; i < others.length; i++) {
      this.uniforms[i + 1] = new Uniform(others[i]);
    }
    int shift = FANOUT_SHIFT;
    while (((size - 1) >>> shift) >= FANOUT) {
      shift += FANOUT_SHIFT;
    }
    this.rootShift = shift;
    this.root = new Node((int) ((size - 1) >>> shift) + 1, uniforms[0]);
  }

  private Uniform uniform(long word) {
    for (Uniform uniform : uniforms) {
      if (uniform.word == word) {
        return uniform;
      }
    }
    throw new IllegalStateException("not a word of a uniform subtree: " + Hex.of(word));
  }

  /** Where a word stands in its leaf: 128 bytes between neighbours. */
  static int position(long index) {
    int i = (int) index & FANOUT_MASK;
    int line = ((i << 1) | ((i >>> 5) & 1)) & 63;
    return (line << 3) | (i >>> 6);
  }

  /** The leaf, or the uniform word in whose subtree an index lies. */
  private Object find(long index) {
    int shift = rootShift;
    Object node = root.child((int) (index >>> shift));
    while (node instanceof Node inner) {
      shift -= FANOUT_SHIFT;
      node = inner.child((int) (index >>> shift) & FANOUT_MASK);
    }
    return node;
  }

  /** The leaf that holds a word, or null while it is part of a uniform subtree. */
  long @Nullable [] leaf(long index) {
    return find(index) instanceof long[] leaf ? leaf : null;
  }

  /** The index after the last word of the leaf, or the subtree of equal words, of an index. */
  long end(long index) {
    int shift = rootShift;
    Object node = root.child((int) (index >>> shift));
    while (node instanceof Node inner) {
      shift -= FANOUT_SHIFT;
      node = inner.child((int) (index >>> shift) & FANOUT_MASK);
    }
    return Math.min(((index >>> shift) + 1) << shift, size);
  }

  boolean isPresent(long word) {
    return (word & presentMask) != 0;
  }

  long get(long index) {
    Object found = find(index);
    return found instanceof long[] leaf ? getVolatile(leaf, index) : ((Uniform) found).word;
  }

  /** Replaces a word if it is as expected, with volatile semantics. */
  boolean compareAndSet(long index, long expected, long word) {
    long[] leaf = leafFor(index, expected);
    return leaf != null && SharedLongs.compareAndSet(leaf, position(index), expected, word);
  }

  static long getVolatile(long[] leaf, long index) {
    return SharedLongs.getVolatile(leaf, position(index));
  }

  static void setRelease(long[] leaf, long index, long word) {
    SharedLongs.setRelease(leaf, position(index), word);
  }

  static boolean compareAndSet(long[] leaf, long index, long expected, long word) {
    return SharedLongs.compareAndSet(leaf, position(index), expected, word);
  }

  /** The leaf for a word, made if need be; null if the word is not as expected. */
  private long @Nullable [] leafFor(long index, long expected) {
    Node node = root;
    for (int shift = rootShift; ; ) {
      int i = (int) (index >>> shift) & FANOUT_MASK;
      Object child = node.child(i);
      if (child instanceof Uniform uniform) {
        if (uniform.word != expected) {
          return null;
        }
        grow(node, i, uniform, shift);
      } else if (child instanceof Node inner) {
        node = inner;
        shift -= FANOUT_SHIFT;
      } else {
        return (long[]) child;
      }
    }
  }

  /** Puts a node in the place of a uniform word, unless something else has come there. */
  private static void grow(Node parent, int i, Uniform uniform, int shift) {
    Object made;
    if (shift > FANOUT_SHIFT) {
      made = new Node(FANOUT, uniform);
    } else {
      long[] leaf = new long[FANOUT];
      if (uniform.word != 0) {
        Arrays.fill(leaf, uniform.word);
      }
      made = leaf;
    }
    parent.casChild(i, uniform, made);
  }

  /**
   * Changes every word of a range, in ascending order.
   *
   * @param from the first index
   * @param to the index after the last
   * @param change what becomes of a word
   * @param owned true when no other thread may write these words: they are then stored with release
   *     semantics, else replaced by compare-and-set
   * @return the index at which the change said stop; {@code to} when it never did
   * @throws Incomplete if the range cuts through a uniform subtree and there is no memory for a
   *     node; never for a range that has been changed before
   */
  long update(long from, long to, Change change, boolean owned) {
    return update(root, rootShift, 0, from, to, change, owned);
  }

  private long update(
      Node node, int shift, long base, long from, long to, Change change, boolean owned) {
    long span = 1L << shift;
    for (long at = from; at < to; ) {
      int i = (int) ((at - base) >>> shift);
      long childBase = base + ((long) i << shift);
      long childEnd = Math.min(childBase + span, size);
      long end = Math.min(childEnd, to);
      Object child = node.child(i);
      if (child instanceof Uniform uniform) {
        long word = change.applyToAll(uniform.word);
        if (word == Change.STOP) {
          return at;
        }
        if (word == uniform.word) {
          at = end;
        } else if (at > childBase || end < childEnd) {
          try {
            grow(node, i, uniform, shift);
          } catch (OutOfMemoryError e) {
            throw new Incomplete(at, e);
          }
        } else if (node.casChild(i, uniform, uniform(word))) {
          at = end;
        }
      } else {
        long stopped =
            child instanceof Node inner
                ? update(inner, shift - FANOUT_SHIFT, childBase, at, end, change, owned)
                : change.applyToLeaf((long[]) child, at, end, owned);
        if (stopped < end) {
          return stopped;
        }
        at = end;
      }
    }
    return to;
  }

  /** The first index in a range whose word is present; {@code to} if there is none. */
  long next(long from, long to) {
    return next(root, rootShift, 0, from, to);
  }

  private long next(Node node, int shift, long base, long from, long to) {
    for (long at = from; at < to; ) {
      int i = (int) ((at - base) >>> shift);
      long childBase = base + ((long) i << shift);
      long end = Math.min(childBase + (1L << shift), to);
      Object child = node.child(i);
      if (child instanceof Node inner) {
        long found = next(inner, shift - FANOUT_SHIFT, childBase, at, end);
        if (found < end) {
          return found;
        }
      } else if (child instanceof long[] leaf) {
        for (long index = at; index < end; index++) {
          if (isPresent(getVolatile(leaf, index))) {
            return index;
          }
        }
      }
      at = end;
    }
    return to;
  }
}
