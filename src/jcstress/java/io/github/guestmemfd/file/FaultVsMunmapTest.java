package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: a fault against munmap leaves no entry and no reference behind.
 *
 * <p>The hole looked for: an entry that is made after the unmapping has passed.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FaultVsMunmapTest}</pre>
 */
@JCStressTest
@Outcome(id = "0, 0", expect = ACCEPTABLE, desc = "Nothing is left.")
@Outcome(expect = FORBIDDEN, desc = "A reference or an entry is left.")
@State
public class FaultVsMunmapTest {
  private final FileOperations file = Files.file(Files.METADATA, 1);
  private final Mapping window = Files.map(file);

  @Actor
  public void fault() {
    file.hostFault.fault(window, 0, true);
  }

  @Actor
  public void munmap() {
    file.remap.close(window);
  }

  @Arbiter
  public void count(II_Result r) {
    int pfn = SlotWord.pfn(file.inode.cache.slot(0));
    r.r1 = pfn == 0 ? 0 : Counts.refs(file.inode.frames.counts(pfn)) - 1;
    r.r2 = PageTable.held(window.table.entry(0)) == 0 ? 0 : 1;
    file.inode.close();
  }

  /** Broken: the fault does not look whether the mapping is closed. */
  @JCStressTest
  @Outcome(id = "0, 0", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(
      id = "1, 1",
      expect = ACCEPTABLE_INTERESTING,
      desc = "An entry with its reference is left.")
  @State
  public static class Twin {
    private final FileOperations file = Files.file(Files.METADATA, 1);
    private final Mapping window = Files.map(file);

    @Actor
    public void fault() {
      int pfn = Files.findPage(file);
      Frames.gap();
      long entry = window.table.install(0, pfn);
      if (entry != 0) {
        window.table.confirm(0, entry);
      } else {
        file.inode.frames.put(pfn, Counts.REF);
      }
    }

    @Actor
    public void munmap() {
      file.remap.close(window);
    }

    @Arbiter
    public void count(II_Result r) {
      int pfn = SlotWord.pfn(file.inode.cache.slot(0));
      r.r1 = pfn == 0 ? 0 : Counts.refs(file.inode.frames.counts(pfn)) - 1;
      r.r2 = PageTable.held(window.table.entry(0)) == 0 ? 0 : 1;
      if (r.r2 == 1) {
        file.inode.frames.put(pfn, Counts.REF); // or the leaks would fill the heap
      }
      file.inode.close();
    }
  }
}
