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
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: a reference by way of the page table (GUP-fast) is on the frame of the page, though
 * the page may be unmapped, punched, and its frame reused for another file in the middle of it.
 *
 * <p>The hole looked for: between the load of the entry and the reference the frame changes hands.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FastReferenceVsReuseTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0", "1"},
    expect = ACCEPTABLE,
    desc = "None, or on the frame of the page.")
@Outcome(expect = FORBIDDEN, desc = "A reference on a frame of another file.")
@State
public class FastReferenceVsReuseTest {
  final FileOperations file = Files.file(Files.METADATA, 1);
  final FileOperations other = Files.file(Files.METADATA, 1);
  final Mapping window = Files.map(file);
  private final UserPages userPages = new UserPages(window, file.hostFault);
  volatile boolean reused;

  public FastReferenceVsReuseTest() {
    file.hostFault.fault(window, 0, true);
  }

  @Actor
  public void reference(I_Result r) {
    int pfn = userPages.getFast(0, Counts.REF);
    if (pfn != 0) {
      // Still in its file, or an orphan: either way not in the other file.
      r.r1 = reused && SlotWord.pfn(other.inode.cache.slot(0)) == pfn ? 2 : 1;
      file.inode.frames.put(pfn, Counts.REF);
    }
  }

  @Actor
  public void punchAndReuse() {
    file.truncation.punch(0, 1, new Mismatch());
    other.inode.frames.put(other.lookup.get(0, Counts.REF), Counts.REF);
    reused = true;
  }

  @Arbiter
  public void free() {
    file.remap.close(window);
    file.inode.close();
    other.inode.close();
  }

  /** Broken: the entry is not read again. */
  @JCStressTest
  @Outcome(
      id = {"0", "1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "A frame of another file.")
  @State
  public static class Twin extends FastReferenceVsReuseTest {
    @Actor
    @Override
    public void reference(I_Result r) {
      int pfn = PageTable.pfn(window.table.entry(0));
      for (int i = 0; i < 10; i++) {
        Frames.gap(); // the other actor has much to do
      }
      if (pfn != 0 && file.inode.frames.tryGet(pfn, Counts.REF)) {
        r.r1 = reused && SlotWord.pfn(other.inode.cache.slot(0)) == pfn ? 2 : 1;
        file.inode.frames.put(pfn, Counts.REF);
      }
    }

    @Actor
    @Override
    public void punchAndReuse() {
      super.punchAndReuse();
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }
}
