package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZL_Result;

/**
 * Hypothesis: under {@code lock-only} a guest that holds the folio lock, and no reference, holds a
 * folio that is in the file, and stays there until it unlocks.
 *
 * <p>The hole looked for: the punch frees the frame that the guest is about to lock.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t GuestLockVsPunchTest}</pre>
 */
@JCStressTest
@Outcome(id = "true, OK", expect = ACCEPTABLE, desc = "In the file.")
@Outcome(expect = FORBIDDEN, desc = "Punched out, perhaps freed.")
@State
public class GuestLockVsPunchTest {
  private final FileOperations file = Files.ready(ConversionProtocol.lockOnly());

  @Actor
  public void guest(ZL_Result r) {
    int pfn = file.grab(0, HolderKind.SAFE);
    r.r1 = pfn == SlotWord.pfn(file.inode.cache.slot(0)) && !file.inode.frames.isFrozen(pfn);
    file.put(0, pfn, HolderKind.SAFE);
  }

  @Actor
  public void punch(ZL_Result r) {
    r.r2 = file.truncation.punch(0, 1, new Mismatch());
  }

  @Arbiter
  public void free() {
    file.inode.close();
  }

  /** Broken: the guest does not look at the slot after it has locked the folio. */
  @JCStressTest
  @Outcome(id = "true, OK", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "false, OK", expect = ACCEPTABLE_INTERESTING, desc = "Punched out, perhaps freed.")
  @State
  public static class Twin {
    private final FileOperations file = Files.ready(ConversionProtocol.lockOnly());

    @Actor
    public void guest(ZL_Result r) {
      int pfn = SlotWord.pfn(file.inode.cache.slot(0));
      if (pfn == 0) {
        r.r1 = true; // punched long ago
        return;
      }
      Frames.gap();
      Frames.run(() -> file.inode.frames.lock(pfn));
      r.r1 = pfn == SlotWord.pfn(file.inode.cache.slot(0)) && !file.inode.frames.isFrozen(pfn);
      file.inode.frames.unlock(pfn);
    }

    @Actor
    public void punch(ZL_Result r) {
      r.r2 = file.truncation.punch(0, 1, new Mismatch());
    }

    @Arbiter
    public void free() {
      file.inode.close();
    }
  }
}
