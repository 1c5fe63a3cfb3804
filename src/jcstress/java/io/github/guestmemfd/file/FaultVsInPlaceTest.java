package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: under {@code invalidate-lock} a page that has been converted is mapped by no host,
 * whatever fault was under way, though the conversion does not ask whether its folios are mapped.
 *
 * <p>The hole looked for: an entry that is made after the unmapping, and its reference after the
 * look at the count.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FaultVsInPlaceTest}</pre>
 */
@JCStressTest
@Outcome(id = "1, 0", expect = ACCEPTABLE, desc = "Converted, and not mapped.")
@Outcome(
    id = {"0, 0", "0, 1"},
    expect = ACCEPTABLE,
    desc = "Refused for the reference of the fault, which maps the page or begins again.")
@Outcome(expect = FORBIDDEN, desc = "Converted and mapped.")
@State
public class FaultVsInPlaceTest {
  final FileOperations file = Files.ready(ConversionProtocol.invalidateLock());
  final Mapping window = Files.map(file);

  @Actor
  public void fault() {
    file.hostFault.fault(window, 0, true);
  }

  @Actor
  public void convert(II_Result r) {
    r.r1 = file.conversion.convert(0, 1, true, null) == Errno.OK ? 1 : 0;
  }

  @Arbiter
  public void after(II_Result r) {
    r.r2 = PageTable.held(window.table.entry(0)) != 0 ? 1 : 0;
    file.remap.close(window);
    file.inode.close();
  }

  /** Broken: the fault looks at the slot before it takes its reference, and not again. */
  @JCStressTest
  @Outcome(
      id = {"1, 0", "0, 0", "0, 1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "1, 1", expect = ACCEPTABLE_INTERESTING, desc = "Converted and mapped.")
  @State
  public static class Twin extends FaultVsInPlaceTest {
    @Actor
    @Override
    public void fault() {
      long slot = file.inode.cache.slot(0);
      int pfn = SlotWord.pfn(slot);
      Frames.gap();
      if (!SlotWord.isInaccessible(slot) && file.inode.frames.tryGet(pfn, Counts.REF)) {
        window.table.confirm(0, window.table.install(0, pfn));
      }
    }

    @Actor
    @Override
    public void convert(II_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void after(II_Result r) {
      super.after(r);
    }
  }
}
