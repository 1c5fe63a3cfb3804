package io.github.guestmemfd.testing;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Six pages: the second is inaccessible, the fourth a hole, all others accessible. */
final class MixedRange implements AutoCloseable {
  private static final int PAGE = Scene.PAGE;

  static final int[] ACCESSIBLE = {0, 2, 4, 5};
  private static final int PAGES = 6;
  private static final int INACCESSIBLE = 1;
  private static final int HOLE = 3;

  final Scene scene;
  private final List<byte[]> contents = new ArrayList<>();
  private final long cached;
  private final boolean[] wasAccessible = new boolean[PAGES];

  MixedRange(Stage stage, ConversionProtocol protocol, GuestMemfdOps ops) {
    scene = new Scene(stage, protocol, RetryPolicy.failAtOnce(), PAGES, ops);
    for (int i = 0; i < PAGES; i++) {
      contents.add(new byte[PAGE]);
    }
    scene.window.get(0, contents.get(0), 0, PAGE);
    stage.run(
        "range",
        self -> {
          scene.memfd.makeInaccessible(PAGE, PAGE);
          write(7);
        });
    cached = scene.memfd.cachedPages();
    for (int i = 0; i < PAGES; i++) {
      wasAccessible[i] = i != INACCESSIBLE;
    }
  }

  /** Writes new content to every page except the hole. */
  void write(int seed) {
    for (int i = 0; i < PAGES; i++) {
      if (i == HOLE) {
        continue;
      }
      byte[] bytes = contents.get(i);
      for (int at = 2 * Scene.CONTENT_AT; at < PAGE; at++) {
        bytes[at] = (byte) (seed + i + at);
      }
      if (scene.memfd.isAccessible((long) i * PAGE)) {
        scene.window.put((long) i * PAGE, bytes, 0, PAGE);
      } else {
        try (Folio folio = scene.memfd.grab((long) i * PAGE)) {
          folio.buffer().put(bytes);
        }
      }
    }
  }

  Errno convert(BusyFolio busy) {
    return scene.memfd.tryMakeInaccessible(0, (long) PAGES * PAGE, busy);
  }

  /** Returns whether the conversion succeeds; false, if {@code throwing}, if the client throws. */
  boolean tryConvert(boolean throwing) {
    boolean[] done = new boolean[1];
    scene.stage.run(
        "conversion",
        self -> {
          try {
            done[0] = convert(new BusyFolio()) == Errno.OK;
          } catch (GuestMemfdException e) {
            if (!throwing) {
              throw e;
            }
          }
        });
    return done[0];
  }

  /** Asserts that attributes, number of folios and contents are as they were. */
  void assertUnchanged(String story) {
    scene.leave();
    for (int i = 0; i < PAGES; i++) {
      Rule.ALL_OR_NOTHING.check(
          scene.memfd.isAccessible((long) i * PAGE) == wasAccessible[i],
          story + ": the attribute of page " + i + " has changed");
    }
    Rule.ALL_OR_NOTHING.check(
        scene.memfd.cachedPages() == cached, story + ": folios have come or gone");
    scene.stage.run("content", self -> assertContent(story));
  }

  /** Asserts that every page except the hole has its content, read by the side that may see it. */
  void assertContent(String story) {
    for (int i = 0; i < PAGES; i++) {
      if (i != HOLE) {
        assertContent(i, story);
      }
    }
  }

  private void assertContent(int page, String story) {
    byte[] found = new byte[PAGE];
    long offset = (long) page * PAGE;
    if (scene.memfd.isAccessible(offset)) {
      scene.window.get(offset, found, 0, PAGE);
    } else {
      try (Folio folio = scene.memfd.grab(offset)) {
        folio.buffer().get(found);
      }
    }
    int at = Arrays.mismatch(found, contents.get(page));
    Rule.NOTHING_LOST.check(
        at < 0, story + ": page " + page + " differs from what was written at byte " + at);
  }

  /** Asserts that the first page is empty with its attribute, and the others have their content. */
  void assertPunched(String story) {
    Rule.NOTHING_LOST.check(
        scene.memfd.isAccessible(0), story + ": the punch has changed the attribute");
    contents.set(0, new byte[PAGE]);
    scene.stage.run("content", self -> assertContent("punched with " + story));
  }

  @Override
  public void close() {
    scene.close();
  }
}
