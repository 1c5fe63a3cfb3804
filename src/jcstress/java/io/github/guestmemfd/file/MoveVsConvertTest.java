package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZZ_Result;

/**
 * Hypothesis: a page that became inaccessible while its mapping was moved is mapped at neither
 * place.
 *
 * <p>The hole looked for: the conversion finds no entry where the page was, and none yet where it
 * goes.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t MoveVsConvertTest}</pre>
 */
@JCStressTest
@Outcome(id = "true, false", expect = ACCEPTABLE, desc = "Converted, and unmapped.")
@Outcome(
    id = {"false, true", "false, false"},
    expect = ACCEPTABLE,
    desc = "Refused: the reference of an entry on its way was in the way.")
@Outcome(expect = FORBIDDEN, desc = "Inaccessible, and mapped.")
@State
public class MoveVsConvertTest {
  final FileOperations file = Files.file(Files.METADATA, 1);
  final Mm<Mapping> mm = new Mm<>();
  final Mapping window = Files.map(file, mm);
  Mapping moved = window;

  public MoveVsConvertTest() {
    file.hostFault.fault(window, 0, true);
  }

  @Actor
  public void move() {
    moved = file.remap.mremap(mm, window, 0, Files.PAGE, Files.PAGE, made -> made);
  }

  @Actor
  public void convert(ZZ_Result r) {
    r.r1 = file.conversion.convert(0, 1, true, new Mismatch()) == Errno.OK;
  }

  @Arbiter
  public void after(ZZ_Result r) {
    r.r2 = isMapped(window) || (moved != window && isMapped(moved));
    file.remap.close(window);
    if (moved != window) {
      file.remap.close(moved);
    }
    file.inode.close();
  }

  private static boolean isMapped(Mapping mapping) {
    return PageTable.held(mapping.table.entry(0)) != 0;
  }

  /** Broken: takes the entry away first, and enters it there without a look at the page. */
  @JCStressTest
  @Outcome(
      id = {"true, false", "false, true", "false, false"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "true, true", expect = ACCEPTABLE_INTERESTING, desc = "Inaccessible, and mapped.")
  @State
  public static class Twin extends MoveVsConvertTest {
    @Actor
    @Override
    public void move() {
      Mapping to = Files.map(file);
      int pfn = SlotWord.pfn(file.inode.cache.slot(0));
      window.table.revoke(0);
      if (window.table.remove(0) != 0) {
        file.inode.frames.put(pfn, Counts.REF); // it holds none on its way
        Frames.gap();
        file.inode.frames.tryGet(pfn, Counts.REF);
        to.table.confirm(0, to.table.install(0, pfn));
      }
      moved = to;
    }

    @Actor
    @Override
    public void convert(ZZ_Result r) {
      super.convert(r);
    }

    @Arbiter
    @Override
    public void after(ZZ_Result r) {
      super.after(r);
    }
  }
}
