package io.github.guestmemfd.file;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Frames;
import java.util.ArrayList;
import java.util.List;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZZ_Result;

/**
 * Hypothesis: a child inherits what there was at one moment, also of several mappings.
 *
 * <p>The hole looked for: of two that are unmapped one after the other, the first alone is
 * inherited.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t ForkVsMunmapTest}</pre>
 */
@JCStressTest
@Outcome(id = "true, true", expect = ACCEPTABLE, desc = "Both: the fork came first.")
@Outcome(id = "false, true", expect = ACCEPTABLE, desc = "The fork came between.")
@Outcome(id = "false, false", expect = ACCEPTABLE, desc = "None: the fork came last.")
@Outcome(expect = FORBIDDEN, desc = "The first without the second: there was no such moment.")
@State
public class ForkVsMunmapTest {
  final FileOperations file = Files.file(Files.METADATA, 1);
  final Mm<Mapping> mm = new Mm<>();
  final Mapping one = Files.map(file, mm);
  final Mapping two = Files.map(file, mm);

  /** What the child inherits, in the order of the parent's. */
  final List<Mapping> heirs = new ArrayList<>();

  @Actor
  public void fork() {
    mm.fork((parents, areas) -> heirs.add(heir(areas)));
  }

  final Mapping heir(Areas areas) {
    return file.remap.make(new Mm<>(), new OpenFile(file.inode), 0, areas);
  }

  @Actor
  public void munmap() {
    file.remap.munmap(one, 0, Files.PAGE);
    file.remap.munmap(two, 0, Files.PAGE);
  }

  @Arbiter
  public void after(ZZ_Result r) {
    r.r1 = heirs.get(0).isMapped(0);
    r.r2 = heirs.get(1).isMapped(0);
    heirs.forEach(file.remap::close);
    file.remap.close(one);
    file.remap.close(two);
    file.inode.close();
  }

  /** Broken: it looks at one mapping after the other. */
  @JCStressTest
  @Outcome(
      id = {"true, true", "false, true", "false, false"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(
      id = "true, false",
      expect = ACCEPTABLE_INTERESTING,
      desc = "The first without the second: there was no such moment.")
  @State
  public static class Twin extends ForkVsMunmapTest {
    @Actor
    @Override
    public void fork() {
      for (Mapping parents : mm.mappings()) {
        Areas areas = parents.areas().inherited();
        if (!areas.isEmpty()) {
          file.inode.tryOpen();
        }
        heirs.add(heir(areas));
        Frames.gap();
      }
    }

    @Actor
    @Override
    public void munmap() {
      super.munmap();
    }

    @Arbiter
    @Override
    public void after(ZZ_Result r) {
      super.after(r);
    }
  }
}
