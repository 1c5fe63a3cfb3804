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
 * Hypothesis: what the host reads through a mapping was there before the page became inaccessible.
 *
 * <p>The hole looked for: the secret that the guest writes right after the conversion is read.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t LoadVsConvertTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"1", "-1"},
    expect = ACCEPTABLE,
    desc = "The shared bytes, or a SIGBUS.")
@Outcome(expect = FORBIDDEN, desc = "The secret.")
@State
public class LoadVsConvertTest {
  final FileOperations file = Files.file(Files.BYTES, 1);
  final Mapping window = Files.map(file);
  private final HostAccess access = new HostAccess(window, file.hostFault);

  public LoadVsConvertTest() {
    access.store(0, 8, Bytes.PLAIN, 1); // there, ready and mapped
  }

  @Actor
  public void read(J_Result r) {
    r.r1 = access.tryGetLong(0, -1);
  }

  @Actor
  public void convertAndWrite() {
    if (file.conversion.convert(0, 1, true, new Mismatch()) == Errno.OK) {
      Files.guestWrites(file, 42);
    }
  }

  @Arbiter
  public void free() {
    file.remap.close(window);
    file.inode.close();
  }

  /** Broken: reads the page table entry once, and then the bytes. */
  @JCStressTest
  @Outcome(
      id = {"1", "-1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "42", expect = ACCEPTABLE_INTERESTING, desc = "The secret.")
  @State
  public static class Twin extends LoadVsConvertTest {
    @Actor
    @Override
    public void read(J_Result r) {
      int pfn = PageTable.pfn(window.table.entry(0));
      Frames.gap();
      r.r1 = pfn == 0 ? -1 : file.inode.host.bytes().chunk(pfn).getLong(FrameContents.base(pfn));
    }

    @Actor
    @Override
    public void convertAndWrite() {
      super.convertAndWrite();
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }
}
