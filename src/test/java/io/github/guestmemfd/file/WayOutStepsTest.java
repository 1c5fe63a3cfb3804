package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Worker;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;

/** What a thread does on its way out, in which order, and what it leaves to executors. */
class WayOutStepsTest {
  private final List<String> done = new ArrayList<>();
  private final Deque<Runnable> tasks = new ArrayDeque<>();
  private boolean inTheMiddle;

  /** Runs a task at once, as some executors do. */
  private boolean direct;

  /** A future whose outcome is decided. */
  private class Decided implements WayOut.Completable {
    private final String name;
    private final int dependents;
    private boolean completed;

    Decided(String name, int dependents) {
      this.name = name;
      this.dependents = dependents;
    }

    @Override
    public void readyToComplete() {
      done.add(name + " is ready");
    }

    @Override
    public void complete() {
      if (!completed) {
        completed = true;
        done.add(name);
        stages();
      }
    }

    void stages() {}

    @Override
    public int getNumberOfDependents() {
      return completed ? 0 : dependents;
    }

    @Override
    public void handOver(Runnable task) {
      done.add(name + " hands over");
      if (direct) {
        task.run();
      } else {
        tasks.add(task);
      }
    }

    @Override
    public void handOverLater(Runnable task, long millis) {
      done.add(name + " hands over after " + millis);
      tasks.add(task);
    }
  }

  /** In a thread of its own, whose way out nothing else uses. */
  private void onOneThread(Consumer<WayOut> body) throws Exception {
    Worker.start(
            () -> {
              body.accept(WayOut.of(() -> inTheMiddle));
              return null;
            })
        .result();
  }

  private void assertDone(String... expected) {
    assertEquals(List.of(expected), done);
    done.clear();
  }

  @Test
  void nothingIsDoneInTheMiddle() throws Exception {
    onOneThread(
        out -> {
          assertTrue(out.isEmpty());
          inTheMiddle = true;
          out.add(() -> done.add("work"));
          assertFalse(out.isEmpty());
          out.go();
          assertDone();
          inTheMiddle = false;
          out.add(new Decided("future", 0));
          assertDone("future is ready");
          out.go();
          assertDone("work", "future");
          assertTrue(out.isEmpty());
          out.add(new Decided("alone", 1));
          assertFalse(out.isEmpty());
          out.go();
          assertDone("alone is ready", "alone");
        });
    assertEquals(0, tasks.size());
  }

  /** One step after the other, also those that come up meanwhile; what one throws is logged. */
  @Test
  void workIsNotNested() throws Exception {
    onOneThread(
        out -> {
          out.add(
              () -> {
                out.add(() -> done.add("second"));
                out.go();
                done.add("first");
                throw new IllegalStateException("planned");
              });
          out.go();
          assertDone("first", "second");
          out.add(() -> done.add("third"));
          out.go();
          assertDone("third");
        });
  }

  /** Others may wait for those that have dependents, so these are left to executors but for one. */
  @Test
  void oneWithDependentsIsCompletedLast() throws Exception {
    onOneThread(
        out -> {
          for (Decided next :
              List.of(
                  new Decided("a", 0),
                  new Decided("b", 2),
                  new Decided("c", 1),
                  new Decided("d", 0))) {
            out.add(next);
          }
          done.clear();
          out.go();
          assertDone("a hands over", "a", "d", "b");
          tasks.remove().run(); // those that are complete already cost nothing
          assertDone("c hands over", "c");
        });
  }

  /** An executor that runs its tasks at once does not nest them. */
  @Test
  void tasksOfAnExecutorAreNotNested() throws Exception {
    direct = true;
    onOneThread(
        out -> {
          out.add(new Decided("a", 1));
          out.add(new Decided("b", 1));
          out.add(new Decided("c", 1));
          done.clear();
          out.go();
          assertDone("b hands over", "c hands over", "b", "c", "a");
        });
  }

  /** Of those that are left each is completed by one thread. */
  @Test
  void threadsShareTheRest() throws Exception {
    onOneThread(
        out -> {
          for (String name : List.of("a", "b", "c")) {
            out.add(
                new Decided(name, 1) {
                  @Override
                  void stages() {
                    if (name.equals("b")) { // it waits for the next, which another thread completes
                      Runnable task = tasks.remove();
                      try {
                        Worker.start(
                                () -> {
                                  task.run();
                                  return null;
                                })
                            .result();
                      } catch (Exception e) {
                        throw new AssertionError(e);
                      }
                    }
                  }
                });
          }
          done.clear();
          out.go();
          assertDone("b hands over", "a");
          tasks.remove().run();
          assertDone("c hands over", "b", "c");
        });
    assertEquals(0, tasks.size());
  }

  /** Completions that complete others are nested, up to a limit. */
  @Test
  void aLongChainIsHandedOver() throws Exception {
    onOneThread(
        out -> {
          chain(out, 0);
          done.clear();
          out.go();
          List<String> expected = new ArrayList<>();
          for (int i = 0; i < 8; i++) {
            expected.add(String.valueOf(i));
            expected.add(i + 1 + " is ready");
          }
          expected.add("8 hands over");
          assertDone(expected.toArray(String[]::new));
          assertFalse(WayOut.isTooDeep());
        });
  }

  private void chain(WayOut out, int n) {
    out.add(
        new Decided(String.valueOf(n), 1) {
          @Override
          void stages() {
            if (n < 20) {
              chain(out, n + 1);
              out.go();
              assertEquals(n >= 7, WayOut.isTooDeep(), String.valueOf(n));
            }
          }
        });
  }

  /** A thread that keeps a folio lock completes nothing, as an executor neither. */
  @Test
  void withAFolioLockNothingIsCompleted() throws Exception {
    Host host = new Host(2, new Host.Options());
    onOneThread(
        out -> {
          FileOperations file =
              new FileOperations(
                  host,
                  Pages.SIZE,
                  0,
                  null,
                  ConversionProtocol.bothCounters(),
                  RetryPolicy.failAtOnce());
          int pfn = file.grab(0, HolderKind.SAFE);
          keepLock(host, pfn);
          out.add(new Decided("a", 0));
          done.clear();
          out.go();
          assertDone("a hands over", "a");
          out.add(new Decided("b", 1));
          done.clear();
          out.go();
          assertDone("b hands over");
          tasks.remove();
          tasks.remove().run();
          assertDone("b hands over after 1");
          host.frames.unlockKept(pfn);
          tasks.remove().run();
          assertDone("b");
          file.put(0, pfn, HolderKind.SAFE);
          file.inode.close();
        });
    host.close();
  }

  private static void keepLock(Host host, int pfn) {
    try {
      host.frames.lock(pfn);
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
    host.frames.keepLock(pfn);
  }
}
