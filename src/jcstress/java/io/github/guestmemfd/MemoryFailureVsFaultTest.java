package io.github.guestmemfd;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.III_Result;

/**
 * Hypothesis: after a memory failure no mapping maps the page and no lookup finds it, whatever
 * fault was under way.
 *
 * <p>The hole looked for: the fault finds the page, the failure unmaps it everywhere, the fault
 * enters it. Unlike after a conversion or punch the slot has the same frame and attribute as
 * before.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t MemoryFailureVsFaultTest}</pre>
 */
@JCStressTest
@Outcome(id = "0, 0, -133", expect = ACCEPTABLE, desc = "Done; not mapped; EHWPOISON.")
@Outcome(expect = FORBIDDEN, desc = "Still in use.")
@State
public class MemoryFailureVsFaultTest {
  /** A frame that has failed does not come back: so a host of its own, of 64 Mi frames. */
  static final HostMemory HOST = HostMemory.metadataOnly(1L << 38);

  private final Inode inode = Files.inode(HOST, 1);
  private final HostMapping window = Files.map(inode);
  private final int pfn;

  public MemoryFailureVsFaultTest() {
    pfn = Files.findPage(inode);
    inode.drop(pfn, Counts.REF);
  }

  @Actor
  public void fault() {
    inode.fault(window, 0, true);
  }

  @Actor
  public void fail(III_Result r) {
    r.r1 = HOST.pfnWalker().memoryFailure(pfn).code();
  }

  @Arbiter
  public void after(III_Result r) {
    r.r2 = PageTable.held(window.table.entry(0)) == 0 ? 0 : 1;
    r.r3 = inode.get(0, Counts.REF, Wanted.ANY);
    window.close();
    inode.close();
  }

  /** Broken: the fault looks at frame and attribute only before it confirms its entry. */
  @JCStressTest
  @Outcome(id = "0, 0, -133", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "0, 1, -133", expect = ACCEPTABLE_INTERESTING, desc = "Still mapped.")
  @State
  public static class Twin {
    private final Inode inode = Files.inode(HOST, 1);
    private final HostMapping window = Files.map(inode);
    private final int pfn;

    public Twin() {
      pfn = Files.findPage(inode);
      inode.drop(pfn, Counts.REF);
    }

    @Actor
    public void fault() {
      int found = Files.findPage(inode);
      for (int i = 0; i < 10; i++) {
        Frames.gap(); // the other actor has much to do
      }
      long entry = found == 0 ? 0 : window.table.install(0, found);
      if (entry != 0) {
        long slot = inode.cache.slot(0);
        if (SlotWord.pfn(slot) == found && PageCache.isHit(slot, Wanted.ACCESSIBLE)) {
          window.table.confirm(0, entry);
        } else if (window.table.tryRemove(0, entry)) {
          inode.drop(found, Counts.REF);
        }
      }
    }

    @Actor
    public void fail(III_Result r) {
      r.r1 = HOST.pfnWalker().memoryFailure(pfn).code();
    }

    @Arbiter
    public void after(III_Result r) {
      r.r2 = PageTable.held(window.table.entry(0)) == 0 ? 0 : 1;
      r.r3 = inode.get(0, Counts.REF, Wanted.ANY);
      window.close();
      inode.close();
    }
  }
}
