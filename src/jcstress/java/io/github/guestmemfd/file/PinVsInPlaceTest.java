package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.III_Result;

/**
 * Hypothesis: under {@code invalidate-lock}, of a pin through a mapping and a conversion of a page
 * whose folio is in an LRU batch exactly one succeeds, and none that succeeds leaves the folio in
 * the batch.
 *
 * <p>The hole looked for: a pin between the look for pins and the one at the count, for which the
 * batch is drained in between.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t PinVsInPlaceTest}</pre>
 */
@JCStressTest
@Outcome(id = "0, 1, 0", expect = ACCEPTABLE, desc = "Converted, and the batch drained for it.")
@Outcome(id = "1, 0, 1", expect = ACCEPTABLE, desc = "Pinned first: no batch was drained.")
@Outcome(id = "1, 0, 0", expect = ACCEPTABLE, desc = "Pinned after the first look.")
@Outcome(expect = FORBIDDEN, desc = "Both, none, or a conversion with the folio in a batch.")
@State
public class PinVsInPlaceTest {
  final FileOperations file = Files.batched();
  private final Mapping window = Files.map(file);
  private final UserPages userPages = new UserPages(window, file.hostFault);

  public PinVsInPlaceTest() {
    file.hostFault.fault(window, 0, true); // there, ready, mapped, and in the batch
  }

  @Actor
  public void pin(III_Result r) {
    try {
      r.r1 = userPages.reference(0, 1, Counts.PIN).pfns().length;
    } catch (GuestMemfdException e) { // the page is private
      r.r1 = 0;
    }
  }

  @Actor
  public void convert(III_Result r) {
    r.r2 = file.conversion.convert(0, 1, true, null) == Errno.OK ? 1 : 0;
  }

  @Arbiter
  public void after(III_Result r) {
    r.r3 = file.inode.host.drainLru();
    if (r.r1 == 1) {
      file.inode.frames.put(SlotWord.pfn(file.inode.cache.slot(0)), Counts.PIN);
    }
    file.remap.close(window);
    file.inode.close();
  }

  /** Broken: looks at the counts before it unmaps the page, and not again after the drain. */
  @JCStressTest
  @Outcome(
      id = {"0, 1, 0", "1, 0, 1", "1, 0, 0"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "1, 1, 0", expect = ACCEPTABLE_INTERESTING, desc = "A pin on a private page.")
  @State
  public static class Twin extends PinVsInPlaceTest {
    @Actor
    @Override
    public void pin(III_Result r) {
      super.pin(r);
    }

    @Actor
    @Override
    public void convert(III_Result r) {
      Frames.run(() -> r.r2 = convertInTheWrongOrder() ? 1 : 0);
    }

    private boolean convertInTheWrongOrder() throws InterruptedException {
      Inode inode = file.inode;
      FrameTable frames = inode.frames;
      inode.cache.lock(0, 1);
      int pfn = SlotWord.pfn(inode.cache.slot(0));
      int refs = Counts.refs(frames.counts(pfn));
      boolean expected = refs == 3; // of the page cache, the entry and the batch
      Frames.gapUntil(() -> Counts.refs(frames.counts(pfn)) > refs);
      file.reverseMap.unmap(0, 1);
      if (expected) {
        inode.host.drainLru();
        inode.cache.setAttribute(0, 1, true);
      }
      inode.cache.unlock(0, 1);
      return expected;
    }

    @Arbiter
    @Override
    public void after(III_Result r) {
      super.after(r);
    }
  }
}
