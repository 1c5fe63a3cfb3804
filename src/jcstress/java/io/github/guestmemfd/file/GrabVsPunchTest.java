package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZLI_Result;

/**
 * Hypothesis: under {@code safe-only} a grab against a punch holds the folio that is in the file:
 * the punch is refused, or the grab gets the fresh one. Every folio is freed once.
 *
 * <p>The hole looked for: the page cache's reference goes, and the holder lives by it.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t GrabVsPunchTest}</pre>
 */
@JCStressTest
@Outcome(id = "true, EBUSY, 1", expect = ACCEPTABLE, desc = "Held in time.")
@Outcome(id = "true, OK, 2", expect = ACCEPTABLE, desc = "Punched, and a fresh folio.")
@Outcome(expect = FORBIDDEN, desc = "Another folio is held, or one was not freed once.")
@State
public class GrabVsPunchTest {
  private final Files.Lives lives = new Files.Lives();
  private final FileOperations file;
  private int held;

  public GrabVsPunchTest() {
    this(ConversionProtocol.safeOnly());
  }

  private GrabVsPunchTest(ConversionProtocol protocol) {
    file = Files.ready(Files.METADATA, 1, lives, protocol);
  }

  @Actor
  public void grab() {
    held = file.grab(0, HolderKind.SAFE);
  }

  @Actor
  public void punch(ZLI_Result r) {
    r.r2 = file.truncation.punch(0, 1, new Mismatch());
  }

  @Arbiter
  public void compare(ZLI_Result r) {
    r.r1 = held == SlotWord.pfn(file.inode.cache.slot(0));
    file.put(0, held, HolderKind.SAFE);
    file.inode.close();
    r.r3 = lives.freed.get();
  }

  /** Broken: a punch does not ask about safe holders. */
  @JCStressTest
  @Outcome(
      id = {"true, EBUSY, 1", "true, OK, 2"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(
      id = "false, OK, 1",
      expect = ACCEPTABLE_INTERESTING,
      desc = "The page cache's reference went from under the holder.")
  @State
  public static class Twin extends GrabVsPunchTest {
    private static final ConversionProtocol DOES_NOT_ASK =
        new ForwardingProtocol(ConversionProtocol.safeOnly()) {
          @Override
          public boolean mayPunch(int refs, int safe) {
            return true;
          }
        };

    public Twin() {
      super(DOES_NOT_ASK);
    }

    @Actor
    @Override
    public void grab() {
      super.grab();
    }

    @Actor
    @Override
    public void punch(ZLI_Result r) {
      super.punch(r);
    }

    @Arbiter
    @Override
    public void compare(ZLI_Result r) {
      super.compare(r);
    }
  }
}
