package io.github.guestmemfd.lab;

import io.github.guestmemfd.lab.kernel.KernelExecutor;
import io.github.guestmemfd.lab.kernel.NoGuestMemfdException;
import io.github.guestmemfd.lab.kernel.RandomCalls;
import io.github.guestmemfd.trace.Trace;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Records what the kernel that runs here answers. */
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
      description = "How many calls (default 1000).")
  private int calls = 1000;

  @Spec private CommandSpec spec;

  @Override
  public Integer call() {
    PrintWriter err = spec.commandLine().getErr();
    try (KernelExecutor kernel = new KernelExecutor();
        PrintWriter trace =
            new PrintWriter(Files.newBufferedWriter(file, StandardCharsets.US_ASCII))) {
      trace.println(Trace.HEADER);
      trace.println(
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
        trace.println(call.line(result));
      }
      if (trace.checkError()) {
        throw new IOException("not everything could be written");
      }
    } catch (NoGuestMemfdException e) {
      err.println(e.getMessage());
      return 2;
    } catch (IOException e) {
      err.println(file + ": expected a file that can be written: " + e);
      return 2;
    }
    spec.commandLine()
        .getOut()
        .println(file + ": " + calls + " calls, answered by " + KernelExecutor.kernel());
    return 0;
  }
}
