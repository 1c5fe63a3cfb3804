package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.cache.SlotWord;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: after an allocation against a punch the file has as many folios as its slots say.
 *
 * <p>The hole looked for: a folio is counted and in no slot, or in a slot and not counted.
 *
 * <p>Its twins are those of the parts: FillVsBusyTest, FillTest.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t AllocateVsPunchTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0, 0", "1, 1", "2, 2", "3, 3"},
    expect = ACCEPTABLE,
    desc = "The same number.")
@Outcome(expect = FORBIDDEN, desc = "They differ.")
@State
public class AllocateVsPunchTest {
  private final FileOperations file = Files.file(Files.METADATA, 3);

  @Actor
  public void allocate() {
    file.allocation.allocate(0, 3);
  }

  @Actor
  public void punch() {
    file.truncation.punch(0, 3, new Mismatch());
  }

  @Arbiter
  public void count(II_Result r) {
    r.r1 = (int) file.inode.cache.present();
    for (int i = 0; i < 3; i++) {
      r.r2 += SlotWord.pfn(file.inode.cache.slot(i)) == 0 ? 0 : 1;
    }
    file.inode.close();
  }
}
