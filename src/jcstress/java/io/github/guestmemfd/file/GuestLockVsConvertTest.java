package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.IL_Result;

/**
 * Hypothesis: under {@code lock-only} the guest's work with a folio, and the callbacks of a
 * conversion of its page, exclude each other, and each sees what the one before wrote.
 *
 * <p>The hole looked for: the guest locks the folio when the conversion has looked at the lock.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t GuestLockVsConvertTest}</pre>
 */
@JCStressTest
@Outcome(id = "2, OK", expect = ACCEPTABLE, desc = "One after the other.")
@Outcome(expect = FORBIDDEN, desc = "Both at once, or refused.")
@State
public class GuestLockVsConvertTest {
  private final Files.Exclusive ops = new Files.Exclusive();
  private final FileOperations file =
      Files.ready(Files.METADATA, 1, ops, ConversionProtocol.lockOnly());

  @Actor
  public void guest() {
    int pfn = file.grab(0, HolderKind.SAFE);
    ops.count++;
    file.put(0, pfn, HolderKind.SAFE);
  }

  @Actor
  public void convert(IL_Result r) {
    r.r2 = file.conversion.convert(0, 1, true, null);
  }

  @Arbiter
  public void count(IL_Result r) {
    r.r1 = ops.count;
    file.inode.close();
  }

  /** Broken: the guest does not look at the slot after it has locked the folio. */
  @JCStressTest
  @Outcome(id = "2, OK", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "1, OK", expect = ACCEPTABLE_INTERESTING, desc = "Both at once.")
  @State
  public static class Twin {
    private final Files.Exclusive ops =
        new Files.Exclusive() {
          @Override
          public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
            Errno errno = super.invalidateBegin(offset, length, filter);
            Frames.gapUntil(() -> inGuest);
            return errno;
          }
        };
    private volatile boolean inGuest;
    private final FileOperations file =
        Files.ready(Files.METADATA, 1, ops, ConversionProtocol.lockOnly());

    @Actor
    public void guest() {
      int pfn = SlotWord.pfn(file.inode.cache.slot(0));
      Frames.gapUntil(() -> SlotWord.isBusy(file.inode.cache.slot(0)));
      Frames.gap();
      Frames.run(() -> file.inode.frames.lock(pfn));
      int before = ops.count;
      inGuest = true;
      Frames.gap();
      ops.count = before + 1;
      file.inode.frames.unlock(pfn);
    }

    @Actor
    public void convert(IL_Result r) {
      r.r2 = file.conversion.convert(0, 1, true, null);
    }

    @Arbiter
    public void count(IL_Result r) {
      r.r1 = ops.count;
      file.inode.close();
    }
  }
}
