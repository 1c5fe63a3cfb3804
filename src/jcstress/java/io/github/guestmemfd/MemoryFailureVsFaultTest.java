package io.github.guestmemfd;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
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

  /** What a fault does up to the entering of the page: 0, or the frame whose reference is held. */
  private static int findPage(GuestMemfd memfd) {
    return Math.max(0, memfd.file.lookup.get(0, Counts.REF));
  }

  final GuestMemfd memfd = Memfds.memfd(HOST, 1, GuestMemfdOps.NONE);
  final HostMapping window = memfd.mmap(0, Memfds.PAGE, Protection.READ, Protection.WRITE);
  final int pfn;

  public MemoryFailureVsFaultTest() {
    pfn = findPage(memfd);
    HOST.host.frames.put(pfn, Counts.REF);
  }

  @Actor
  public void fault() {
    memfd.file.hostFault.fault(window.mapping, 0, true);
  }

  @Actor
  public void fail(III_Result r) {
    r.r1 = HOST.pfnWalker().memoryFailure(pfn).code();
  }

  @Arbiter
  public void after(III_Result r) {
    r.r2 = PageTable.held(window.mapping.table.entry(0)) == 0 ? 0 : 1;
    r.r3 = memfd.tryGrab(0, HolderKind.SAFE);
    window.close();
    memfd.close();
  }

  /** Broken: the fault looks at frame and attribute only before it confirms its entry. */
  @JCStressTest
  @Outcome(id = "0, 0, -133", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "0, 1, -133", expect = ACCEPTABLE_INTERESTING, desc = "Still mapped.")
  @State
  public static class Twin extends MemoryFailureVsFaultTest {
    @Actor
    @Override
    public void fault() {
      int found = findPage(memfd);
      for (int i = 0; i < 10; i++) {
        Frames.gap(); // the other actor has much to do
      }
      long entry = found == 0 ? 0 : window.mapping.table.install(0, found);
      if (entry != 0) {
        long slot = memfd.file.inode.cache.slot(0);
        if (SlotWord.pfn(slot) == found && PageCache.isHit(slot, Wanted.ACCESSIBLE)) {
          window.mapping.table.confirm(0, entry);
        } else if (window.mapping.table.tryRemove(0, entry)) {
          HOST.host.frames.put(found, Counts.REF);
        }
      }
    }

    @Actor
    @Override
    public void fail(III_Result r) {
      super.fail(r);
    }

    @Arbiter
    @Override
    public void after(III_Result r) {
      super.after(r);
    }
  }
}
