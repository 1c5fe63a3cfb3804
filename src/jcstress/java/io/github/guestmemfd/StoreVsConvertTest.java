package io.github.guestmemfd;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.J_Result;

/**
 * Hypothesis: what the host writes through a mapping is there before the page becomes inaccessible,
 * or never.
 *
 * <p>The hole looked for: a store that was let in lands on what the guest has written since.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t StoreVsConvertTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"42", "-1"},
    expect = ACCEPTABLE,
    desc = "The guest's number; or the fault was in the way.")
@Outcome(expect = FORBIDDEN, desc = "The host overwrote it.")
@State
public class StoreVsConvertTest {
  private final Inode inode = Files.inode(Files.BYTES, 1);
  private final HostMapping window = Files.map(inode);
  private boolean converted;

  public StoreVsConvertTest() {
    window.putLong(0, 1); // there, ready and mapped
  }

  @Actor
  public void write() {
    window.tryPutLong(0, 7);
  }

  @Actor
  public void convertAndWrite() {
    converted = inode.convert(0, 1, true, new BusyFolio()) == Errno.OK;
    if (converted) {
      Files.guestWrites(inode, 42);
    }
  }

  @Arbiter
  public void compare(J_Result r) {
    r.r1 = converted ? Files.guestReads(inode) : -1;
    window.close();
    inode.close();
  }

  /** Broken: writes through the entry it has read, and announces nothing. */
  @JCStressTest
  @Outcome(
      id = {"42", "-1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "7", expect = ACCEPTABLE_INTERESTING, desc = "The host overwrote it.")
  @State
  public static class Twin {
    private final Inode inode = Files.inode(Files.BYTES, 1);
    private final HostMapping window = Files.map(inode);
    private boolean converted;

    public Twin() {
      window.putLong(0, 1); // there, ready and mapped
    }

    @Actor
    public void write() {
      int pfn = PageTable.pfn(window.table.entry(0));
      Frames.gap();
      if (pfn != 0) {
        inode.host.bytes().chunk(pfn).putLong(FrameContents.base(pfn), 7);
      }
    }

    @Actor
    public void convertAndWrite() {
      converted = inode.convert(0, 1, true, new BusyFolio()) == Errno.OK;
      if (converted) {
        Files.guestWrites(inode, 42);
      }
    }

    @Arbiter
    public void compare(J_Result r) {
      r.r1 = converted ? Files.guestReads(inode) : -1;
      window.close();
      inode.close();
    }
  }
}
