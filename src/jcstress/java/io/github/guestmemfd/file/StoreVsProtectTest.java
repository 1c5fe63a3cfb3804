package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.JJ_Result;

/**
 * Hypothesis: when mprotect has returned, no store by the mapping comes any more.
 *
 * <p>The hole looked for: a store that looked at the protection in time is seen only later.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t StoreVsProtectTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"1, 1", "2, 2"},
    expect = ACCEPTABLE,
    desc = "The store is a SIGSEGV, or comes before.")
@Outcome(expect = FORBIDDEN, desc = "The store comes after the protection.")
@State
public class StoreVsProtectTest {
  final FileOperations file = Files.file(Files.BYTES, 1);
  final Mapping window = Files.map(file);
  private final HostAccess access = new HostAccess(window, file.hostFault);

  public StoreVsProtectTest() {
    access.store(0, 8, Bytes.PLAIN, 1); // there, ready and mapped
  }

  @Actor
  public void store() {
    access.tryPutLong(0, 2);
  }

  @Actor
  public void protect(JJ_Result r) {
    file.remap.mprotect(window, 0, Files.PAGE, ProtectionBits.of(Protection.READ));
    r.r1 = Files.guestReads(file);
  }

  @Arbiter
  public void after(JJ_Result r) {
    r.r2 = Files.guestReads(file);
    file.remap.close(window);
    file.inode.close();
  }

  /** Broken: the store looks at the protection before it is announced, and not again. */
  @JCStressTest
  @Outcome(
      id = {"1, 1", "2, 2"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(
      id = "1, 2",
      expect = ACCEPTABLE_INTERESTING,
      desc = "The store comes after the protection.")
  @State
  public static class Twin extends StoreVsProtectTest {
    @Actor
    @Override
    public void store() {
      if (window.areas().allows(0, true)) {
        Frames.gap();
        long announced = window.table.begin(0, 1);
        if (announced != 0) {
          int pfn = Accesses.pfn(announced);
          file.inode.host.bytes().chunk(pfn).putLong(FrameContents.base(pfn), 2);
          file.inode.frames.accesses.end(announced);
        }
      }
    }

    @Actor
    @Override
    public void protect(JJ_Result r) {
      super.protect(r);
    }

    @Arbiter
    @Override
    public void after(JJ_Result r) {
      super.after(r);
    }
  }
}
