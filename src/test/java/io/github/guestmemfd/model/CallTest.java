package io.github.guestmemfd.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.model.Call.At;
import io.github.guestmemfd.model.Call.Base;
import io.github.guestmemfd.model.Call.Length;
import io.github.guestmemfd.model.Call.Mode;
import io.github.guestmemfd.trace.ModelExecutor;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.Verb;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Calls that traces have are logged as their lines: what fails here can be replayed. */
class CallTest {
  private static final At START = new At(Base.IN, 0, 0);
  private static final Length ONE = new Length(Call.PAGE, false);

  @Test
  void theLogIsATrace() throws Exception {
    World world = new World(16, false, Refusals.NONE);
    EnumSet<Protection> both = EnumSet.of(Protection.READ, Protection.WRITE);
    for (Call call :
        List.of(
            new Call.Create(EnumSet.of(CreateFlag.MMAP), 0, 4L * Call.PAGE),
            new Call.Create(EnumSet.of(CreateFlag.MMAP, CreateFlag.INIT_SHARED), 0, 8192),
            new Call.Dup(1, false),
            new Call.Mmap(1, START, Length.REST, MapType.SHARED, both),
            new Call.Store(0, START, 1, Mode.PLAIN, 7),
            new Call.Load(0, START, 1, Mode.PLAIN),
            new Call.Gup(0, START, ONE, false),
            new Call.Convert(1, true, true, START, ONE),
            new Call.GupRelease(0),
            new Call.Fallocate(1, 3, START, ONE),
            new Call.Madvise(0, START, ONE, Advice.POPULATE_WRITE),
            new Call.Mbind(0, START, ONE, new MemoryPolicy(MemoryPolicy.Mode.BIND, 3)),
            new Call.Fork(0),
            new Call.Store(1, START, 1, Mode.PLAIN, 7),
            new Call.MmapIn(1, 1, START, Length.REST),
            new Call.Exit(1),
            new Call.Bind(0, 0, 0x10000, 8192, 1, START),
            new Call.Munmap(0),
            new Call.Close(2))) {
      call.run(world);
    }
    world.end();
    List<String> lines = new ArrayList<>(List.of(Trace.HEADER));
    for (String line : world.log().subList(1, world.log().size())) {
      String[] parts = line.split(" -> ", 2);
      String word = parts[0].split(" ", 2)[0];
      if (Arrays.stream(Verb.values()).anyMatch(verb -> verb.word().equals(word))) {
        lines.add(parts[0].split(" # ", 2)[0] + " = " + parts[1]);
      }
    }
    assertThat(lines)
        .contains(
            "mmap a0 m1 offset=0 length=8192 prot=rw flags=SHARED = ok",
            "gup g0 a0 0 4096 = ok",
            "mbind a0 0 4096 BIND 3 = ok",
            "get_mempolicy a0 4095 = mode=BIND nodes=0x1",
            "fork p1 p0 = ok",
            "store a0p1 0 7 = ok",
            "exit p1 = ok");
    Trace trace = Trace.parse("log", lines);
    try (ModelExecutor executor =
        new ModelExecutor(ConversionProtocol.atomicPair(), KernelProfile.LINUX_7_2)) {
      for (Trace.Call call : trace.calls()) {
        String result = executor.execute(call);
        if (call.expected().equals("ok") && call.verb() != Verb.GUP_RELEASE) {
          assertThat(result).as(call.text()).isEqualTo("ok");
        }
      }
    }
  }
}
