package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.Frames;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: a read without a reference that says it is valid has the bytes of its page, though
 * the page may be punched, and its frame reused for another file in the middle of it.
 *
 * <p>The hole looked for: the frame changes hands between the look at the slot and the bytes.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t ReadVsReuseTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0", "1"},
    expect = ACCEPTABLE,
    desc = "Not valid, or the bytes of the page.")
@Outcome(expect = FORBIDDEN, desc = "The bytes of another file.")
@State
public class ReadVsReuseTest {
  private static final long OWN = 1;
  private static final long OTHERS = 2;

  final FileOperations file = Files.file(Files.BYTES, 1);
  private final FileOperations other = Files.file(Files.BYTES, 1);
  final ByteBuffer into = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);

  public ReadVsReuseTest() {
    write(file, OWN);
  }

  private static void write(FileOperations to, long number) {
    int pfn = to.lookup.get(0, Counts.REF);
    to.inode.host.bytes().chunk(pfn).putLong(FrameContents.base(pfn), number);
    to.inode.frames.put(pfn, Counts.REF);
  }

  @Actor
  public void read(I_Result r) {
    r.r1 = file.optimisticRead.read(0, into.clear()) < 0 ? 0 : (int) into.getLong(0);
  }

  @Actor
  public void punchAndReuse() {
    file.truncation.punch(0, 1, new Mismatch());
    write(other, OTHERS);
  }

  @Arbiter
  public void free() {
    file.inode.close();
    other.inode.close();
  }

  /** Broken: the slot is not read again. */
  @JCStressTest
  @Outcome(
      id = {"0", "1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "The bytes of another file.")
  @State
  public static class Twin extends ReadVsReuseTest {
    @Actor
    @Override
    public void read(I_Result r) {
      long slot = file.inode.cache.slot(0);
      int pfn = SlotWord.pfn(slot);
      for (int i = 0; i < 10; i++) {
        Frames.gap(); // the other actor has much to do
      }
      if (pfn != 0 && SlotWord.isReady(slot)) {
        r.r1 = (int) file.inode.host.bytes().chunkToRead(pfn).getLong(FrameContents.base(pfn));
      }
    }

    @Actor
    @Override
    public void punchAndReuse() {
      super.punchAndReuse();
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }
}
