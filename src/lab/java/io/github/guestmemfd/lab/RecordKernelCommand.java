package io.github.guestmemfd.lab;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.lab.kernel.KernelExecutor;
import io.github.guestmemfd.lab.kernel.NoGuestMemfdException;
import io.github.guestmemfd.lab.kernel.RandomCalls;
import io.github.guestmemfd.trace.Replay;
import io.github.guestmemfd.trace.Trace;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Records the answers of the kernel that runs here. */
@Command(
    name = "record-kernel",
    description = {
      "Makes random calls on the real guest_memfd of this machine's kernel, and writes them with its"
          + " answers as a trace."
    },
    footer =
        "%nExit status: 0 recorded, 2 this kernel has no guest_memfd, or the file cannot be written.",
    mixinStandardHelpOptions = true)
final class RecordKernelCommand implements Callable<Integer> {

  @Parameters(paramLabel = "FILE", description = "The trace, which is created or replaced.")
  private Path file = Path.of("kernel.trace");

  @Option(
      names = "--seed",
      paramLabel = "S",
      defaultValue = "1",
      description =
          "Which calls: the same seed on the same kernel gives the same trace (default 1).")
  private long seed = 1;

  @Option(
      names = "--calls",
      paramLabel = "N",
      defaultValue = "1000",
      description = "How many calls, 1 to " + RandomCalls.MOST_CALLS + " (default 1000).")
  private int calls = 1000;

  @Option(
      names = "--profile",
      description =
          "Says afterwards how many answers differ from each kernel that the model knows.")
  private boolean profile;

  @Spec private CommandSpec spec;

  @Override
  public Integer call() {
    if (calls < 1 || calls > RandomCalls.MOST_CALLS) {
      throw new ParameterException(
          spec.commandLine(),
          "expected --calls from 1 to " + RandomCalls.MOST_CALLS + ", actual " + calls);
    }
    PrintWriter err = spec.commandLine().getErr();
    List<String> recorded = new ArrayList<>(calls + 3);
    try (KernelExecutor kernel = new KernelExecutor()) {
      recorded.add(Trace.HEADER);
      String release = System.getProperty("os.version");
      if (KernelProfile.of(release).isPresent()) { // not so where guest_memfd was ported back to
        recorded.add(Trace.profileLine(release));
      }
      recorded.add(
          "# recorded by record-kernel --seed "
              + seed
              + " --calls "
              + calls
              + " from "
              + KernelExecutor.kernel());
      RandomCalls random = new RandomCalls(seed);
      for (int i = 0; i < calls; i++) {
        Trace.Call call = random.next();
        String result = kernel.execute(call);
        random.ended(result);
        recorded.add(call.line(result));
      }
      Files.write(file, recorded, StandardCharsets.US_ASCII);
    } catch (NoGuestMemfdException e) {
      err.println(e.getMessage());
      return 2;
    } catch (IOException e) {
      err.println(file + ": expected a file that can be written: " + e);
      return 2;
    }
    PrintWriter out = spec.commandLine().getOut();
    out.println(file + ": " + calls + " calls, answered by " + KernelExecutor.kernel());
    if (profile) {
      Trace trace = Trace.parse(file.toString(), recorded);
      for (KernelProfile known : KernelProfile.values()) {
        int differ = Replay.run(trace, ConversionProtocol.atomicPair(), known).differences().size();
        out.println("as Linux " + known.release() + ": " + differ + " differ");
      }
    }
    out.flush();
    return 0;
  }
}
