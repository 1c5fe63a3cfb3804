package io.github.guestmemfd.file;

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
  final FileOperations file = Files.file(Files.BYTES, 1);
  final Mapping window = Files.map(file);
  private final HostAccess access = new HostAccess(window, file.hostFault);
  private boolean converted;

  public StoreVsConvertTest() {
    access.store(0, 8, Bytes.PLAIN, 1); // there, ready and mapped
  }

  @Actor
  public void write() {
    access.tryPutLong(0, 7);
  }

  @Actor
  public void convertAndWrite() {
    converted = file.conversion.convert(0, 1, true, new Mismatch()) == Errno.OK;
    if (converted) {
      Files.guestWrites(file, 42);
    }
  }

  @Arbiter
  public void compare(J_Result r) {
    r.r1 = converted ? Files.guestReads(file) : -1;
    file.remap.close(window);
    file.inode.close();
  }

  /** Broken: writes through the entry it has read, and announces nothing. */
  @JCStressTest
  @Outcome(
      id = {"42", "-1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "7", expect = ACCEPTABLE_INTERESTING, desc = "The host overwrote it.")
  @State
  public static class Twin extends StoreVsConvertTest {
    @Actor
    @Override
    public void write() {
      int pfn = PageTable.pfn(window.table.entry(0));
      Frames.gap();
      if (pfn != 0) {
        file.inode.host.bytes().chunk(pfn).putLong(FrameContents.base(pfn), 7);
      }
    }

    @Actor
    @Override
    public void convertAndWrite() {
      super.convertAndWrite();
    }

    @Arbiter
    @Override
    public void compare(J_Result r) {
      super.compare(r);
    }
  }
}
