package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
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
 * Hypothesis: of a reference by way of the page table (GUP-fast) and a conversion to inaccessible
 * at most one succeeds.
 *
 * <p>The hole looked for: the entry is read, the page is unmapped and its counts are looked at, the
 * reference is taken.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FastReferenceVsConvertTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"1, 0", "0, 1"},
    expect = ACCEPTABLE,
    desc = "One of the two.")
@Outcome(id = "0, 0", expect = ACCEPTABLE, desc = "Each saw the other, and gave up.")
@Outcome(expect = FORBIDDEN, desc = "A reference on an inaccessible page.")
@State
public class FastReferenceVsConvertTest {
  final FileOperations file = Files.file(Files.METADATA, 1);
  final Mapping window = Files.map(file);
  private final UserPages userPages = new UserPages(window, file.hostFault);

  public FastReferenceVsConvertTest() {
    file.hostFault.fault(window, 0, true);
  }

  @Actor
  public void reference(II_Result r) {
    r.r1 = userPages.getFast(0, Counts.REF) != 0 ? 1 : 0;
  }

  @Actor
  public void convert(II_Result r) {
    r.r2 = file.conversion.convert(0, 1, true, new Mismatch()) == Errno.OK ? 1 : 0;
  }

  @Arbiter
  public void free(II_Result r) {
    if (r.r1 == 1) {
      file.inode.frames.put(SlotWord.pfn(file.inode.cache.slot(0)), Counts.REF);
    }
    file.remap.close(window);
    file.inode.close();
  }

  /** Broken: the entry is not read again. */
  @JCStressTest
  @Outcome(
      id = {"1, 0", "0, 1", "0, 0"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(
      id = "1, 1",
      expect = ACCEPTABLE_INTERESTING,
      desc = "A reference on an inaccessible page.")
  @State
  public static class Twin extends FastReferenceVsConvertTest {
    @Actor
    @Override
    public void reference(II_Result r) {
      int pfn = PageTable.pfn(window.table.entry(0));
      for (int i = 0; i < 10; i++) {
        Frames.gap(); // the other actor has much to do
      }
      r.r1 = pfn != 0 && file.inode.frames.tryGet(pfn, Counts.REF) ? 1 : 0;
    }

    @Actor
    @Override
    public void convert(II_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void free(II_Result r) {
      super.free(r);
    }
  }
}
