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
import org.openjdk.jcstress.infra.results.Z_Result;

/**
 * Hypothesis: a fault against a punch leaves the page unmapped, or mapped to the folio that is in
 * the file.
 *
 * <p>The hole looked for: an entry for the frame that was punched out stays in the page table.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FaultVsPunchTest}</pre>
 */
@JCStressTest
@Outcome(id = "true", expect = ACCEPTABLE, desc = "Nothing stale.")
@Outcome(expect = FORBIDDEN, desc = "A stale entry.")
@State
public class FaultVsPunchTest {
  private final FileOperations file = Files.file(Files.METADATA, 1);
  private final Mapping window = Files.map(file);

  @Actor
  public void fault() {
    file.hostFault.fault(window, 0, true);
  }

  @Actor
  public void punch() {
    file.truncation.punch(0, 1, new Mismatch());
  }

  @Arbiter
  public void compare(Z_Result r) {
    int mapped = PageTable.held(window.table.entry(0));
    r.r1 = mapped == 0 || mapped == SlotWord.pfn(file.inode.cache.slot(0));
    file.remap.close(window);
    file.inode.close();
  }

  /** Broken: the fault confirms its entry without looking at the slot once more. */
  @JCStressTest
  @Outcome(id = "true", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "false", expect = ACCEPTABLE_INTERESTING, desc = "A stale entry.")
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
    public void punch() {
      file.truncation.punch(0, 1, new Mismatch());
    }

    @Arbiter
    public void compare(Z_Result r) {
      int mapped = PageTable.held(window.table.entry(0));
      r.r1 = mapped == 0 || mapped == SlotWord.pfn(file.inode.cache.slot(0));
      file.remap.close(window);
      file.inode.close();
    }
  }
}
